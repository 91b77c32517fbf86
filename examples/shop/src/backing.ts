/**
 * A child process with what the shop needs and the machine does not provide: PostgreSQL (PGlite, in
 * memory) and Redis (redis-server on a free port). A process of its own, so that queries do not
 * block the service's event loop. It tells its parent the URLs and ends when the parent is gone.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { setTimeout as wait } from 'node:timers/promises'
import { freePort } from './listen.js'

/** What the child tells its parent: URLs of what was asked for; Redis only when it could be started. */
export type Backing = { readonly databaseUrl?: string; readonly redisUrl?: string }

// Ctrl-C reaches the whole process group; the service still needs its database to finish.
process.on('SIGINT', () => {})
process.on('SIGTERM', () => {})
// A terminal that closes hangs up on everyone; the launcher ends us in order.
process.on('SIGHUP', () => {})

let redisServer: ChildProcess | undefined
process.on('exit', () => redisServer?.kill())
process.on('disconnect', () => process.exit(0))

const wanted = process.argv.slice(2)
const [databaseUrl, redisUrl] = await Promise.all([
  wanted.includes('database') ? startDatabase() : undefined,
  wanted.includes('redis') ? startRedis() : undefined,
])
process.send?.({ databaseUrl, redisUrl })

async function startDatabase(): Promise<string> {
  const { PGlite } = await import('@electric-sql/pglite')
  const { PGLiteSocketServer } = await import('@electric-sql/pglite-socket')
  const db = await PGlite.create()
  // One query at a time, from as many connections as the pool and the health check open.
  const server = new PGLiteSocketServer({ db, host: '127.0.0.1', port: 0, maxConnections: 50 })
  await server.start()
  return `postgres://postgres@${server.getServerConn()}/postgres`
}

async function startRedis(): Promise<string | undefined> {
  const port = await freePort()
  const args = ['--bind', '127.0.0.1', '--port', String(port), '--save', '', '--appendonly', 'no']
  const server = spawn('redis-server', args, {
    stdio: ['ignore', 'pipe', 'ignore'],
    detached: true,
  })
  redisServer = server
  const isUp = await Promise.race([
    new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false))
      server.once('exit', () => resolve(false))
      let text = ''
      server.stdout.on('data', (chunk) => {
        text = `${text}${chunk}`.slice(-10_000)
        if (text.includes('Ready to accept connections')) resolve(true)
      })
    }),
    wait(10_000, false, { ref: false }),
  ])
  return isUp ? `redis://127.0.0.1:${port}` : undefined
}
