// Starts a contract application as a process of its own and reads its lines.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import http from 'node:http'
import { connect } from 'node:net'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const folder = dirname(fileURLToPath(import.meta.url))
/** Another Node binary for the applications under test; the tests themselves stay on theirs. */
const node = process.env.TELLTALE_TEST_NODE || process.execPath

export const APPS = [
  { name: 'node:http', args: ['node-http.mjs'] },
  { name: 'Express 4', args: ['express.mjs', '4'] },
  { name: 'Express 5', args: ['express.mjs', '5'] },
  { name: 'Fastify 5', args: ['fastify.mjs'] },
]

/** A list of parsed lines that can be awaited. */
export class Lines {
  all = []
  #waiting = new Set()

  push(line) {
    this.all.push(line)
    for (const wake of this.#waiting) wake()
  }

  /** The first `count` lines that match; rejects with what was seen when they do not come. */
  async wait(matches, count = 1, timeoutMs = 10_000) {
    let timer
    const found = () => this.all.filter(matches)
    try {
      while (found().length < count) {
        await new Promise((resolve, reject) => {
          this.#waiting.add(resolve)
          timer = setTimeout(
            () =>
              reject(
                new Error(
                  `no such line; got\n${this.all
                    .slice(-30)
                    .map((l) => JSON.stringify(l))
                    .join('\n')}`,
                ),
              ),
            timeoutMs,
          )
        }).finally(() => {
          clearTimeout(timer)
          this.#waiting.clear()
        })
      }
    } finally {
      clearTimeout(timer)
    }
    return count === 1 ? found()[0] : found()
  }

  ofRequest(id) {
    return this.all.filter((line) => line.request_id === id)
  }
}

/** Reads a program's stdout: its lines parsed, and as they came. */
export function readLines(stdout) {
  const lines = new Lines()
  const raw = []
  createInterface({ input: stdout }).on('line', (text) => {
    raw.push(text)
    let line
    try {
      line = JSON.parse(text)
    } catch {
      line = { unparsable: text }
    }
    lines.push(line)
  })
  return { lines, raw }
}

/** Starts `args` from the apps folder; resolves when it listens. */
export async function startApp({ args, env = {}, options, execArgv = [] }) {
  const child = spawn(node, [...execArgv, join(folder, 'apps', args[0]), ...args.slice(1)], {
    env: {
      ...process.env,
      NODE_ENV: 'test',
      SENTRY_DSN: '',
      CONTRACT_OPTIONS: JSON.stringify(options ?? {}),
      ...env,
    },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  const { lines, raw } = readLines(child.stdout)
  let stderr = ''
  const port = await new Promise((resolve, reject) => {
    child.stderr.setEncoding('utf8').on('data', (part) => {
      stderr += part
      const match = /listening (\d+)/.exec(stderr)
      if (match) resolve(Number(match[1]))
    })
    child.once('error', reject)
    child.once('exit', (code) => reject(new Error(`exit ${code} before listening: ${stderr}`)))
  })
  const exited = once(child, 'exit')
  return {
    port,
    child,
    lines,
    raw,
    stderr: () => stderr,
    exited,
    url: (path) => `http://127.0.0.1:${port}${path}`,
    async stop() {
      if (child.exitCode === null && child.signalCode === null) {
        child.stdin.write('close\n')
        const timer = setTimeout(() => child.kill('SIGKILL'), 5000)
        await exited
        clearTimeout(timer)
      }
      return exited
    },
  }
}

/** One request; resolves with status, headers, body text. */
export function request(port, path, { method = 'GET', headers = {}, body, agent } = {}) {
  return new Promise((resolve, reject) => {
    const req = http.request({ host: '127.0.0.1', port, path, method, headers, agent }, (res) => {
      let text = ''
      res.setEncoding('utf8').on('data', (part) => {
        text += part
      })
      res.on('end', () => resolve({ status: res.statusCode, headers: res.headers, body: text }))
      res.on('error', reject)
    })
    req.on('error', reject)
    req.end(body)
  })
}

/** Writes bytes to a socket and resolves with everything that came back until it closed. */
export function raw(port, bytes, { closeAfterMs } = {}) {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1')
    const timer = setTimeout(() => {
      socket.destroy()
      reject(new Error(`the server keeps the connection open; so far ${JSON.stringify(text)}`))
    }, 15_000)
    let text = ''
    socket.on('data', (part) => {
      text += part.toString('latin1')
    })
    socket.on('error', () => {})
    socket.on('close', () => {
      clearTimeout(timer)
      resolve(text)
    })
    socket.write(bytes)
    if (closeAfterMs !== undefined) setTimeout(() => socket.destroy(), closeAfterMs)
  })
}
