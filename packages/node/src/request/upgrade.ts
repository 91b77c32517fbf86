/**
 * A protocol upgrade (WebSocket, CONNECT): Node hands the socket over and says no more, so the
 * status is read from the first bytes written, and the socket's events keep the context.
 */
import type { Socket } from 'node:net'
import { type Context, emptyUnit, storage } from '../context.js'
import type { AbortReason } from './record.js'

const STATUS_LINE = /^HTTP\/1\.[01] (\d{3})/

/**
 * Calls `done` once: with the status that the application wrote, or 499 when the socket closed
 * before any. Afterwards listeners of the socket run in `context` until it closes.
 */
export function superviseUpgrade(
  socket: Socket,
  context: Context,
  done: (statusCode: number, reason: AbortReason | '', isOpen: boolean) => void,
): void {
  const write = socket.write
  const end = socket.end
  const emit = socket.emit
  let isDone = false

  function settle(statusCode: number, reason: AbortReason | ''): void {
    if (isDone) return
    isDone = true
    socket.write = write
    socket.end = end
    done(statusCode, reason, statusCode < 300)
  }

  function statusOf(chunk: unknown): number {
    if (typeof chunk !== 'string' && !(chunk instanceof Uint8Array)) return 0
    const head =
      typeof chunk === 'string'
        ? chunk.slice(0, 16)
        : Buffer.from(chunk.subarray(0, 16)).toString('latin1')
    return Number(STATUS_LINE.exec(head)?.[1] ?? 0)
  }

  /** The method itself, but the first chunk that goes through it tells the status. */
  function watching(method: (...args: never[]) => unknown): (...args: unknown[]) => unknown {
    return function (this: Socket, ...args: unknown[]) {
      const statusCode = statusOf(args[0])
      const result = Reflect.apply(method, this, args)
      if (args[0] !== undefined) settle(statusCode === 0 ? 200 : statusCode, '')
      return result
    }
  }
  socket.write = watching(write) as Socket['write']
  socket.end = watching(end) as Socket['end']

  socket.emit = function (this: Socket, ...args: unknown[]): boolean {
    return storage.run(context, () => Reflect.apply(emit, this, args) as boolean)
  } as Socket['emit']

  socket.once('close', () => {
    settle(499, 'client_closed')
    socket.emit = emit
    emptyUnit(context.unit)
  })
}
