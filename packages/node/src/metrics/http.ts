/** The request metrics, in OpenTelemetry's names (semantic conventions for HTTP, stable). */
import type { RequestRecord } from '../request/record.js'
import type { Family, HistogramRow, Registry } from './registry.js'

// OpenTelemetry: methods outside this list are reported as _OTHER.
const METHODS = new Set([
  'CONNECT',
  'DELETE',
  'GET',
  'HEAD',
  'OPTIONS',
  'PATCH',
  'POST',
  'PUT',
  'QUERY',
  'TRACE',
])
const UNMATCHED = 'unmatched'

/** One series, with the raw method and status that lead to it. */
class Slot {
  readonly method: string
  readonly statusCode: number
  readonly row: HistogramRow

  constructor(method: string, statusCode: number, row: HistogramRow) {
    this.method = method
    this.statusCode = statusCode
    this.row = row
  }
}

export type HttpMetrics = {
  /** A request has begun: one more in flight. */
  requestStarted(): void
  /** A request has ended: one row, one observation, one fewer in flight. Never throws. */
  requestFinished(record: RequestRecord): void
}

/**
 * Registers `http_server_request_duration_seconds` and `http_server_active_requests`. A route that
 * is null is `unmatched`, so that scanners add one series per method and status, not one per path.
 * With `isTraced` a bucket's exemplar is its latest sampled request, whose trace the tracker has;
 * else its latest request, whose log line has the trace id.
 */
export function createHttpMetrics(registry: Registry, isTraced: boolean): HttpMetrics {
  const family = registry.histogramFamily({
    name: 'http_server_request_duration_seconds',
    help: 'Time from the first byte of a request to the end of its answer; 499 when the connection ended before any, 500 when an error ended it.',
    labelNames: ['http_request_method', 'http_route', 'http_response_status_code'],
  })
  const active = registry
    .gauge({
      name: 'http_server_active_requests',
      help: 'Requests that have begun and not ended.',
    })
    .labels({})
  // A route has few methods and statuses: a short list beats another hash lookup. Its total length
  // is bounded by the family's limit, since rows of the overflow are never kept here.
  const routes = new Map<string, Slot[]>()

  function slow(record: RequestRecord, route: string): HistogramRow | undefined {
    const method = METHODS.has(record.method) ? record.method : '_OTHER'
    const row = rowOf(family, method, route, record.statusCode)
    if (row === undefined || family.isOverflow(row) || method !== record.method) return row
    const slot = new Slot(method, record.statusCode, row)
    const slots = routes.get(route)
    if (slots === undefined) routes.set(route, [slot])
    else slots.push(slot)
    return row
  }

  return {
    requestStarted() {
      active.inc()
    },
    requestFinished(record) {
      active.dec()
      const route = record.route ?? UNMATCHED
      const { method, statusCode } = record
      const slots = routes.get(route)
      let row: HistogramRow | undefined
      if (slots !== undefined) {
        for (let i = 0; i < slots.length; i++) {
          const slot = slots[i] as Slot
          if (slot.statusCode === statusCode && slot.method === method) {
            row = slot.row
            break
          }
        }
      }
      row ??= slow(record, route)
      if (row === undefined) return
      // A clock can only seem to run backwards when it was replaced (tests, virtual machines).
      const { latencyMs } = record
      const bucket = row.record(latencyMs > 0 ? latencyMs / 1000 : 0)
      const { unit } = record
      if ((unit.sampled || !isTraced) && bucket >= 0) keepExemplar(row, bucket, record)
    },
  }
}

function rowOf(
  family: Family,
  method: string,
  route: string,
  statusCode: number,
): HistogramRow | undefined {
  return family.find({
    http_request_method: method,
    http_route: route,
    http_response_status_code: statusCode,
  }) as HistogramRow | undefined
}

function keepExemplar(row: HistogramRow, bucket: number, record: RequestRecord): void {
  const { unit, latencyMs } = record
  row.exemplars ??= new Array(row.family.bounds.length + 1).fill(undefined)
  const exemplar = row.exemplars[bucket]
  const value = latencyMs > 0 ? latencyMs / 1000 : 0
  const ms = unit.startMs + latencyMs
  if (exemplar === undefined) {
    row.exemplars[bucket] = { traceId: unit.traceId, spanId: unit.spanId, value, ms }
  } else {
    exemplar.traceId = unit.traceId
    exemplar.spanId = unit.spanId
    exemplar.value = value
    exemplar.ms = ms
  }
}
