// The load generator, always a process of its own: wrk where it is on PATH, else autocannon.
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { HERE, has, LOAD_CPU, start } from './process.mjs'

const hasWrk = has('wrk')
export const LOADER = hasWrk ? 'wrk' : 'autocannon'
/** Keep-alive connections of every window that does not say otherwise. */
export const CONNECTIONS = 50
const SETTLE_MS = 80

async function output(child) {
  let text = ''
  for await (const part of child.stdout) text += part
  return text
}

async function byWrk({ url, routes, connections, seconds }) {
  const tail = routes ? ['--', String(routes)] : []
  const flags = ['-t1', `-c${connections}`, `-d${seconds}`, '--timeout', '10s', '-s', 'load.lua']
  // The shell raises the number of open files as far as it may; Node does that by itself.
  const child = start(
    LOAD_CPU,
    'sh',
    ['-c', 'ulimit -n $(ulimit -Hn); exec wrk "$@"', 'wrk', ...flags, url, ...tail],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, CONNECTIONS: String(connections) },
    },
  )
  const text = await output(child)
  const told = /^\{.*\}$/m.exec(text)
  if (told === null) throw new Error(`wrk ended with ${child.exitCode}:\n${text}`)
  const { requests, us, failed, p50, p99 } = JSON.parse(told[0])
  return { requests, failed, rps: requests / (us / 1e6), p50: p50 / 1000, p99: p99 / 1000 }
}

async function byAutocannon({ url, routes, connections, seconds }) {
  const program = join(HERE, 'cannon.mjs')
  const child = start(
    LOAD_CPU,
    process.execPath,
    [program, JSON.stringify({ url, routes, connections, seconds })],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  return JSON.parse(await output(child))
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
  if (figures.failed > 0) throw new Error(`the server answered ${figures.failed} errors`)
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
