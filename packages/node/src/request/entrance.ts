/**
 * The entrance: Node's own channels tell of every server, connection and request, so no middleware
 * has to be in the right place. `enterWith` is called here and nowhere else. One file, because every
 * way in which a request begins or ends meets in the same unit and the same record.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { IncomingMessage, Server, type ServerResponse } from 'node:http'
import type { Server as NetServer, Socket } from 'node:net'
import { Context, emptyUnit, noteError, storage, type Unit } from '../context.js'
import { guarded, reportFault } from '../faults.js'
import type { Settings } from '../options.js'
import type { RemoteParent } from '../trace/traceparent.js'
import { type Connection, whyCutOff } from './cut-off.js'
import { setRequestId } from './id-header.js'
import { createInFlight, type InFlight } from './in-flight.js'
import { createUnitMaker, pathOf } from './incoming.js'
import { createPrototypes, type Prototypes } from './prototypes.js'
import { hasPrefix } from './quiet.js'
import type { AbortReason, RequestRecord } from './record.js'
import { superviseDetached, superviseUpgrade } from './upgrade.js'

/** What Node's HTTP parser refused before there was a request. */
export type Rejection = {
  /** Node's error code, such as HPE_INVALID_METHOD. */
  readonly code: string
  /** The status Node answers by itself: 400, 408, 413 or 431. */
  readonly statusCode: number
}

/** Reads the route template a framework left on its request; undefined when it left none that answered. */
export type RouteReader = (request: IncomingMessage, statusCode: number) => string | undefined

/** What happens at the entrance is told to these; none of them may throw, and all are guarded. */
export type EntranceHooks = {
  decide(method: string, path: string, parent: RemoteParent | undefined): boolean
  started(unit: Unit): void
  finished(record: RequestRecord): void
  /** After `finished`, of a request that is traced. */
  traced(record: RequestRecord): void
  /** Asks for `settle` at the end of this turn of the event loop. */
  atTurnEnd(): void
  rejected(rejection: Rejection): void
  interrupted(unit: Unit, latencyMs: number, reason: 'shutdown' | 'crash'): void
  /** A server has closed; its last request has ended. */
  closed?(): void
  /** True when `path` belongs to the kit; such requests get no unit, no line, no metric. */
  isOwn(path: string): boolean
  /** Answers a request of the kit's own; false hands it on to the application. */
  handle(request: IncomingMessage, response: ServerResponse, path: string): boolean
  /** Sees a request of the application before it; used for the debug error route. */
  opening?(request: IncomingMessage, response: ServerResponse, context: Context): void
}

export type Entrance = {
  readonly inFlight: InFlight
  /** The HTTP servers of this process that listen or have connections. */
  servers(): Iterable<NetServer>
  /** Subscribes; until then nothing is seen and nothing costs. */
  open(): void
  /** From now on answers carry `Connection: close`. */
  drain(): void
  /** Hands over the records that wait for the end of this turn. Never throws. */
  settle(): void
  /** Ends every unit in flight with a request_interrupted; they write no request_finished. */
  interrupt(reason: 'shutdown' | 'crash'): void
  /** Leaves a server of the kit's own alone. */
  ignore(server: NetServer): void
  addRouteReader(reader: RouteReader): void
  close(): void
}

const kContext: unique symbol = Symbol.for('telltale.response.context') as never
const kWrap: unique symbol = Symbol('telltale.emit') as never
/** HTTP/2 ends by sessions: `close` lets their streams finish and refuses new ones. */
type Session = { close(): void; once(event: 'close', listener: () => void): unknown }
type Marked = ServerResponse & {
  [kContext]?: Context | undefined
  readonly stream?: Connection & { readonly session?: Session }
}
type Wrap = {
  readonly original: NetServer['emit']
  readonly ours: NetServer['emit']
  readonly prototypes: Prototypes | undefined
}
type Wrapped = NetServer & { [kWrap]?: Wrap | undefined }
type StartMessage = {
  readonly request: IncomingMessage
  readonly response: Marked
  readonly socket: Socket & { _httpMessage?: ServerResponse | null }
  readonly server: NetServer
}

/** The context of the request that `response` answers; undefined when the kit does not watch it. */
export function contextOfResponse(response: ServerResponse): Context | undefined {
  return (response as Marked)[kContext]
}

/** Records that wait for the end of a turn; a client that pipelines could end thousands in one. */
const MAX_WAITING = 256

const REJECTED_STATUS: Readonly<Record<string, number>> = {
  HPE_HEADER_OVERFLOW: 431,
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 413,
  ERR_HTTP_REQUEST_TIMEOUT: 408,
}

export function createEntrance(settings: Settings['request'], hooks: EntranceHooks): Entrance {
  const inFlight = createInFlight()
  const servers = new Set<Wrapped>()
  const sessions = new Set<Session>()
  const readers: RouteReader[] = []
  const ignored = new WeakSet<NetServer>()
  const quietPaths = settings.quietPaths
  const makeUnit = createUnitMaker(settings, hooks.decide)
  const waiting: RequestRecord[] = []
  let waitingCount = 0
  let isSettling = false
  let isDraining = false
  let isOpen = false

  function begin(request: IncomingMessage, path: string): Context {
    const unit = makeUnit(request, path)
    inFlight.add(unit)
    hooks.started(unit)
    return new Context(unit, unit.spanId, undefined)
  }

  function watch(request: IncomingMessage, response: Marked, context: Context): void {
    response[kContext] = context
    setRequestId(response, context.unit.requestId)
    // A closure: a framework that changes the prototype makes each reading of a property a slow one.
    response.on('close', () => onResponseClose(request, response, context))
    if (isDraining) response.shouldKeepAlive = false
    else context.unit.answer = response
    hooks.opening?.(request, response, context)
  }

  function onRequestStart(message: unknown): void {
    try {
      const { request, response, socket, server } = message as StartMessage
      if ((server as Wrapped)[kWrap] === undefined) {
        if (ignored.has(server)) return
        wrap(server)
      }
      const path = pathOf(request.url ?? '/')
      if (hooks.isOwn(path)) return
      const context = begin(request, path)
      watch(request, response, context)
      response.detachSocket = (given: Socket) => onDetach(request, response, context, given)
      // A pipelined response has no socket yet, so Node tells only its request when the client leaves.
      if (socket._httpMessage) {
        request.on('close', () => onPipelinedClose(request, response, context))
      }
      if (LOSES_BODY_CONTEXT && context.unit.hasBody) keepContext(request, context)
      storage.enterWith(context)
    } catch (error) {
      reportFault('TELLTALE_E_INTERNAL', error)
    }
  }

  function onPipelinedClose(request: IncomingMessage, response: Marked, context: Context): void {
    if (response.socket === null && !response.writableFinished && request.destroyed) {
      onResponseClose(request, response, context)
    }
  }

  // Never reads the storage: on a client's abort it is empty here.
  function onResponseClose(request: IncomingMessage, response: Marked, context: Context): void {
    try {
      const { unit } = context
      if (unit.ended) return
      if (unit.isAnswered || isWhole(response)) finish(context, response.statusCode, '', request)
      else {
        const connection = response.stream ?? response.socket
        cutOff(response, connection, context, response.headersSent ? response.statusCode : 0)
      }
    } catch (error) {
      reportFault('TELLTALE_E_INTERNAL', error)
    }
  }

  /** Node forgets a response that gave its socket away; only the socket still tells of its end. */
  function onDetach(
    request: IncomingMessage,
    response: Marked,
    context: Context,
    socket: Socket,
  ): void {
    Object.getPrototypeOf(response).detachSocket.call(response, socket)
    // Node's own call, when an answer is out.
    if (response.writableEnded) {
      context.unit.isAnswered = true
      return
    }
    guarded(() => {
      if (context.unit.ended) return
      const status = response.headersSent ? response.statusCode : 0
      superviseDetached(socket, status, (statusCode, isWhole) => {
        guarded(() => {
          if (context.unit.ended) return
          if (isWhole) finish(context, statusCode, '', request)
          else cutOff(response, socket, context, statusCode)
        })
      })
    })
  }

  /** Ends a request whose answer is not whole; `statusCode` is 0 when nothing of it was sent. */
  function cutOff(
    response: Marked,
    connection: Connection | null,
    context: Context,
    statusCode: number,
  ): void {
    const reason = whyCutOff(response, connection, context.unit)
    finish(context, statusCode || (reason === 'error' ? 500 : 499), reason, response.req)
  }

  function finish(
    context: Context,
    statusCode: number,
    reason: AbortReason | '',
    request: IncomingMessage | undefined,
    upgraded = false,
  ): void {
    const unit = context.unit
    if (unit.ended) return
    const latencyMs = latencyOf(unit)
    inFlight.remove(unit)
    if (unit.route === null && request !== undefined) {
      for (const read of readers) {
        const route = read(request, statusCode)
        if (route !== undefined) {
          unit.route = route
          break
        }
      }
    }
    const record: RequestRecord = {
      context,
      unit,
      method: unit.method,
      path: unit.path,
      route: unit.route,
      statusCode,
      aborted: reason !== '',
      reason,
      latencyMs,
      quiet: unit.isProbe || hasPrefix(unit.path, quietPaths),
      upgraded,
    }
    if (statusCode < 500 && reason === '' && !unit.hasError && !upgraded) {
      unit.ended = true
      // Not at the turn's end only: what a turn answered would live through a collection.
      unit.answer = undefined
      waiting[waitingCount++] = record
      if (waitingCount === 1) hooks.atTurnEnd()
      else if (waitingCount === MAX_WAITING) settle()
      return
    }
    settle()
    hooks.finished(record)
    if (unit.sampled) hooks.traced(record)
    if (upgraded) unit.ended = true
    else emptyUnit(unit)
  }

  /**
   * What ended well in a turn is told together at its end, and what is traced after that: code that
   * runs in a row costs a quarter of code that finds the caches full of other work, and no answer
   * waits for it.
   */
  function settle(): void {
    if (waitingCount === 0 || isSettling) return
    isSettling = true
    storage.run(undefined as never, tellWaiting)
    isSettling = false
  }

  function tellWaiting(): void {
    let told = 0
    // Again, should a tracker of the application's have ended a request meanwhile.
    for (let i = 0; i < waitingCount; i++) {
      for (; told < waitingCount; told++) tell(hooks.finished, waiting[told] as RequestRecord)
      const record = waiting[i] as RequestRecord
      waiting[i] = undefined as never
      if (record.unit.sampled) tell(hooks.traced, record)
      emptyUnit(record.unit)
      // Its pieces would live through collections for as long as the connection idles.
      record.context.idsJson = ''
    }
    waitingCount = 0
  }

  function tell(hook: (record: RequestRecord) => void, record: RequestRecord): void {
    try {
      hook(record)
    } catch (error) {
      reportFault('TELLTALE_E_INTERNAL', error)
    }
  }

  function onUpgrade(request: IncomingMessage, socket: Socket): Context | undefined {
    try {
      const context = begin(request, pathOf(request.url ?? '/'))
      superviseUpgrade(socket, context, (statusCode, reason, isOpen) => {
        finish(context, statusCode, reason, request, isOpen)
      })
      return context
    } catch (error) {
      reportFault('TELLTALE_E_INTERNAL', error)
      return undefined
    }
  }

  function onClientError(error: unknown, socket: Socket & { _httpMessage?: Marked | null }): void {
    const code = String((error as { code?: unknown } | null)?.code ?? '')
    const context = socket._httpMessage?.[kContext]
    if (context !== undefined && !context.unit.ended) {
      // The request in flight on this socket gets its own line when its response closes.
      if (code === 'ERR_HTTP_REQUEST_TIMEOUT') context.unit.cutOff = 'timeout'
      if (socket._httpMessage?.writableEnded !== true) return
      // Answered already: what follows it on the wire is what the parser refused.
      context.unit.isAnswered = true
    }
    // A client that leaves within a message was refused nothing.
    if (code === 'HPE_INVALID_EOF_STATE') return
    if (!code.startsWith('HPE_') && code !== 'ERR_HTTP_REQUEST_TIMEOUT') return
    hooks.rejected({ code, statusCode: REJECTED_STATUS[code] ?? 400 })
  }

  function onTimeout(socket: Socket & { _httpMessage?: Marked | null }): void {
    const context = socket?._httpMessage?.[kContext]
    if (context !== undefined) context.unit.cutOff = 'timeout'
  }

  /** Overrides `emit` of one server, so that probes are answered before the application. */
  function wrap(server: NetServer): void {
    const wrapped = server as Wrapped
    if (wrapped[kWrap] !== undefined) return
    const original = wrapped.emit
    const emit = original as (...args: unknown[]) => boolean
    const prototypes = createPrototypes(server)
    servers.add(wrapped)
    const ours = function (this: NetServer, event: string, ...args: unknown[]): boolean {
      if (event === 'request') {
        const request = args[0] as IncomingMessage
        const response = args[1] as Marked
        if (response[kContext] === undefined) {
          const context = isOpen ? admit(request, response) : undefined
          if (context === null) return true
          if (context !== undefined) {
            return storage.run(context, () => emit.call(this, event, request, response))
          }
        }
        prototypes?.before(event, request, response)
        const isHeard = emit.call(this, event, request, response)
        prototypes?.after(request, response)
        return isHeard
      }
      if (args[0] instanceof IncomingMessage) {
        prototypes?.before(event, args[0], args[1] as object)
      }
      if (!isOpen) return Reflect.apply(emit, this, [event, ...args])
      if (event === 'upgrade' || event === 'connect') {
        const context = onUpgrade(args[0] as IncomingMessage, args[1] as Socket)
        if (context !== undefined) {
          return storage.run(context, () => Reflect.apply(emit, this, [event, ...args]))
        }
      } else if (event === 'session') keepSession(args[0] as Session)
      else if (event === 'clientError') {
        guarded(() => onClientError(args[0], args[1] as Socket))
      } else if (event === 'timeout') guarded(() => onTimeout(args[0] as Socket))
      else if (event === 'close') {
        unwrap(wrapped)
        guarded(() => hooks.closed?.())
      }
      return Reflect.apply(emit, this, [event, ...args])
    } as NetServer['emit']
    wrapped.emit = ours
    wrapped[kWrap] = { original, ours, prototypes }
  }

  /** Gives a server its own emit back; when somebody wrapped ours, it stays and only hands on. */
  function unwrap(server: Wrapped): void {
    servers.delete(server)
    const wrap = server[kWrap]
    wrap?.prototypes?.undo()
    if (wrap === undefined || server.emit !== wrap.ours) return
    server.emit = wrap.original
    server[kWrap] = undefined
  }

  /**
   * Null: answered by the kit. A context: what the request channel does not tell of, HTTP/2 and
   * requests that something else emitted, and requests to the kit's paths that it does not answer.
   */
  function admit(request: IncomingMessage, response: Marked): Context | null | undefined {
    try {
      const path = pathOf(request.url ?? '/')
      if (hooks.isOwn(path) && hooks.handle(request, response, path)) return null
      const context = begin(request, path)
      watch(request, response, context)
      const session = response.stream?.session
      if (session !== undefined) keepSession(session)
      if (isDraining) session?.close()
      return context
    } catch (error) {
      reportFault('TELLTALE_E_INTERNAL', error)
      return undefined
    }
  }

  function keepSession(session: Session): void {
    if (sessions.has(session)) return
    sessions.add(session)
    session.once('close', () => sessions.delete(session))
  }

  function onServer(server: NetServer | undefined): void {
    if (server === undefined || (server as Wrapped)[kWrap] !== undefined) return
    if (ignored.has(server)) return
    if (server instanceof Server || server.listenerCount('request') > 0) wrap(server)
  }

  const onSocket = (message: unknown): void =>
    guarded(() => onServer((message as { socket: Socket & { server?: NetServer } }).socket.server))
  const onListen = (message: unknown): void =>
    guarded(() => onServer((message as { server?: NetServer }).server))

  const channels: readonly (readonly [string, (message: unknown) => void])[] = [
    ['http.server.request.start', onRequestStart],
    ['net.server.socket', onSocket],
    ['tracing:net.server.listen:asyncStart', onListen],
    ['tracing:net.server.listen:asyncEnd', onListen],
  ]

  return {
    inFlight,
    servers: () => servers,
    open() {
      isOpen = true
      for (const [name, listener] of channels) subscribe(name, listener)
    },
    drain() {
      isDraining = true
      inFlight.each((unit) => {
        if (unit.answer !== undefined) unit.answer.shouldKeepAlive = false
      })
      for (const session of sessions) guarded(() => session.close())
    },
    settle,
    interrupt(reason) {
      settle()
      inFlight.each((unit) => {
        inFlight.remove(unit)
        const latencyMs = latencyOf(unit)
        guarded(() => hooks.interrupted(unit, latencyMs, reason))
        emptyUnit(unit)
      })
    },
    ignore(server) {
      ignored.add(server)
    },
    addRouteReader(reader) {
      if (!readers.includes(reader)) readers.push(reader)
    },
    close() {
      settle()
      for (const [name, listener] of channels) unsubscribe(name, listener)
      isOpen = false
      for (const server of [...servers]) unwrap(server)
      sessions.clear()
    },
  }
}

/**
 * From Node 24 on (AsyncContextFrame) the events of a body that arrives in later packets run in the
 * socket's context, so that everything behind a body parser would lose its request. Node 22 and
 * older keep it by themselves.
 */
const LOSES_BODY_CONTEXT = Number.parseInt(process.versions.node, 10) >= 24

/** Runs the listeners of one request in its context. */
function keepContext(request: IncomingMessage, context: Context): void {
  const emit = request.emit
  request.emit = function (this: IncomingMessage, ...args: unknown[]): boolean {
    return storage.run(context, () => Reflect.apply(emit, this, args) as boolean)
  } as IncomingMessage['emit']
}

/** True when all of an answer went out. */
function isWhole(response: Marked): boolean {
  if (!response.writableFinished) return false
  // HTTP/2 finishes the writable side of a stream that was reset as well.
  const { stream } = response
  return stream === undefined || (response.writableEnded && stream.rstCode === 0)
}

/** Milliseconds since the unit began, by the monotonic clock, to three decimals. */
function latencyOf(unit: Unit): number {
  return Math.round((performance.now() - unit.startTick) * 1000) / 1000
}

/** Notes what an adapter knows about the error of the current request. Never throws. */
export function noteRequestError(response: ServerResponse, error: unknown): void {
  const context = contextOfResponse(response)
  if (context !== undefined) noteError(context.unit, error)
}
