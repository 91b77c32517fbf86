/** Requests to the service, timed, kept, and never thrown: an answer that does not come is an observation too. */

import { Agent, request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { connect } from 'node:net'

/** One request and what came back. */
export type Exchange = {
  readonly purpose: string
  readonly method: string
  readonly path: string
  /** Headers that were sent, credentials included: they are canaries or the user's own. */
  readonly sent: Readonly<Record<string, string>>
  /** Its start, when it was long. */
  readonly sentBody: string
  readonly sentBytes: number
  /** 0 when no answer came. */
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
  /** Milliseconds since the run began. */
  readonly at: number
  /** Milliseconds until the whole answer was there. */
  readonly ms: number
  /** Why there is no answer: an error's code, `timeout` or `aborted`. */
  readonly failure: string | undefined
  /** The request id in the answer. */
  readonly id: string | undefined
}

export type Ask = {
  readonly purpose: string
  readonly method?: string
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Buffer
  readonly timeoutMs?: number
  /** Leave after this time, as a client does that gives up. */
  readonly abortAfterMs?: number
  readonly agent?: Agent | false
}

export type Client = {
  readonly base: string
  readonly exchanges: readonly Exchange[]
  ask(ask: Ask): Promise<Exchange>
  /** Sends bytes as they are and reads until the connection ends or an answer is whole. */
  askRaw(purpose: string, head: Buffer): Promise<Exchange>
  close(): void
}

export const ID_HEADERS = [
  'x-request-id',
  'x-correlation-id',
  'request-id',
  'x-trace-id',
  'x-amzn-requestid',
] as const

const MAX_BODY = 64 * 1024

export function createClient(host: string, port: number, now: () => number): Client {
  const exchanges: Exchange[] = []
  const shared = new Agent({ keepAlive: true, maxSockets: 64 })

  function keep(exchange: Exchange): Exchange {
    exchanges.push(exchange)
    return exchange
  }

  return {
    base: `http://${host.includes(':') ? `[${host}]` : host}:${port}`,
    exchanges,
    ask({ purpose, method = 'GET', path, headers = {}, body, timeoutMs = 10_000, ...rest }) {
      const at = now()
      return new Promise((resolve) => {
        let status = 0
        let answered: IncomingHttpHeaders = {}
        let text = ''
        let failure: string | undefined
        const finish = (): void => {
          clearTimeout(timer)
          clearTimeout(leave)
          const sentBody = body === undefined ? '' : String(body).slice(0, 2000)
          const id = idOf(answered)
          resolve(
            keep({
              purpose,
              method,
              path,
              sent: headers,
              sentBody,
              sentBytes: body === undefined ? 0 : Buffer.byteLength(body),
              status,
              headers: answered,
              body: text,
              at,
              ms: now() - at,
              failure,
              id,
            }),
          )
        }
        const stop = (reason: string): void => {
          failure ??= reason
          request.destroy()
        }
        const request = httpRequest(
          { host, port, method, path, headers, agent: rest.agent ?? shared },
          (response) => {
            status = response.statusCode ?? 0
            answered = response.headers
            response.on('data', (chunk: Buffer) => {
              if (text.length < MAX_BODY) text += chunk
            })
            response.on('error', () => {})
          },
        )
        const timer = setTimeout(() => stop('timeout'), timeoutMs)
        const leave =
          rest.abortAfterMs === undefined
            ? undefined
            : setTimeout(() => stop('aborted'), rest.abortAfterMs)
        request.on('error', (error: NodeJS.ErrnoException) => {
          failure ??= error.code ?? error.message
        })
        request.on('close', finish)
        request.end(body)
      })
    },
    askRaw(purpose, head) {
      const at = now()
      return new Promise((resolve) => {
        let text = ''
        let failure: string | undefined
        const socket = connect(port, host, () => socket.write(head))
        socket.setTimeout(5000, () => {
          failure = 'timeout'
          socket.destroy()
        })
        socket.on('data', (chunk) => {
          text += chunk.toString('latin1')
          if (text.includes('\r\n\r\n')) socket.destroy()
        })
        socket.on('error', (error: NodeJS.ErrnoException) => {
          failure ??= error.code ?? error.message
        })
        socket.on('close', () => {
          const [top = '', ...body] = text.split('\r\n\r\n')
          const [statusLine = '', ...headerLines] = top.split('\r\n')
          const headers: IncomingHttpHeaders = {}
          for (const line of headerLines) {
            const colon = line.indexOf(':')
            const name = line.slice(0, colon).toLowerCase()
            const value = line.slice(colon + 1).trim()
            // Twice the same header is an observation: both stay.
            headers[name] = headers[name] === undefined ? value : `${headers[name]}, ${value}`
          }
          const [method = '', path = ''] = head.toString('latin1').split(' ')
          resolve(
            keep({
              purpose,
              method,
              path,
              sent: {},
              sentBody: head.toString('latin1').slice(0, 500),
              sentBytes: 0,
              status: Number(/^HTTP\/1\.\d (\d{3})/.exec(statusLine)?.[1] ?? 0),
              headers,
              body: body.join('\r\n\r\n').slice(0, MAX_BODY),
              at,
              ms: now() - at,
              failure,
              id: idOf(headers),
            }),
          )
        })
      })
    },
    close: () => shared.destroy(),
  }
}

function idOf(headers: IncomingHttpHeaders): string | undefined {
  for (const name of ID_HEADERS) {
    const value = headers[name]
    if (typeof value === 'string' && value !== '') return value
  }
  return undefined
}

/** Runs `work` for 0 … count − 1, at most `width` at once. */
export async function inParallel<T>(
  count: number,
  width: number,
  work: (index: number) => Promise<T>,
): Promise<T[]> {
  const results: T[] = new Array(count)
  let next = 0
  await Promise.all(
    Array.from({ length: Math.min(width, count) }, async () => {
      while (next < count) {
        const index = next++
        results[index] = await work(index)
      }
    }),
  )
  return results
}
