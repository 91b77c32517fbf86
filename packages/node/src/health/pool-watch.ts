/** Tells a busy pool, which is no reason to take the service away, from one that is stuck. */
import type { HealthOutcome } from '../options.js'

/** What is read of a pool; every driver names it differently. */
export type PoolView = {
  isClosed(): boolean
  /** All connections are out, none is idle. */
  isFull(): boolean
  /** Who waits longest for a connection; undefined when nobody waits. */
  firstWaiter(): unknown
  /** Emits `acquire` and `release`. */
  readonly events: PoolEvents
}

type PoolEvents = {
  on(event: string, listener: () => void): unknown
  removeListener(event: string, listener: () => void): unknown
}

export type PoolWatch = {
  /** Starts to note the pool's traffic; harmless when called again. */
  watch(): void
  /** What the pool adds to a connection that works: nothing, `pool_busy` or `pool_stuck`. */
  outcome(): HealthOutcome
  isClosed(): boolean
  close(): void
}

/** A full pool that has moved within this time is doing its work, milliseconds. */
const BUSY_AFTER_MS = 500

/** Watches a pool. `stuckAfterMs`: full, and nothing came back for that long. */
export function createPoolWatch(view: PoolView, stuckAfterMs: number): PoolWatch {
  let isWatching = false
  let movedMs = Number.NEGATIVE_INFINITY
  let fullSinceMs: number | undefined
  let waiter: unknown
  const moved = (): void => {
    movedMs = performance.now()
  }

  return {
    watch() {
      if (isWatching) return
      isWatching = true
      view.events.on('acquire', moved)
      view.events.on('release', moved)
    },
    outcome() {
      const nowMs = performance.now()
      if (!view.isFull()) {
        fullSinceMs = undefined
        waiter = undefined
        return undefined
      }
      fullSinceMs ??= nowMs
      // A connection handed from one user to the next need not emit anything; the queue shows it.
      const first = view.firstWaiter()
      if (waiter !== undefined && first !== waiter) movedMs = nowMs
      waiter = first
      if (nowMs - Math.max(movedMs, fullSinceMs) >= stuckAfterMs) {
        return { status: 'fail', reason: 'pool_stuck' }
      }
      return nowMs - movedMs >= BUSY_AFTER_MS
        ? { status: 'degraded', reason: 'pool_busy' }
        : undefined
    },
    isClosed: () => view.isClosed(),
    close() {
      isWatching = false
      view.events.removeListener('acquire', moved)
      view.events.removeListener('release', moved)
    },
  }
}
