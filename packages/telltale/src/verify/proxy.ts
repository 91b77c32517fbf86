/**
 * The TCP proxy before the service's database and cache. It passes, resets or stalls connections,
 * recognises protocols by their first bytes, and never looks at anything else.
 */
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import type { Pulse } from './pulse.js'

export type Protocol =
  | 'postgres'
  | 'mysql'
  | 'mongodb'
  | 'redis'
  | 'memcached'
  | 'amqp'
  | 'http'
  | 'tls'
  | 'unknown'

/**
 * `pass` forwards; `reset` resets every connection, new ones too; `stall` accepts, forwards nothing
 * and keeps everything open, as a network does that lost its route.
 */
export type Mode = 'pass' | 'reset' | 'stall'

/** One address that the service connects to. */
export type Target = {
  /** `127.0.0.1:5432`, or the path of a socket. */
  readonly address: string
  /** The user's name for it (`--dep name=…`), else what kind of thing it is. */
  name: string
  /** True when the user named it. */
  isNamed: boolean
  protocol: Protocol
  mode: Mode
  /** Connections accepted in all. */
  accepted: number
  /** Chunks that went from the service to the dependency: a measure of how often it was asked. */
  asked: number
  /** Connections open now. */
  readonly open: Set<Connection>
}

type Connection = { readonly client: Socket; upstream: Socket | undefined }
type Place = { readonly host: string; readonly port: number } | { readonly path: string }

/** What the hook says about a connection, by the port it comes from. */
export type Announcement = {
  readonly pid?: number
  readonly sourcePort: number
  readonly host?: string
  readonly port?: number
  readonly path?: string
}

export type DependencyProxy = {
  readonly port: number
  readonly targets: ReadonlyMap<string, Target>
  /** Events that were on their way to a tracker other than verify's, and were kept here. */
  readonly elsewhere: readonly { readonly address: string; readonly pid: number | undefined }[]
  /** Says where the connection from `sourcePort` is meant to go; it waits at the proxy until then. */
  announce(announcement: Announcement): void
  /** Opens a port of its own that always leads to `host:port`: for what no hook can lead. */
  lead(name: string, host: string, port: number): Promise<number>
  /** Names the target with this address, now or when it appears. */
  name(address: string, name: string): void
  set(target: Target, mode: Mode): void
  close(): Promise<void>
}

const WELL_KNOWN: Readonly<Record<number, Protocol>> = {
  5432: 'postgres',
  3306: 'mysql',
  27017: 'mongodb',
  6379: 'redis',
  11211: 'memcached',
  5672: 'amqp',
  443: 'http',
  80: 'http',
}

/** What a protocol is, seen from the service. */
export function roleOf(target: Target): 'database' | 'cache' | 'other' {
  if (['postgres', 'mysql', 'mongodb'].includes(target.protocol)) return 'database'
  if (['redis', 'memcached'].includes(target.protocol)) return 'cache'
  return 'other'
}

export async function startProxy(pulse: Pulse): Promise<DependencyProxy> {
  const targets = new Map<string, Target>()
  const names = new Map<string, string>()
  const announced = new Map<number, { readonly place: Place; readonly pid: number | undefined }>()
  const elsewhere: { address: string; pid: number | undefined }[] = []
  const waiting = new Map<number, Socket>()
  const servers: Server[] = []
  const sockets = new Set<Socket>()

  function targetOf(place: Place): Target {
    const address = 'path' in place ? place.path : `${place.host}:${place.port}`
    let target = targets.get(address)
    if (target === undefined) {
      const name = names.get(address)
      const known = 'path' in place ? undefined : WELL_KNOWN[place.port]
      target = {
        address,
        name: name ?? address,
        isNamed: name !== undefined,
        protocol: known ?? 'unknown',
        mode: 'pass',
        accepted: 0,
        asked: 0,
        open: new Set(),
      }
      targets.set(address, target)
    }
    return target
  }

  function accept(client: Socket, place: Place, pid?: number): void {
    const target = targetOf(place)
    target.accepted++
    pulse.beat()
    if (target.mode === 'reset') return void reset(client)
    const connection: Connection = { client, upstream: undefined }
    target.open.add(connection)
    client.on('close', () => {
      target.open.delete(connection)
      connection.upstream?.destroy()
    })
    const go = (): void => dial(target, connection, place, pid)
    if (target.mode === 'pass') go()
    else client.once('telltale:resume', go)
  }

  function dial(target: Target, connection: Connection, place: Place, pid?: number): void {
    const { client } = connection
    if (client.destroyed) return
    const upstream = connect(place)
    connection.upstream = upstream
    sockets.add(upstream)
    let isFirst = true
    upstream.on('error', () => reset(client))
    upstream.on('close', () => {
      sockets.delete(upstream)
      client.destroy()
    })
    const recognise = (chunk: Buffer, side: 'client' | 'server'): void => {
      if (!isFirst) return
      isFirst = false
      const protocol = recogniseProtocol(chunk, side)
      if (protocol !== 'unknown' && !(protocol === 'tls' && target.protocol !== 'unknown')) {
        target.protocol = protocol
      }
      pulse.beat()
    }
    client.on('data', (chunk) => {
      if (isForTracker(chunk)) {
        elsewhere.push({ address: target.address, pid })
        return void reset(client)
      }
      recognise(chunk, 'client')
      target.asked++
      if (!upstream.write(chunk)) client.pause()
    })
    upstream.on('data', (chunk) => {
      recognise(chunk, 'server')
      if (!client.write(chunk)) upstream.pause()
    })
    upstream.on('drain', () => target.mode !== 'stall' && client.resume())
    client.on('drain', () => target.mode !== 'stall' && upstream.resume())
    client.on('end', () => upstream.end())
    upstream.on('end', () => client.end())
    client.resume()
  }

  /** Accepts connections; `place` says where they go, or the hook's announcement does. */
  function open(place?: Place): Promise<Server> {
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (client) => {
      const port = client.remotePort ?? 0
      sockets.add(client)
      client.setNoDelay(true)
      client.on('error', () => {})
      client.on('close', () => {
        sockets.delete(client)
        waiting.delete(port)
        announced.delete(port)
      })
      const told = announced.get(port)
      if (place !== undefined) accept(client, place)
      else if (told !== undefined) accept(client, told.place, told.pid)
      else waiting.set(port, client)
    })
    servers.push(server)
    return new Promise((resolve, reject) => {
      server.once('error', reject)
      server.listen(0, '127.0.0.1', () => resolve(server))
    })
  }

  const main = await open()

  return {
    port: (main.address() as AddressInfo).port,
    targets,
    elsewhere,
    announce({ pid, sourcePort, host, port, path }) {
      const place: Place =
        path !== undefined ? { path } : { host: host ?? '127.0.0.1', port: port ?? 0 }
      const client = waiting.get(sourcePort)
      if (client === undefined) return void announced.set(sourcePort, { place, pid })
      waiting.delete(sourcePort)
      accept(client, place, pid)
    },
    async lead(name, host, port) {
      names.set(`${host}:${port}`, name)
      targetOf({ host, port })
      return ((await open({ host, port })).address() as AddressInfo).port
    },
    name(address, name) {
      names.set(address, name)
      const target = targets.get(address)
      if (target !== undefined) Object.assign(target, { name, isNamed: true })
    },
    set(target, mode) {
      target.mode = mode
      for (const { client, upstream } of target.open) {
        if (mode === 'reset') reset(client)
        else if (mode === 'stall') {
          client.pause()
          upstream?.pause()
        } else {
          if (upstream === undefined) client.emit('telltale:resume')
          client.resume()
          upstream?.resume()
        }
      }
    },
    async close() {
      for (const socket of sockets) socket.destroy()
      await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
    },
  }
}

/**
 * Resets a connection. One that is being shut down is only closed: Node (20 to 24) would neither reset
 * nor close it, and the process could not end.
 */
export function reset(socket: Socket): void {
  if (socket.writableEnded) socket.destroy()
  else socket.resetAndDestroy()
}

/** A request to an endpoint of Sentry's; verify's own tracker is not reached through the proxy. */
function isForTracker(chunk: Buffer): boolean {
  // P: most of what passes here is a database's.
  if (chunk[0] !== 0x50) return false
  const head = chunk.subarray(0, 200).toString('latin1')
  return /^POST (?:\/[\w./-]*)?\/api\/\d+\/(?:envelope|store)\//.test(head)
}

/** The protocol of a connection by the first bytes that its first speaker sends. */
export function recogniseProtocol(chunk: Buffer, side: 'client' | 'server'): Protocol {
  if (side === 'server') {
    // MySQL and MariaDB greet first: packet 0, protocol version 10.
    return chunk.length > 5 && chunk[3] === 0 && chunk[4] === 10 ? 'mysql' : 'unknown'
  }
  if (chunk.length >= 8) {
    const code = chunk.readUInt32BE(4)
    // StartupMessage 3.x, SSLRequest, GSSENCRequest, CancelRequest of PostgreSQL.
    if (code >>> 16 === 3 || (code >= 80_877_102 && code <= 80_877_104)) return 'postgres'
  }
  if (chunk[0] === 0x16 && chunk[1] === 0x03) return 'tls'
  // OP_MSG and OP_QUERY of MongoDB.
  if (chunk.length >= 16 && [2013, 2004].includes(chunk.readUInt32LE(12))) return 'mongodb'
  const text = chunk.subarray(0, 16).toString('latin1')
  if (/^\*\d+\r\n|^PING\r\n|^AUTH /.test(text)) return 'redis'
  if (/^(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) \//.test(text)) return 'http'
  if (text.startsWith('AMQP')) return 'amqp'
  if (/^(?:version|stats|get |mg )/.test(text)) return 'memcached'
  return 'unknown'
}
