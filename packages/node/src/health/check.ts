/**
 * One check and what is known about it. At most one run at a time, for ever: a check that ignores
 * its signal blocks nobody but itself.
 */
import { AsyncResource } from 'node:async_hooks'
import { reportFault } from '../faults.js'
import type { HealthCheckContext, HealthCheckSettings } from '../options.js'
import { isPublicReason, reasonOf } from './reason.js'

/** What a check's answer came down to. */
export type CheckStatus = 'ok' | 'degraded' | 'fail'

/** The last judgement of a check; times are of the monotonic clock, in milliseconds. */
export type Judgement = {
  readonly status: CheckStatus
  /** '' when ok. */
  readonly reason: string
  /** What the check threw; undefined when it threw nothing. */
  readonly error: unknown
  readonly durationMs: number
  readonly atMs: number
  /** When `status` last changed. */
  readonly changedAtMs: number
}

export type Check = {
  readonly name: string
  readonly critical: boolean
  /** Undefined until the first run is judged. */
  judgement(): Judgement | undefined
  /** True while a run is past its timeout and has not settled: no other can be started. */
  isOverdue(): boolean
  /**
   * Calls `done` when the present run is judged, and starts one when there is none. Returns false,
   * without calling, when there is nothing to wait for.
   */
  join(done: () => void): boolean
  close(): void
}

type Run = {
  readonly startedMs: number
  readonly abort: AbortController
  readonly waiters: (() => void)[]
  timer: NodeJS.Timeout | undefined
  overdue: boolean
  /** False during the turn of the abort: what settles then answers the abort, not the dependency. */
  acceptsLate: boolean
}

/** Milliseconds of one step of a timeout; a step that takes longer was a blocked event loop. */
const STEP_MS = 100
/** How late a step's timer may be and still count as the dependency's time. */
const LATE_MS = 50

/**
 * Creates a check. `onJudged` is called after every judgement. `intervalMs` is the time between
 * polls while all is well: a single timeout is tolerated only after a success not older than that.
 */
export function createCheck(
  name: string,
  settings: Required<HealthCheckSettings>,
  context: HealthCheckContext,
  intervalMs: number,
  onJudged: () => void,
): Check {
  // Runs belong to no request, though a probe's request may be what starts one.
  const outside = new AsyncResource('telltale.health')
  let judgement: Judgement | undefined
  let run: Run | undefined
  let timeouts = 0
  let succeededMs = Number.NEGATIVE_INFINITY
  let closed = false

  function judge(status: CheckStatus, reason: string, error: unknown, startedMs: number): void {
    const atMs = performance.now()
    const changedAtMs =
      judgement !== undefined && judgement.status === status ? judgement.changedAtMs : atMs
    judgement = { status, reason, error, durationMs: atMs - startedMs, atMs, changedAtMs }
    if (status !== 'fail') succeededMs = startedMs
    if (reason !== 'timeout') timeouts = 0
    if (!closed) onJudged()
  }

  function release(current: Run): void {
    for (const done of current.waiters.splice(0)) done()
  }

  function timedOut(current: Run): void {
    timeouts++
    if (!current.overdue) {
      current.overdue = true
      setImmediate(() => {
        current.acceptsLate = true
      }).unref()
      current.abort.abort(new DOMException('The health check took too long.', 'TimeoutError'))
    }
    const isTolerated =
      judgement !== undefined &&
      judgement.status !== 'fail' &&
      timeouts < settings.failureThreshold &&
      current.startedMs - succeededMs <= 1.5 * intervalMs
    if (isTolerated && judgement !== undefined) {
      judgement = { ...judgement, atMs: performance.now() }
      // Still pending: the next timeout is counted on the same run. Settled: asked again at once.
      countDown(current, settings.timeoutMs)
    } else judge('fail', 'timeout', current.abort.signal.reason, current.startedMs)
    release(current)
  }

  /** Calls timedOut after `leftMs`, not counting the time in which the event loop was blocked. */
  function countDown(current: Run, leftMs: number): void {
    const stepMs = Math.min(leftMs, STEP_MS)
    const armedMs = performance.now()
    current.timer = setTimeout(() => {
      if (run !== current || closed) return
      const tookMs = performance.now() - armedMs
      const wasBlocked = tookMs > stepMs + LATE_MS
      const restMs = leftMs - (wasBlocked ? stepMs : tookMs)
      if (restMs > 1) countDown(current, restMs)
      else if (wasBlocked) countDown(current, STEP_MS)
      else timedOut(current)
    }, stepMs)
    current.timer.unref()
  }

  function settle(current: Run, outcome: unknown, error: unknown, threw: boolean): void {
    clearTimeout(current.timer)
    run = undefined
    if (closed) return
    if (!current.overdue) {
      answer(current, outcome, error, threw)
      release(current)
    } else if (!threw && current.acceptsLate) answer(current, outcome, error, threw)
    else if (judgement !== undefined && judgement.status !== 'fail') {
      setImmediate(() => {
        if (run === undefined && !closed) outside.runInAsyncScope(start)
      }).unref()
    }
  }

  function answer(current: Run, outcome: unknown, error: unknown, threw: boolean): void {
    const { status, reason } = threw
      ? ({ status: 'fail', reason: reasonOf(error) } as const)
      : readOutcome(name, outcome)
    judge(status, reason, error, current.startedMs)
  }

  function start(): void {
    const current: Run = {
      startedMs: performance.now(),
      abort: new AbortController(),
      waiters: [],
      timer: undefined,
      overdue: false,
      acceptsLate: false,
    }
    run = current
    countDown(current, settings.timeoutMs)
    // The async function turns whatever happens, a synchronous throw or a hostile thenable, into one settlement.
    const asked = (async () => settings.check(current.abort.signal, context))()
    asked.then(
      (outcome) => settle(current, outcome, undefined, false),
      (error) => settle(current, undefined, error, true),
    )
  }

  return {
    name,
    critical: settings.critical,
    judgement: () => judgement,
    isOverdue: () => run?.overdue === true,
    join(done) {
      if (closed || run?.overdue === true) return false
      if (run === undefined) outside.runInAsyncScope(start)
      ;(run as Run | undefined)?.waiters.push(done)
      return true
    },
    close() {
      closed = true
      if (run !== undefined) {
        clearTimeout(run.timer)
        run.abort.abort(new DOMException('Health was closed.', 'AbortError'))
        release(run)
      }
      try {
        settings.check.close?.()
      } catch (error) {
        reportFault('TELLTALE_E_HEALTH_CHECK', error)
      }
    },
  }
}

/** Reads an answer; what is not known to mean "works" means "fails". Never throws. */
function readOutcome(name: string, outcome: unknown): { status: CheckStatus; reason: string } {
  try {
    if (outcome === undefined || outcome === true || outcome === 'ok') {
      return { status: 'ok', reason: '' }
    }
    if (outcome === false) return { status: 'fail', reason: 'error' }
    if (typeof outcome === 'object' && outcome !== null) {
      const { status, reason } = outcome as { status?: unknown; reason?: unknown }
      if (status === 'ok') return { status, reason: '' }
      if (status === 'degraded' || status === 'fail') {
        const fallback = status === 'fail' ? 'error' : 'degraded'
        return { status, reason: isPublicReason(reason) ? reason : fallback }
      }
    }
    reportFault(
      'TELLTALE_E_HEALTH_CHECK',
      `The check ${name} answered neither ok, degraded nor fail.`,
    )
  } catch (error) {
    reportFault('TELLTALE_E_HEALTH_CHECK', error)
  }
  return { status: 'fail', reason: 'error' }
}
