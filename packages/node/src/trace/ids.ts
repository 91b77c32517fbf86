/** Trace and span ids: random hex from the operating system, drawn in pools because one draw costs microseconds. */
import { randomFillSync } from 'node:crypto'

// A kept id pins its pool's string of twice this size, so the pool stays small.
const pool = Buffer.allocUnsafe(4096)
let hex = ''
let at = 0

function take(digits: number): string {
  if (at + digits > hex.length) {
    hex = randomFillSync(pool).toString('hex')
    at = 0
  }
  const id = hex.slice(at, at + digits)
  at += digits
  return id
}

/** A new W3C trace id: 32 lower-case hex digits, never all zero. */
export function newTraceId(): string {
  return take(32)
}

/** A new W3C span id: 16 lower-case hex digits. */
export function newSpanId(): string {
  return take(16)
}
