/**
 * One HTTP/1.1 connection to the tracker: whole requests in, answers out, in order.
 *
 * Requests are written to the socket as finished text, because node:http costs several times as
 * much per small request (streams, header objects, an agent, diagnostics of its own). A plain socket
 * is also invisible to instrumentation of outgoing HTTP, the kit's own included. Proxies
 * (HTTPS_PROXY) are not supported.
 */
import { connect, isIP, type Socket } from 'node:net'
import { tls } from '../../builtin.js'
import type { Dsn } from './dsn.js'
import { type Answer, createAnswerReader } from './response.js'

/** Why a connection ended while requests were waiting for their answers. */
export type Ending = {
  /**
   * `unreachable`: nothing was ever sent. `stale`: a kept connection that the server closed without
   * a word, or announced to close. `broken`: anything else, a deadline included.
   */
  readonly kind: 'unreachable' | 'stale' | 'broken'
  readonly message: string
}

export type ConnectionEvents<T> = {
  onAnswer(item: T, answer: Answer): void
  /** The connection is gone; `unanswered` in the order sent. Called exactly once. */
  onEnd(unanswered: readonly T[], ending: Ending): void
}

export type Connection<T> = {
  /** Requests written and not answered yet. */
  readonly outstanding: number
  /** True after the first good answer that kept the connection: pipelining may be tried. */
  readonly isProven: boolean
  /** Writes requests; `bytes` holds one whole request for each item. */
  send(items: readonly T[], bytes: string | Buffer, encoding: 'latin1' | 'utf8'): void
  /** Ends the connection when a deadline has passed at `nowMs` (performance.now()). */
  sweep(nowMs: number): void
  destroy(): void
}

export type Deadlines = {
  readonly connectMs: number
  readonly answerMs: number
  readonly idleMs: number
}

/** Opens a connection. Its socket never keeps the process alive. */
export function openConnection<T>(
  dsn: Dsn,
  deadlines: Deadlines,
  events: ConnectionEvents<T>,
): Connection<T> {
  let waiting: T[] = []
  /** Answered items at the front of `waiting`; cut off now and then. */
  let answered = 0
  let isOpen = false
  let isProven = false
  let isOver = false
  let ending: Ending | undefined
  let lastMs = performance.now()

  const reader = createAnswerReader((answer) => {
    lastMs = performance.now()
    const item = waiting[answered]
    if (item === undefined) {
      fail('broken', 'an answer came without a request')
      return
    }
    waiting[answered] = undefined as T
    if (++answered === waiting.length) {
      waiting = []
      answered = 0
    }
    if (answer.keepAlive && answer.status < 300) isProven = true
    if (!answer.keepAlive) ending ??= { kind: 'stale', message: 'the server closed the connection' }
    events.onAnswer(item, answer)
  })

  const socket: Socket = dsn.secure
    ? tls().connect({
        host: dsn.host,
        port: dsn.port,
        ALPNProtocols: ['http/1.1'],
        ...(isIP(dsn.host) === 0 ? { servername: dsn.host } : {}),
      })
    : connect({ host: dsn.host, port: dsn.port })
  socket.unref()
  socket.setNoDelay(true)
  socket.once(dsn.secure ? 'secureConnect' : 'connect', () => {
    isOpen = true
    lastMs = performance.now()
  })
  socket.on('data', (chunk: Buffer) => {
    if (!reader.push(chunk)) fail('broken', 'the server did not answer in HTTP/1.1')
  })
  socket.on('error', (error: Error) => {
    ending ??= {
      kind: !isOpen ? 'unreachable' : isProven ? 'stale' : 'broken',
      message: error.message,
    }
  })
  socket.on('end', () => fail(isProven ? 'stale' : 'broken', 'the server closed the connection'))
  socket.once('close', over)

  function fail(kind: Ending['kind'], message: string): void {
    ending ??= { kind, message }
    socket.destroy()
    over()
  }

  function over(): void {
    if (isOver) return
    reader.end()
    if (isOver) return
    isOver = true
    const unanswered = waiting.slice(answered)
    waiting = []
    answered = 0
    events.onEnd(
      unanswered,
      ending ?? { kind: isOpen ? 'broken' : 'unreachable', message: 'the connection was closed' },
    )
  }

  return {
    get outstanding() {
      return waiting.length - answered
    },
    get isProven() {
      return isProven
    },
    send(items, bytes, encoding) {
      if (waiting.length === 0) lastMs = performance.now()
      for (const item of items) waiting.push(item)
      if (typeof bytes === 'string') socket.write(bytes, encoding)
      else socket.write(bytes)
    },
    sweep(nowMs) {
      const quietMs = nowMs - lastMs
      if (!isOpen) {
        if (quietMs > deadlines.connectMs) fail('unreachable', 'the connection was not accepted')
      } else if (waiting.length > answered) {
        if (quietMs > deadlines.answerMs) fail('broken', 'the server did not answer in time')
      } else if (quietMs > deadlines.idleMs) fail('stale', 'idle')
    },
    destroy() {
      fail('broken', 'closed')
    },
  }
}
