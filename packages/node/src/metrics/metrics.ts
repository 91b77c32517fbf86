/** The metrics of a process: its registry, what the kit records by itself, and `/metrics`. */
import { once } from '../builtin.js'
import { guarded } from '../faults.js'
import type { Settings } from '../options.js'
import { createEndpoint, type Endpoint } from './endpoint.js'
import { CONTENT_TYPES, chooseFormat } from './exposition.js'
import { type Fleet, joinFleet } from './fleet.js'
import { createHttpMetrics, type HttpMetrics } from './http.js'
import { registerOwn } from './own.js'
import { type CollectedMetric, createRegistry, type Registry } from './registry.js'
import { createRuntimeMetrics, type RuntimeMetrics } from './runtime.js'
import { createScraper } from './scrape.js'

export type Metrics = Pick<Registry, 'counter' | 'gauge' | 'histogram' | 'collect' | 'families'> &
  HttpMetrics &
  Endpoint & {
    /** Adds a metric of the kit's own, when somebody looks for the first time: no start waits for it. */
    collectLater(metric: CollectedMetric): void
    /** The text of a scrape with this Accept header. */
    renderText(accept?: string): Promise<{ readonly contentType: string; readonly text: string }>
    /**
     * From now on a scrape shows all workers of a cluster and all threads that run the kit. Without it,
     * and in a worker whose primary does not run the kit, it shows this process.
     */
    join(): void
    /** Loads what the first scrape needs. */
    prepare(): void
    /** Sends the last totals to whoever adds them up; resolves after `timeoutMs` at the latest. */
    flush(timeoutMs: number): Promise<void>
    /** Sends what changed at once. Never throws. */
    push(): void
    /** Stops the observers. Recording and scraping go on working. */
    close(): void
  }

/**
 * Makes the metrics of a process. With `metrics.enabled` false nothing is observed or served, and
 * metrics of the application are harmless. `isTraced`: requests are sampled for a tracker.
 *
 * @example
 * const orders = metrics.counter({ name: 'orders_total', help: 'Orders.', labelNames: ['country'] })
 * orders.inc({ country: 'NL' })
 */
export function createMetrics(settings: Settings, isTraced: boolean): Metrics {
  const { enabled, maxSeries, registries, runtime } = settings.metrics
  let made: Registry | undefined
  const waiting: (() => void)[] = []
  /** Made when somebody records or looks, with all that was to be in it: no start waits for that. */
  function registry(): Registry {
    if (made === undefined) {
      made = createRegistry(maxSeries)
      for (const register of waiting) guarded(register)
    }
    return made
  }
  const http = once(() => (enabled ? createHttpMetrics(registry(), isTraced) : IDLE))
  let observers: RuntimeMetrics | undefined
  let isClosed = !enabled || !runtime
  const observe = (): RuntimeMetrics | undefined => {
    if (!isClosed) observers ??= createRuntimeMetrics(registry())
    return observers
  }
  // A turn later, or at the first request or scrape: the observers cost a start three milliseconds.
  if (enabled) setImmediate(guarded, () => observe() ?? registry()).unref()
  waiting.push(() => {
    http()
    registerOwn(registry())
  })
  let fleet: Fleet | undefined
  let endpoint: Endpoint | undefined
  // At the first scrape, or when `prepare` is called: their code is loaded then.
  const theScraper = once(() =>
    createScraper(
      registry(),
      registries,
      () => observe()?.sample(),
      () => fleet,
    ),
  )
  const theEndpoint = (): Endpoint => {
    endpoint ??= createEndpoint(settings.metrics, theScraper())
    return endpoint
  }
  return {
    counter: (options) => registry().counter(options),
    gauge: (options) => registry().gauge(options),
    histogram: (options) => registry().histogram(options),
    collect: (metric) => registry().collect(metric),
    collectLater(metric) {
      if (made === undefined) waiting.push(() => registry().collect(metric))
      else made.collect(metric)
    },
    get families() {
      return registry().families
    },
    requestStarted: () => http().requestStarted(),
    requestFinished: (record) => http().requestFinished(record),
    handle(request, response, path) {
      if (!enabled) return false
      guarded(theEndpoint)
      return endpoint?.handle(request, response, path) ?? false
    },
    async renderText(accept) {
      const { chunks, format } = await theScraper().render(chooseFormat(accept))
      return { contentType: CONTENT_TYPES[format], text: Buffer.concat(chunks).toString() }
    },
    join() {
      if (!enabled) return
      guarded(() => {
        fleet ??= joinFleet({
          registry,
          maxSeries,
          read: (budgetMs) => theScraper().read(budgetMs),
          core: (format, budgetMs) => theScraper().core(format, budgetMs),
        })
      })
    },
    prepare() {
      if (enabled) guarded(theEndpoint)
    },
    flush: (timeoutMs) => fleet?.flush(timeoutMs) ?? Promise.resolve(),
    push: () => guarded(() => fleet?.push()),
    close() {
      isClosed = true
      guarded(() => fleet?.close())
      fleet = undefined
      observers?.close()
    },
  }
}

const IDLE: HttpMetrics = { requestStarted() {}, requestFinished() {} }
