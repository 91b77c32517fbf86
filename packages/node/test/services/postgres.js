import { execFileSync } from 'node:child_process'
import { chownSync, readdirSync, readFileSync } from 'node:fs'
import pg from 'pg'
import { findProgram, freePort, runService, temporaryFolder } from './server.js'

/** Starts a real PostgreSQL: user `telltale`, password `hunter2-secret`, database `postgres`. */
export async function startPostgres({ maxConnections = 30 } = {}) {
  const folders = versions().map((version) => `/usr/lib/postgresql/${version}/bin`)
  const initdb = findProgram(['initdb'], folders, 'postgresql')
  const program = findProgram(['postgres'], folders, 'postgresql')
  const folder = temporaryFolder('postgres')
  const account = unprivileged()
  if (account.uid !== undefined) chownSync(folder, account.uid, account.gid)
  execFileSync(
    'sh',
    [
      '-c',
      `printf %s "$PASSWORD" > "$1/pw" && "$0" -D "$1/data" -U telltale -A scram-sha-256 --pwfile="$1/pw" -E UTF8 --no-locale --no-sync`,
      initdb,
      folder,
    ],
    {
      ...account,
      cwd: '/',
      stdio: 'pipe',
      env: { ...process.env, PASSWORD: 'hunter2-secret', HOME: folder },
    },
  )
  const port = await freePort()
  const url = `postgres://telltale:hunter2-secret@127.0.0.1:${port}/postgres`
  const settings = [
    'fsync=off',
    'full_page_writes=off',
    'listen_addresses=127.0.0.1',
    `unix_socket_directories=${folder}`,
    `port=${port}`,
    `max_connections=${maxConnections}`,
    'superuser_reserved_connections=1',
    'shared_buffers=16MB',
  ]
  return runService({
    program,
    args: ['-D', `${folder}/data`, ...settings.flatMap((setting) => ['-c', setting])],
    options: { ...account, cwd: '/' },
    port,
    url,
    // SIGINT: fast shutdown, clients are disconnected.
    stopSignal: 'SIGINT',
    async ready() {
      const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 1000 })
      client.on('error', () => {})
      try {
        await client.connect()
        return true
      } catch {
        return false
      } finally {
        await client.end().catch(() => {})
      }
    },
  })
}

function versions() {
  try {
    return readdirSync('/usr/lib/postgresql').sort((a, b) => Number(b) - Number(a))
  } catch {
    return []
  }
}

/** PostgreSQL refuses to run as root: then as `postgres`, or as `nobody`. */
function unprivileged() {
  if (process.getuid?.() !== 0) return {}
  const accounts = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'))
  for (const name of ['postgres', 'nobody']) {
    const account = accounts.find(([user]) => user === name)
    if (account !== undefined) return { uid: Number(account[2]), gid: Number(account[3]) }
  }
  throw new Error('PostgreSQL cannot run as root and there is no user postgres or nobody.')
}
