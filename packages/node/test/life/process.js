// Starts a program of these tests as a process of its own and reads its lines until it has ended.
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { readLines } from '../contract/harness.js'
import { startSentryReceiver } from '../receivers/sentry.js'

const folder = fileURLToPath(new URL('.', import.meta.url))
/** Another Node binary for the programs under test; the tests themselves stay on theirs. */
const node = process.env.TELLTALE_TEST_NODE || process.execPath
const MAX_LIFE_MS = 30_000
/** Requests of the soaks: every run makes 60,000, TELLTALE_SOAK_REQUESTS=1200000 the whole of check 37. */
export const SOAK_REQUESTS = Number(process.env.TELLTALE_SOAK_REQUESTS ?? 60_000)
/** The kit reads these; what the machine has set must not reach a test. */
const CLEAN = {
  NODE_ENV: 'test',
  NODE_OPTIONS: '',
  SENTRY_DSN: '',
  LOG_LEVEL: '',
  TELLTALE_ENABLED: '',
}

/**
 * Runs `node <args>` in this folder. `lines` fills while it runs; `ended` resolves with code, signal,
 * what was written, and how many milliseconds it lived on after `kill`.
 */
export function run(args, { env = {}, options, maxLifeMs = MAX_LIFE_MS } = {}) {
  const child = spawn(node, args, {
    cwd: folder,
    env: { ...process.env, ...CLEAN, LIFE_OPTIONS: JSON.stringify(options ?? {}), ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  const { lines, raw } = readLines(child.stdout)
  let stderr = ''
  let killedMs = performance.now()
  child.stderr.setEncoding('utf8').on('data', (part) => {
    stderr += part
  })
  // A program that hangs fails its test by the signal, and does not outlive it.
  const timer = setTimeout(() => child.kill('SIGKILL'), maxLifeMs)
  const ended = new Promise((resolve) => {
    let afterMs
    child.once('exit', () => {
      clearTimeout(timer)
      afterMs = performance.now() - killedMs
    })
    child.once('close', (code, signal) =>
      resolve({ code, signal, stderr, raw, lines: lines.all, afterMs }),
    )
  })
  return {
    child,
    lines,
    raw,
    ended,
    stderr: () => stderr,
    kill(signal = 'SIGTERM') {
      killedMs = performance.now()
      child.kill(signal)
    },
  }
}

/** Runs the source text of an ES module (or of CommonJS) to its end. */
export function runSource(source, { kind = 'module', args = [], ...rest } = {}) {
  return run([...args, `--input-type=${kind}`, '-e', source], rest).ended
}

/** Starts the service; resolves when it listens. `kind` is `esm.mjs` or `cjs.cjs`. */
export async function startService({ kind = 'esm.mjs', args = [], ...rest } = {}) {
  const program = run([...args, `fixtures/${kind}`], rest)
  program.port = await new Promise((resolve, reject) => {
    program.child.stderr.on('data', () => {
      const match = /listening (\d+)/.exec(program.stderr())
      if (match) resolve(Number(match[1]))
    })
    program.ended.then(({ code, stderr }) =>
      reject(new Error(`exit ${code} before listening: ${stderr}`)),
    )
  })
  return program
}

/** A receiver that is closed when the test ends, however it ends. */
export async function receiverOf(test) {
  const receiver = await startSentryReceiver()
  test.after(() => receiver.close())
  return receiver
}
