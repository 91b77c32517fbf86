/** Who may see what the kit serves: programs on this machine, and whoever shows the token. */
import type { IncomingMessage } from 'node:http'
import { crypto } from './builtin.js'

/** Headers that a proxy adds: with one of them, a loopback peer speaks for somebody else. */
const PROXY_HEADERS = [
  'forwarded',
  'via',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-proto',
  'x-real-ip',
  'x-client-ip',
  'cf-connecting-ip',
  'true-client-ip',
] as const
const LOOPBACK = /^(?:::ffff:)?127\.\d{1,3}\.\d{1,3}\.\d{1,3}$|^::1$/

const LOOPBACK_HOST =
  /^(?:localhost|[\w.-]+\.localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])(?::\d+)?$/i

/**
 * True for a program on this machine: its peer is on 127.0.0.0/8 or ::1, no header says that it is a
 * proxy, and it calls the service by a loopback name, which a page in a browser that was led here by
 * DNS rebinding does not. A Unix socket has no address and usually a proxy behind it: false. A proxy
 * that adds no header and keeps no Host cannot be told from a local program; behind such a one, use a
 * management port.
 */
export function isLocal(request: IncomingMessage): boolean {
  const { headers } = request
  if (!LOOPBACK.test(request.socket?.remoteAddress ?? '')) return false
  // HTTP/2 has :authority in its place.
  const host = headers.host ?? (headers[':authority'] as string | undefined)
  if (host !== undefined && !LOOPBACK_HOST.test(host)) return false
  return PROXY_HEADERS.every((name) => headers[name] === undefined)
}

/** Tells whether a request shows the token as `Authorization: Bearer`; without a token none does. */
export function createTokenCheck(token: string): (request: IncomingMessage) => boolean {
  if (token === '') return () => false
  const isToken = createSecretCheck(token)
  return (request) => {
    const value = request.headers.authorization ?? ''
    return /^bearer /i.test(value) && isToken(value.slice('bearer '.length).trim())
  }
}

/** Tells whether a text is the secret; how long that takes says nothing about it. */
export function createSecretCheck(secret: string): (given: string) => boolean {
  const expected = digest(secret)
  return (given) => crypto().timingSafeEqual(digest(given), expected)
}

// Digests have one length, so that the comparison tells nothing about the token's.
function digest(text: string): Buffer {
  return crypto().createHash('sha256').update(text).digest()
}
