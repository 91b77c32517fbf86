/**
 * Loaded into every Node process of the service through NODE_OPTIONS. It tells verify which ports are
 * listened on and which connections are opened, and leads these to verify's proxy, however the
 * service came by the address. It never throws into the service and keeps no process alive.
 */
import cluster from 'node:cluster'
import fs from 'node:fs'
import net from 'node:net'

const CHANNEL = process.env.TELLTALE_VERIFY_CHANNEL
const PROXY_PORT = Number(process.env.TELLTALE_VERIFY_PROXY)
/** Ports of verify's own, which are reached directly. */
const OWN = new Set(
  [PROXY_PORT, ...(process.env.TELLTALE_VERIFY_OWN ?? '').split(',').map(Number)].filter(Boolean),
)
/** Unix sockets that are a database or a cache; others are the service's own affair. */
const DEPENDENCY_SOCKET = /\.s\.PGSQL\.\d+$|(?:mysql|maria|redis|valkey|mongo|memcache)[^/]*$/i
/** Where error trackers live, and where the project's own DSNs lead; nothing of a verification may reach them. */
const TRACKER_HOST = /(?:^|\.)(?:sentry\.io|rollbar\.com|bugsnag\.com|honeybadger\.io)$/i
const TRACKERS = new Set((process.env.TELLTALE_VERIFY_TRACKERS ?? '').split(',').filter(Boolean))
const MAX_STDERR_REPORTS = 500

type ConnectOptions = { host?: string; port?: number | string; path?: string }

if (CHANNEL && PROXY_PORT > 0 && !(globalThis as Marked)[Symbol.for('telltale.verify')]) {
  ;(globalThis as Marked)[Symbol.for('telltale.verify')] = true
  install(CHANNEL)
}

type Marked = { [key: symbol]: unknown }

function install(path: string): void {
  const connect = net.Socket.prototype.connect
  const channel = new net.Socket()
  channel.on('error', () => {})
  connect.call(channel, { path } as never)
  channel.unref()

  function report(message: object): void {
    try {
      channel.write(`${JSON.stringify({ pid: process.pid, ppid: process.ppid, ...message })}\n`)
    } catch {
      // verify is gone
    }
  }

  report({
    type: 'hello',
    node: process.version,
    script: process.argv[1] ?? '',
    isWorker: cluster.isWorker,
  })

  // The channel cannot be flushed any more at this point; a file can.
  process.on('exit', (code) => {
    try {
      fs.writeFileSync(`${path}.${process.pid}`, String(code))
    } catch {
      // verify is gone
    }
  })

  net.Socket.prototype.connect = function (this: net.Socket, ...args: unknown[]) {
    try {
      const target = readTarget(args)
      if (target !== undefined) {
        if (target.host !== undefined && isTracker(target.host)) {
          report({ type: 'refused', host: target.host, port: target.port })
          target.replace({ port: 1 })
        } else {
          this.prependOnceListener('connect', () => {
            const { host, port, path } = target
            report({ type: 'connect', sourcePort: this.localPort, host, port, path })
          })
          target.replace({ port: PROXY_PORT })
        }
      }
    } catch {
      // an address we do not understand is left alone
    }
    return Reflect.apply(connect, this, args)
  } as typeof connect

  const listen = net.Server.prototype.listen
  net.Server.prototype.listen = function (this: net.Server, ...args: unknown[]) {
    this.once('listening', () => {
      const address = this.address()
      if (address === null || typeof address === 'string') return
      report({
        type: 'listen',
        port: address.port,
        host: address.address,
        isHttp: this.listenerCount('request') > 0,
        isTls: 'setSecureContext' in this,
        // The primary of a cluster is who is signalled.
        listener: cluster.isWorker ? process.ppid : process.pid,
      })
    })
    return Reflect.apply(listen, this, args)
  } as typeof listen

  const write = process.stderr.write
  let reports = 0
  process.stderr.write = function (this: NodeJS.WriteStream, ...args: unknown[]) {
    if (reports++ < MAX_STDERR_REPORTS) {
      report({ type: 'stderr', text: String(args[0]).slice(0, 2000) })
    }
    return Reflect.apply(write, this, args)
  } as typeof write
}

const isTracker = (host: string): boolean => TRACKER_HOST.test(host) || TRACKERS.has(host)

type Target = ConnectOptions & { replace(to: { port: number }): void }

/** Where a connect call goes to, when it is to be led elsewhere; its arguments are changed in place. */
function readTarget(args: unknown[]): Target | undefined {
  const normalized = Array.isArray(args[0]) ? (args[0] as unknown[]) : args
  const first = normalized[0]
  let options: ConnectOptions
  if (typeof first === 'object' && first !== null) options = first as ConnectOptions
  else if (typeof first === 'string' && Number.isNaN(Number(first))) options = { path: first }
  else {
    const host = normalized[1]
    options = { port: first as number, ...(typeof host === 'string' && { host }) }
  }
  const replace = (to: { port: number }): void => {
    const next: Record<string, unknown> = { ...options, host: '127.0.0.1', port: to.port }
    for (const key of ['path', 'lookup', 'localAddress', 'family']) delete next[key]
    normalized[0] = next
    // connect(port, host, listener): the host is in the options now.
    if (typeof normalized[1] === 'string') normalized.splice(1, 1)
  }
  if (options.path) {
    return DEPENDENCY_SOCKET.test(options.path) ? { path: options.path, replace } : undefined
  }
  const port = Number(options.port)
  if (!(port > 0) || OWN.has(port)) return undefined
  return { host: options.host ?? '127.0.0.1', port, replace }
}
