/** A health behind a real server, and probes against it. */
import { once } from 'node:events'
import { Agent, createServer, request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { createHealth } from '../../dist/esm/health/health.js'
import { resolveOptions } from '../../dist/esm/options.js'

export const BASE = '/api/v1/health'

/** Starts health with `options` (those of init's `health`) on a free loopback port. */
export async function serve(options, deps = {}) {
  const lines = []
  const log = Object.fromEntries(
    ['info', 'warn', 'error'].map((level) => [
      level,
      (event, fields) => lines.push({ level, event, ...fields }),
    ]),
  )
  const health = createHealth(resolveOptions({ service: 'shop', health: options }, {}), {
    log,
    ...deps,
  })
  const server = createServer((req, res) => {
    if (health.handle(req, res, req.url)) return
    res.writeHead(404).end('the application')
  }).listen(0, '127.0.0.1')
  // A test that fails before it closes its server must not keep the process.
  server.unref()
  server.on('connection', (socket) => socket.unref())
  await once(server, 'listening')
  const { port } = server.address()
  const agent = new Agent({ keepAlive: true })

  const get = (path, { method = 'GET', headers = {}, peer = 'foreign' } = {}) =>
    probe({
      port,
      agent,
      method,
      path,
      headers: peer === 'foreign' ? { 'x-forwarded-for': '203.0.113.9', ...headers } : headers,
    })

  return {
    health,
    lines,
    port,
    get,
    live: () => get(`${BASE}/live/`),
    ready: (options) => get(`${BASE}/ready/`, options),
    /**
     * Probes until readiness answers `status`, and each check in `reasons` its reason; returns how
     * long that took, milliseconds. Checks are asked one by one: the first that fails makes 503.
     */
    async until(status, reasons = {}, timeoutMs = 15_000) {
      const startMs = performance.now()
      for (;;) {
        const answer = await get(`${BASE}/ready/`)
        const tookMs = performance.now() - startMs
        const asExpected = ([name, reason]) => answer.json.checks[name].reason === reason
        if (answer.status === status && Object.entries(reasons).every(asExpected)) return tookMs
        if (tookMs > timeoutMs) {
          throw new Error(`readiness is ${answer.status} ${answer.body}, not ${status}`)
        }
        await sleep(50)
      }
    },
    async close() {
      await health.close()
      agent.destroy()
      server.close()
      server.closeAllConnections()
    },
  }
}

function probe(options) {
  return new Promise((resolve, reject) => {
    const startMs = performance.now()
    const req = request({ host: '127.0.0.1', ...options }, (res) => {
      let body = ''
      res.setEncoding('utf8')
      res.on('data', (chunk) => {
        body += chunk
      })
      res.on('end', () => {
        let json
        try {
          json = JSON.parse(body)
        } catch {
          // not JSON, or HEAD
        }
        const ms = performance.now() - startMs
        resolve({ status: res.statusCode, headers: res.headers, body, json, ms })
      })
    })
    req.on('error', reject)
    req.end()
  })
}

/** A promise and its ends. */
export function deferred() {
  const result = {}
  result.promise = new Promise((resolve, reject) => Object.assign(result, { resolve, reject }))
  return result
}
