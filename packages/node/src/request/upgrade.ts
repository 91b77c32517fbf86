/**
 * A socket that leaves Node's hands. After a protocol upgrade (WebSocket, CONNECT) or a
 * `response.detachSocket` Node says no more of the request, so its status is read from the first
 * bytes written.
 */
import type { Socket } from 'node:net'
import { type Context, emptyUnit, storage } from '../context.js'
import type { AbortReason } from './record.js'

const STATUS_LINE = /^HTTP\/1\.[01] (\d{3})/

function statusOf(chunk: unknown): number {
  if (typeof chunk !== 'string' && !(chunk instanceof Uint8Array)) return 0
  const head =
    typeof chunk === 'string'
      ? chunk.slice(0, 16)
      : Buffer.from(chunk.subarray(0, 16)).toString('latin1')
  return Number(STATUS_LINE.exec(head)?.[1] ?? 0)
}

/**
 * Calls `told` once the first bytes are written, with their status, 200 when they are no answer of
 * HTTP's. Returns the function that stops it.
 */
function readStatus(socket: Socket, told: (statusCode: number) => void): () => void {
  const { write, end } = socket
  const stop = (): void => {
    socket.write = write
    socket.end = end
  }
  /** The method itself, but the first chunk that goes through it tells the status. */
  function watching(method: (...args: never[]) => unknown): (...args: unknown[]) => unknown {
    return function (this: Socket, ...args: unknown[]) {
      const statusCode = statusOf(args[0])
      const result = Reflect.apply(method, this, args)
      if (args[0] !== undefined && typeof args[0] !== 'function') {
        stop()
        told(statusCode === 0 ? 200 : statusCode)
      }
      return result
    }
  }
  socket.write = watching(write) as Socket['write']
  socket.end = watching(end) as Socket['end']
  return stop
}

/**
 * Calls `done` once: with the status that the application wrote, or 499 when the socket closed
 * before any. Afterwards listeners of the socket run in `context` until it closes.
 */
export function superviseUpgrade(
  socket: Socket,
  context: Context,
  done: (statusCode: number, reason: AbortReason | '', isOpen: boolean) => void,
): void {
  const { emit } = socket
  let isDone = false

  function settle(statusCode: number, reason: AbortReason | ''): void {
    if (isDone) return
    isDone = true
    stop()
    done(statusCode, reason, statusCode < 300)
  }
  const stop = readStatus(socket, (statusCode) => settle(statusCode, ''))

  socket.emit = function (this: Socket, ...args: unknown[]): boolean {
    return storage.run(context, () => Reflect.apply(emit, this, args) as boolean)
  } as Socket['emit']

  socket.once('close', () => {
    settle(499, 'client_closed')
    socket.emit = emit
    emptyUnit(context.unit)
  })
}

/**
 * Calls `done` when a detached socket has closed: with `sentStatus`, or when that is 0 with the
 * status that the application wrote itself, 0 when it wrote nothing. `isWhole`: the application
 * ended the socket before the client did, and all of it went out.
 */
export function superviseDetached(
  socket: Socket,
  sentStatus: number,
  done: (statusCode: number, isWhole: boolean) => void,
): void {
  let status = sentStatus
  let isLeft = false
  const stop =
    status === 0
      ? readStatus(socket, (statusCode) => {
          status = statusCode
        })
      : undefined
  // Before Node's own listener, which ends the socket of a client that left.
  socket.prependOnceListener('end', () => {
    isLeft = !socket.writableEnded
  })
  socket.once('close', () => {
    stop?.()
    done(status, status !== 0 && socket.writableFinished && !isLeft)
  })
}
