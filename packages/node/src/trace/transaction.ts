/**
 * The trace of one unit in Sentry's two wire forms: a `transaction` event, or span v2 items
 * (develop.sentry.dev, "Transactions" and "Span Protocol"). Written as text from cached fragments,
 * because one in five requests passes here.
 */
import type { FinishedSpan, Unit } from '../context.js'
import type { Settings } from '../options.js'
import { newTraceId } from './ids.js'

/** What ended: the numbers of the request record, or of a unit outside HTTP. */
export type Outcome = {
  /** `GET /users/:id`, or the unit's name. */
  readonly name: string
  readonly op: string
  readonly latencyMs: number
  /** 0 outside HTTP. */
  readonly statusCode: number
  readonly failed: boolean
}

export type TransactionWriter = {
  /** The transaction event as JSON text. */
  transaction(unit: Unit, outcome: Outcome): string
  /** The unit's spans as span v2, the segment last, each as JSON text. */
  spans(unit: Unit, outcome: Outcome): string[]
}

/** What the transactions of one name have in common: the text before the start and that after the span's id. */
type Shape = {
  readonly method: string
  readonly route: string | null
  readonly op: string
  readonly statusCode: number
  readonly failed: boolean
  readonly opening: string
  readonly trace: string
}
const MAX_SHAPES = 512

/** Sentry's span status for an HTTP status (gRPC's vocabulary); '' when it says nothing. */
function spanStatus(code: number, failed: boolean): string {
  if (code === 0) return failed ? 'internal_error' : 'ok'
  if (code < 400) return 'ok'
  switch (code) {
    case 401:
      return 'unauthenticated'
    case 403:
      return 'permission_denied'
    case 404:
      return 'not_found'
    case 409:
      return 'already_exists'
    case 429:
      return 'resource_exhausted'
    case 499:
      return 'cancelled'
    case 501:
      return 'unimplemented'
    case 503:
      return 'unavailable'
    case 504:
      return 'deadline_exceeded'
  }
  return code < 500 ? 'invalid_argument' : 'internal_error'
}

/** Seconds since the epoch with microseconds, as Sentry wants its timestamps. */
function seconds(ms: number): string {
  const micros = Math.round(ms * 1000)
  const whole = Math.floor(micros / 1e6)
  return `${whole}.${String(micros - whole * 1e6 + 1e6).slice(1)}`
}

/** `encode` turns any value into bounded, redacted JSON text; it never throws. */
export function createTransactionWriter(
  settings: Settings,
  sdkVersion: string,
  encode: (value: unknown) => string,
): TransactionWriter {
  const common =
    `"platform":"node","environment":${encode(settings.environment)}` +
    (settings.release === undefined ? '' : `,"release":${encode(settings.release)}`) +
    (settings.errors.serverName === undefined
      ? ''
      : `,"server_name":${encode(settings.errors.serverName)}`) +
    `,"sdk":{"name":"telltale.node","version":${encode(sdkVersion)}}`
  const tagged = '}},"tags":{"request_id":'
  const taggedHttp = `}${tagged}`
  const serviceTag = `,"service":${encode(settings.service)}}`
  const shapes = new Map<string, Shape>()
  function shapeOf({ method, route }: Unit, { name, op, statusCode, failed }: Outcome): Shape {
    const known = shapes.get(name)
    if (
      known !== undefined &&
      known.statusCode === statusCode &&
      known.route === route &&
      known.method === method &&
      known.op === op &&
      known.failed === failed
    )
      return known
    const http =
      statusCode === 0
        ? ''
        : `,"data":{"http.request.method":${encode(method)},"http.response.status_code":${statusCode}${route === null ? '' : `,"http.route":${encode(route)}`},"url.path":`
    const shape: Shape = {
      method,
      route,
      op,
      statusCode,
      failed,
      opening:
        `","type":"transaction",${common},"transaction":${encode(name)}` +
        `,"transaction_info":{"source":"${route === null ? 'url' : 'route'}"},"start_timestamp":`,
      trace: `","op":${encode(op)},"status":"${spanStatus(statusCode, failed)}","origin":"auto.telltale"${http}`,
    }
    if (shapes.size >= MAX_SHAPES) shapes.clear()
    shapes.set(name, shape)
    return shape
  }

  function child(unit: Unit, span: FinishedSpan): string {
    return (
      `{"span_id":"${span.spanId}","parent_span_id":"${span.parentSpanId}","trace_id":"${unit.traceId}"` +
      `,"op":${encode(span.op)},"description":${encode(span.name)}` +
      `,"start_timestamp":${seconds(span.startMs)},"timestamp":${seconds(span.endMs)}` +
      `,"status":"${span.status === 'ok' ? 'ok' : 'internal_error'}","origin":"auto.telltale"` +
      (span.data === undefined ? '}' : `,"data":${encode(span.data)}}`)
    )
  }

  function attribute(value: unknown): string {
    if (typeof value === 'number' && Number.isFinite(value)) {
      return `{"value":${value},"type":"${Number.isInteger(value) ? 'integer' : 'double'}"}`
    }
    if (typeof value === 'boolean') return `{"value":${value},"type":"boolean"}`
    const text = encode(value)
    return `{"value":${text.startsWith('"') ? text : encode(text)},"type":"string"}`
  }

  function attributes(values: Readonly<Record<string, unknown>>): string {
    return Object.entries(values)
      .map(([key, value]) => `${encode(key)}:${attribute(value)}`)
      .join(',')
  }

  const shared = attributes({
    'sentry.environment': settings.environment,
    ...(settings.release === undefined ? {} : { 'sentry.release': settings.release }),
    'service.name': settings.service,
    'sentry.sdk.name': 'telltale.node',
    'sentry.sdk.version': sdkVersion,
  })

  return {
    transaction(unit, outcome) {
      const { opening, trace } = shapeOf(unit, outcome)
      const spans =
        unit.spans === undefined ? '' : unit.spans.map((span) => child(unit, span)).join(',')
      const parent = unit.parentSpanId === '' ? '' : `","parent_span_id":"${unit.parentSpanId}`
      // A request's id was checked at the entrance.
      const requestId = unit.method === '' ? JSON.stringify(unit.requestId) : `"${unit.requestId}"`
      const user = unit.scope?.user
      return (
        `{"event_id":"${newTraceId()}${opening}${seconds(unit.startMs)},"timestamp":${seconds(unit.startMs + outcome.latencyMs)}` +
        `,"contexts":{"trace":{"trace_id":"${unit.traceId}","span_id":"${unit.spanId}${parent}${trace}` +
        (outcome.statusCode === 0 ? tagged : encode(unit.path) + taggedHttp) +
        requestId +
        serviceTag +
        (user === undefined ? '' : `,"user":${encode(user)}`) +
        (spans === '' ? ',"spans":[]}' : `,"spans":[${spans}]}`)
      )
    },
    spans(unit, outcome) {
      const segment = `"sentry.segment.name":${attribute(outcome.name)},"sentry.segment.id":${attribute(unit.spanId)}`
      const items = (unit.spans ?? []).map(
        (span) =>
          `{"trace_id":"${unit.traceId}","span_id":"${span.spanId}","parent_span_id":"${span.parentSpanId}"` +
          `,"name":${encode(span.name)},"start_timestamp":${seconds(span.startMs)},"end_timestamp":${seconds(span.endMs)}` +
          `,"is_segment":false,"status":"${span.status}","attributes":{"sentry.op":${attribute(span.op)},${shared},${segment}` +
          (span.data === undefined ? '}}' : `,${attributes(span.data)}}}`),
      )
      const isError = outcome.failed || outcome.statusCode >= 500
      items.push(
        `{"trace_id":"${unit.traceId}","span_id":"${unit.spanId}"` +
          (unit.parentSpanId === '' ? '' : `,"parent_span_id":"${unit.parentSpanId}"`) +
          `,"name":${encode(outcome.name)},"start_timestamp":${seconds(unit.startMs)},"end_timestamp":${seconds(unit.startMs + outcome.latencyMs)}` +
          `,"is_segment":true,"status":"${isError ? 'error' : 'ok'}","attributes":{"sentry.op":${attribute(outcome.op)}` +
          `,"sentry.span.source":${attribute(unit.route === null ? 'url' : 'route')},"request_id":${attribute(unit.requestId)},${shared},${segment}` +
          (outcome.statusCode === 0
            ? '}}'
            : `,"http.request.method":${attribute(unit.method)},"http.response.status_code":${attribute(outcome.statusCode)},"url.path":${attribute(unit.path)}${unit.route === null ? '' : `,"http.route":${attribute(unit.route)}`}}}`),
      )
      return items
    },
  }
}
