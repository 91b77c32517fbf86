/** `npm start`: the shop and its pricing service with everything they need, until Ctrl-C. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { host, port as wantedPort } from './config.js'
import { freePort, portTaken } from './listen.js'
import { startBacking } from './start-backing.js'

const say = (text: string): void => {
  process.stderr.write(`${text}\n`)
}
const file = (name: string): string => fileURLToPath(new URL(name, import.meta.url))

/** How long a database of the user's own may take before we say that it is what we wait for. */
const PATIENCE_MS = 5000

const services: ChildProcess[] = []
let isStopping = false
process.on('SIGINT', stop)
process.on('SIGTERM', stop)
process.on('SIGHUP', stop)

const port = wantedPort === 0 ? await freePort(host) : wantedPort
if (await isTaken(port)) {
  say(`\n  ${portTaken(port, host)}\n`)
  process.exit(1)
}

const { DATABASE_URL, REDIS_URL, PRICING_URL } = process.env
say('\n  Starting the shop …')
const backing = await startBacking([
  ...(DATABASE_URL ? [] : (['database'] as const)),
  ...(REDIS_URL ? [] : (['redis'] as const)),
])
const databaseUrl = DATABASE_URL || backing.databaseUrl
const redisUrl = REDIS_URL || backing.redisUrl

let pricingUrl = PRICING_URL
if (!pricingUrl) {
  const pricingPort = await freePort()
  pricingUrl = `http://127.0.0.1:${pricingPort}`
  run('pricing.js', { HOST: '127.0.0.1', PORT: String(pricingPort) })
}
const shop = run('main.js', {
  PORT: String(port),
  DATABASE_URL: databaseUrl,
  REDIS_URL: redisUrl,
  PRICING_URL: pricingUrl,
})

const base = `http://${host.includes(':') ? `[${host}]` : host === '0.0.0.0' ? '127.0.0.1' : host}:${port}`
if (await isReady()) {
  say(`
  The shop is open at ${base}

  PostgreSQL  ${DATABASE_URL ? 'yours, from DATABASE_URL' : 'embedded, in memory: its rows end with it'}
  Redis       ${REDIS_URL ? 'yours, from REDIS_URL' : redisUrl ? 'redis-server, started on a free port' : 'none (no REDIS_URL, no redis-server on PATH): running without a cache'}
  Tracker     ${process.env.SENTRY_DSN ? 'yours, from SENTRY_DSN' : 'none: set SENTRY_DSN to see errors and traces arrive'}

  Try, in another terminal:
    curl -i ${base}/products/1
    curl -i ${base}/orders -H 'Authorization: Bearer demo-ada' -H 'Content-Type: application/json' -d '{"product_id":1,"quantity":2}'
    curl -i ${base}/slow                            a slow route; its trace crosses two services
    curl -i ${base}/products/3/label                a route that fails, with a cause
    curl -i ${base}/sentry-debug/                   an error on purpose
    curl -i ${base}/api/v1/health/ready/
    curl -s ${base}/metrics

  Compare X-Request-ID in an answer with the id in the lines below${process.stdout.isTTY ? ' (its first eight characters end the line)' : ''}.
  Ctrl-C ends everything.
`)
}

/** Runs one service in a process group of its own, so that Ctrl-C reaches it once: from here. */
function run(name: string, env: Record<string, string | undefined>): ChildProcess {
  const child = fork(file(name), [], {
    env: { ...process.env, ...env },
    execArgv: ['--import', new URL('./companion.js', import.meta.url).href],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    detached: true,
  })
  services.push(child)
  child.once('exit', (code, signal) => {
    if (isStopping) return
    say(`\n  ${name} ended by itself (${signal ?? `code ${code}`}). Ending the rest.`)
    process.exitCode = code || 1
    stop()
  })
  return child
}

/** Ends the services in the reverse of their order, the database last. */
async function stop(): Promise<void> {
  if (isStopping) return
  isStopping = true
  for (const child of services.reverse()) {
    if (child.exitCode !== null || child.signalCode !== null) continue
    child.kill('SIGTERM')
    await once(child, 'exit')
  }
  process.exit()
}

async function isReady(): Promise<boolean> {
  const since = performance.now()
  let isTold = false
  while (!isStopping && shop.exitCode === null && shop.signalCode === null) {
    if (!isTold && DATABASE_URL && performance.now() - since > PATIENCE_MS) {
      isTold = true
      say(`
  The shop cannot use the PostgreSQL at ${place(DATABASE_URL)} yet: the reason is in its lines database_not_ready.
  It goes on trying. Start that server or correct DATABASE_URL; without DATABASE_URL an embedded one is used.
`)
    }
    try {
      if ((await fetch(`${base}/api/v1/health/ready/`)).ok) return true
    } catch {
      // not listening yet
    }
    await wait(100)
  }
  return false
}

/** Host and port of a URL: it may hold a password, which nobody should print. */
function place(url: string): string {
  return URL.canParse(url) ? new URL(url).host : 'DATABASE_URL'
}

async function isTaken(port: number): Promise<boolean> {
  const probe = createServer()
  probe.listen(port, host)
  try {
    await once(probe, 'listening')
    probe.close()
    await once(probe, 'close')
    return false
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return true
    say(`\n  ${(error as Error).message}\n`)
    process.exit(1)
  }
}
