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
import { createLine } from './line.js'
import { type Answer, createAnswerReader } from './response.js'
import { createRing } from './ring.js'

/** What a request carries. While it is on its way, its text may be kept outside of the heap. */
export type Sendable = {
  payload: string
  /** Bytes of `payload` as UTF-8. */
  readonly length: number
  /** Where `payload` begins in the text that is sent; the connection's own from then on. */
  at: number
}

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

export type Connection<T extends Sendable> = {
  /** Requests written and not answered yet. */
  readonly outstanding: number
  /** True after the first good answer that kept the connection: pipelining may be tried. */
  readonly isProven: boolean
  /** Writes requests; `text` holds one whole request for each item. */
  send(items: readonly T[], text: string, isAscii: boolean): void
  /** Writes one request. */
  sendBytes(item: T, bytes: Buffer): void
  /** What was sent and not answered, in order, with its text. */
  unanswered(): readonly T[]
  /** Ends the connection when a deadline has passed at `nowMs` (performance.now()). */
  sweep(nowMs: number): void
  destroy(): void
}

export type Deadlines = {
  readonly connectMs: number
  readonly answerMs: number
  readonly idleMs: number
}

/** `at` of an item whose text is in `payload`. */
const NOWHERE = -1
/** A full pipeline of usual transactions is in it; what finds no room is written from the heap. */
const RING_BYTES = 524_288
/** Half of the answers to a full pipeline. */
const READ_BYTES = 32_768

/** Opens a connection. Its socket never keeps the process alive. */
export function openConnection<T extends Sendable>(
  dsn: Dsn,
  deadlines: Deadlines,
  events: ConnectionEvents<T>,
): Connection<T> {
  const ring = createRing(RING_BYTES)
  const waiting = createLine<T>()
  let isOpen = false
  let isProven = false
  let isOver = false
  let ending: Ending | undefined
  let lastMs = performance.now()
  let readMs = lastMs

  const reader = createAnswerReader((answer) => {
    lastMs = readMs
    const item = waiting.shift()
    if (item === undefined) {
      fail('broken', 'an answer came without a request')
      return
    }
    if (item.at !== NOWHERE) {
      const end = item.at + item.length
      if (answer.status >= 300) restore(item)
      ring.release(end)
    }
    if (answer.keepAlive && answer.status < 300) isProven = true
    if (!answer.keepAlive) ending ??= { kind: 'stale', message: 'the server closed the connection' }
    events.onAnswer(item, answer)
  })

  // One buffer for all answers: Node would take new memory for each reading and free it on a thread
  // that the process may have no CPU for.
  const memory = Buffer.allocUnsafeSlow(READ_BYTES)
  const target = {
    host: dsn.host,
    port: dsn.port,
    onread: {
      buffer: memory,
      callback(size: number): boolean {
        readMs = performance.now()
        if (!reader.push(memory.subarray(0, size))) {
          fail('broken', 'the server did not answer in HTTP/1.1')
        }
        return true
      },
    },
  }
  const socket: Socket = dsn.secure
    ? tls().connect({
        ...target,
        ALPNProtocols: ['http/1.1'],
        ...(isIP(dsn.host) === 0 ? { servername: dsn.host } : {}),
      })
    : connect(target)
  socket.unref()
  socket.setNoDelay(true)
  socket.once(dsn.secure ? 'secureConnect' : 'connect', () => {
    isOpen = true
    lastMs = performance.now()
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
    events.onEnd(
      unanswered(),
      ending ?? { kind: isOpen ? 'broken' : 'unreachable', message: 'the connection was closed' },
    )
  }

  function restore(item: T): void {
    if (item.at === NOWHERE) return
    item.payload = ring.text(item.at, item.length)
    item.at = NOWHERE
  }

  function unanswered(): readonly T[] {
    const items = waiting.list()
    items.forEach(restore)
    return items
  }

  function push(item: T): void {
    if (waiting.length === 0) lastMs = performance.now()
    waiting.push(item)
  }

  return {
    get outstanding() {
      return waiting.length
    },
    get isProven() {
      return isProven
    },
    send(items, text, isAscii) {
      // What the socket has not taken yet may lie in the part of the ring that answers have freed.
      const at = isAscii && socket.writableLength === 0 ? ring.put(text) : NOWHERE
      for (const item of items) {
        if (at === NOWHERE) item.at = NOWHERE
        else {
          item.at += at
          item.payload = ''
        }
        push(item)
      }
      if (at === NOWHERE) socket.write(text, isAscii ? 'latin1' : 'utf8')
      else socket.write(ring.bytes(at, text.length))
    },
    sendBytes(item, bytes) {
      item.at = NOWHERE
      push(item)
      socket.write(bytes)
    },
    unanswered,
    sweep(nowMs) {
      const quietMs = nowMs - lastMs
      if (!isOpen) {
        if (quietMs > deadlines.connectMs) fail('unreachable', 'the connection was not accepted')
      } else if (waiting.length > 0) {
        if (quietMs > deadlines.answerMs) fail('broken', 'the server did not answer in time')
      } else if (quietMs > deadlines.idleMs) fail('stale', 'idle')
    },
    destroy() {
      fail('broken', 'closed')
    },
  }
}
