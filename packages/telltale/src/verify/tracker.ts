/**
 * The error tracker that verify plays: Sentry's envelope and store endpoints on a loopback port, in
 * every compression its clients use, with the moods a real tracker has.
 */
import { randomBytes } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { promisify } from 'node:util'
import * as zlib from 'node:zlib'
import { reset } from './proxy.js'
import type { Pulse } from './pulse.js'

/** How it answers: 200, 429 with `Retry-After`, 500, not at all, or by resetting the connection. */
export type Mood = 'ok' | '429' | '500' | 'hang' | 'reset'

export type Json = { readonly [key: string]: unknown }

/** One item of an envelope. */
export type TrackerItem = {
  readonly type: string
  readonly at: number
  /** Undefined when the payload is no JSON object. */
  readonly payload: Json | undefined
  readonly bytes: Buffer
  readonly mood: Mood
}

export type Tracker = {
  readonly port: number
  readonly dsn: string
  mood: Mood
  readonly items: readonly TrackerItem[]
  /** Requests to either endpoint, understood or not. */
  readonly requests: number
  /** What could not be understood, with the reason. */
  readonly refused: readonly string[]
  /** Bodies in zstd, which Sentry takes and Node before 22.15 cannot undo: what they held is not known. */
  readonly unread: number
  /** Error events that were accepted (mood `ok`). */
  events(): readonly TrackerItem[]
  /** Ends the connections that hang, as a network does that comes back; clients wait for ten seconds and more. */
  endHanging(): void
  close(): Promise<void>
}

const MAX_BODY_BYTES = 50 * 1024 * 1024

/** The compressions that Sentry's own endpoints take; another is 415, as it is there. */
type Decoder = (body: Buffer, options: { maxOutputLength: number }) => Promise<Buffer>
const DECODERS: Readonly<Record<string, Decoder>> = {
  gzip: promisify(zlib.gunzip) as Decoder,
  'x-gzip': promisify(zlib.gunzip) as Decoder,
  deflate: promisify(zlib.inflate) as Decoder,
  br: promisify(zlib.brotliDecompress) as Decoder,
  ...('zstdDecompress' in zlib && {
    zstd: promisify((zlib as unknown as { zstdDecompress: never }).zstdDecompress) as Decoder,
  }),
}

/** Splits an envelope (header line, then items with or without `length`). Throws when malformed. */
export function parseEnvelope(body: Buffer): {
  readonly header: Json
  readonly items: readonly { readonly header: Json; readonly payload: Buffer }[]
} {
  let at = 0
  const line = (): Buffer => {
    const end = body.indexOf(10, at)
    const part = body.subarray(at, end === -1 ? body.length : end)
    at = end === -1 ? body.length : end + 1
    return part
  }
  const header = JSON.parse(line().toString()) as Json
  const items = []
  while (at < body.length) {
    const head = line()
    if (head.length === 0) continue
    const itemHeader = JSON.parse(head.toString()) as Json
    let payload: Buffer
    if (typeof itemHeader.length === 'number') {
      payload = body.subarray(at, at + itemHeader.length)
      if (payload.length < itemHeader.length) throw new Error('an item is shorter than it says')
      at += itemHeader.length
      if (at < body.length && body[at++] !== 10) throw new Error('an item is longer than it says')
    } else payload = line()
    items.push({ header: itemHeader, payload })
  }
  return { header, items }
}

/** An object, or undefined for anything else. Never throws. */
export function parseObject(text: string): Json | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Json)
      : undefined
  } catch {
    return undefined
  }
}

export async function startTracker(pulse: Pulse, now: () => number): Promise<Tracker> {
  const key = randomBytes(16).toString('hex')
  const items: TrackerItem[] = []
  const refused: string[] = []
  let unread = 0
  const sockets = new Set<Socket>()
  let requests = 0

  async function receive(request: IncomingMessage): Promise<string> {
    const chunks: Buffer[] = []
    let size = 0
    for await (const chunk of request) {
      size += (chunk as Buffer).length
      if (size > MAX_BODY_BYTES) throw new Error('the body is too large')
      chunks.push(chunk as Buffer)
    }
    const body = await decode(Buffer.concat(chunks), request.headers['content-encoding'])
    const url = request.url ?? ''
    if (!`${url} ${request.headers['x-sentry-auth']} ${body.subarray(0, 1000)}`.includes(key)) {
      throw new Error('the key of the DSN is missing')
    }
    const mood = tracker.mood
    const keep = (type: string, payload: Buffer): string => {
      const value = parseObject(payload.toString())
      items.push({ type, at: now(), payload: value, bytes: Buffer.from(payload), mood })
      return String(value?.event_id ?? '')
    }
    if (/\/store\/?(?:\?|$)/.test(url)) return keep('event', body)
    const { header, items: parts } = parseEnvelope(body)
    for (const part of parts) keep(String(part.header.type ?? ''), part.payload)
    return String(header.event_id ?? '')
  }

  const hanging = new Set<Socket>()
  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (!/\/api\/\d+\/(?:envelope|store)\/?(?:\?|$)/.test(request.url ?? '')) {
      return void response.writeHead(404).end()
    }
    requests++
    const { mood } = tracker
    try {
      const id = await receive(request)
      pulse.beat()
      if (mood === 'hang') return void hanging.add(request.socket)
      if (mood === 'reset') return void reset(request.socket)
      const status = mood === 'ok' ? 200 : Number(mood)
      response.writeHead(status, {
        'Content-Type': 'application/json',
        ...(mood === '429' && { 'Retry-After': '1', 'X-Sentry-Rate-Limits': '1::organization' }),
      })
      response.end(status === 200 ? JSON.stringify({ id }) : '{}')
    } catch (error) {
      refused.push((error as Error).message)
      if (error instanceof UnknownEncoding && error.encoding === 'zstd') unread++
      pulse.beat()
      response.writeHead(error instanceof UnknownEncoding ? 415 : 400, {
        'Content-Type': 'application/json',
      })
      response.end(JSON.stringify({ detail: (error as Error).message }))
    }
  }

  const server = createServer((request, response) => void answer(request, response))
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  const { port } = server.address() as AddressInfo
  const tracker: Tracker = {
    port,
    dsn: `http://${key}@127.0.0.1:${port}/1`,
    mood: 'ok',
    items,
    refused,
    get unread() {
      return unread
    },
    get requests() {
      return requests
    },
    endHanging() {
      for (const socket of hanging) socket.destroy()
      hanging.clear()
    },
    events: () => items.filter((item) => item.type === 'event' && item.mood === 'ok'),
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  return tracker
}

class UnknownEncoding extends Error {
  readonly encoding: string
  constructor(encoding: string) {
    super(`content-encoding ${encoding} is not known here`)
    this.encoding = encoding
  }
}

async function decode(body: Buffer, header = 'identity'): Promise<Buffer> {
  const encoding = header.trim().toLowerCase()
  const options = { maxOutputLength: MAX_BODY_BYTES }
  if (encoding === 'identity' || encoding === '') {
    // Old clients of the store endpoint send base64 of zlib without saying so.
    const isPlain = body[0] === 0x7b || body.length === 0
    return isPlain
      ? body
      : (DECODERS.deflate?.(Buffer.from(body.toString(), 'base64'), options) ?? body)
  }
  const decoder = DECODERS[encoding]
  if (decoder === undefined) throw new UnknownEncoding(encoding.slice(0, 40))
  return await decoder(body, options)
}
