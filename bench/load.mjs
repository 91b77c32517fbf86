// The load generator, always a process of its own: wrk where it is on PATH, else autocannon.
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { HERE, has, LOAD_CPU, start } from './process.mjs'

const hasWrk = has('wrk')
export const LOADER = hasWrk ? 'wrk' : 'autocannon'
/** Keep-alive connections of every window that does not say otherwise. */
export const CONNECTIONS = 50
const SETTLE_MS = 80

function milliseconds(text) {
  const [, number, unit] = /([\d.]+)(us|ms|s|m)/.exec(text)
  return Number(number) * { us: 0.001, ms: 1, s: 1000, m: 60_000 }[unit]
}

async function output(child) {
  let text = ''
  for await (const part of child.stdout) text += part
  return text
}

async function byWrk({ url, routes, connections, seconds }) {
  const script = routes ? ['-s', 'routes.lua'] : []
  const tail = routes ? ['--', String(routes)] : []
  const flags = ['-t1', `-c${connections}`, `-d${seconds}`, '--timeout', '10s', '--latency']
  const args = [...script, ...flags, url, ...tail]
  // The shell raises the number of open files as far as it may; Node does that by itself.
  const child = start(
    LOAD_CPU,
    'sh',
    ['-c', 'ulimit -n $(ulimit -Hn); exec wrk "$@"', 'wrk', ...args],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  )
  const text = await output(child)
  const failed = /Non-2xx or 3xx responses: (\d+)/.exec(text)?.[1]
  if (failed) throw new Error(`the server answered ${failed} errors:\n${text}`)
  return {
    requests: Number(/(\d+) requests in/.exec(text)[1]),
    rps: Number(/Requests\/sec:\s+([\d.]+)/.exec(text)[1]),
    p50: milliseconds(/^\s+50%\s+(\S+)/m.exec(text)[1]),
    p99: milliseconds(/^\s+99%\s+(\S+)/m.exec(text)[1]),
  }
}

async function byAutocannon({ url, routes, connections, seconds }) {
  const program = join(HERE, 'cannon.mjs')
  const child = start(
    LOAD_CPU,
    process.execPath,
    [program, JSON.stringify({ url, routes, connections, seconds })],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  const result = JSON.parse(await output(child))
  if (result.failed > 0) throw new Error(`the server answered ${result.failed} errors`)
  return result
}

/**
 * Loads a path for some seconds over keep-alive connections. With `routes`, the path is
 * /route0/7 to /route(n-1)/7 in turn. Returns a moment after the last answer: whoever is stopped in
 * the middle of a send finds it timed out when it goes on, and backs off, which nobody would see in
 * production.
 */
export async function load({ port, path, routes, connections = CONNECTIONS, seconds }) {
  const url = `http://127.0.0.1:${port}${path}`
  const plan = { url, routes, connections, seconds }
  const figures = await (hasWrk ? byWrk(plan) : byAutocannon(plan))
  await sleep(SETTLE_MS)
  return figures
}

/**
 * Asks for a path at a steady rate for some seconds: `rate` requests a second, arrivals at random,
 * times from when each was due.
 */
export async function pace({ port, path, rate, seconds }) {
  const plan = JSON.stringify({ port, path, rate, seconds, connections: CONNECTIONS })
  const program = join(HERE, 'pace.mjs')
  const options = { stdio: ['ignore', 'pipe', 'inherit'] }
  const figures = JSON.parse(
    await output(start(LOAD_CPU, process.execPath, [program, plan], options)),
  )
  await sleep(SETTLE_MS)
  return figures
}
