/** A Redis connection that can do nothing but sign in and ask, so that it can be cut at any moment. */
import { connect as connectTcp, type Socket } from 'node:net'
import type { ConnectionOptions } from 'node:tls'
import { tls as nodeTls } from '../builtin.js'
import type { HealthCheckContext, HealthOutcome } from '../options.js'
import { hasAddress, type Link } from './kept.js'

/** Where a Redis server is and how to sign in. */
export type RedisEndpoint = {
  readonly host?: string | undefined
  readonly port?: number | undefined
  /** Path of a Unix socket; instead of host and port. */
  readonly path?: string | undefined
  readonly username?: string | undefined
  readonly password?: string | undefined
  /** Undefined: no TLS. */
  readonly tls?: ConnectionOptions | undefined
}

/** An error reply; its first word is Redis's code (RESP specification, "Simple errors"). */
class RedisReplyError extends Error {
  override readonly name = 'RedisReplyError'
}

type Reply = string | number | null | RedisReplyError | readonly Reply[]

/** More than any answer to PING or ROLE; past it the peer is not Redis. */
const MAX_REPLY_BYTES = 65_536

/** Creates a connection; `writable` also asks for the role and refuses a replica. */
export function createRedisLink(
  endpoint: RedisEndpoint,
  writable: boolean,
  context: HealthCheckContext,
  onBroken: () => void,
): Link {
  let socket: Socket | undefined
  let received: Buffer = Buffer.alloc(0)
  let waiting: { resolve(reply: Reply): void; reject(error: Error): void }[] = []

  function fail(error: Error): void {
    const cut = waiting
    waiting = []
    for (const one of cut) one.reject(error)
    socket?.destroy()
    onBroken()
  }

  function receive(chunk: Buffer): void {
    received = received.length === 0 ? chunk : Buffer.concat([received, chunk])
    while (waiting.length > 0) {
      let parsed: [Reply, number] | undefined
      try {
        parsed = parseReply(received, 0)
      } catch (error) {
        fail(error as Error)
        return
      }
      if (parsed === undefined) break
      received = received.subarray(parsed[1])
      waiting.shift()?.resolve(parsed[0])
    }
    if (received.length > MAX_REPLY_BYTES) fail(new Error('The answer is not one of Redis.'))
  }

  function send(...words: readonly string[]): Promise<Reply> {
    return new Promise((resolve, reject) => {
      if (socket === undefined || socket.destroyed) return reject(new Error('Connection is closed'))
      waiting.push({ resolve, reject })
      const parts = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`)
      socket.write(`*${words.length}\r\n${parts.join('')}`)
    })
  }

  let signedIn: Promise<Reply> | undefined

  return {
    async open() {
      if (endpoint.path === undefined) await hasAddress(endpoint.host)
      const { host = '127.0.0.1', port = 6379, path, tls } = endpoint
      const target = path === undefined ? { host, port } : { path }
      socket =
        tls === undefined
          ? connectTcp(target)
          : nodeTls().connect({
              ...(isIpOrNone(host) ? {} : { servername: host }),
              ...tls,
              ...target,
            })
      socket.unref()
      socket.on('data', receive)
      socket.on('error', fail)
      socket.on('close', () => fail(new Error('Connection is closed')))
      const { username, password } = endpoint
      if (password !== undefined && password !== '') {
        signedIn =
          username === undefined || username === ''
            ? send('AUTH', password)
            : send('AUTH', username, password)
        signedIn.catch(() => {})
      }
      send('CLIENT', 'SETNAME', `${context.service.replace(/[^\w.-]/g, '-')}-health`).catch(
        () => {},
      )
    },
    async ask(): Promise<HealthOutcome> {
      const [pong, role] = await Promise.all([
        send('PING'),
        writable ? send('ROLE') : Promise.resolve(null),
      ])
      // A server without a password refuses AUTH and serves all the same: only PING decides.
      const auth = signedIn === undefined ? undefined : await signedIn
      if (pong instanceof RedisReplyError) throw auth instanceof RedisReplyError ? auth : pong
      if (role instanceof RedisReplyError) throw role
      if (Array.isArray(role) && role[0] !== 'master') return { status: 'fail', reason: 'readonly' }
      if (pong !== 'PONG') throw new Error('PING was not answered with PONG.')
      return undefined
    },
    destroy() {
      socket?.destroy()
    },
  }
}

/** Reads one RESP2 reply at `start`: the reply and where the next begins; undefined when cut off. */
function parseReply(bytes: Buffer, start: number): [Reply, number] | undefined {
  const end = bytes.indexOf('\r\n', start)
  if (end === -1) return undefined
  const line = bytes.toString('utf8', start + 1, end)
  const next = end + 2
  const type = String.fromCharCode(bytes[start] ?? 0)
  if (type === '+') return [line, next]
  if (type === '-') return [new RedisReplyError(line), next]
  if (type === ':') return [Number(line), next]
  const length = Number(line)
  if ((type !== '$' && type !== '*') || !(length >= -1 && length <= MAX_REPLY_BYTES)) {
    throw new Error('The answer is not one of Redis.')
  }
  if (length === -1) return [null, next]
  if (type === '$') {
    if (bytes.length < next + length + 2) return undefined
    return [bytes.toString('utf8', next, next + length), next + length + 2]
  }
  const items: Reply[] = []
  let at = next
  for (let index = 0; index < length; index++) {
    const item = parseReply(bytes, at)
    if (item === undefined) return undefined
    items.push(item[0])
    at = item[1]
  }
  return [items, at]
}

function isIpOrNone(host: string): boolean {
  return /^[\d.]*$|:/.test(host)
}
