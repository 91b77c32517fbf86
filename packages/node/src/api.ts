/**
 * The functions an application calls anywhere: each acts on the current kit and the current unit of
 * work, and is harmless before `init` and after `close`. Names and shapes of the error functions are
 * Sentry's.
 */
import type { User } from './context.js'
import type { CaptureHint, CheckIn, MonitorConfig } from './errors/errors.js'
import { IDLE_SCOPE } from './errors/idle.js'
import type { BreadcrumbInput, CaptureContext, ScopeHandle } from './errors/scope.js'
import { logging } from './log/logger.js'
import {
  type Counter,
  createRegistry,
  type Gauge,
  type GaugeOptions,
  type Histogram,
  type HistogramOptions,
  type MetricOptions,
  type Registry,
} from './metrics/registry.js'
import type { LevelName } from './options.js'
import { current } from './telltale.js'

/** Reports an error to the tracker; answers the event id, '' when nothing listens. Never throws. */
export function captureException(error: unknown, hint?: CaptureHint): string {
  return current()?.errors.captureException(error, hint) ?? ''
}

/** Reports a message; `level` is one of Sentry's, default info. */
export function captureMessage(message: string, level?: string | CaptureContext): string {
  return current()?.errors.captureMessage(message, level) ?? ''
}

/** Sends an event of the caller's own making, scrubbed and completed. */
export function captureEvent(event: Readonly<Record<string, unknown>>): string {
  return current()?.errors.captureEvent(event) ?? ''
}

/** Reports the state of a scheduled job; answers the check-in's id for the closing call. */
export function captureCheckIn(checkIn: CheckIn, config?: MonitorConfig): string {
  return current()?.errors.captureCheckIn(checkIn, config) ?? ''
}

/** Runs a scheduled job between two check-ins. Passes through what it returns or throws. */
export function withMonitor<T>(slug: string, job: () => T, config?: MonitorConfig): T {
  const kit = current()
  return kit === undefined ? job() : kit.errors.withMonitor(slug, job, config)
}

/** Runs `callback` with a scope of its own; what it sets there ends with it. Async callbacks too. */
export function withScope<T>(callback: (scope: ScopeHandle) => T): T {
  const kit = current()
  return kit === undefined ? callback(IDLE_SCOPE) : kit.errors.withScope(callback)
}

/** Names the user of the current request on its later events; null takes the name away. */
export function setUser(user: User | null): void {
  current()?.errors.setUser(user)
}

/** Tags later events of the current request. */
export function setTag(key: string, value: unknown): void {
  current()?.errors.setTag(key, value)
}

/** As setTag, for several. */
export function setTags(tags: Readonly<Record<string, unknown>>): void {
  current()?.errors.setTags(tags)
}

/** Gives later events of the current request a named context; null takes it away. */
export function setContext(name: string, context: Readonly<Record<string, unknown>> | null): void {
  current()?.errors.setContext(name, context)
}

/** Gives later events of the current request an extra value. */
export function setExtra(key: string, value: unknown): void {
  current()?.errors.setExtra(key, value)
}

/** As setExtra, for several. */
export function setExtras(extras: Readonly<Record<string, unknown>>): void {
  current()?.errors.setExtras(extras)
}

/** Adds a step to the trail of the current request; log lines are added by themselves. */
export function addBreadcrumb(crumb: BreadcrumbInput): void {
  current()?.errors.addBreadcrumb(crumb)
}

/** The id of the current request's last event. */
export function lastEventId(): string | undefined {
  return current()?.errors.lastEventId()
}

/** Waits until errors, traces and lines are out; false when `timeoutMs` (default 2,000) passed first. */
export function flush(timeoutMs?: number): Promise<boolean> {
  return current()?.flush(timeoutMs) ?? Promise.resolve(true)
}

/** Flushes and undoes `init`. */
export function close(timeoutMs?: number): Promise<void> {
  return current()?.close(timeoutMs) ?? Promise.resolve()
}

/** Changes the log level of everything, or of the loggers of one name; back again after `ttlMs`. */
export function setLevel(
  level: LevelName | 'silent',
  options?: { readonly logger?: string; readonly ttlMs?: number },
): void {
  logging.setLevel(level, options)
}

/** Gives the current request or job a log level of its own: debug for this one alone. */
export function setRequestLevel(level: LevelName | 'silent'): void {
  logging.setUnitLevel(level)
}

/** A counter on /metrics. Registering it again returns the same one. Usable before `init`. */
export function counter<L extends string = never>(options: MetricOptions<L>): Counter<L> {
  const metric = deferred((registry) => registry.counter(options))
  return { inc: (...args) => metric().inc(...args), labels: (values) => metric().labels(values) }
}

/** A gauge on /metrics; `across` says how a cluster shows it. See `counter`. */
export function gauge<L extends string = never>(options: GaugeOptions<L>): Gauge<L> {
  const metric = deferred((registry) => registry.gauge(options))
  return {
    set: (...args) => metric().set(...args),
    inc: (...args) => metric().inc(...args),
    dec: (...args) => metric().dec(...args),
    labels: (values) => metric().labels(values),
  }
}

/** A histogram on /metrics; its unit ends its name, buckets default to seconds. See `counter`. */
export function histogram<L extends string = never>(options: HistogramOptions<L>): Histogram<L> {
  const metric = deferred((registry) => registry.histogram(options))
  return {
    observe: (...args) => metric().observe(...args),
    startTimer: (...args) => metric().startTimer(...args),
    labels: (values) => metric().labels(values),
  }
}

type Instruments = Pick<Registry, 'counter' | 'gauge' | 'histogram'>

/** A metric that belongs to whichever kit is current; made at once, so that its faults are thrown here. */
function deferred<M>(make: (registry: Instruments) => M): () => M {
  let owner = current()
  let metric = make(owner?.metrics ?? createRegistry(1000))
  return () => {
    const kit = current()
    if (kit !== owner && kit !== undefined) {
      owner = kit
      metric = make(kit.metrics)
    }
    return metric
  }
}
