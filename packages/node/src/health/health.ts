/**
 * Health: checks polled in the background and asked again on demand, one verdict, three endpoints.
 *
 * How a verdict is made:
 * - Every `intervalMs`, and each second while a check is not ok, all checks run in parallel. A probe
 *   that finds a result older than a second starts the same run and waits for it; any number of
 *   probes share one run, so a dependency is asked at most about once a second.
 * - An error fails a check at once, a success heals it at once. A timeout fails it at once too,
 *   unless a success not older than one interval stands against it and fewer than
 *   `failureThreshold` timeouts came in a row; a tolerated timeout is followed by another run
 *   immediately. So a dependency that hangs from the start is 503 in the first answer, one that
 *   begins to hang is 503 after at most `failureThreshold` x `timeoutMs` of asking, and a single
 *   slow answer is not seen at all.
 * - A result expires after 2.5 intervals: `stale`.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { once } from '../builtin.js'
import { guarded, reportFault, TelltaleError } from '../faults.js'
import {
  type HealthCheck,
  type HealthCheckSettings,
  resolveCheck,
  type Settings,
} from '../options.js'
import { type Check, type CheckStatus, createCheck } from './check.js'
import { createEndpoints } from './endpoints.js'
import { isPublicReason } from './reason.js'

/** What readiness says: 200 for ok and degraded, 503 for the others. */
export type ReadyStatus = CheckStatus | 'starting' | 'draining'

/** One check as the verdict shows it. */
export type CheckVerdict = {
  readonly status: CheckStatus
  /** Class of the trouble, '' when ok. */
  readonly reason: string
  readonly critical: boolean
  /** How long the last run took, milliseconds; undefined before the first. */
  readonly durationMs: number | undefined
  /** How old the result is, milliseconds; undefined before the first. */
  readonly ageMs: number | undefined
  /** Milliseconds since `status` last changed; undefined before the first. */
  readonly unchangedMs: number | undefined
}

export type Verdict = {
  readonly status: 'ok' | 'degraded' | 'fail'
  /** What readiness shows: tells starting and draining from fail. */
  readonly readiness: ReadyStatus
  /** '' when ok: the reason of the first check at fault, or starting, draining, or setReady's. */
  readonly reason: string
  readonly checks: Readonly<Record<string, CheckVerdict>>
}

/** The part of a logger that health writes to. */
export type HealthLog = {
  info(event: string, fields: Readonly<Record<string, unknown>>): unknown
  warn(event: string, fields: Readonly<Record<string, unknown>>): unknown
  error(event: string, fields: Readonly<Record<string, unknown>>): unknown
}

/** The part of the metrics registry that health registers with; `read` runs at each scrape. */
export type HealthMetrics = {
  collect(metric: {
    readonly name: string
    readonly help: string
    readonly type: 'counter' | 'gauge'
    readonly across?: 'each'
    readonly labelNames?: readonly string[]
    read(add: (value: number, labels?: Readonly<Record<string, string>>) => void): void
  }): void
}

export type HealthDeps = {
  readonly log: HealthLog
  readonly metrics?: HealthMetrics | undefined
  /** Milliseconds between reminders while not ready. Default 60,000. */
  readonly reminderMs?: number
}

export type Health = {
  /** Answers a probe. True: it was ours. `path` is the request's path; a query is ignored. */
  handle(request: IncomingMessage, response: ServerResponse, path: string): boolean
  /** Registers a check after init. Throws a `TelltaleError` when the name is taken or the check is none. */
  add(name: string, check: HealthCheck | HealthCheckSettings): void
  /** The application has started: readiness may be given when it was held back by waitForStarted. */
  started(): void
  /** Takes readiness away by hand, whatever the checks say, until given back. */
  setReady(ready: boolean, reason?: string): void
  /** Readiness is 503 `draining` from now on, for good. Liveness stays 200. */
  drain(): void
  /** What is known now, without asking anyone. */
  verdict(): Verdict
  /** Ends timers and the checks' own connections. Never rejects. */
  close(): Promise<void>
}

/** A result younger than this answers a probe without asking again, milliseconds. */
const FRESH_MS = 500
const UNHEALTHY_INTERVAL_MS = 1000
const EXPIRES_AFTER_INTERVALS = 2.5
const REMINDER_MS = 60_000

/** Creates the process's health. Polling begins within a second; nothing of it keeps the process alive. */
export function createHealth(settings: Settings, deps: HealthDeps): Health {
  const { intervalMs, waitForStarted } = settings.health
  const reminderMs = deps.reminderMs ?? REMINDER_MS
  const checks = new Map<string, Check>()
  const waiters: (() => void)[] = []
  let isCycling = false
  let pollTimer: NodeJS.Timeout | undefined
  let isClosed = false

  let isStarted = false
  let isDraining = false
  let heldBack: string | undefined
  let hasBeenReady = false

  /** What was last told in the log. */
  let told: ReadyStatus = 'starting'
  let transitions = 0
  let downSinceMs: number | undefined
  let remindedMs = 0
  let failedRuns = 0

  function view(check: Check, nowMs: number): CheckVerdict {
    const last = check.judgement()
    if (last === undefined) {
      return {
        status: 'fail',
        reason: 'starting',
        critical: check.critical,
        durationMs: undefined,
        ageMs: undefined,
        unchangedMs: undefined,
      }
    }
    const ageMs = nowMs - last.atMs
    const isStale = ageMs > EXPIRES_AFTER_INTERVALS * intervalMs && !check.isOverdue()
    return {
      status: isStale ? 'fail' : last.status,
      reason: isStale ? 'stale' : last.reason,
      critical: check.critical,
      durationMs: last.durationMs,
      ageMs,
      unchangedMs: nowMs - last.changedAtMs,
    }
  }

  function verdict(): Verdict {
    const nowMs = performance.now()
    const views: Record<string, CheckVerdict> = {}
    let failed: string | undefined
    let degraded: string | undefined
    let isUnknown = false
    for (const check of checks.values()) {
      const seen = view(check, nowMs)
      views[check.name] = seen
      if (seen.status === 'ok') continue
      if (seen.durationMs === undefined) isUnknown ||= check.critical
      else if (seen.status === 'fail' && check.critical) failed ??= seen.reason
      else degraded ??= seen.reason
    }
    const [readiness, reason]: readonly [ReadyStatus, string] = isDraining
      ? ['draining', 'draining']
      : heldBack !== undefined
        ? ['fail', heldBack]
        : waitForStarted && !isStarted
          ? ['starting', 'starting']
          : failed !== undefined
            ? ['fail', failed]
            : isUnknown
              ? ['starting', 'starting']
              : degraded !== undefined
                ? ['degraded', degraded]
                : ['ok', '']
    const status = readiness === 'ok' || readiness === 'degraded' ? readiness : 'fail'
    return { status, readiness, reason, checks: views }
  }

  /** Tells the log when readiness has changed, and reminds it while it stays away. */
  function tell(): void {
    try {
      const now = verdict()
      const nowMs = performance.now()
      const isReady = now.status !== 'fail'
      hasBeenReady ||= isReady
      if (now.readiness === told) {
        if (now.readiness === 'fail' && nowMs - remindedMs >= reminderMs) {
          remindedMs = nowMs
          deps.log.warn('readiness_unchanged', {
            status: now.readiness,
            reason: now.reason,
            checks: atFault(now),
            down_ms: Math.round(nowMs - (downSinceMs ?? nowMs)),
            failed_runs: failedRuns,
          })
          failedRuns = 0
        }
        return
      }
      const from = told
      told = now.readiness
      const downMs = downSinceMs === undefined ? undefined : Math.round(nowMs - downSinceMs)
      if (isReady) downSinceMs = undefined
      else if (downSinceMs === undefined) {
        downSinceMs = nowMs
        remindedMs = nowMs
        failedRuns = 0
      }
      // Coming up is not a change of anybody's mind, unless readiness was held back on purpose.
      if (from === 'starting' && now.readiness === 'ok' && !waitForStarted) return
      transitions++
      const fields = {
        from,
        to: now.readiness,
        reason: now.reason === '' ? undefined : now.reason,
        checks: atFault(now),
        down_ms: isReady ? downMs : undefined,
        error: isReady ? undefined : cause(now),
      }
      if (now.readiness === 'fail') deps.log.error('readiness_changed', fields)
      else if (now.readiness === 'degraded') deps.log.warn('readiness_changed', fields)
      else deps.log.info('readiness_changed', fields)
    } catch (error) {
      reportFault('TELLTALE_E_INTERNAL', error)
    }
  }

  /** The error behind the verdict's reason, for the log only. */
  function cause(now: Verdict): unknown {
    for (const check of checks.values()) {
      if (now.checks[check.name]?.reason === now.reason) return check.judgement()?.error
    }
    return undefined
  }

  function schedule(): void {
    if (isClosed) return
    clearTimeout(pollTimer)
    let isWell = true
    for (const check of checks.values()) isWell &&= check.judgement()?.status === 'ok'
    const delayMs = isWell ? intervalMs : Math.min(UNHEALTHY_INTERVAL_MS, intervalMs)
    pollTimer = setTimeout(cycle, delayMs, 0)
    pollTimer.unref()
  }

  /** Runs every check whose result is older than `olderThanMs`, then answers who waits. */
  function cycle(olderThanMs: number): void {
    if (isCycling || isClosed) return
    isCycling = true
    let open = 1
    const done = (): void => {
      open--
      if (open > 0) return
      isCycling = false
      tell()
      schedule()
      for (const answer of waiters.splice(0)) answer()
    }
    for (const check of checks.values()) {
      if (isOlder(check, olderThanMs) && check.join(done)) open++
    }
    done()
  }

  function isOlder(check: Check, thanMs: number): boolean {
    const last = check.judgement()
    return last === undefined || performance.now() - last.atMs >= thanMs
  }

  function judged(check: Check): void {
    if (check.judgement()?.status === 'fail') failedRuns++
    if (isCycling) return
    tell()
    schedule()
  }

  /** Calls `answer` once the verdict is fresh: at once, or when the run that is needed is judged. */
  function whenFresh(answer: () => void): void {
    let isStale = false
    if (!isDraining && heldBack === undefined && (isStarted || !waitForStarted)) {
      for (const check of checks.values()) {
        isStale ||= !check.isOverdue() && isOlder(check, FRESH_MS)
      }
    }
    if (isStale && !isClosed) {
      waiters.push(answer)
      cycle(FRESH_MS)
    } else answer()
  }

  function register(name: string, check: Required<HealthCheckSettings>): void {
    const context = { service: settings.service, timeoutMs: check.timeoutMs }
    const created: Check = createCheck(name, check, context, intervalMs, () => judged(created))
    checks.set(name, created)
  }

  for (const [name, check] of settings.health.checks) register(name, check)
  if (settings.health.enabled) {
    if (checks.size === 0) {
      reportFault('TELLTALE_E_HEALTH_NONE')
    }
    pollTimer = setTimeout(cycle, Math.min(UNHEALTHY_INTERVAL_MS, intervalMs), 0)
    pollTimer.unref()
    if (deps.metrics !== undefined) registerMetrics(deps.metrics)
  }
  tell()

  function registerMetrics(metrics: HealthMetrics): void {
    metrics.collect({
      name: 'health_status',
      help: 'Readiness: 1 ok, 0.5 degraded (ready all the same), 0 not ready.',
      type: 'gauge',
      across: 'each',
      read(add) {
        const { status } = verdict()
        add(status === 'ok' ? 1 : status === 'degraded' ? 0.5 : 0)
      },
    })
    metrics.collect({
      name: 'health_check_status',
      help: 'Result of the last run of a check: 1 ok or degraded, 0 failed; missing before the first.',
      type: 'gauge',
      across: 'each',
      labelNames: ['check'],
      read(add) {
        for (const [name, seen] of Object.entries(verdict().checks)) {
          if (seen.durationMs !== undefined) add(seen.status === 'fail' ? 0 : 1, { check: name })
        }
      },
    })
    metrics.collect({
      name: 'health_check_duration_seconds',
      help: 'Duration of the last run of a check.',
      type: 'gauge',
      across: 'each',
      labelNames: ['check'],
      read(add) {
        for (const [name, seen] of Object.entries(verdict().checks)) {
          if (seen.durationMs !== undefined) add(seen.durationMs / 1000, { check: name })
        }
      },
    })
    metrics.collect({
      name: 'health_transitions_total',
      help: 'How often readiness changed.',
      type: 'counter',
      read(add) {
        add(transitions)
      },
    })
  }

  // At the first probe: their code is loaded then.
  const endpoints = once(() =>
    createEndpoints(settings.health, {
      whenFresh,
      verdict,
      hasStarted: () => {
        if (waitForStarted) return isStarted
        hasBeenReady ||= isStarted || verdict().status !== 'fail'
        return hasBeenReady
      },
    }),
  )

  return {
    handle(request, response, path) {
      let isOurs = false
      if (settings.health.enabled) {
        guarded(() => {
          isOurs = endpoints()(request, response, path)
        })
      }
      return isOurs
    },
    verdict,
    add(name, check) {
      if (checks.has(name)) {
        throw new TelltaleError([
          {
            code: 'TELLTALE_E_OPTION',
            message: `A health check named ${JSON.stringify(name)} is registered already.`,
            remedy: 'Give each check a name of its own.',
          },
        ])
      }
      register(name, resolveCheck(name, check))
    },
    started() {
      isStarted = true
      tell()
    },
    setReady(ready, reason) {
      heldBack = ready ? undefined : isPublicReason(reason) ? reason : 'not_ready'
      tell()
    },
    drain() {
      isDraining = true
      tell()
    },
    async close() {
      if (isClosed) return
      isClosed = true
      clearTimeout(pollTimer)
      for (const check of checks.values()) check.close()
      for (const answer of waiters.splice(0)) answer()
      // Destroyed sockets are gone from the event loop a turn later.
      await new Promise((resolve) => setImmediate(resolve))
    },
  }
}

/** The checks that are not ok, each with its reason; undefined when all are. */
function atFault(verdict: Verdict): Readonly<Record<string, string>> | undefined {
  const names = Object.entries(verdict.checks).filter(([, seen]) => seen.status !== 'ok')
  return names.length === 0
    ? undefined
    : Object.fromEntries(names.map(([name, seen]) => [name, seen.reason]))
}
