/**
 * Captures errors: decides at once whether one is sent, notes what may change, and writes the event
 * in a later turn of the event loop, so that a capture costs the request microseconds. One file, since
 * exceptions, messages, events, check-ins and sessions pass the same gates, the same queue and one flush.
 */
import { crypto, once } from '../builtin.js'
import {
  type Breadcrumb,
  Context,
  currentContext,
  MAX_BREADCRUMBS,
  pushBreadcrumb,
  Scope,
  storage,
  Unit,
  type User,
  writableScope,
} from '../context.js'
import { guarded, reportFault } from '../faults.js'
import type { Settings } from '../options.js'
import { createEventWriter, type Mechanism, type Note } from './event.js'
import { errorMessage, errorStack, errorType, isErrorLike, readChain } from './exception.js'
import { IDLE_WRITER } from './idle.js'
import {
  type BreadcrumbInput,
  type CaptureContext,
  createScopeWriter,
  type ScopeHandle,
  type ScopeWriter,
  severity,
} from './scope.js'
import { createScrub, cut, EVENT_CHARS, type Redactor, read } from './scrub.js'
import { createSessions } from './sessions.js'
import { createFrames } from './source-context.js'
import { findProjectRoot } from './stack.js'
import { createStorm, hashText, kindOfMessage, STORM_INTERVAL_MS } from './storm.js'
import type { ErrorEvent, ErrorTracker } from './tracker.js'

/** What captureException takes besides the error. Sentry's EventHint with its capture context spread or nested. */
export type CaptureHint = CaptureContext & {
  readonly captureContext?: CaptureContext
  readonly mechanism?: Mechanism
}

/** A check-in of a monitored job. https://develop.sentry.dev/sdk/telemetry/check-ins/ */
export type CheckIn = {
  readonly monitorSlug: string
  readonly status: 'in_progress' | 'ok' | 'error'
  readonly checkInId?: string
  /** Seconds. */
  readonly duration?: number
}

/** When a monitored job is due. Minutes where no unit is named. */
export type MonitorConfig = {
  readonly schedule:
    | { readonly type: 'crontab'; readonly value: string }
    | { readonly type: 'interval'; readonly value: number; readonly unit: string }
  readonly checkinMargin?: number
  readonly maxRuntime?: number
  readonly timezone?: string
  readonly failureIssueThreshold?: number
  readonly recoveryThreshold?: number
}

/** The error side of the kit. No method throws, except through a callback of the caller's. */
export type Errors = {
  /** Captures anything thrown; answers the event id. One error object is reported once. */
  captureException(error: unknown, hint?: CaptureHint | ((scope: ScopeHandle) => unknown)): string
  captureMessage(message: string, level?: string | CaptureContext): string
  captureEvent(event: Readonly<Record<string, unknown>>): string
  captureCheckIn(checkIn: CheckIn, config?: MonitorConfig): string
  /** Runs a job between an in_progress and an ok or error check-in. Rethrows what the job throws. */
  withMonitor<T>(slug: string, job: () => T, config?: MonitorConfig): T
  /** Runs a callback, also an async one, whose changes to the scope end with it. */
  withScope<T>(callback: (scope: ScopeHandle) => T): T
  /** As withScope: the kit's scopes are isolated already. */
  withIsolationScope<T>(callback: (scope: ScopeHandle) => T): T
  /** The user of this unit of work. There is no global user: outside of one it does nothing. */
  setUser(user: User | null): void
  setTag(key: string, value: unknown): void
  setTags(tags: Readonly<Record<string, unknown>>): void
  setContext(name: string, context: Readonly<Record<string, unknown>> | null): void
  setExtra(key: string, value: unknown): void
  setExtras(extras: Readonly<Record<string, unknown>>): void
  addBreadcrumb(crumb: BreadcrumbInput): void
  /** Counts a finished request for release health; nothing without a release or a tracker for it. */
  countSession(unit: Unit): void
  /** The id of the last event of this unit of work, or of the process outside. */
  lastEventId(): string | undefined
  /** True when all was delivered within `timeoutMs` (default 2,000). Holds the process while it waits. */
  flush(timeoutMs?: number): Promise<boolean>
  close(timeoutMs?: number): Promise<boolean>
  /** Loads what the first capture needs. */
  prepare(): void
  /** Writes what is pending and lets the trackers keep it on disk. Runs by itself on process exit. */
  spoolSync(): void
  /** What was not sent, by Sentry's discard reason; trackers' own losses included. */
  losses(): Readonly<Record<string, number>>
}

export type ErrorsDeps = {
  readonly redactor: Redactor
  readonly trackers: readonly ErrorTracker[]
}

type Job = {
  readonly note: Note
  readonly others: number
  /** Its source maps were read, or need not be. */
  isPrepared: boolean
  preparing: Promise<void> | undefined
}

const MAX_PENDING = 1000
/** Milliseconds of event writing in one turn of the event loop. */
const SLICE_MS = 5
const KEY_STACK_CHARS = 600

/** Creates the error side for one configuration. With no trackers every call is free of effect. */
export function createErrors(settings: Settings, deps: ErrorsDeps): Errors {
  const { redactor, trackers } = deps
  const { sampleRate, ignoreErrors, beforeSend } = settings.errors
  const [, script] = process.argv
  const cwd = process.cwd()
  // These are made when they are needed first, or when `prepare` is called: their code is loaded then.
  const scrub = once(() => createScrub(redactor))
  let theWriter: ScopeWriter | undefined
  const writer = (): ScopeWriter => {
    if (theWriter === undefined) {
      guarded(() => {
        theWriter = createScopeWriter(scrub())
      })
    }
    return theWriter ?? IDLE_WRITER
  }
  const events = once(() => {
    const frames = createFrames(
      findProjectRoot(script, cwd),
      settings.errors.contextLines,
      redactor,
    )
    return createEventWriter(settings, redactor, scrub(), frames)
  })
  const lost: Record<string, number> = {}
  const seen = new WeakMap<object, string>()
  const lastIds = new WeakMap<Unit, string>()
  const processScope = new Scope()
  const processCrumbs: Breadcrumb[] = []
  const storm = createStorm<Note>((note, others) =>
    enqueue({ ...note, eventId: newId(), ms: Date.now() }, others),
  )
  const sessions = startSessions()
  let pending: Job[] = []
  let isScheduled = false
  let isClosed = trackers.length === 0
  let lastId: string | undefined
  let stormTimer: NodeJS.Timeout | undefined
  let toldNoUser = false

  /** Closed, without a tracker, or nobody listens to one yet: the application's SDK may come later. */
  function isOff(): boolean {
    return isClosed || !trackers.some((tracker) => tracker.isActive?.() ?? true)
  }

  function lose(reason: string): void {
    lost[reason] = (lost[reason] ?? 0) + 1
  }

  function startSessions(): ReturnType<typeof createSessions> | undefined {
    const takers = trackers.filter((tracker) => tracker.sessions !== undefined)
    const { release, environment } = settings
    if (!settings.errors.sessions || release === undefined || takers.length === 0) return undefined
    return createSessions({ release, environment }, (json) => {
      for (const tracker of takers) {
        try {
          tracker.sessions?.(json)
        } catch (error) {
          lose('internal_sdk_error')
          reportFault('TELLTALE_E_TRACKER', error)
        }
      }
    })
  }

  /**
   * A request whose error was captured is errored; one hit by an uncaught exception or an unhandled
   * rejection is crashed, which stays.
   */
  function markSession(isCrash: boolean): void {
    const unit = currentContext()?.unit
    if (unit === undefined) return
    if (isCrash) unit.sessionStatus = 'crashed'
    else if (unit.sessionStatus === 'exited') unit.sessionStatus = 'errored'
  }

  function enqueue(note: Note, others: number): void {
    if (pending.length >= MAX_PENDING) {
      lose('queue_overflow')
      return
    }
    pending.push({ note, others, isPrepared: false, preparing: undefined })
    if (!isScheduled) {
      isScheduled = true
      setImmediate(writeSlice)
    }
  }

  function writeSlice(): void {
    isScheduled = false
    const endMs = performance.now() + SLICE_MS
    let done = 0
    let preparing: Promise<void> | undefined
    while (done < pending.length && performance.now() < endMs) {
      const job = pending[done] as Job
      preparing = prepare(job)
      if (preparing !== undefined) break
      done++
      send(job)
    }
    pending = pending.slice(done)
    if (pending.length === 0 || isScheduled) return
    isScheduled = true
    if (preparing === undefined) setImmediate(writeSlice)
    else preparing.then(writeSlice)
  }

  /** Once a job: what the cache cannot keep is read again when the event is written. */
  function prepare(job: Job): Promise<void> | undefined {
    if (job.isPrepared || job.preparing !== undefined) return job.preparing
    const done = (): void => {
      job.isPrepared = true
      job.preparing = undefined
    }
    try {
      job.preparing = events().prepare(job.note)?.then(done)
    } catch (error) {
      reportFault('TELLTALE_E_INTERNAL', error)
    }
    if (job.preparing === undefined) done()
    return job.preparing
  }

  /** Writes what is pending, waiting for its source maps for at most `timeoutMs`. */
  async function writePending(timeoutMs: number): Promise<void> {
    const endMs = performance.now() + timeoutMs
    let timer: NodeJS.Timeout | undefined
    while (pending.length > 0 && performance.now() < endMs) {
      const preparing = prepare(pending[0] as Job)
      if (preparing === undefined) {
        send(pending.shift() as Job)
        continue
      }
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, endMs - performance.now())
      })
      await Promise.race([preparing, late])
      clearTimeout(timer)
    }
    writeAll()
  }

  function writeAll(): void {
    while (pending.length > 0) {
      const jobs = pending
      pending = []
      for (const job of jobs) send(job)
    }
  }

  function send({ note, others }: Job): void {
    let event: ErrorEvent
    try {
      event = events().write(note, others)
    } catch (error) {
      lose('internal_sdk_error')
      reportFault('TELLTALE_E_INTERNAL', error)
      return
    }
    const hint = { originalException: note.original }
    if (beforeSend !== undefined) {
      const kept = askBeforeSend(event, hint)
      if (kept === undefined) {
        lose('before_send')
        return
      }
      event = kept
    }
    for (const tracker of trackers) {
      try {
        tracker.capture(event, hint)
      } catch (error) {
        lose('internal_sdk_error')
        reportFault('TELLTALE_E_TRACKER', error)
      }
    }
  }

  /** The application's last word; its answer is scrubbed again, because it may have added anything. */
  function askBeforeSend(
    event: ErrorEvent,
    hint: { readonly originalException: unknown },
  ): ErrorEvent | undefined {
    try {
      // A copy: frames are shared with the cache, and the application may edit what it is given.
      const answer: unknown = beforeSend?.(structuredClone(event), hint)
      if (answer === null || answer === undefined) return undefined
      if (typeof (answer as { then?: unknown }).then === 'function') {
        Promise.resolve(answer).catch(() => undefined)
        throw new Error('beforeSend answered a promise; it must answer an event or null at once.')
      }
      return rescrub(answer as ErrorEvent)
    } catch (error) {
      reportFault('TELLTALE_E_TRACKER_CALLBACK', error)
      return undefined
    }
  }

  function rescrub(event: ErrorEvent): ErrorEvent {
    const budget = { left: EVENT_CHARS / 2 }
    const { exception, ...rest } = event
    const out = scrub().fields(rest, budget) as ErrorEvent
    if (exception !== undefined) out.exception = rescrubExceptions(exception)
    return out
  }

  function rescrubExceptions(
    exception: NonNullable<ErrorEvent['exception']>,
  ): NonNullable<ErrorEvent['exception']> {
    const budget = { left: EVENT_CHARS / 2 }
    const values: unknown[] = []
    for (const { stacktrace, ...value } of exception.values) {
      const frames: unknown[] = []
      for (const frame of stacktrace?.frames.slice(-50) ?? [])
        frames.push(scrub().fields(frame, budget))
      values.push({
        ...scrub().fields(value, budget),
        ...(frames.length > 0 ? { stacktrace: { frames } } : undefined),
      })
    }
    return { values } as NonNullable<ErrorEvent['exception']>
  }

  function isIgnored(type: string, message: string): boolean {
    if (ignoreErrors.length === 0) return false
    const text = `${type}: ${message}`.slice(0, 8192)
    for (const rule of ignoreErrors)
      if (typeof rule === 'string' ? text.includes(rule) : text.search(rule) !== -1) return true
    return false
  }

  function takeScope(context: Context | undefined, hint: CaptureContext | undefined): Scope {
    const inner = context?.scope ?? context?.unit.scope
    const scope = processScope.fork()
    if (inner !== undefined) {
      scope.user = inner.user
      if (inner.tags !== undefined) scope.tags = { ...scope.tags, ...inner.tags }
      if (inner.contexts !== undefined) scope.contexts = { ...scope.contexts, ...inner.contexts }
      if (inner.extra !== undefined) scope.extra = { ...scope.extra, ...inner.extra }
      scope.fingerprint = inner.fingerprint ?? scope.fingerprint
      scope.level = inner.level ?? scope.level
    }
    if (hint !== undefined && hint !== null) {
      try {
        const nested = (hint as CaptureHint).captureContext
        if (nested !== undefined) writer().all(scope, nested)
        writer().all(scope, hint)
      } catch (error) {
        // A hint that cannot be read must not cost the error it came with.
        reportFault('TELLTALE_E_TRACKER_CALLBACK', error)
      }
    }
    return scope
  }

  function noteDown(
    eventId: string,
    thrown: unknown,
    message: string,
    given: Note['given'],
    fallbackLevel: string,
    hint: CaptureHint | undefined,
    adjust: ((scope: ScopeHandle) => unknown) | undefined,
    syntheticStack: string,
  ): Note {
    const context = currentContext()
    const unit = context?.unit
    const scope = takeScope(context, hint)
    if (adjust !== undefined) {
      try {
        adjust(writer().handle(scope, addBreadcrumb))
      } catch (error) {
        reportFault('TELLTALE_E_TRACKER_CALLBACK', error)
      }
    }
    return {
      eventId,
      ms: Date.now(),
      chain: message !== '' || given !== undefined ? [] : readChain(thrown, () => syntheticStack),
      message,
      level: scope.level ?? fallbackLevel,
      mechanism: readMechanism(hint),
      scope,
      unit,
      spanId: context?.spanId ?? '',
      fields: unit?.fields,
      headers: unit?.headers,
      url: unit?.url ?? '',
      breadcrumbs: (unit === undefined ? processCrumbs : (unit.breadcrumbs ?? [])).slice(),
      given,
      original: thrown,
    }
  }

  function remember(eventId: string): string {
    const unit = currentContext()?.unit
    if (unit !== undefined) lastIds.set(unit, eventId)
    lastId = eventId
    return eventId
  }

  /** Asks the storm filter; true when this occurrence is sent. `note` is only made when needed. */
  function admit(key: string, eventId: string, note: () => Note): void {
    let made: Note | undefined
    const take = (): Note => {
      made ??= note()
      return made
    }
    const others = storm.admit(hashText(key), performance.now(), take)
    if (others === -1) {
      if (stormTimer === undefined) {
        stormTimer = setInterval(reportStorm, STORM_INTERVAL_MS)
        stormTimer.unref()
      }
      return
    }
    if (sampleRate < 1 && Math.random() >= sampleRate) {
      lose('sample_rate')
      return
    }
    enqueue(take(), others)
    remember(eventId)
  }

  function reportStorm(): void {
    storm.report(performance.now(), false)
    if (storm.isWaiting()) return
    clearInterval(stormTimer)
    stormTimer = undefined
  }

  function captureException(
    error: unknown,
    hint?: CaptureHint | ((scope: ScopeHandle) => unknown),
  ): string {
    if (isOff()) return newId()
    guarded(() => markSession(isCrashHint(hint)))
    const isObject = (typeof error === 'object' && error !== null) || typeof error === 'function'
    if (isObject) {
      const known = seen.get(error as object)
      if (known !== undefined) return known
    }
    const eventId = newId()
    if (isObject) seen.set(error as object, eventId)
    try {
      const type = errorType(error)
      const message = errorMessage(error)
      if (isIgnored(type, message)) {
        lose('event_processor')
        return eventId
      }
      let stack = isErrorLike(error) ? errorStack(error) : ''
      const synthetic = stack === '' ? (new Error('').stack ?? '') : ''
      if (stack === '') stack = synthetic
      const from = stack.indexOf('\n    at ')
      const place = stack.slice(Math.max(0, from), Math.max(0, from) + KEY_STACK_CHARS)
      admit(`${type}\n${kindOfMessage(message)}\n${place}`, eventId, () =>
        typeof hint === 'function'
          ? noteDown(eventId, error, '', undefined, 'error', undefined, hint, synthetic)
          : noteDown(eventId, error, '', undefined, 'error', hint, undefined, synthetic),
      )
    } catch (fault) {
      lose('internal_sdk_error')
      reportFault('TELLTALE_E_INTERNAL', fault)
    }
    return eventId
  }

  function captureMessage(message: string, level?: string | CaptureContext): string {
    const eventId = newId()
    if (isOff()) return eventId
    try {
      const text = String(message) || '(empty message)'
      const hint = typeof level === 'object' ? level : undefined
      const wanted = severity(typeof level === 'string' ? level : level?.level) ?? 'info'
      if (isIgnored('', text)) {
        lose('event_processor')
        return eventId
      }
      admit(`message\n${kindOfMessage(text)}`, eventId, () => ({
        ...noteDown(eventId, undefined, text, undefined, wanted, hint, undefined, ''),
        ...(typeof level === 'string' ? { level: wanted } : undefined),
      }))
    } catch (fault) {
      lose('internal_sdk_error')
      reportFault('TELLTALE_E_INTERNAL', fault)
    }
    return eventId
  }

  function captureEvent(given: Readonly<Record<string, unknown>>): string {
    const eventId = newId()
    if (isOff()) return eventId
    try {
      const plain = scrub().fields(given, { left: EVENT_CHARS })
      const level = severity(plain.level) ?? 'error'
      plain.level = level
      if (plain.exception !== undefined) markSession(false)
      admit(`event\n${JSON.stringify(plain).slice(0, 2000)}`, eventId, () =>
        noteDown(eventId, undefined, '', plain, level, undefined, undefined, ''),
      )
    } catch (fault) {
      lose('internal_sdk_error')
      reportFault('TELLTALE_E_INTERNAL', fault)
    }
    return eventId
  }

  function captureCheckIn(checkIn: CheckIn, config?: MonitorConfig): string {
    const id = checkIn.checkInId ?? newId()
    if (isOff()) return id
    try {
      const context = currentContext()
      const json = JSON.stringify({
        check_in_id: id,
        monitor_slug: checkIn.monitorSlug,
        status: checkIn.status,
        duration: checkIn.duration,
        release: settings.release,
        environment: settings.environment,
        monitor_config: config && {
          schedule: config.schedule,
          checkin_margin: config.checkinMargin,
          max_runtime: config.maxRuntime,
          timezone: config.timezone,
          failure_issue_threshold: config.failureIssueThreshold,
          recovery_threshold: config.recoveryThreshold,
        },
        contexts: context && {
          trace: { trace_id: context.unit.traceId, span_id: context.spanId },
        },
      })
      for (const tracker of trackers) tracker.checkIn?.(json)
    } catch (error) {
      lose('internal_sdk_error')
      reportFault('TELLTALE_E_TRACKER', error)
    }
    return id
  }

  function withMonitor<T>(slug: string, job: () => T, config?: MonitorConfig): T {
    const startTick = performance.now()
    const checkInId = captureCheckIn({ monitorSlug: slug, status: 'in_progress' }, config)
    const finish = (status: 'ok' | 'error'): void => {
      const duration = (performance.now() - startTick) / 1000
      captureCheckIn({ monitorSlug: slug, status, checkInId, duration }, config)
    }
    let result: T
    try {
      result = job()
    } catch (error) {
      finish('error')
      throw error
    }
    if (typeof (result as { then?: unknown } | undefined)?.then !== 'function') {
      finish('ok')
      return result
    }
    return (result as unknown as Promise<unknown>).then(
      (value) => {
        finish('ok')
        return value
      },
      (error: unknown) => {
        finish('error')
        throw error
      },
    ) as T
  }

  function withScope<T>(callback: (scope: ScopeHandle) => T): T {
    const outer = currentContext()
    // A unit of its own where there is none, so that nothing set inside can reach another request.
    const unit =
      outer?.unit ??
      new Unit(
        'scope',
        crypto().randomUUID(),
        newId(),
        newId().slice(16),
        '',
        false,
        Date.now(),
        performance.now(),
      )
    const scope = (outer?.scope ?? unit.scope ?? new Scope()).fork()
    const inner = new Context(unit, outer?.spanId ?? unit.spanId, scope)
    return storage.run(inner, callback, writer().handle(scope, addBreadcrumb))
  }

  /** The scope that a setter writes to: the unit's, or the process's for what may be global. */
  function target(): Scope {
    const context = currentContext()
    return context === undefined ? processScope : writableScope(context)
  }

  function setUser(user: User | null): void {
    const context = currentContext()
    if (context !== undefined) {
      writer().user(writableScope(context), user)
      return
    }
    if (toldNoUser || isOff()) return
    toldNoUser = true
    reportFault(
      'TELLTALE_E_NO_CONTEXT',
      'setUser() was called outside any request. Call it inside one, or inside withScope().',
    )
  }

  function addBreadcrumb(input: BreadcrumbInput): void {
    if (isOff() || typeof input !== 'object' || input === null) return
    const crumb = writer().breadcrumb(input)
    const unit = currentContext()?.unit
    if (unit !== undefined) pushBreadcrumb(unit, crumb)
    else {
      if (processCrumbs.length >= MAX_BREADCRUMBS) processCrumbs.shift()
      processCrumbs.push(crumb)
    }
  }

  async function settle(method: 'flush' | 'close', timeoutMs: number): Promise<boolean> {
    storm.report(performance.now(), true)
    sessions?.report()
    const endMs = performance.now() + timeoutMs
    await writePending(timeoutMs / 2)
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<boolean>((resolve) => {
      timer = setTimeout(resolve, endMs - performance.now(), false)
    })
    const all = Promise.all(
      trackers.map(async (tracker) => {
        try {
          return await tracker[method](Math.max(0, endMs - performance.now()))
        } catch (error) {
          reportFault('TELLTALE_E_TRACKER', error)
          return false
        }
      }),
    ).then((answers) => answers.every(Boolean))
    const answer = await Promise.race([all, late])
    clearTimeout(timer)
    return answer
  }

  function spoolSync(): void {
    storm.report(performance.now(), true)
    sessions?.report()
    writeAll()
    for (const tracker of trackers) {
      try {
        tracker.spoolSync?.()
      } catch (error) {
        reportFault('TELLTALE_E_SPOOL', error)
      }
    }
  }

  if (!isClosed) process.on('exit', spoolSync)

  return {
    captureException,
    captureMessage,
    captureEvent,
    captureCheckIn,
    withMonitor,
    withScope,
    withIsolationScope: withScope,
    setUser,
    setTag: (key, value) => writer().tags(target(), { [key]: value }),
    setTags: (tags) => writer().tags(target(), tags),
    setContext: (name, context) => writer().context(target(), name, context),
    setExtra: (key, value) => writer().extras(target(), { [key]: value }),
    setExtras: (extras) => writer().extras(target(), extras),
    addBreadcrumb,
    countSession: sessions?.count ?? (() => undefined),
    lastEventId() {
      const unit = currentContext()?.unit
      return unit === undefined ? lastId : lastIds.get(unit)
    },
    flush: (timeoutMs = 2000) => settle('flush', timeoutMs),
    async close(timeoutMs = 2000) {
      isClosed = true
      clearInterval(stormTimer)
      sessions?.close()
      const answer = await settle('close', timeoutMs)
      process.removeListener('exit', spoolSync)
      return answer
    },
    prepare() {
      guarded(writer)
      guarded(events)
      for (const tracker of trackers) guarded(() => tracker.prepare?.())
    },
    spoolSync,
    losses() {
      const sum = { ...lost }
      for (const tracker of trackers) {
        try {
          for (const [reason, count] of Object.entries(tracker.losses?.() ?? {}))
            sum[reason] = (sum[reason] ?? 0) + count
        } catch (error) {
          reportFault('TELLTALE_E_TRACKER', error)
        }
      }
      return sum
    },
  }
}

/** True for what nobody caught: see crash.ts. */
function isCrashHint(hint: unknown): boolean {
  const type = read(read(hint, 'mechanism'), 'type')
  return type === 'onuncaughtexception' || type === 'onunhandledrejection'
}

function readMechanism(hint: unknown): Mechanism {
  const given = read(hint, 'mechanism')
  const type = read(given, 'type')
  if (typeof type !== 'string') return { type: 'generic', handled: true }
  const data = read(given, 'data')
  return {
    type: cut(type, 100),
    handled: read(given, 'handled') !== false,
    ...(typeof data === 'object' && data !== null
      ? { data: data as Record<string, unknown> }
      : undefined),
  }
}

function newId(): string {
  return crypto().randomUUID().replaceAll('-', '')
}
