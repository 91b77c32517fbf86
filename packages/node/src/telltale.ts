/**
 * The composition root: `init` builds every part from the settings, connects them, and keeps the
 * process's one instance on `globalThis`. One file, because parts meet nowhere else.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { watchExpress } from './adapters/express.js'
import { readExpressRoute } from './adapters/express-route.js'
import { watchFastify } from './adapters/fastify.js'
import { sendProblem } from './adapters/node.js'
import { once } from './builtin.js'
import { Context, noteError, processWide, storage, type Unit } from './context.js'
import { installCrashHandlers } from './errors/crash.js'
import { createErrors, type Errors } from './errors/errors.js'
import type { ErrorTracker } from './errors/tracker.js'
import { createSentryTracker } from './errors/trackers/sentry.js'
import { preferSentryClient } from './errors/trackers/sentry-sdk.js'
import { cleanFaultsWith, guarded, reportFault } from './faults.js'
import { createHealth, type Health } from './health/health.js'
import { logging } from './log/logger.js'
import { type ClusterRole, clusterRole } from './metrics/cluster.js'
import { createMetrics, type Metrics } from './metrics/metrics.js'
import { resolveOptions, type Settings, type TelltaleOptions } from './options.js'
import { createRedactor } from './redact.js'
import { createEntrance } from './request/entrance.js'
import { pathOf } from './request/incoming.js'
import type { RequestRecord } from './request/record.js'
import { takeOver } from './request/take-over.js'
import { createShutdown } from './shutdown.js'
import { watchDatabases } from './trace/database.js'
import { newUuid } from './trace/ids.js'
import { watchOutgoing } from './trace/outgoing.js'
import { setTraceHooks } from './trace/span.js'
import { createTransactionWriter, type Outcome } from './trace/transaction.js'
import { createVerifyRoutes } from './verify-routes.js'
import { VERSION } from './version.js'

/** A running kit. Everything it opened is closed by `close`, in reverse order; no method throws. */
export type Telltale = {
  readonly settings: Settings
  readonly errors: Errors
  readonly metrics: Metrics
  readonly health: Health
  /** Says that start-up is complete; readiness waits for it when `health.waitForStarted` is set. */
  started(): void
  /** Registers something to close at shutdown, after those before it; returns the function that removes it. */
  addCloser(close: () => unknown): () => void
  /** Port of the management server; undefined when there is none or it could not be opened. */
  managementPort(): Promise<number | undefined>
  /** Waits until errors, traces and log lines are out; false when `timeoutMs` passed first. Default 2,000. */
  flush(timeoutMs?: number): Promise<boolean>
  /** Flushes and undoes what init did. The signal handlers call it; tests do too. */
  close(timeoutMs?: number): Promise<void>
}

/** From init until what the first error and the first scrape need is loaded, unless they come earlier. */
const PREPARE_MS = 1000

type State = { instance: Telltale | undefined }
const state: State = processWide<State>('instance', () => ({ instance: undefined }))

/** The kit of this process; undefined before init and after close. */
export function current(): Telltale | undefined {
  return state.instance
}

/**
 * Makes this process observable: logs, request ids, errors, traces, metrics, health, shutdown.
 * Call it first, before the application's own imports make servers and pools. A second call warns
 * once and returns the first kit.
 *
 * @throws TelltaleError when options or environment hold values it cannot use; it lists them all.
 * @example
 * export const telltale = init({ service: 'shop' })
 */
export function init(options?: TelltaleOptions): Telltale {
  if (state.instance !== undefined) {
    reportFault('TELLTALE_E_INIT_TWICE', 'Call init once, in a module of its own.')
    return state.instance
  }
  const settings = resolveOptions(options)
  const kit = settings.enabled ? build(settings) : inert(settings)
  state.instance = kit
  return kit
}

/** A mistake of the client's, as http-errors and the frameworks mark it. */
function isClientError(error: unknown): boolean {
  try {
    const { statusCode, status } = Object(error) as { status?: unknown; statusCode?: unknown }
    const code = Number(statusCode ?? status)
    return code >= 400 && code < 500
  } catch {
    return false
  }
}

/** A 5xx is the service's failure whatever the error says of itself: an upstream's 404, for one. */
function isFailure(record: RequestRecord): boolean {
  if (!record.unit.hasError) return false
  return record.statusCode >= 500 || (record.aborted && !isClientError(record.unit.error))
}

function outcomeOf(record: RequestRecord): Outcome {
  return {
    name: `${record.method} ${record.route ?? 'unmatched'}`,
    op: record.upgraded ? 'websocket.server' : 'http.server',
    latencyMs: record.latencyMs,
    statusCode: record.statusCode,
    failed: record.statusCode >= 500 || record.reason === 'error',
  }
}

function build(settings: Settings): Telltale {
  const redactor = createRedactor(settings.redact)
  cleanFaultsWith(redactor.text)
  let settle = (): void => {}
  const trackers = chooseTrackers(settings)
  const errors = createErrors(settings, { redactor, trackers })
  logging.configure(settings, redactor, {
    onError(error, line) {
      if (!settings.errors.captureLogged) return
      const mechanism = { type: 'log', handled: true }
      errors.captureException(error, { level: line.level, mechanism })
    },
    beforeWrite: () => settle(),
  })
  const { log, encoder } = logging
  const traced = trackers.filter((t) => t.transaction !== undefined || t.span !== undefined)
  const { sampleRate, sampler } = settings.trace
  const isTraced = traced.length > 0 && (sampleRate > 0 || sampler !== undefined)
  const metrics = createMetrics(settings, isTraced)
  const health = createHealth(settings, { log, metrics: { collect: metrics.collectLater } })
  const writer = once(() => createTransactionWriter(settings, VERSION, encoder.value))
  const undo: (() => void)[] = []
  let rejected = 0

  function sendTrace(unit: Unit, outcome: Outcome): void {
    for (const tracker of traced) {
      try {
        if (settings.trace.format === 'stream' && tracker.span !== undefined) {
          for (const span of writer().spans(unit, outcome)) tracker.span(span)
        } else if (!tracker.refusesTransaction?.()) {
          tracker.transaction?.(writer().transaction(unit, outcome))
        }
      } catch (error) {
        reportFault('TELLTALE_E_TRACKER_CALLBACK', error)
      }
    }
  }

  function decide(method: string, path: string, parentSampled: boolean | undefined): boolean {
    if (traced.length === 0) return parentSampled === true
    if (!isTraced) return false
    if (parentSampled !== undefined) return parentSampled
    if (sampler === undefined) return Math.random() < sampleRate
    try {
      const answer = sampler({ method, path })
      return typeof answer === 'number' ? Math.random() < answer : answer === true
    } catch (error) {
      reportFault('TELLTALE_E_TRACKER_CALLBACK', error)
      return false
    }
  }

  const verifyRoutes =
    settings.verifyToken === ''
      ? undefined
      : createVerifyRoutes(settings.verifyToken, {
          log,
          setUser: (user) => errors.setUser(user),
        })
  const entrance = createEntrance(settings.request, {
    decide: (method, path, parent) => decide(method, path, parent?.sampled),
    started(unit) {
      if (!unit.isProbe) metrics.requestStarted()
    },
    finished(record) {
      const { unit } = record
      if (isFailure(record)) {
        const eventId = storage.run(record.context, () =>
          errors.captureException(unit.error, {
            mechanism: { type: 'http.server', handled: false },
          }),
        )
        if (trackers.length > 0) {
          unit.fields = { ...unit.fields, event_id: eventId }
          unit.fieldsJson = undefined
        }
      }
      if (!unit.isProbe) {
        metrics.requestFinished(record)
        if (!record.upgraded) errors.countSession(unit)
      }
      logging.finish(record)
    },
    traced(record) {
      if (!record.unit.isProbe) sendTrace(record.unit, outcomeOf(record))
    },
    atTurnEnd: logging.atTurnEnd,
    rejected(rejection) {
      rejected++
      log.warn('request_rejected', { code: rejection.code, status_code: rejection.statusCode })
    },
    interrupted(unit, latencyMs, reason) {
      // What was only cut off neither ended well nor failed.
      if (unit.sessionStatus !== 'exited' && !unit.isProbe) errors.countSession(unit)
      storage.run(contextOf(unit), () =>
        log.warn('request_interrupted', {
          method: unit.method,
          path: unit.path,
          route: unit.route,
          latency_ms: latencyMs,
          reason,
        }),
      )
    },
    closed() {
      settle()
      metrics.push()
    },
    isOwn: ownPaths(settings),
    handle: (request, response, path) =>
      health.handle(request, response, path) ||
      (servesMetrics(settings) && metrics.handle(request, response, path)),
    ...((settings.debugError || verifyRoutes !== undefined) && {
      opening(request, response, context) {
        verifyRoutes?.(request, response, context)
        if (settings.debugError) debugError(response, context)
      },
    }),
  })
  settle = entrance.settle
  entrance.addRouteReader(readExpressRoute)

  if (settings.enabled) {
    entrance.open()
    // A turn later: the first ids would cost the start, or the first request, four milliseconds.
    setImmediate(newUuid).unref()
    undo.push(watchExpress(), watchFastify(), watchDatabases())
    undo.push(watchOutgoing(settings.request, () => ''))
  }
  setTraceHooks({
    decide: (name, parentSampled) => decide('', name, parentSampled),
    finished(unit, latencyMs, failed) {
      if (!unit.sampled) return
      sendTrace(unit, {
        name: unit.route ?? unit.kind,
        op: unit.kind,
        latencyMs,
        statusCode: 0,
        failed,
      })
    },
  })

  const shutdown = createShutdown(settings.shutdown, {
    servers: () => entrance.servers(),
    inFlight: () => entrance.inFlight.count,
    onDrain() {
      health.drain()
      entrance.drain()
    },
    interrupt: (reason) => entrance.interrupt(reason),
    log,
    flush,
  })

  async function flush(timeoutMs = 2000): Promise<boolean> {
    settle()
    const [delivered] = await Promise.all([
      errors.flush(timeoutMs),
      logging.flush(),
      metrics.flush(timeoutMs),
    ])
    return delivered
  }

  if (settings.errors.captureCrashes) {
    undo.push(
      installCrashHandlers({
        errors,
        onCrash(error, origin) {
          log.fatal(
            origin === 'unhandledRejection' ? 'unhandled_rejection' : 'uncaught_exception',
            { error },
          )
          entrance.interrupt('crash')
        },
      }),
    )
  }

  metrics.collectLater({
    name: 'telltale_log_lines_dropped_total',
    help: 'Log lines that standard output did not take.',
    type: 'counter',
    read: (add) => add(logging.counts.dropped),
  })
  metrics.collectLater({
    name: 'telltale_events_lost_total',
    help: 'Errors and traces that did not reach the tracker, by reason.',
    type: 'counter',
    labelNames: ['reason'],
    read(add) {
      for (const [reason, count] of Object.entries(errors.losses())) add(count, { reason })
    },
  })
  metrics.collectLater({
    name: 'telltale_requests_rejected_total',
    help: "Requests that Node's HTTP parser refused.",
    type: 'counter',
    read: (add) => add(rejected),
  })

  const role = clusterRole()
  if (settings.enabled) metrics.join()
  const management = openManagement(
    settings,
    role,
    (server) => entrance.ignore(server),
    (request, response, path) =>
      health.handle(request, response, path) || metrics.handle(request, response, path),
  )

  if (settings.enabled) {
    log.info('telltale_started', {
      version: VERSION,
      node: process.version,
      parts: decisions(settings, trackers, role),
    })
    // Not now, because it costs a start some milliseconds, and not at the first error, when the process
    // may have no file left to open, or other files.
    const preparing = setTimeout(() => {
      errors.prepare()
      guarded(writer)
      setImmediate(metrics.prepare).unref()
    }, PREPARE_MS).unref()
    undo.push(() => clearTimeout(preparing))
  }

  const kit: Telltale = {
    settings,
    errors,
    metrics,
    health,
    started: () => health.started(),
    addCloser: (close) => shutdown.addCloser(close),
    managementPort: () => management?.port ?? Promise.resolve(undefined),
    flush,
    async close(timeoutMs = 2000) {
      if (state.instance !== kit) return
      state.instance = undefined
      shutdown.close()
      for (const stop of undo.reverse()) stop()
      setTraceHooks(undefined)
      management?.server.close()
      management?.server.closeAllConnections()
      entrance.close()
      await health.close()
      metrics.close()
      await errors.close(timeoutMs)
      await logging.flush()
      logging.close()
    },
  }
  return kit
}

/** A kit that does nothing: `enabled` is false. The logger still writes. */
function inert(settings: Settings): Telltale {
  return build({
    ...settings,
    errors: { ...settings.errors, dsn: '', trackers: [], captureCrashes: false },
    health: { ...settings.health, enabled: false },
    metrics: { ...settings.metrics, enabled: false },
    shutdown: { ...settings.shutdown, enabled: false },
    log: { ...settings.log, captureConsole: false },
    management: undefined,
  })
}

/** The trackers that errors go to: the option's, else the application's own Sentry client, else the DSN's. */
function chooseTrackers(settings: Settings): readonly ErrorTracker[] {
  if (!settings.enabled) return []
  if (settings.errors.trackers.length > 0) return settings.errors.trackers
  const { dsn, maxQueueBytes, spoolDir } = settings.errors
  const makeOwn = (): ErrorTracker =>
    createSentryTracker({ dsn, maxQueueBytes, spoolDir, sdkVersion: VERSION })
  return [preferSentryClient(dsn === '' ? undefined : makeOwn)]
}

function contextOf(unit: Unit): Context {
  return new Context(unit, unit.spanId, undefined)
}

/** Whether /metrics is served on the application's own ports. */
function servesMetrics({ metrics, management }: Settings): boolean {
  return management === undefined && metrics.path !== false
}

/** Tells the kit's own paths from the application's; asked for every request, so prepared once. */
function ownPaths(settings: Settings): (path: string) => boolean {
  const { health } = settings
  const probes = health.enabled ? `${health.basePath}/` : undefined
  const scrape = servesMetrics(settings) ? settings.metrics.path : undefined
  const slashed = `${scrape}/`
  return (path) =>
    (probes !== undefined && path.startsWith(probes)) ||
    (scrape !== undefined && (path === scrape || path === slashed))
}

type Management = { readonly server: Server; readonly port: Promise<number | undefined> }

function openManagement(
  settings: Settings,
  role: ClusterRole,
  prepare: (server: Server) => void,
  handle: (request: IncomingMessage, response: ServerResponse, path: string) => boolean,
): Management | undefined {
  // The primary has opened it: another listener on the same port would be refused.
  if (settings.management === undefined || role === 'worker') return undefined
  const { port, host } = settings.management
  const server = createServer((request, response) => {
    if (handle(request, response, pathOf(request.url ?? '/'))) return
    response.writeHead(404, { 'Content-Type': 'text/plain' })
    response.end('Not found. Here are /metrics and the health endpoints.\n')
  })
  // Before it listens: the entrance is told of every server that does.
  prepare(server)
  server.unref()
  const opened = new Promise<number | undefined>((resolve) => {
    server.once('error', (error) => {
      reportFault(
        'TELLTALE_E_PORT',
        `${host}:${port}: ${error.message}. Choose another management.port.`,
      )
      resolve(undefined)
    })
    server.listen(port, host, () => resolve((server.address() as { port: number }).port))
  })
  return { server, port: opened }
}

const CLUSTER: Readonly<Record<ClusterRole, string>> = {
  none: 'off: this process is no worker of a cluster',
  worker: 'on: a scrape of any worker shows all',
  alone:
    'off: a scrape shows this worker only; import this module in the primary too, before it forks',
}

/** What is on, off, and why, for the telltale_started line. */
function decisions(
  settings: Settings,
  trackers: readonly ErrorTracker[],
  role: ClusterRole,
): Record<string, string> {
  const { log, trace, health, metrics, shutdown, errors, management } = settings
  const names = trackers
    .filter((tracker) => tracker.isActive?.() ?? true)
    .map((tracker) => tracker.name)
    .join(', ')
  const checks = [...health.checks.keys()].join(', ')
  return {
    logs: `on: level ${log.level}, preset ${log.preset}`,
    errors: names === '' ? 'off: set SENTRY_DSN or pass errors.tracker' : `on: ${names}`,
    sessions: !errors.sessions
      ? 'off: errors.sessions is false'
      : settings.release === undefined
        ? 'off: set SENTRY_RELEASE or pass release'
        : trackers.some((tracker) => tracker.sessions !== undefined)
          ? `on: release ${settings.release}`
          : 'off: no tracker that takes them',
    crashes: errors.captureCrashes ? 'on' : 'off: errors.captureCrashes is false',
    traces:
      names === ''
        ? 'off: no tracker'
        : trace.sampler !== undefined
          ? 'on: by trace.sampler'
          : trace.sampleRate === 0
            ? 'off: the sample rate is 0'
            : `on: ${trace.sampleRate * 100} % of requests`,
    health: health.enabled
      ? `on: ${health.basePath}/, ${checks === '' ? 'no checks' : checks}`
      : 'off: health.enabled is false',
    metrics: metrics.enabled
      ? `on: ${metrics.path === false && management === undefined ? 'not served' : `${metrics.path || '/metrics'}${metrics.token === '' ? ', loopback only' : ', with token'}`}`
      : 'off: metrics.enabled is false',
    cluster: !metrics.enabled ? 'off: metrics.enabled is false' : CLUSTER[role],
    shutdown: shutdown.enabled
      ? `on: drain ${shutdown.drainDelayMs} ms, at most ${shutdown.timeoutMs} ms`
      : 'off: shutdown.enabled is false',
    management:
      management === undefined
        ? 'off: no management.port'
        : role === 'worker'
          ? "on: the primary's"
          : `on: ${management.host}:${management.port}`,
    debug_error: settings.debugError
      ? 'on: /sentry-debug/'
      : 'off: production; TELLTALE_DEBUG_ERROR=1 turns it on',
  }
}

const DEBUG_PATH = /^\/sentry-debug\/?$/

/**
 * Turns the answer of /sentry-debug/ into a deliberate error. The application runs first, so that
 * its sign-in has set the user; whatever it answers becomes a 500, except a refusal (401, 403) or an error of its own.
 */
function debugError(response: ServerResponse, context: Context): void {
  if (!DEBUG_PATH.test(context.unit.path)) return
  const isKept = (status: number): boolean => status === 401 || status === 403 || status >= 500
  takeOver(response, isKept, () => {
    context.unit.route = '/sentry-debug/'
    try {
      divide(1n, 0n)
    } catch (error) {
      noteError(context.unit, error)
    }
    sendProblem(response, 500, 'Deliberate error', 'This error was raised to test error tracking.')
  })
}

function divide(dividend: bigint, divisor: bigint): bigint {
  return dividend / divisor
}
