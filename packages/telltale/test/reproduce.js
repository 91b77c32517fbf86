// Runs what a report says shows a failure again, as its reader would: the service in one shell, the
// line in another.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { connect } from 'node:net'
import { startSentryReceiver } from '../../node/test/receivers/sentry.js'
import { printable } from '../dist/terminal.js'
import { renderPeople } from '../dist/verify/report/people.js'

async function until(holds, ms) {
  const end = Date.now() + ms
  while (Date.now() < end && !(await holds())) await sleep(20)
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

function isOpen(port) {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => resolve(true))
    socket.on('error', () => resolve(false))
    socket.on('connect', () => socket.destroy())
  })
}

/**
 * Starts the service as the report says and runs the check's reproduce line; resolves with what it
 * printed (`answer`), what the service printed meanwhile (`lines`, `stderr`) and the events of it.
 * `before` may cut its database first.
 */
export async function reproduce(
  report,
  check,
  { cwd, env = {}, isTracked = true, before = async () => {} },
) {
  const receiver = await startSentryReceiver()
  const { start, url } = report.service
  const port = Number(new URL(url).port)
  // One shell for both: the line may wait for the process.
  const line = `${start}; echo $PID >&3; read go <&4; { ${check.reproduce.replace(/ {3}#.*$/, '')}; } >&5 2>&5; echo done >&3; read go <&4; kill -KILL $PID`
  const child = spawn('bash', ['-c', line], {
    cwd,
    env: {
      ...process.env,
      NODE_TEST_CONTEXT: undefined,
      SENTRY_ENVIRONMENT: 'again',
      SENTRY_RELEASE: 'again@1',
      ...env,
      SENTRY_DSN: isTracked ? receiver.dsn : undefined,
    },
    stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe', 'pipe'],
    detached: true,
  })
  const seen = { stdout: '', stderr: '', said: '', answer: '' }
  for (const [name, index] of Object.entries({ stdout: 1, stderr: 2, said: 3, answer: 5 })) {
    child.stdio[index].setEncoding('utf8').on('data', (part) => {
      seen[name] += part
    })
  }
  try {
    await until(() => isOpen(port), 20_000)
    await before()
    const from = seen.stdout.length
    child.stdio[4].write('go\n')
    await until(() => seen.said.includes('done'), 30_000)
    // Lines and events may follow the answer.
    await sleep(300)
    const lines = seen.stdout.slice(from).split('\n').filter(Boolean)
    return {
      answer: seen.answer,
      texts: lines,
      lines: lines.flatMap((text) => {
        try {
          return [JSON.parse(text)]
        } catch {
          return []
        }
      }),
      stderr: seen.stderr,
      events: receiver.items.filter(({ type }) => type === 'event').map(({ payload }) => payload),
    }
  } finally {
    try {
      process.kill(-child.pid, 'SIGKILL')
    } catch {
      // it has ended
    }
    // The next one listens on the same port.
    await until(async () => !(await isOpen(port)), 5000)
    await receiver.close()
  }
}

const PAINTS = ['bold', 'dim', 'red', 'green', 'yellow', 'blue']

/** The report for people has all of it, in its words. */
export function assertTold(report, check) {
  const terminal = {
    width: 1e9,
    ...Object.fromEntries(PAINTS.map((name) => [name, (text) => text])),
  }
  const text = renderPeople({ ...report, checks: [check] }, terminal)
  const told = (name, value) =>
    assert.ok(
      text.includes(`${name.padEnd(10)}${printable(value).split('\n')[0]}`),
      `${name}:${text}`,
    )
  told('expected', check.expected)
  told('got', check.got)
  told('fix', check.fix.text)
  told('reproduce', check.reproduce)
  for (const line of check.evidence ?? []) assert.ok(text.includes(printable(line)))
  assert.match(check.reproduce, /\b(?:curl|kill -TERM|npx telltale verify|env -u SENTRY_DSN) /)
  assert.ok(text.includes(report.service.start))
}
