import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import mysql from 'mysql2/promise'
import { findProgram, freePort, runService, temporaryFolder } from './server.js'

/** Starts a real MariaDB: user `telltale`, password `hunter2-secret`, database `shop`. */
export async function startMariadb() {
  const program = findProgram(
    ['mariadbd', 'mysqld'],
    ['/usr/sbin', '/usr/libexec'],
    'mariadb-server',
  )
  const install = findProgram(['mariadb-install-db', 'mysql_install_db'], [], 'mariadb-server')
  const folder = temporaryFolder('mariadb')
  const data = join(folder, 'data')
  const asRoot = process.getuid?.() === 0 ? ['--user=root'] : []
  execFileSync(
    install,
    [
      '--no-defaults',
      `--datadir=${data}`,
      '--skip-test-db',
      '--auth-root-authentication-method=normal',
      ...asRoot,
    ],
    // Servers that share a folder for temporary tables take each other's away.
    { stdio: 'pipe', env: { ...process.env, TMPDIR: folder } },
  )
  writeFileSync(
    join(folder, 'init.sql'),
    `CREATE DATABASE IF NOT EXISTS shop;
CREATE USER IF NOT EXISTS 'telltale'@'127.0.0.1' IDENTIFIED BY 'hunter2-secret';
GRANT ALL ON *.* TO 'telltale'@'127.0.0.1' WITH GRANT OPTION;
`,
  )
  const port = await freePort()
  const url = `mysql://telltale:hunter2-secret@127.0.0.1:${port}/shop`
  return runService({
    program,
    args: [
      '--no-defaults',
      `--datadir=${data}`,
      `--socket=${join(folder, 'socket')}`,
      `--pid-file=${join(folder, 'pid')}`,
      `--tmpdir=${folder}`,
      `--init-file=${join(folder, 'init.sql')}`,
      '--bind-address=127.0.0.1',
      `--port=${port}`,
      '--skip-name-resolve',
      '--innodb-flush-log-at-trx-commit=0',
      '--innodb-buffer-pool-size=16M',
      ...asRoot,
    ],
    port,
    url,
    stopSignal: 'SIGTERM',
    async ready() {
      try {
        const connection = await mysql.createConnection({ uri: url, connectTimeout: 1000 })
        connection.destroy()
        return true
      } catch {
        return false
      }
    },
  })
}
