/** `/metrics`: who may read it, in which form, and how it is sent. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createTokenCheck, isLocal } from '../access.js'
import { zlib } from '../builtin.js'
import { reportFault } from '../faults.js'
import type { Settings } from '../options.js'
import { acceptsGzip, CONTENT_TYPES, chooseFormat, SLICE_MS, turn } from './exposition.js'
import { HubError } from './member.js'
import { describe } from './registry.js'
import type { Rendered, Scraper } from './scrape.js'

export type Endpoint = {
  /**
   * Answers when `path` (without query) is the metrics path, with or without a slash at its end, and
   * the sender may know that it exists. False: not ours, the application answers. Never throws.
   */
  handle(request: IncomingMessage, response: ServerResponse, path: string): boolean
}

/** Where the management port serves when `metrics.path` is false. */
const DEFAULT_PATH = '/metrics'

export function createEndpoint(settings: Settings['metrics'], scraper: Scraper): Endpoint {
  const path = (settings.path || DEFAULT_PATH).replace(/\/+$/, '')
  const slashed = `${path}/`
  const showsToken = createTokenCheck(settings.token)
  const gzipped = new WeakMap<Rendered, Promise<Rendered>>()

  function serve(request: IncomingMessage, response: ServerResponse): void {
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      refuse(request, response, 405, 'Method Not Allowed', { Allow: 'GET, HEAD' })
      return
    }
    answer(request, response).catch((error) => {
      const isOfCluster = error instanceof HubError
      reportFault(
        isOfCluster ? 'TELLTALE_E_CLUSTER' : 'TELLTALE_E_INTERNAL',
        `answering a scrape: ${describe(error)}`,
      )
      if (response.headersSent) response.destroy()
      else if (isOfCluster) refuse(request, response, 503, 'Service Unavailable', {})
      else refuse(request, response, 500, 'Internal Server Error', {})
    })
  }

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { headers } = request
    let rendered = await scraper.render(chooseFormat(headers.accept), budget(request))
    const fields: Record<string, string | number> = {
      'Content-Type': CONTENT_TYPES[rendered.format],
      'Cache-Control': 'no-store',
      Vary: 'Accept, Accept-Encoding',
      'X-Content-Type-Options': 'nosniff',
    }
    if (acceptsGzip(headers['accept-encoding'] as string | undefined)) {
      let packed = gzipped.get(rendered)
      if (packed === undefined) {
        packed = gzip(rendered)
        gzipped.set(rendered, packed)
      }
      rendered = await packed
      fields['Content-Encoding'] = 'gzip'
    }
    fields['Content-Length'] = rendered.bytes
    if (response.destroyed) return
    response.writeHead(200, fields)
    if (request.method !== 'HEAD') {
      let sliceStart = performance.now()
      for (const chunk of rendered.chunks) {
        if (!response.write(chunk)) await writable(response)
        if (response.destroyed) return
        // A socket that takes everything at once drains without a turn of the event loop.
        if (performance.now() - sliceStart < SLICE_MS) continue
        await turn()
        sliceStart = performance.now()
      }
    }
    response.end()
  }

  return {
    handle(request, response, requested) {
      if (requested !== path && requested !== slashed) return false
      if (!isLocal(request)) {
        // Without a token nobody from outside is told that there is something here.
        if (settings.token === '') return false
        if (!showsToken(request)) {
          refuse(request, response, 401, 'Unauthorized', {
            'WWW-Authenticate': 'Bearer realm="metrics"',
          })
          return true
        }
      }
      serve(request, response)
      return true
    },
  }
}

// Half of the scraper's own limit for readers; the other half is for writing and the network.
function budget(request: IncomingMessage): number | undefined {
  const seconds = Number(request.headers['x-prometheus-scrape-timeout-seconds'])
  return seconds > 0 ? seconds * 500 : undefined
}

function refuse(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  title: string,
  headers: Readonly<Record<string, string>>,
): void {
  if (response.headersSent || response.destroyed) return
  const body = JSON.stringify({ type: 'about:blank', title, status })
  response.writeHead(status, {
    'Content-Type': 'application/problem+json',
    'Content-Length': Buffer.byteLength(body),
    'Cache-Control': 'no-store',
    ...headers,
  })
  response.end(request.method === 'HEAD' ? undefined : body)
}

/** Resolves when the response takes more, or never will. */
function writable(response: ServerResponse): Promise<void> {
  if (response.destroyed) return Promise.resolve()
  return new Promise((resolve) => {
    const done = (): void => {
      response.removeListener('drain', done)
      response.removeListener('close', done)
      resolve()
    }
    response.on('drain', done)
    response.on('close', done)
  })
}

// Level 1: a scrape is read once and soon. Compression runs in the thread pool.
function gzip(rendered: Rendered): Promise<Rendered> {
  return new Promise((resolve, reject) => {
    const stream = zlib().createGzip({ level: 1 })
    const chunks: Buffer[] = []
    let bytes = 0
    stream.on('data', (chunk: Buffer) => {
      chunks.push(chunk)
      bytes += chunk.length
    })
    stream.on('end', () => resolve({ format: rendered.format, chunks, bytes }))
    stream.on('error', reject)
    for (const chunk of rendered.chunks) stream.write(chunk)
    stream.end()
  })
}
