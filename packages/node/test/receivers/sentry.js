/**
 * A small receiver of Sentry's protocol on a free loopback port: it records what arrives and
 * answers as it is told to.
 *
 * As a program (`node receivers/sentry.js [port]`) it prints one JSON line with its DSN and then one
 * for each item.
 */
import { createServer } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { brotliDecompress, gunzip, inflate } from 'node:zlib'

const KEY = 'abcdef0123456789abcdef0123456789'
const DECODERS = {
  gzip: promisify(gunzip),
  'x-gzip': promisify(gunzip),
  deflate: promisify(inflate),
  br: promisify(brotliDecompress),
}

/** Splits an envelope into its header and items, with and without lengths. Throws when malformed. */
export function parseEnvelope(bytes) {
  let at = 0
  function line() {
    const end = bytes.indexOf(10, at)
    const text = bytes.subarray(at, end === -1 ? bytes.length : end)
    at = end === -1 ? bytes.length : end + 1
    return text
  }
  const header = JSON.parse(line().toString('utf8'))
  const items = []
  while (at < bytes.length) {
    const head = line()
    if (head.length === 0) continue
    const itemHeader = JSON.parse(head.toString('utf8'))
    let payload
    if (itemHeader.length === undefined) payload = line()
    else {
      payload = bytes.subarray(at, at + itemHeader.length)
      if (payload.length !== itemHeader.length) throw new Error('the payload is too short')
      at += itemHeader.length
      if (at < bytes.length && bytes[at++] !== 10) throw new Error('the length is wrong')
    }
    items.push({ header: itemHeader, bytes: Buffer.from(payload), payload: readJson(payload) })
  }
  return { header, items }
}

function readJson(bytes) {
  try {
    return JSON.parse(bytes.toString('utf8'))
  } catch {
    return undefined
  }
}

async function readBody(request) {
  const chunks = []
  for await (const chunk of request) chunks.push(chunk)
  const raw = Buffer.concat(chunks)
  const encoding = request.headers['content-encoding'] ?? 'identity'
  return encoding === 'identity' ? raw : DECODERS[encoding](raw)
}

/**
 * Starts a receiver.
 *
 * `answer(fn)` scripts it: `fn({ request, envelope, index })` returns undefined for an ordinary 200,
 * or `{ status, headers, body, delayMs, hang, drop, raw, record }`. What is not answered with success
 * is recorded in `requests` only, unless `record` is true.
 */
export async function startSentryReceiver({ port = 0, tls, onItem, listenNow = true } = {}) {
  const items = []
  const requests = []
  const sockets = new Set()
  const waiters = new Set()
  let script = () => undefined

  function record(item) {
    items.push(item)
    onItem?.(item)
    for (const waiter of [...waiters]) waiter(item)
  }

  async function handle(request, response) {
    const path = request.url.split('?')[0]
    const match = /^(.*)\/api\/(\d+)\/(envelope|store)\/?$/.exec(path)
    let envelope
    try {
      const body = await readBody(request)
      if (match?.[3] === 'store') {
        const payload = JSON.parse(body.toString('utf8'))
        envelope = {
          header: { event_id: payload.event_id },
          items: [{ header: { type: 'event' }, bytes: body, payload }],
        }
      } else envelope = parseEnvelope(body)
    } catch (error) {
      if (!response.destroyed)
        response.writeHead(400).end(JSON.stringify({ detail: error.message }))
      return
    }
    const index = requests.length
    const seen = {
      method: request.method,
      url: request.url,
      headers: request.headers,
      port: request.socket.remotePort,
      envelope,
    }
    requests.push(seen)
    const told = (await script({ request: seen, envelope, index })) ?? {}
    const status = match === null ? 404 : (told.status ?? 200)
    if (told.record ?? (status < 300 && !told.hang && !told.drop && told.raw === undefined)) {
      for (const item of envelope.items) {
        record({ ...item, type: item.header.type, envelope: envelope.header, request: seen })
      }
    }
    if (told.hang) return
    if (told.drop) return request.socket.destroy()
    if (told.raw !== undefined) return request.socket.write(told.raw)
    if (told.delayMs) await new Promise((resolve) => setTimeout(resolve, told.delayMs))
    const body = told.body ?? (status === 200 ? `{"id":"${envelope.header.event_id ?? ''}"}` : '{}')
    response.writeHead(status, { 'content-type': 'application/json', ...told.headers })
    response.end(body)
  }

  const server = tls ? createTlsServer(tls, handle) : createServer(handle)
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => {})
  })
  const listen = (at) =>
    new Promise((resolve, reject) => {
      server.once('error', reject)
      server.listen(at, '127.0.0.1', resolve)
    })
  if (listenNow) await listen(port)
  const own = listenNow ? server.address().port : port
  const ofType = (type) => items.filter((item) => item.type === type).map((item) => item.payload)

  return {
    port: own,
    dsn: `${tls ? 'https' : 'http'}://${KEY}@127.0.0.1:${own}/1`,
    items,
    requests,
    /** Connections open now. */
    sockets,
    events: () => ofType('event'),
    transactions: () => ofType('transaction'),
    clientReports: () => ofType('client_report'),
    /** `{ 'reason,category': quantity }` over all client reports. */
    reported() {
      const sums = {}
      for (const { discarded_events } of ofType('client_report')) {
        for (const { reason, category, quantity } of discarded_events) {
          const key = `${reason},${category}`
          sums[key] = (sums[key] ?? 0) + quantity
        }
      }
      return sums
    },
    /** The first item, past or future, that `matches`. */
    next(matches = () => true, timeoutMs = 10_000) {
      const found = items.find(matches)
      if (found !== undefined) return Promise.resolve(found)
      return new Promise((resolve, reject) => {
        const waiter = (item) => {
          if (!matches(item)) return
          clearTimeout(timer)
          waiters.delete(waiter)
          resolve(item)
        }
        const timer = setTimeout(() => {
          waiters.delete(waiter)
          reject(new Error(`nothing that matches came within ${timeoutMs} ms`))
        }, timeoutMs)
        waiters.add(waiter)
      })
    },
    answer(fn) {
      script = fn
    },
    async close() {
      for (const socket of sockets) socket.destroy()
      if (server.listening) await new Promise((resolve) => server.close(resolve))
    },
  }
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const receiver = await startSentryReceiver({
    port: Number(process.argv[2] ?? 0),
    onItem: ({ type, header, envelope, payload }) =>
      process.stdout.write(`${JSON.stringify({ type, header, envelope, payload })}\n`),
  })
  process.stdout.write(`${JSON.stringify({ dsn: receiver.dsn })}\n`)
}
