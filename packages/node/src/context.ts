/**
 * The context of one unit of work (a request, a job, a runWith call), carried by the process's one
 * storage. It holds strings and small values, and the response only while it is under way
 * (`answer`); it is emptied when the unit ends, because Node keeps stores reachable over idle
 * keep-alive sockets.
 */
import { createStorage, type Storage } from './storage.js'

/** The caller's fields of a log line or a bind call. */
export type Fields = Readonly<Record<string, unknown>>

/** Who is responsible for the request, in Sentry's names. */
export type User = {
  readonly id?: string | number | undefined
  readonly email?: string | undefined
  readonly username?: string | undefined
  readonly ip_address?: string | undefined
  readonly [key: string]: unknown
}

/** A step that led to an error: a log line, a query, an outgoing call, or the user's own. */
export type Breadcrumb = {
  /** Milliseconds since the epoch. */
  readonly ms: number
  readonly level: string
  readonly category: string
  readonly message: string
  /** JSON text of the data, already redacted and bounded; '' when there is none. */
  readonly data: string
}

/** A finished child span, kept until its transaction is written. */
export type FinishedSpan = {
  readonly spanId: string
  readonly parentSpanId: string
  readonly op: string
  readonly name: string
  /** Milliseconds since the epoch, fractional. */
  readonly startMs: number
  readonly endMs: number
  readonly status: 'ok' | 'error'
  readonly data: Fields | undefined
}

/** How many breadcrumbs a unit of work keeps; older ones fall out. */
export const MAX_BREADCRUMBS = 50
/** How many child spans a transaction keeps; the rest is counted. */
export const MAX_SPANS = 1000

/** What is known about errors of this unit: user, tags, contexts. Made on first use. */
export class Scope {
  user: User | undefined = undefined
  tags: Record<string, string> | undefined = undefined
  contexts: Record<string, Fields> | undefined = undefined
  extra: Record<string, unknown> | undefined = undefined
  fingerprint: readonly string[] | undefined = undefined
  level: string | undefined = undefined

  /** A copy whose changes do not reach this one. */
  fork(): Scope {
    const copy = new Scope()
    copy.user = this.user
    copy.tags = this.tags && { ...this.tags }
    copy.contexts = this.contexts && { ...this.contexts }
    copy.extra = this.extra && { ...this.extra }
    copy.fingerprint = this.fingerprint
    copy.level = this.level
    return copy
  }
}

/** One unit of work. Shared by everything that runs inside it, except span and scope (see `Context`). */
export class Unit {
  /** 'request' for HTTP, else the kind the caller gave to runWith. */
  readonly kind: string
  readonly requestId: string
  readonly traceId: string
  /** The span of the unit itself: what request_finished and the transaction carry. */
  readonly spanId: string
  /** The caller's span from traceparent or sentry-trace; '' when this unit starts the trace. */
  readonly parentSpanId: string
  /** True when this unit is traced: spans are kept and a transaction is sent. */
  readonly sampled: boolean
  /** Wall clock at the start, milliseconds since the epoch. */
  readonly startMs: number
  /** performance.now() at the start: the monotonic clock that durations are taken from. */
  readonly startTick: number
  method = ''
  /** Path without query; '' outside HTTP. */
  path = ''
  pathTruncated = false
  /** Route template, or the unit's name outside HTTP; null when nothing matched. */
  route: string | null = null
  /** A probe or a scrape: never traced or measured, and quiet when it succeeds. */
  isProbe = false
  /** The request announces a body. */
  hasBody = false
  /** Incoming id that was not accepted, for request_finished; '' when there was none. */
  rejectedId = ''
  /** Fields of bind(); replaced, never mutated. */
  fields: Fields | undefined = undefined
  /** JSON fragment of `fields` (`,"k":v`), made by the logger on demand; undefined when stale. */
  fieldsJson: string | undefined = undefined
  /** The error that ended this unit, as the framework or the adapter saw it. */
  error: unknown = undefined
  hasError = false
  /** How this unit counts for release health; an error that is captured changes it. */
  sessionStatus: 'exited' | 'errored' | 'crashed' = 'exited'
  scope: Scope | undefined = undefined
  breadcrumbs: Breadcrumb[] | undefined = undefined
  spans: FinishedSpan[] | undefined = undefined
  droppedSpans = 0
  /** Level that applies to this unit only (numeric, see log/level.ts); 0 when none. */
  level = 0
  /** Lines held back until the unit's outcome is known; owned by the logger. */
  held: string[] | undefined = undefined
  heldBytes = 0
  dbCount = 0
  dbMs = 0
  httpOutCount = 0
  httpOutMs = 0
  /** Names and values of the request's headers in turn, as received; dropped at the end. */
  rawHeaders: readonly string[] | undefined = undefined
  /** The caller's W3C baggage, handed on to outgoing requests; '' when there is none. */
  baggage = ''
  /** Raw request URL with query, for an error event (redacted there); dropped at the end. */
  url = ''
  ended = false
  /** The answer was given in full, whatever becomes of its connection. */
  isAnswered = false
  /** The answer under way, so that a shutdown can make it the last of its connection; dropped at the end. */
  answer: { shouldKeepAlive: boolean } | undefined = undefined
  /** Why the answer is being cut off, when something already knows; '' until then. */
  cutOff: 'timeout' | 'shutdown' | 'crash' | '' = ''
  /** Neighbours in the list of units in flight; owned by request/in-flight.ts. */
  next: Unit | undefined = undefined
  previous: Unit | undefined = undefined

  constructor(
    kind: string,
    requestId: string,
    traceId: string,
    spanId: string,
    parentSpanId: string,
    sampled: boolean,
    startMs: number,
    startTick: number,
  ) {
    this.kind = kind
    this.requestId = requestId
    this.traceId = traceId
    this.spanId = spanId
    this.parentSpanId = parentSpanId
    this.sampled = sampled
    this.startMs = startMs
    this.startTick = startTick
  }

  /** Request headers by lower-case name, repeated ones joined by ', '. For error events. */
  get headers(): Readonly<Record<string, string>> | undefined {
    const raw = this.rawHeaders
    if (raw === undefined) return undefined
    const headers: Record<string, string> = Object.create(null)
    for (let i = 0; i + 1 < raw.length; i += 2) {
      const name = String(raw[i]).toLowerCase()
      const value = String(raw[i + 1])
      headers[name] = name in headers ? `${headers[name]}, ${value}` : value
    }
    return headers
  }
}

/** What the storage carries: the unit, and the span and scope that are active in this branch. */
export class Context {
  readonly unit: Unit
  /** The active span; the unit's own until startSpan opens a child. */
  readonly spanId: string
  /** The scope of withScope; undefined means the unit's own. */
  readonly scope: Scope | undefined
  /** JSON fragment with the ids of this branch, made by the logger on first use; '' until then. */
  idsJson = ''

  constructor(unit: Unit, spanId: string, scope: Scope | undefined) {
    this.unit = unit
    this.spanId = spanId
    this.scope = scope
  }
}

/**
 * A value that the ESM and the CJS copy of the kit share: made by whichever asks first, kept on
 * `globalThis` under `Symbol.for('telltale.<name>.v1')`.
 */
export function processWide<T>(name: string, make: () => T): T {
  const key = Symbol.for(`telltale.${name}.v1`)
  const shared = globalThis as unknown as Record<symbol, T | undefined>
  shared[key] ??= make()
  return shared[key]
}

/** The one storage of the process. */
export const storage: Storage<Context> = processWide('context', createStorage<Context>)

/** Signal listeners of the kit's own: whoever asks whether the application listens does not count them. */
export const ownListeners: WeakSet<object> = processWide('listeners', () => new WeakSet())

/** The context of the code that runs now; undefined outside any unit of work. Never throws. */
export function currentContext(): Context | undefined {
  return storage.getStore()
}

/** The id of the current request, job or runWith call; undefined outside. */
export function currentRequestId(): string | undefined {
  return storage.getStore()?.unit.requestId
}

/** The scope that a setter such as setUser writes to; undefined outside any unit of work. */
export function writableScope(context: Context): Scope {
  if (context.scope !== undefined) return context.scope
  context.unit.scope ??= new Scope()
  return context.unit.scope
}

/** Adds a breadcrumb to a unit; the oldest falls out past MAX_BREADCRUMBS. */
export function pushBreadcrumb(unit: Unit, crumb: Breadcrumb): void {
  if (unit.breadcrumbs === undefined) unit.breadcrumbs = [crumb]
  else {
    if (unit.breadcrumbs.length >= MAX_BREADCRUMBS) unit.breadcrumbs.shift()
    unit.breadcrumbs.push(crumb)
  }
}

/** Notes the error that ends a unit. The first one wins: later ones are consequences. */
export function noteError(unit: Unit, error: unknown): void {
  if (unit.hasError || unit.ended) return
  unit.hasError = true
  unit.error = error
}

/** Empties an ended unit of everything that could hold memory; ids stay for late log lines. */
export function emptyUnit(unit: Unit): void {
  unit.ended = true
  unit.fields = undefined
  unit.fieldsJson = undefined
  unit.error = undefined
  unit.scope = undefined
  unit.breadcrumbs = undefined
  unit.spans = undefined
  unit.held = undefined
  unit.rawHeaders = undefined
  unit.baggage = ''
  unit.url = ''
  unit.answer = undefined
}
