/** Log records in the field names that services use: the kit's, pino's, structlog's, ECS, OpenTelemetry, GCP, Datadog. */
import type { Json } from './tracker.js'

export type LogRecord = {
  readonly at: number
  readonly text: string
  readonly raw: Json
  readonly timestamp: unknown
  readonly level: string | number | undefined
  readonly message: string | undefined
  readonly service: string | undefined
  readonly requestId: string | undefined
  readonly method: string | undefined
  readonly path: string | undefined
  readonly route: string | undefined
  readonly status: number | undefined
  readonly latency: Latency | undefined
  readonly isAborted: boolean
  readonly eventId: string | undefined
  /** True for the one line that tells how a request ended. */
  readonly isFinished: boolean
}

export type Unit = 's' | 'ms' | 'us' | 'ns'
export type Latency = {
  readonly field: string
  readonly value: number
  /** What the name or the text says; undefined when neither does. */
  readonly unit: Unit | undefined
}

/** Names by meaning, the first that is there counts. A dot is a step into an object, or part of the name. */
export const DIALECT = {
  timestamp: ['timestamp', '@timestamp', 'time', 'ts', 'asctime', 'datetime'],
  level: ['level', 'severity', 'log.level', 'levelname', 'lvl', 'severity_text', 'severityText'],
  message: ['event', 'message', 'msg', 'body'],
  service: ['service.name', 'service', 'serviceName', 'service_name', 'app', 'name', 'logger_name'],
  requestId: [
    'request_id',
    'requestId',
    'req.id',
    'reqId',
    'req_id',
    'correlation_id',
    'correlationId',
    'http.request.id',
    'trace_id',
    'traceId',
    'trace.id',
  ],
  method: [
    'method',
    'http.method',
    'http.request.method',
    'req.method',
    'request.method',
    'httpRequest.requestMethod',
  ],
  path: [
    'path',
    'url.path',
    'url',
    'req.url',
    'http.target',
    'http.url',
    'request.url',
    'request.path',
    'httpRequest.requestUrl',
  ],
  route: ['route', 'http.route', 'req.route', 'endpoint'],
  status: [
    'status_code',
    'statusCode',
    'status',
    'res.statusCode',
    'response.statusCode',
    'http.status_code',
    'http.response.status_code',
    'httpRequest.status',
  ],
  latency: [
    'latency_ms',
    'latencyMs',
    'duration_ms',
    'durationMs',
    'responseTime',
    'response_time_ms',
    'elapsed_ms',
    'elapsedMs',
    'event.duration',
    'http.server.request.duration',
    'duration_seconds',
    'duration_s',
    'duration',
    'latency',
    'response_time',
    'elapsed',
    'httpRequest.latency',
    'took',
  ],
  aborted: ['aborted', 'is_aborted', 'client_aborted'],
  eventId: ['event_id', 'eventId', 'sentry_event_id', 'sentry.event_id'],
} as const

/** Reads a record; fields that are not there stay undefined. Never throws. */
export function readRecord(raw: Json, at: number, text: string): LogRecord {
  const requestIds = DIALECT.requestId.map((name) => field(raw, name)).find(isId)
  const status = Number(first(raw, DIALECT.status) ?? Number.NaN)
  const latency = readLatency(raw)
  const message = text0(first(raw, DIALECT.message))
  const hasStatus = Number.isInteger(status) && status >= 100 && status <= 599
  return {
    at,
    text,
    raw,
    timestamp: first(raw, DIALECT.timestamp),
    level: first(raw, DIALECT.level) as string | number | undefined,
    message: message ?? text0(field(raw, 'message')),
    service: text0(first(raw, DIALECT.service)),
    requestId: requestIds === undefined ? undefined : String(requestIds),
    method: text0(first(raw, DIALECT.method)),
    path: text0(first(raw, DIALECT.path)),
    route: text0(first(raw, DIALECT.route)),
    status: hasStatus ? status : undefined,
    latency,
    isAborted: first(raw, DIALECT.aborted) === true,
    eventId: text0(first(raw, DIALECT.eventId)),
    isFinished: hasStatus && latency !== undefined,
  }
}

/** A value by a dotted name: as one key, or as steps into objects. */
export function field(raw: Json, name: string): unknown {
  if (Object.hasOwn(raw, name)) return raw[name]
  const dot = name.indexOf('.')
  if (dot === -1) return undefined
  const inner = raw[name.slice(0, dot)]
  return typeof inner === 'object' && inner !== null
    ? field(inner as Json, name.slice(dot + 1))
    : undefined
}

function first(raw: Json, names: readonly string[]): unknown {
  for (const name of names) {
    const value = field(raw, name)
    if (value !== undefined && value !== null && (typeof value !== 'object' || name === 'name')) {
      return value
    }
  }
  return undefined
}

const isId = (value: unknown): boolean =>
  (typeof value === 'string' && value !== '') || typeof value === 'number'

function text0(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

const UNITS: readonly (readonly [RegExp, Unit])[] = [
  [/^responseTime$/, 'ms'],
  [/^event\.duration$/, 'ns'],
  [/^http\.server\.request\.duration$/, 's'],
  [/(?:_ms|Ms|millis|milliseconds)$/, 'ms'],
  [/(?:_us|Us|micros|microseconds)$/, 'us'],
  [/(?:_ns|Ns|nanos|nanoseconds)$/, 'ns'],
  [/(?:_s|_secs?|_seconds|Seconds|Secs?)$/, 's'],
]

function readLatency(raw: Json): Latency | undefined {
  for (const name of DIALECT.latency) {
    const value = field(raw, name)
    if (typeof value === 'number' && Number.isFinite(value)) {
      return { field: name, value, unit: UNITS.find(([pattern]) => pattern.test(name))?.[1] }
    }
    if (typeof value !== 'string') continue
    const match = /^(\d+(?:\.\d+)?)\s*(s|ms|us|µs|ns)?$/.exec(value.trim())
    if (match === null) continue
    const unit = match[2] === 'µs' ? 'us' : (match[2] as Unit | undefined)
    return { field: name, value: Number(match[1]), unit }
  }
  return undefined
}

const IN_MS: Readonly<Record<Unit, number>> = { s: 1000, ms: 1, us: 1e-3, ns: 1e-6 }

/** A latency in milliseconds, in the unit it says or in `assumed`. */
export function latencyMs(latency: Latency, assumed: Unit = 'ms'): number {
  return latency.value * IN_MS[latency.unit ?? assumed]
}

/** The unit in which `latency` is nearest to `actualMs`; what a name without a unit must mean. */
export function detectUnit(latency: Latency, actualMs: number): Unit {
  if (latency.unit !== undefined) return latency.unit
  const off = (unit: Unit): number =>
    Math.abs(Math.log(Math.max(latency.value * IN_MS[unit], 1e-9) / actualMs))
  return (Object.keys(IN_MS) as Unit[]).reduce((best, unit) =>
    off(unit) < off(best) ? unit : best,
  )
}

const LEVELS = new Set(
  'trace debug verbose info information notice warn warning error err critical alert fatal emergency silly default'.split(
    ' ',
  ),
)

/** True for the level names in use, and for pino's and OpenTelemetry's numbers. */
export function isLevel(value: unknown): boolean {
  if (typeof value === 'number') return value >= 1 && value <= 60
  return typeof value === 'string' && LEVELS.has(value.toLowerCase())
}

/** True from error on. */
export function isFatalLevel(value: unknown): boolean {
  if (typeof value === 'number') return value >= 60 || (value >= 21 && value <= 24)
  return /^(?:fatal|critical|emergency|alert)$/i.test(String(value))
}

export function isErrorLevel(value: unknown): boolean {
  if (isFatalLevel(value)) return true
  if (typeof value === 'number') return value >= 50 || (value >= 17 && value <= 24)
  return /^(?:error|err)$/i.test(String(value))
}

/** Epoch milliseconds of a timestamp; NaN when it names no instant: a text needs a zone. */
export function instantOf(value: unknown): number {
  if (typeof value === 'number') {
    if (value > 1e17) return value / 1e6
    if (value > 1e14) return value / 1e3
    return value > 1e11 ? value : value * 1000
  }
  if (typeof value !== 'string') return Number.NaN
  return /(?:Z|[+-]\d{2}:?\d{2})$/i.test(value) ? Date.parse(value) : Number.NaN
}
