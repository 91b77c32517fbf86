/**
 * What the process and its runtime tell about themselves. Every source is tried once when it is
 * registered; one that is missing or throws (another runtime, a sandbox) is left out.
 *
 * Names and meanings are prom-client's where it has the same metric, so that dashboards keep working.
 */
import { readFileSync } from 'node:fs'
import { fsPromises, isThread, perfHooks, v8 } from '../builtin.js'
import { guarded } from '../faults.js'
import type { Add, CollectedMetric, HistogramRow, Registry } from './registry.js'

/** Milliseconds between two looks at the event loop; what a turn takes longer is its delay. */
const DELAY_RESOLUTION_MS = 20
const DELAY_BUCKETS = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
const GC_BUCKETS = [0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1]
/**
 * Node takes 0.2 ms to tell of one collection, a third of what a small one takes itself: it makes four
 * functions for deprecated names. So where they come by the dozen a second, one slice of time in
 * eight is watched, and each pause in it stands for eight.
 */
const GC_SLICE_MS = 250
const GC_OFTEN = 3
const GC_SHARE = 8

export type RuntimeMetrics = {
  /** Records a delay that is still going on, so that a scrape right after a block shows it. */
  sample(): void
  close(): void
}

/** Registers the runtime metrics and starts their observers, which do not keep the process alive. */
export function createRuntimeMetrics(registry: Registry): RuntimeMetrics {
  // A thread shares these with the whole process: only one of them may tell.
  if (!isThread) registerProcess(registry)
  registerHeap(registry)
  registerLoop(registry)
  const delay = observeDelay(registry)
  const stopGc = observeGc(registry)
  return {
    sample: delay.sample,
    close() {
      delay.close()
      stopGc()
    },
  }
}

/** Registers a metric whose source works here. */
function offer<L extends string = never>(registry: Registry, metric: CollectedMetric<L>): void {
  let works = false
  try {
    const trial = metric.read(((value: number) => {
      works = Number.isFinite(value)
    }) as Add<L>)
    // An asynchronous source is tried synchronously by its caller; here it only must not reject aloud.
    if (trial instanceof Promise) {
      trial.catch(() => undefined)
      works = true
    }
  } catch {
    works = false
  }
  if (works) registry.collect(metric)
}

function registerProcess(registry: Registry): void {
  const startSeconds = Math.round(Date.now() - process.uptime() * 1000) / 1000
  offer(registry, {
    name: 'process_start_time_seconds',
    help: 'Start of the process, seconds since the epoch.',
    type: 'gauge',
    across: 'each',
    read: (add) => add(startSeconds),
  })
  offer(registry, {
    name: 'process_cpu_user_seconds_total',
    help: 'CPU time spent in user code.',
    type: 'counter',
    read: (add) => add(process.cpuUsage().user / 1e6),
  })
  offer(registry, {
    name: 'process_cpu_system_seconds_total',
    help: 'CPU time spent in the kernel.',
    type: 'counter',
    read: (add) => add(process.cpuUsage().system / 1e6),
  })
  offer(registry, {
    name: 'process_cpu_seconds_total',
    help: 'CPU time spent, user and system.',
    type: 'counter',
    read(add) {
      const used = process.cpuUsage()
      add((used.user + used.system) / 1e6)
    },
  })
  offer(registry, {
    name: 'process_resident_memory_bytes',
    help: 'Memory of the process that is in RAM.',
    type: 'gauge',
    across: 'each',
    read: (add) => add(process.memoryUsage.rss()),
  })
  registerFileDescriptors(registry)
  const [major = '', minor = '', patch = ''] = process.versions.node.split('.')
  offer(registry, {
    name: 'nodejs_version_info',
    help: 'Version of Node.js; always 1.',
    type: 'gauge',
    across: 'max',
    labelNames: ['version', 'major', 'minor', 'patch'],
    read: (add) => add(1, { version: process.version, major, minor, patch }),
  })
  offer(registry, {
    name: 'nodejs_active_resources',
    help: 'Resources that keep the event loop alive, by type.',
    type: 'gauge',
    labelNames: ['type'],
    read(add) {
      const counts = new Map<string, number>()
      for (const type of process.getActiveResourcesInfo()) {
        counts.set(type, (counts.get(type) ?? 0) + 1)
      }
      if (counts.size === 0) add(0, { type: 'none' })
      for (const [type, count] of counts) add(count, { type })
    },
  })
}

// Linux only: the process's own folder in /proc.
function registerFileDescriptors(registry: Registry): void {
  try {
    const limits = readFileSync('/proc/self/limits', 'utf8')
    const soft = /^Max open files\s+(\d+)/m.exec(limits)?.[1]
    registry.collect({
      name: 'process_open_fds',
      help: 'Open file descriptors.',
      type: 'gauge',
      across: 'each',
      async read(add) {
        // The folder itself is open while it is read.
        add((await fsPromises().readdir('/proc/self/fd')).length - 1)
      },
    })
    if (soft !== undefined) {
      registry.collect({
        name: 'process_max_fds',
        help: 'Limit of open file descriptors.',
        type: 'gauge',
        across: 'each',
        read: (add) => add(Number(soft)),
      })
    }
  } catch {
    // no /proc here
  }
}

function registerHeap(registry: Registry): void {
  const heap = (name: string, help: string, read: () => number): void =>
    offer(registry, { name, help, type: 'gauge', across: 'each', read: (add) => add(read()) })
  heap(
    'nodejs_heap_size_total_bytes',
    'Heap that V8 has reserved.',
    () => process.memoryUsage().heapTotal,
  )
  heap(
    'nodejs_heap_size_used_bytes',
    'Heap that objects occupy.',
    () => process.memoryUsage().heapUsed,
  )
  heap(
    'nodejs_heap_size_limit_bytes',
    'Heap beyond which V8 ends the process.',
    () => v8().getHeapStatistics().heap_size_limit,
  )
  heap(
    'nodejs_external_memory_bytes',
    'Memory of buffers and other objects outside the heap.',
    () => process.memoryUsage().external,
  )
  const space = (name: string, help: string, field: 'space_size' | 'space_used_size'): void =>
    offer(registry, {
      name,
      help,
      type: 'gauge',
      labelNames: ['space'],
      read(add) {
        for (const one of v8().getHeapSpaceStatistics()) {
          add(one[field], { space: one.space_name.replace(/_space$/, '') })
        }
      },
    })
  space('nodejs_heap_space_size_total_bytes', 'Heap reserved, by space.', 'space_size')
  space('nodejs_heap_space_size_used_bytes', 'Heap occupied, by space.', 'space_used_size')
}

function registerLoop(registry: Registry): void {
  offer(registry, {
    name: 'nodejs_eventloop_active_seconds_total',
    help: 'Time in which the event loop ran code. Rate of this over rate of active plus idle is its utilisation.',
    type: 'counter',
    read: (add) => add(performance.eventLoopUtilization().active / 1000),
  })
  offer(registry, {
    name: 'nodejs_eventloop_idle_seconds_total',
    help: 'Time in which the event loop waited for events.',
    type: 'counter',
    read: (add) => add(performance.eventLoopUtilization().idle / 1000),
  })
}

/**
 * Delays of the event loop in a histogram that is never reset, so that any number of scrapers see the
 * same data. A timer of our own instead of perf_hooks' monitorEventLoopDelay, whose histogram gives
 * percentiles since a reset but no buckets to add up (nodejs/node#34661).
 */
function observeDelay(registry: Registry): RuntimeMetrics {
  const row = registry
    .histogram({
      name: 'nodejs_eventloop_delay_seconds',
      help: `How much later than due a timer ran, looked at every ${DELAY_RESOLUTION_MS} ms.`,
      buckets: DELAY_BUCKETS,
    })
    .labels({})
  let dueMs = performance.now() + DELAY_RESOLUTION_MS
  const look = (): void => {
    const nowMs = performance.now()
    row.observe(Math.max(0, nowMs - dueMs) / 1000)
    dueMs = nowMs + DELAY_RESOLUTION_MS
  }
  const timer = setInterval(look, DELAY_RESOLUTION_MS)
  timer.unref?.()
  return {
    sample() {
      if (performance.now() > dueMs) look()
    },
    close() {
      clearInterval(timer)
      // Without the timer, time that passes is no delay.
      dueMs = Number.POSITIVE_INFINITY
    },
  }
}

function observeGc(registry: Registry): () => void {
  try {
    const { constants, PerformanceObserver } = perfHooks()
    const { supportedEntryTypes } = PerformanceObserver as unknown as {
      supportedEntryTypes: readonly string[]
    }
    if (!supportedEntryTypes.includes('gc')) return () => undefined
    const histogram = registry.histogram({
      name: 'nodejs_gc_duration_seconds',
      help: 'Pauses for garbage collection, by kind. Beyond a dozen a second those of one quarter of a second in eight, each counted eightfold.',
      labelNames: ['kind'],
      buckets: GC_BUCKETS,
    })
    const rows = new Map<number, HistogramRow>()
    const kinds: readonly (readonly [number, string])[] = [
      [constants.NODE_PERFORMANCE_GC_MINOR, 'minor'],
      [constants.NODE_PERFORMANCE_GC_MAJOR, 'major'],
      [constants.NODE_PERFORMANCE_GC_INCREMENTAL, 'incremental'],
      [constants.NODE_PERFORMANCE_GC_WEAKCB, 'weakcb'],
    ]
    for (const [number, kind] of kinds) rows.set(number, histogram.labels({ kind }) as HistogramRow)
    const other = histogram.labels({ kind: 'other' })
    let seen = 0
    let weight = 1
    let rest = 0
    const record = (entries: readonly unknown[]): void => {
      for (const entry of entries as readonly { duration: number; detail?: { kind?: number } }[]) {
        seen++
        const row = rows.get(entry.detail?.kind ?? -1) ?? other
        for (let i = 0; i < weight; i++) row.observe(entry.duration / 1000)
      }
    }
    const observer = new PerformanceObserver((list) => record(list.getEntries()))
    const watch = (): void => observer.observe({ entryTypes: ['gc'] })
    const endSlice = (): void => {
      if (rest > 0) {
        if (--rest === 0) watch()
        return
      }
      record(observer.takeRecords())
      if (seen < GC_OFTEN) weight = 1
      else {
        observer.disconnect()
        weight = GC_SHARE
        rest = GC_SHARE - 1
      }
      seen = 0
    }
    const timer = setInterval(guarded, GC_SLICE_MS, endSlice)
    timer.unref?.()
    watch()
    return () => {
      clearInterval(timer)
      observer.disconnect()
    }
  } catch {
    return () => undefined
  }
}
