// Runs the shop, or a part of it, as a process of its own and reads its lines.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const REPOSITORY = fileURLToPath(new URL('../../..', import.meta.url))

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
async function end(child) {
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

// The caller's environment without what would change the shop.
function cleanEnvironment() {
  const drop =
    /^(PORT|HOST|DATABASE_URL|REDIS_URL|PRICING_URL|LOG_LEVEL|SENTRY_|TELLTALE_|OTEL_|npm_|NODE_TEST)/
  return Object.fromEntries(Object.entries(process.env).filter(([key]) => !drop.test(key)))
}
