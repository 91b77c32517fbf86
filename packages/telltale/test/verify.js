// Runs `telltale verify` as its users do.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))
export const BIN = join(here, '../bin/telltale.js')

/** Runs it with `--json`; `report` is the one document on stdout, `text` what stood on stderr. */
export async function verify(args, options = {}) {
  const run = start(['--json', ...args], options)
  const { code, stdout, stderr } = await run.ended
  let report
  try {
    report = JSON.parse(stdout)
  } catch {
    throw new Error(`no document on stdout, exit code ${code}:\n${stdout}\n${stderr}`)
  }
  return { report, code, text: `${stderr}${report.error?.message ?? ''}`, stdout }
}

/**
 * Starts it; `ended` resolves with what it left. `through` is the start of a command line that runs
 * the rest of it (`unshare`, `strace`); `as` is the user and the group.
 */
export function start(args, { env = {}, cwd = here, through = [], as = {}, bin = BIN } = {}) {
  const [program, ...rest] = [...through, process.execPath, bin, 'verify', ...args]
  const child = spawn(program, rest, {
    cwd,
    ...as,
    env: { ...process.env, NODE_TEST_CONTEXT: undefined, SENTRY_DSN: undefined, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const output = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr']) {
    child[name].setEncoding('utf8').on('data', (part) => {
      output[name] += part
    })
  }
  const ended = once(child, 'close').then(([code]) => ({ code, ...output }))
  return { child, output, ended }
}

/** The status of each check by id. */
export function statuses(report) {
  return Object.fromEntries(report.checks.map(({ id, status }) => [id, status]))
}

/** A gate that lets `width` pieces of work run at once. */
export function inTurns(width) {
  let free = width
  const waiting = []
  return async (work) => {
    if (free === 0) await new Promise((resolve) => waiting.push(resolve))
    else free--
    try {
      return await work()
    } finally {
      const next = waiting.shift()
      if (next === undefined) free++
      else next()
    }
  }
}
