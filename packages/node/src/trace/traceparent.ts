/** Trace context of an incoming or outgoing request: W3C traceparent and Sentry's sentry-trace. */

/** What an incoming header says. */
export type RemoteParent = {
  readonly traceId: string
  readonly spanId: string
  /** The caller's decision; undefined when it left the decision to us. */
  readonly sampled: boolean | undefined
}

const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/
const SENTRY_TRACE = /^([0-9a-f]{32})-([0-9a-f]{16})(?:-([01]))?$/
const ZERO_TRACE = '0'.repeat(32)
const ZERO_SPAN = '0'.repeat(16)

/**
 * Parses a traceparent header (W3C Trace Context, section 3.2). Undefined for anything that is not
 * valid: version ff, zero ids, upper case, wrong length, version 00 with more parts.
 */
export function parseTraceparent(header: string): RemoteParent | undefined {
  if (header.length < 55 || header.length > 512) return undefined
  const match = TRACEPARENT.exec(header)
  if (match === null) return undefined
  const [, version, traceId = '', spanId = '', flags = '', rest] = match
  if (version === 'ff' || (version === '00' && rest !== undefined)) return undefined
  if (traceId === ZERO_TRACE || spanId === ZERO_SPAN) return undefined
  return { traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 }
}

/** Parses a sentry-trace header (`<32 hex>-<16 hex>[-<0|1>]`, Sentry's trace propagation page). */
export function parseSentryTrace(header: string): RemoteParent | undefined {
  if (header.length > 51) return undefined
  const match = SENTRY_TRACE.exec(header)
  if (match === null) return undefined
  const [, traceId = '', spanId = '', sampled] = match
  if (traceId === ZERO_TRACE || spanId === ZERO_SPAN) return undefined
  return { traceId, spanId, sampled: sampled === undefined ? undefined : sampled === '1' }
}

/** The traceparent header to send: version 00, with the sampled flag. */
export function formatTraceparent(traceId: string, spanId: string, sampled: boolean): string {
  return `00-${traceId}-${spanId}-${sampled ? '01' : '00'}`
}

/** The sentry-trace header to send. */
export function formatSentryTrace(traceId: string, spanId: string, sampled: boolean): string {
  return `${traceId}-${spanId}-${sampled ? '1' : '0'}`
}
