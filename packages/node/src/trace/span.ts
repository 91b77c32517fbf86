/**
 * Spans of the user's own, and units of work outside HTTP. A span lives in a branch of the context;
 * finished ones wait on the unit until its transaction is written.
 */
import {
  Context,
  currentContext,
  emptyUnit,
  type Fields,
  type FinishedSpan,
  MAX_SPANS,
  processWide,
  storage,
  Unit,
} from '../context.js'
import { newSpanId, newTraceId, newUuid } from './ids.js'
import { parseSentryTrace, parseTraceparent } from './traceparent.js'

/** What startSpan takes; the names are Sentry's. */
export type SpanOptions = {
  /** What is measured, low cardinality: `charge card`. */
  readonly name: string
  /** The kind of work, as Sentry groups it: `db`, `http.client`, `function`. Default `function`. */
  readonly op?: string
  readonly attributes?: Fields
}

/** A running span. Its methods never throw and do nothing once it has ended. */
export type Span = {
  readonly spanId: string
  readonly traceId: string
  setAttribute(key: string, value: unknown): void
  /** Marks the span as failed without an exception. */
  setStatus(status: 'ok' | 'error'): void
}

/** What runWith takes. */
export type WorkOptions = {
  /** Name of the work, low cardinality: it becomes the route of its lines and its transaction. */
  readonly name: string
  /** Kind of work: `job`, `cron`, `message`. Default `task`. */
  readonly kind?: string
  /** The id of the request that asked for this work. Default: the current one, else a new id. */
  readonly requestId?: string
  /** traceparent or sentry-trace value to continue. Default: the current trace, else a new one. */
  readonly traceparent?: string
}

/** How units outside HTTP are sampled and what happens at their end; set by init. */
export type TraceHooks = {
  decide(name: string, parentSampled: boolean | undefined): boolean
  /** Called once at the end of a unit outside HTTP, before it is emptied. */
  finished(unit: Unit, latencyMs: number, failed: boolean): void
}

const shared = processWide<{ hooks: TraceHooks | undefined }>('trace', () => ({ hooks: undefined }))

/** Connects spans with the tracker; `undefined` disconnects. */
export function setTraceHooks(next: TraceHooks | undefined): void {
  shared.hooks = next
}

/** Keeps a finished span for its unit's transaction; past MAX_SPANS it is only counted. */
export function keepSpan(unit: Unit, span: FinishedSpan): void {
  if (!unit.sampled || unit.ended) return
  if (unit.spans === undefined) unit.spans = [span]
  else if (unit.spans.length < MAX_SPANS) unit.spans.push(span)
  else unit.droppedSpans++
}

/** Wall-clock milliseconds of a monotonic reading, relative to the unit's start: immune to clock jumps. */
export function wallMs(unit: Unit, tick: number): number {
  return unit.startMs + (tick - unit.startTick)
}

/** A copy that the caller's later changes do not reach; undefined when it cannot be read. */
function copyOf(attributes: Fields | undefined): Record<string, unknown> | undefined {
  try {
    return attributes === undefined ? undefined : { ...attributes }
  } catch {
    return undefined
  }
}

/** Calls `settle(failed)` when `run` has returned, thrown, or its promise has settled; passes all through. */
function settleWith<T>(run: () => T, settle: (failed: boolean) => void): T {
  let result: T
  try {
    result = run()
  } catch (error) {
    settle(true)
    throw error
  }
  if (typeof (result as { then?: unknown } | null | undefined)?.then !== 'function') {
    settle(false)
    return result
  }
  return (result as unknown as Promise<unknown>).then(
    (value) => {
      settle(false)
      return value
    },
    (error: unknown) => {
      settle(true)
      throw error
    },
  ) as unknown as T
}

/**
 * Runs `work` inside a span and ends it when `work` returns, throws or settles. What `work` returns
 * or throws comes out unchanged. Outside any unit the span starts a unit of its own.
 *
 * @example
 * const total = await startSpan({ name: 'sum up cart', op: 'function' }, async (span) => {
 *   span.setAttribute('items', items.length)
 *   return sum(items)
 * })
 */
export function startSpan<T>(options: SpanOptions, work: (span: Span) => T): T {
  const context = currentContext()
  if (context === undefined) {
    return runWith({ name: options.name, kind: options.op ?? 'task' }, () =>
      startSpan(options, work),
    )
  }
  const unit = context.unit
  const spanId = newSpanId()
  const startTick = performance.now()
  let data: Record<string, unknown> | undefined = copyOf(options.attributes)
  let status: 'ok' | 'error' = 'ok'
  const span: Span = {
    spanId,
    traceId: unit.traceId,
    setAttribute(key, value) {
      data ??= {}
      data[key] = value
    },
    setStatus(next) {
      status = next
    },
  }
  return storage.run(new Context(unit, spanId, context.scope), () =>
    settleWith(
      () => work(span),
      (failed) =>
        keepSpan(unit, {
          spanId,
          parentSpanId: context.spanId,
          op: options.op ?? 'function',
          name: options.name,
          startMs: wallMs(unit, startTick),
          endMs: wallMs(unit, performance.now()),
          status: failed ? 'error' : status,
          data,
        }),
    ),
  )
}

/**
 * Runs `work` as a unit of its own: a job, a cron tick, a message, a script. Its lines carry one
 * request id, its errors one scope, and a sampled one sends a transaction. Works before init too.
 */
export function runWith<T>(options: WorkOptions, work: () => T): T {
  const outer = currentContext()
  const header = options.traceparent ?? ''
  const parent = parseTraceparent(header) ?? parseSentryTrace(header)
  const inherits = parent === undefined && outer !== undefined
  const sampled = parent?.sampled ?? (inherits ? outer.unit.sampled : undefined)
  const unit = new Unit(
    options.kind ?? 'task',
    options.requestId ?? outer?.unit.requestId ?? newUuid(),
    parent?.traceId ?? (inherits ? outer.unit.traceId : newTraceId()),
    newSpanId(),
    parent?.spanId ?? (inherits ? outer.spanId : ''),
    shared.hooks?.decide(options.name, sampled) ?? false,
    Date.now(),
    performance.now(),
  )
  unit.route = options.name
  return storage.run(new Context(unit, unit.spanId, undefined), () =>
    settleWith(work, (failed) => {
      const latencyMs = performance.now() - unit.startTick
      try {
        shared.hooks?.finished(unit, latencyMs, failed)
      } finally {
        emptyUnit(unit)
      }
    }),
  )
}

/**
 * Continues the trace of an incoming message's `sentry-trace` or `traceparent` value inside `work`.
 * The shape is Sentry's.
 */
export function continueTrace<T>(
  headers: { readonly sentryTrace?: string; readonly traceparent?: string; readonly name?: string },
  work: () => T,
): T {
  const traceparent = headers.traceparent ?? headers.sentryTrace ?? ''
  return runWith({ name: headers.name ?? 'task', traceparent }, work)
}
