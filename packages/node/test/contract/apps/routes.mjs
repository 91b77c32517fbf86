// The routes of the contract, written once against a small surface that each application maps to
// its framework: { req, res, params, json(status, body), fail(error) }. `req` and `res` are Node's.

import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { bind, boom, chatter, log, logEverywhere } from './start.mjs'

const worker = new Worker(
  "require('node:worker_threads').parentPort.on('message', (m) => require('node:worker_threads').parentPort.postMessage(m))",
  { eval: true },
)
worker.unref()

async function outgoing(library, url) {
  switch (library) {
    case 'fetch':
      return (await fetch(url)).text()
    case 'undici': {
      const { request } = await import('undici')
      return (await request(url)).body.text()
    }
    case 'http': {
      const { get } = await import('node:http')
      return new Promise((done, failed) => {
        get(url, (response) => {
          let text = ''
          response.setEncoding('utf8').on('data', (part) => {
            text += part
          })
          response.on('end', () => done(text))
        }).on('error', failed)
      })
    }
    case 'axios':
      return JSON.stringify((await (await import('axios')).default.get(url)).data)
    case 'got':
      return (await import('got')).default(url, { retry: { limit: 0 } }).text()
  }
}

export const routes = [
  ['GET', '/ok', ({ json }) => json(200, { ok: true })],
  ['GET', '/users/:id', ({ json, params }) => json(200, { id: params.id })],
  [
    'GET',
    '/log',
    ({ json }) => {
      log.info('in_handler', { n: 1 })
      json(200, {})
    },
  ],
  ['GET', '/boom', () => boom()],
  ['GET', '/users/:id/boom', () => boom()],
  [
    'GET',
    '/reject',
    async () => {
      await sleep(1)
      boom()
    },
  ],
  [
    'GET',
    '/fail',
    ({ fail }) => {
      try {
        boom()
      } catch (error) {
        fail(error)
      }
    },
  ],
  [
    'GET',
    '/teapot',
    ({ fail }) =>
      fail(Object.assign(new Error('short and stout'), { status: 418, statusCode: 418 })),
  ],
  [
    'GET',
    '/context',
    async ({ json }) => {
      await logEverywhere(worker)
      json(200, {})
    },
  ],
  [
    'GET',
    '/chatter/:mark',
    async ({ json, params }) => {
      await chatter(params.mark, 20)
      json(200, {})
    },
  ],
  [
    'GET',
    '/bind',
    async ({ json }) => {
      async function nested() {
        bind({ user_id: 'u1' })
        await sleep(1)
      }
      await nested()
      log.info('after_bind')
      json(200, {})
    },
  ],
  [
    'GET',
    '/out/:library',
    async ({ json, params, req }) => {
      const url = new URL(req.url, 'http://x').searchParams.get('url')
      json(200, { body: await outgoing(params.library, url) })
    },
  ],
  [
    'GET',
    '/late',
    ({ json }) => {
      setTimeout(() => {
        bind({ too: 'late' })
        log.info('late_line')
      }, 50)
      json(200, {})
    },
  ],
  [
    'GET',
    '/response-events',
    ({ json, res }) => {
      res.on('finish', () => log.info('response_finish'))
      res.on('close', () => log.info('response_close'))
      json(200, {})
    },
  ],
  ['GET', '/healthz', ({ json, req }) => json(req.url.includes('bad') ? 503 : 200, {})],
  [
    'GET',
    '/interval',
    ({ json }) => {
      const timer = setInterval(() => {
        clearInterval(timer)
        log.info('interval_tick')
      }, 5)
      json(200, {})
    },
  ],
]

/** As a failed call to another service gives it: nothing tells it from one of the client's connection. */
const upstream = () =>
  Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET', syscall: 'read' })

// Routes that answer through Node's own response: streams, aborts, timeouts.
export const rawRoutes = [
  ['GET', '/cut/response', (_req, res) => res.destroy(new Error('cut by response'))],
  ['GET', '/cut/request', (req) => req.destroy(new Error('cut by request'))],
  ['GET', '/cut/socket', (_req, res) => res.socket.destroy(new Error('cut by socket'))],
  ['GET', '/cut/upstream', (_req, res) => res.destroy(upstream())],
  ['GET', '/cut/silent', (_req, res) => res.destroy()],
  [
    'GET',
    '/cut/late',
    (_req, res) => {
      res.writeHead(200, { 'content-type': 'text/plain' })
      res.write('part', () => res.destroy(new Error('cut by late')))
    },
  ],
  [
    'GET',
    '/stream',
    async (_req, res) => {
      res.writeHead(200, { 'content-type': 'text/plain' })
      for (let i = 0; i < 3; i++) {
        res.write(`part ${i}\n`)
        await sleep(2)
      }
      res.end()
    },
  ],
  [
    'GET',
    '/endless',
    (_req, res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' })
      const timer = setInterval(() => res.write('data: x\n\n'), 10)
      res.on('close', () => clearInterval(timer))
    },
  ],
  [
    'GET',
    '/sse',
    async (_req, res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' })
      for (let i = 0; i < 5; i++) {
        res.write('data: x\n\n')
        await sleep(60)
      }
      res.end()
    },
  ],
  [
    'GET',
    '/hang',
    (_req, res) => {
      setTimeout(() => res.destroyed || res.end('late'), 3000).unref()
    },
  ],
  [
    'GET',
    '/not-modified',
    (_req, res) => {
      res.writeHead(304)
      res.end()
    },
  ],
  [
    'POST',
    '/echo',
    (req, res) => {
      let bytes = 0
      req.on('data', (part) => {
        bytes += part.length
      })
      req.on('end', () => {
        log.info('request_end', { bytes })
        res.writeHead(200, { 'content-type': 'application/json' })
        res.end(JSON.stringify({ bytes }))
      })
      req.on('close', () => log.info('request_close'))
    },
  ],
  [
    'POST',
    '/upload',
    (req) => {
      req.on('data', () => {})
      req.on('error', () => {})
    },
  ],
]
