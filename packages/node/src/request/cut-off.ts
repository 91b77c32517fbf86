/** Why an answer ended before it was whole: what its connection still knows when it has closed. */
import type { IncomingMessage } from 'node:http'
import { noteError, type Unit } from '../context.js'
import type { AbortReason } from './record.js'

/** A socket, or a stream of HTTP/2. */
export type Connection = {
  readonly errored?: unknown
  readonly readableEnded?: boolean
  readonly rstCode?: number | undefined
}
type Answer = { readonly errored?: unknown; readonly req?: IncomingMessage | undefined }

/** Node's own errors of a connection; those of the network name a system call. */
const TRANSPORT_CODE = /^(?:HPE_|ERR_HTTP_|ERR_HTTP2_|ERR_SSL_|ERR_TLS_|ERR_STREAM_|EPROTO$)/
const TRANSPORT_CALLS = ['read', 'write', 'writev', 'shutdown']

/**
 * Tells who cut an answer off. `connection` is the one it was written to, null when it had none yet.
 * The error with which the application destroyed response, request or connection is noted on the
 * unit: it is what the line and the tracker tell. Never throws.
 */
export function whyCutOff(answer: Answer, connection: Connection | null, unit: Unit): AbortReason {
  const error = connection?.errored
  if (isGiven(error) && isOwn(error, answer)) {
    noteError(unit, error)
    return 'error'
  }
  if (unit.cutOff !== '') return unit.cutOff
  if (connection === null || isGiven(error) || isLeft(connection)) return 'client_closed'
  return unit.hasError ? 'error' : 'server_closed'
}

function isGiven(error: unknown): boolean {
  return error !== null && error !== undefined
}

/** True for an error that the application gave, which may be a network error of some other connection. */
function isOwn(error: unknown, answer: Answer): boolean {
  if (error === answer.errored || error === answer.req?.errored) return true
  try {
    const { code, syscall } = Object(error) as { code?: unknown; syscall?: unknown }
    return !TRANSPORT_CALLS.includes(syscall as string) && !TRANSPORT_CODE.test(String(code))
  } catch {
    return true
  }
}

/** True when the other side has ended the connection. */
function isLeft({ readableEnded, rstCode }: Connection): boolean {
  // A stream of HTTP/2 does not tell who reset it.
  return rstCode !== undefined || readableEnded === true
}
