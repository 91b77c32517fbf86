// Real servers for the shop's tests, on free ports, ended with the test.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const file = (path) => fileURLToPath(new URL(path, import.meta.url))
export const REPOSITORY = file('../../..')

/** A port that nothing listens on at this moment. */
export async function freePort() {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address()
  probe.close()
  await once(probe, 'close')
  return port
}

/** A new PostgreSQL cluster: its URL, and start/stop for tests that take it away. */
export async function startPostgres(t) {
  const folder = mkdtempSync(join(tmpdir(), 'shop-postgres-'))
  const account = serverAccount()
  if (account.uid !== undefined) chownSync(folder, account.uid, account.gid)
  const data = join(folder, 'data')
  execFileSync(
    find('initdb'),
    ['-D', data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync'],
    { ...account, cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] },
  )
  const port = await freePort()
  let server
  const start = async () => {
    const settings = [`port=${port}`, 'listen_addresses=127.0.0.1', 'fsync=off']
    settings.push('unix_socket_directories=')
    server = spawn(find('postgres'), ['-D', data, ...settings.flatMap((s) => ['-c', s])], {
      ...account,
      cwd: folder,
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    await line(server, server.stderr, /ready to accept connections/)
  }
  const stop = async () => {
    if (server.exitCode !== null || server.signalCode !== null) return
    server.kill('SIGINT')
    await once(server, 'exit')
  }
  await start()
  t.after(async () => {
    await stop()
    rmSync(folder, { recursive: true, force: true })
  })
  return { url: `postgres://postgres@127.0.0.1:${port}/postgres`, start, stop }
}

/** A new Redis server without persistence. */
export async function startRedis(t) {
  const port = await freePort()
  const args = ['--bind', '127.0.0.1', '--port', String(port), '--save', '', '--appendonly', 'no']
  const server = spawn(find('redis-server'), args, { stdio: ['ignore', 'pipe', 'inherit'] })
  t.after(() => end(server))
  await line(server, server.stdout, /Ready to accept connections/)
  return { url: `redis://127.0.0.1:${port}`, stop: () => end(server) }
}

/**
 * Runs `command` as a service and resolves when it is ready. `lines` are the JSON lines of its
 * stdout so far, `text` all of it; `until` awaits a line.
 */
export async function startService(
  t,
  command,
  args,
  env,
  { ready = '/api/v1/health/ready/' } = {},
) {
  const child = spawn(command, args, {
    cwd: REPOSITORY,
    env: { ...cleanEnvironment(), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  t.after(() => end(child))
  const service = { child, text: '', errors: '', lines: [], url: `http://127.0.0.1:${env.PORT}` }
  const waiting = new Set()
  let rest = ''
  child.stdout.setEncoding('utf8').on('data', (chunk) => {
    service.text += chunk
    const parts = (rest + chunk).split('\n')
    rest = parts.pop()
    for (const part of parts) {
      try {
        service.lines.push(JSON.parse(part))
      } catch {
        // npm's banner, or a line that a test looks for in `text`
      }
    }
    for (const look of waiting) look()
  })
  child.stderr.setEncoding('utf8').on('data', (chunk) => {
    service.errors += chunk
  })
  service.until = (matches, timeoutMs = 20_000) =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        waiting.delete(look)
        reject(new Error(`no such line in:\n${service.text}\n${service.errors}`))
      }, timeoutMs)
      const look = () => {
        const found = service.lines.find(matches)
        if (found === undefined) return
        clearTimeout(timer)
        waiting.delete(look)
        resolve(found)
      }
      waiting.add(look)
      look()
    })
  service.answers = (status, timeoutMs = 60_000) => answers(service, ready, status, timeoutMs)
  if (ready) await service.answers(200)
  return service
}

/** Ends a process that a test started and waits until it is gone. */
export async function end(child) {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), 30_000)
  await gone
  clearTimeout(timer)
}

async function answers(service, path, status, timeoutMs) {
  const deadline = performance.now() + timeoutMs
  let last
  while (performance.now() < deadline) {
    if (service.child.exitCode !== null) break
    try {
      last = (await fetch(service.url + path, { signal: AbortSignal.timeout(2000) })).status
      if (last === status) return
    } catch (error) {
      last = error.message
    }
    await wait(50)
  }
  throw new Error(`${path}: wanted ${status}, last ${last}\n${service.text}\n${service.errors}`)
}

function line(child, stream, pattern) {
  return new Promise((resolve, reject) => {
    let text = ''
    stream.on('data', (chunk) => {
      text = (text + chunk).slice(-20_000)
      if (pattern.test(text)) resolve()
    })
    child.once('error', reject)
    child.once('exit', () => reject(new Error(`ended before it was ready:\n${text}`)))
  })
}

// PostgreSQL refuses to run as root.
function serverAccount() {
  if (process.getuid?.() !== 0) return {}
  const accounts = readFileSync('/etc/passwd', 'utf8').split('\n')
  const account = ['postgres', 'nobody']
    .map((name) => accounts.find((entry) => entry.startsWith(`${name}:`)))
    .find((entry) => entry !== undefined)
  const [, , uid, gid] = account.split(':')
  return { uid: Number(uid), gid: Number(gid) }
}

// The caller's environment without what would change the shop.
function cleanEnvironment() {
  const drop =
    /^(PORT|HOST|DATABASE_URL|REDIS_URL|PRICING_URL|LOG_LEVEL|SENTRY_|TELLTALE_|OTEL_|npm_|NODE_TEST)/
  return Object.fromEntries(Object.entries(process.env).filter(([key]) => !drop.test(key)))
}

function find(program) {
  const debian = '/usr/lib/postgresql'
  const folders = [
    ...process.env.PATH.split(delimiter),
    '/usr/sbin',
    ...(existsSync(debian)
      ? readdirSync(debian).map((version) => join(debian, version, 'bin'))
      : []),
  ]
  const found = folders.map((folder) => join(folder, program)).find((path) => existsSync(path))
  if (found === undefined)
    throw new Error(`${program} is not here: run node scripts/test-services.mjs`)
  return found
}
