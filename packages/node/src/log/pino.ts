/**
 * Gives an existing pino logger the ids, through pino's own `mixin` option.
 *
 * Sources: pino's `mixin` (github.com/pinojs/pino/blob/main/docs/api.md#mixin-function).
 */
import { currentContext } from '../context.js'

/** The ids of the running request, job or runWith call, in our names; {} outside. */
export type Ids = { request_id?: string; trace_id?: string; span_id?: string }

/** The ids at this moment. Never throws. A new object each time: pino adds to it. */
export function currentIds(): Ids {
  const context = currentContext()
  if (context === undefined) return {}
  const { requestId, traceId } = context.unit
  return traceId === ''
    ? { request_id: requestId }
    : { request_id: requestId, trace_id: traceId, span_id: context.spanId }
}

/**
 * The `mixin` option that puts the ids on every line of a pino logger.
 *
 * @example
 * const logger = pino({ mixin: pinoMixin() })
 */
export function pinoMixin(): () => Ids {
  return currentIds
}
