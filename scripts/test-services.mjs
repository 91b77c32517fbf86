// Makes sure that the real servers and judges the tests use are on this machine. As root with
// apt-get, what is missing is installed; otherwise one line per program says what to install.
import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'

const NEEDED = [
  { what: 'PostgreSQL', isThere: () => find('postgres', postgresFolders()), apt: 'postgresql' },
  { what: 'Redis', isThere: () => find('redis-server'), apt: 'redis-server' },
  {
    what: 'MariaDB',
    isThere: () => find('mariadbd') || find('mysqld'),
    apt: 'mariadb-server',
  },
  { what: 'promtool', isThere: () => find('promtool'), apt: 'prometheus' },
  { what: 'jq', isThere: () => find('jq'), apt: 'jq' },
  { what: 'valgrind', isThere: () => find('valgrind'), apt: 'valgrind' },
  { what: 'strace', isThere: () => find('strace'), apt: 'strace' },
  { what: 'ip', isThere: () => find('ip'), apt: 'iproute2' },
  {
    what: 'Chromium',
    isThere: () => ['chromium', 'chromium-browser', 'google-chrome'].some((name) => find(name)),
    apt: 'chromium',
  },
  {
    what: "Python's prometheus_client",
    isThere: () =>
      spawnSync(python(), ['-c', 'import prometheus_client'], { stdio: 'ignore' }).status === 0,
    apt: 'python3-prometheus-client',
  },
]

let missing = NEEDED.filter(({ isThere }) => !isThere())
if (missing.length > 0 && process.getuid?.() === 0 && find('apt-get')) {
  install(missing.map(({ apt }) => apt))
  missing = NEEDED.filter(({ isThere }) => !isThere())
}
for (const { what, apt } of missing) {
  console.error(
    `The tests need ${what}, which is not on PATH. Install it, on Debian and Ubuntu with: apt-get install ${apt}`,
  )
}
process.exitCode = missing.length > 0 ? 1 : 0

function install(packages) {
  console.log(`Installing for the tests: ${packages.join(' ')}`)
  // Debian's maintainer scripts ask this file before they start a service; 101 says no.
  const policy = '/usr/sbin/policy-rc.d'
  const isOurs = !existsSync(policy)
  if (isOurs) writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 })
  try {
    apt('update')
    apt('install', '--yes', '--no-install-recommends', ...packages)
  } finally {
    if (isOurs) rmSync(policy, { force: true })
  }
}

function apt(...args) {
  const run = spawnSync('apt-get', ['-qq', '-o', 'Dpkg::Use-Pty=0', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  })
  if (run.status !== 0) console.error(`apt-get ${args[0]} failed:\n${run.stdout}${run.stderr}`)
}

function find(program, folders = []) {
  const places = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin', ...folders]
  return places.some((folder) => isExecutable(join(folder, program)))
}

function isExecutable(file) {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

function postgresFolders() {
  const root = '/usr/lib/postgresql'
  return existsSync(root) ? readdirSync(root).map((version) => join(root, version, 'bin')) : []
}

// The distribution's Python is where the distribution's package goes; another may be first on PATH.
function python() {
  return existsSync('/usr/bin/python3') ? '/usr/bin/python3' : 'python3'
}
