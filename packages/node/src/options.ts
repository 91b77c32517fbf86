/**
 * The kit's options: types, environment, defaults, validation. Options beat environment beats
 * defaults. Everything is checked once, at init, and every fault is reported at once. One
 * file, because every default has its one place here.
 */
import { readFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { writesToTerminal } from './builtin.js'
import type { ErrorEvent, ErrorTracker } from './errors/tracker.js'
import { type Fault, show, TelltaleError } from './faults.js'

/** Severity names, least severe first. `silent` turns a logger off. */
export type LevelName = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal'
/** How a line is shaped. Presets rename fields, they never restructure. */
export type Preset = 'telltale' | 'ecs' | 'gcp' | 'datadog' | 'pino'
/** Whether an incoming X-Request-ID is kept. */
export type TrustPolicy = 'always' | 'never' | ((request: IncomingMessage) => boolean)

/** Outcome of a health check. Anything but `undefined`, `true`, 'ok' or {status:'ok'|'degraded'} is a failure. */
export type HealthOutcome =
  | undefined
  | boolean
  | 'ok'
  | { readonly status: 'ok' | 'degraded' | 'fail'; readonly reason?: string }

/** What a check is told besides the signal. */
export type HealthCheckContext = {
  /** The name of this service: what a check's own connection is labelled with. */
  readonly service: string
  /** Milliseconds until `signal` aborts. */
  readonly timeoutMs: number
}

/** A check: resolves when the dependency works, rejects when not. `signal` aborts at the timeout. */
export type HealthCheck = {
  (
    signal: AbortSignal,
    context: HealthCheckContext,
  ): Promise<HealthOutcome> | Promise<void> | HealthOutcome
  /** Ends what the check keeps open; called when health closes. Must not throw. */
  readonly close?: () => void
}

/** A check with its own settings. */
export type HealthCheckSettings = {
  readonly check: HealthCheck
  /** False: a failure makes readiness degraded (200) instead of failed (503). Default true. */
  readonly critical?: boolean
  /** Milliseconds for one run, 1 to 900. Default 800. */
  readonly timeoutMs?: number
  /** Timeouts in a row until the check counts as failed, 1 to 10. Default 2; hard errors count at once. */
  readonly failureThreshold?: number
}

export type LogOptions = {
  /** Least severe level written. LOG_LEVEL. Default info. */
  readonly level?: LevelName | 'silent' | undefined
  /** TELLTALE_LOG_PRESET. Default telltale. */
  readonly preset?: Preset | undefined
  /** Coloured lines for people instead of JSON. TELLTALE_LOG_PRETTY. Default: stdout is a terminal. */
  readonly pretty?: boolean | undefined
  /** Bytes of one line, 1,024 to 1,048,576. Default 16,384 (what Docker keeps in one piece). */
  readonly maxLineBytes?: number | undefined
  /** Bytes kept while stdout stalls, at least 65,536. Default 8,388,608. */
  readonly maxBufferBytes?: number | undefined
  /** Write every line at once instead of once a turn of the event loop. Default false. */
  readonly sync?: boolean | undefined
  /** Turn console.*, Node warnings into JSON lines. Default true. */
  readonly captureConsole?: boolean | undefined
  /**
   * Hold lines below `level` of a request in memory and write them only when it fails or is slow.
   * Default off.
   */
  readonly holdDebug?:
    | boolean
    | { readonly level?: LevelName; readonly slowMs?: number; readonly maxBytes?: number }
}

export type RequestOptions = {
  /** Default 'always'; TELLTALE_TRUST_REQUEST_ID = always | never. */
  readonly trustRequestId?: TrustPolicy | undefined
  /** Paths whose successful requests write no line (prefix match); probes and scrapes are quiet anyway. */
  readonly quietPaths?: readonly string[] | undefined
  /**
   * Share of successful, fast requests that write request_finished, 0 to 1; the line says its
   * weight. Failures, aborts and slow requests are always written. Default 1.
   */
  readonly sampleRate?: number | undefined
  /** From here a request is slow: kept by sampling and by holdDebug. Milliseconds. Default 1,000. */
  readonly slowMs?: number | undefined
  /** Hosts that get X-Request-ID on outgoing requests; '.example.com' covers subdomains. Default loopback only. */
  readonly propagateRequestIdTo?: readonly string[] | undefined
  /** Hosts that get traceparent on outgoing requests, or true for all. Default true. */
  readonly propagateTraceTo?: true | readonly string[] | undefined
}

export type RedactOptions = {
  /** More key names that hold secrets, any case, with or without separators. */
  readonly keys?: readonly string[] | undefined
  /** Key names that are never masked though they look like secrets. */
  readonly allow?: readonly string[] | undefined
  /** More patterns that are masked inside strings; global flag is implied. */
  readonly patterns?: readonly RegExp[] | undefined
}

export type ErrorsOptions = {
  /** Sentry-compatible DSN. SENTRY_DSN. Empty or false: off. */
  readonly dsn?: string | false | undefined
  /** Another tracker, or several; instead of the DSN. */
  readonly tracker?: ErrorTracker | readonly ErrorTracker[] | undefined
  /** Share of errors sent, 0 to 1. SENTRY_SAMPLE_RATE. Default 1. */
  readonly sampleRate?: number | undefined
  /** Send headers beyond the allow-list (never credentials), cookies' names, client IP. Default false. */
  readonly sendDefaultPii?: boolean | undefined
  /** Header names allowed on events besides the built-in list, lower case. */
  readonly allowHeaders?: readonly string[] | undefined
  /** Called with each event before it is sent; return null to drop it. A throw drops it, counted. */
  readonly beforeSend?: (
    event: ErrorEvent,
    hint: { readonly originalException: unknown },
  ) => ErrorEvent | null | undefined
  /** Messages that are not sent: substrings or patterns. */
  readonly ignoreErrors?: readonly (string | RegExp)[] | undefined
  /** Errors given to log.error and log.fatal are captured as well. Default true. */
  readonly captureLogged?: boolean | undefined
  /** Install handlers for uncaughtException and unhandledRejection. Default true. */
  readonly captureCrashes?: boolean | undefined
  /**
   * Count requests for release health: how many ended well, with an error, in a crash, per minute.
   * Needs `release` and a Sentry-compatible tracker. Default true.
   */
  readonly sessions?: boolean | undefined
  /** Bytes of events waiting to be sent. Default 4,194,304. */
  readonly maxQueueBytes?: number | undefined
  /** Folder for events that could not be sent before exit; false: off. TELLTALE_SPOOL_DIR. Default: a folder below os.tmpdir(). */
  readonly spoolDir?: string | false | undefined
  /** Lines of source around each in-app frame. 0 to 20. Default 5. */
  readonly contextLines?: number | undefined
  /** Name of the host in events. SENTRY_NAME. Default os.hostname(). */
  readonly serverName?: string | undefined
}

export type TraceOptions = {
  /** Share of requests traced, 0 to 1. SENTRY_TRACES_SAMPLE_RATE. Default 0.2. */
  readonly sampleRate?: number | undefined
  /** Decides per request instead of `sampleRate`. */
  readonly sampler?: (request: {
    readonly method: string
    readonly path: string
  }) => number | boolean
  /** 'transaction' items, or span v2 streams. SENTRY_TRACE_LIFECYCLE = static | stream. Default transaction. */
  readonly format?: 'transaction' | 'stream' | undefined
}

export type HealthOptions = {
  /** False: no health endpoints. */
  readonly enabled?: boolean | undefined
  /** Default /api/v1/health; TELLTALE_HEALTH_PATH. */
  readonly basePath?: string | undefined
  /** Checks by name: ready-made ones of `@telltale/node/health`, or any `(signal) => Promise`. */
  readonly checks?: Readonly<Record<string, HealthCheck | HealthCheckSettings>>
  /** Milliseconds between background polls, at least 100. Default 5,000; 1,000 while unhealthy. */
  readonly intervalMs?: number | undefined
  /** True: ready answers 503 `starting` until `telltale.started()` is called. Default false. */
  readonly waitForStarted?: boolean | undefined
  /** Bearer token that shows details. TELLTALE_HEALTH_TOKEN. Loopback, called by a loopback name, always sees them. */
  readonly token?: string | undefined
}

export type MetricsOptions = {
  /** False: nothing is recorded. */
  readonly enabled?: boolean | undefined
  /** Default /metrics; false: not served on the service's own port, at /metrics on a management port. */
  readonly path?: string | false | undefined
  /** Bearer token for scrapes from beyond loopback; without one they get 404. TELLTALE_METRICS_TOKEN. */
  readonly token?: string | undefined
  /** Label sets per metric, 10 to 100,000. Default 2,000. */
  readonly maxSeries?: number | undefined
  /** Event loop, GC, heap, CPU. Default true. */
  readonly runtime?: boolean | undefined
  /** prom-client registries appended to /metrics. */
  readonly registries?: readonly { metrics(): Promise<string> | string }[]
}

export type ShutdownOptions = {
  /** False: signals are left to the application. Default true. */
  readonly enabled?: boolean | undefined
  /** Milliseconds the port stays open after SIGTERM. Default 5,000 in Kubernetes, else 0. TELLTALE_DRAIN_DELAY_MS. */
  readonly drainDelayMs?: number | undefined
  /** Milliseconds from the signal until the process ends whatever happens. Default 25,000. */
  readonly timeoutMs?: number | undefined
  /** Closed in this order after the last request. */
  readonly closers?: readonly (() => unknown)[]
}

export type ManagementOptions = {
  /** Port for /metrics and health beside the service's own. TELLTALE_MANAGEMENT_PORT. */
  readonly port?: number | undefined
  /** Default 127.0.0.1. */
  readonly host?: string | undefined
}

/** What `init` takes. Every part is optional; the environment fills the rest. */
export type TelltaleOptions = {
  /** OTEL_SERVICE_NAME. Default: the name in the nearest package.json. */
  readonly service?: string | undefined
  /** TELLTALE_ENVIRONMENT, SENTRY_ENVIRONMENT, NODE_ENV. Default development. */
  readonly environment?: string | undefined
  /** TELLTALE_RELEASE, SENTRY_RELEASE. Default: none. */
  readonly release?: string | undefined
  /** False: everything off, no cost. TELLTALE_ENABLED=0. */
  readonly enabled?: boolean | undefined
  /** Lines on stdout. */
  readonly log?: LogOptions | undefined
  /** Ids and the end line. */
  readonly request?: RequestOptions | undefined
  /** What is masked besides the built-in list. */
  readonly redact?: RedactOptions | undefined
  /** Error tracking. */
  readonly errors?: ErrorsOptions | undefined
  /** Performance monitoring. */
  readonly trace?: TraceOptions | undefined
  /** Liveness, readiness, start-up. */
  readonly health?: HealthOptions | undefined
  /** Prometheus metrics. */
  readonly metrics?: MetricsOptions | undefined
  /** From SIGTERM to the exit. */
  readonly shutdown?: ShutdownOptions | undefined
  /** A port of its own for /metrics and health. */
  readonly management?: ManagementOptions | undefined
}

/** Options with environment and defaults applied; frozen. */
export type Settings = {
  readonly service: string
  readonly environment: string
  readonly release: string | undefined
  readonly enabled: boolean
  readonly log: {
    readonly level: LevelName | 'silent'
    readonly preset: Preset
    readonly pretty: boolean
    readonly maxLineBytes: number
    readonly maxBufferBytes: number
    readonly sync: boolean
    readonly captureConsole: boolean
    /** Undefined: off. */
    readonly hold:
      | { readonly level: LevelName; readonly slowMs: number; readonly maxBytes: number }
      | undefined
  }
  readonly request: {
    readonly trustRequestId: TrustPolicy
    readonly quietPaths: readonly string[]
    readonly sampleRate: number
    readonly slowMs: number
    readonly propagateRequestIdTo: readonly string[]
    readonly propagateTraceTo: true | readonly string[]
  }
  readonly redact: {
    readonly keys: readonly string[]
    readonly allow: readonly string[]
    readonly patterns: readonly RegExp[]
  }
  readonly errors: {
    /** '' when off. */
    readonly dsn: string
    readonly trackers: readonly ErrorTracker[]
    readonly sampleRate: number
    readonly sendDefaultPii: boolean
    readonly allowHeaders: readonly string[]
    readonly beforeSend: ErrorsOptions['beforeSend'] | undefined
    readonly ignoreErrors: readonly (string | RegExp)[]
    readonly captureLogged: boolean
    readonly captureCrashes: boolean
    readonly sessions: boolean
    readonly maxQueueBytes: number
    /** Undefined: default folder; false: off. */
    readonly spoolDir: string | false | undefined
    readonly contextLines: number
    readonly serverName: string | undefined
  }
  readonly trace: {
    readonly sampleRate: number
    readonly sampler: TraceOptions['sampler'] | undefined
    readonly format: 'transaction' | 'stream'
  }
  readonly health: {
    readonly enabled: boolean
    /** Starts with '/', no trailing slash. */
    readonly basePath: string
    readonly checks: ReadonlyMap<string, Required<HealthCheckSettings>>
    readonly intervalMs: number
    readonly waitForStarted: boolean
    /** '' when none. */
    readonly token: string
  }
  readonly metrics: {
    readonly enabled: boolean
    readonly path: string | false
    readonly token: string
    readonly maxSeries: number
    readonly runtime: boolean
    readonly registries: readonly { metrics(): Promise<string> | string }[]
  }
  readonly shutdown: {
    readonly enabled: boolean
    readonly drainDelayMs: number
    readonly timeoutMs: number
    readonly closers: readonly (() => unknown)[]
  }
  readonly management: { readonly port: number; readonly host: string } | undefined
  /** /sentry-debug/ is served. */
  readonly debugError: boolean
  /** TELLTALE_VERIFY_TOKEN: what `telltale verify` shows to use its routes; empty: they do not exist. */
  readonly verifyToken: string
}

const LEVEL_NAMES = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const
const PRESETS = ['telltale', 'ecs', 'gcp', 'datadog', 'pino'] as const

type Env = Readonly<Record<string, string | undefined>>
type Raw = Record<string, unknown>

const NOT_GIVEN = { name: '', value: undefined, fromEnv: false } as const

/** Reads values from options and environment and collects what is wrong with them. */
class Reader {
  readonly faults: Fault[] = []
  readonly env: Env

  constructor(env: Env) {
    this.env = env
  }

  refuse(name: string, wants: string, value: unknown, remedy: string): void {
    this.faults.push({
      code: 'TELLTALE_E_OPTION',
      message: `${name} must be ${wants}, got ${show(value)}.`,
      remedy,
    })
  }

  /** The option when given, else the first environment variable that is set and not empty. */
  pick(
    where: string,
    part: Raw,
    key: string,
    vars: readonly string[],
  ): { name: string; value: unknown; fromEnv: boolean } {
    if (part[key] !== undefined)
      return { name: `options.${where}${key}`, value: part[key], fromEnv: false }
    for (const name of vars) {
      const value = this.env[name]
      if (value !== undefined && value !== '') return { name, value, fromEnv: true }
    }
    return NOT_GIVEN
  }

  number(
    where: string,
    part: Raw,
    key: string,
    fallback: number,
    min: number,
    max: number,
    vars: readonly string[] = [],
  ): number {
    const { name, value, fromEnv } = this.pick(where, part, key, vars)
    if (value === undefined) return fallback
    const number = fromEnv
      ? Number.parseFloat(String(value)) === Number(value)
        ? Number(value)
        : Number.NaN
      : value
    if (typeof number !== 'number' || !(number >= min && number <= max)) {
      const hint =
        max === 1 && typeof value === 'string' && value.trim().endsWith('%')
          ? `Pass ${Number.parseFloat(value) / 100} for ${value}.`
          : `Pass a number in that range; the default is ${fallback}.`
      this.refuse(name, `a number from ${min} to ${max}`, value, hint)
      return fallback
    }
    return number
  }

  boolean(
    where: string,
    part: Raw,
    key: string,
    fallback: boolean,
    vars: readonly string[] = [],
  ): boolean {
    const { name, value, fromEnv } = this.pick(where, part, key, vars)
    if (value === undefined) return fallback
    if (typeof value === 'boolean') return value
    if (fromEnv && /^(1|true|yes|on)$/i.test(String(value))) return true
    if (fromEnv && /^(0|false|no|off)$/i.test(String(value))) return false
    this.refuse(
      name,
      fromEnv ? 'one of 1, true, 0, false' : 'true or false',
      value,
      `Leave it out for ${fallback}.`,
    )
    return fallback
  }

  string(
    where: string,
    part: Raw,
    key: string,
    fallback: string,
    vars: readonly string[] = [],
  ): string {
    const { name, value } = this.pick(where, part, key, vars)
    if (value === undefined) return fallback
    if (typeof value === 'string' && value.length > 0 && value.length <= 1024) return value
    this.refuse(name, 'a string of 1 to 1024 characters', value, 'Pass text, or leave it out.')
    return fallback
  }

  oneOf<T extends string>(
    where: string,
    part: Raw,
    key: string,
    fallback: T,
    allowed: readonly T[],
    vars: readonly string[] = [],
  ): T {
    const { name, value, fromEnv } = this.pick(where, part, key, vars)
    if (value === undefined) return fallback
    const text = fromEnv ? String(value).toLowerCase() : value
    if (allowed.includes(text as T)) return text as T
    this.refuse(name, `one of ${allowed.join(', ')}`, value, `Leave it out for ${fallback}.`)
    return fallback
  }

  list<T>(
    where: string,
    part: Raw,
    key: string,
    wants: string,
    is: (item: unknown) => item is T,
  ): readonly T[] {
    const value = part[key]
    if (value === undefined) return []
    if (Array.isArray(value) && value.every(is)) return [...value]
    const bad = Array.isArray(value) ? value.find((item) => !is(item)) : value
    this.refuse(
      `options.${where}${key}`,
      `an array of ${wants}`,
      bad,
      'Correct or remove that entry.',
    )
    return []
  }

  callback<T>(where: string, part: Raw, key: string): T | undefined {
    const value = part[key]
    if (value === undefined || typeof value === 'function') return value as T | undefined
    this.refuse(`options.${where}${key}`, 'a function', value, 'Pass a function, or leave it out.')
    return undefined
  }

  part(options: Raw, key: string, known: readonly string[]): Raw {
    const value = options[key]
    if (value === undefined) return {}
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      this.refuse(
        `options.${key}`,
        'an object',
        value,
        'Pass an object with the settings of that part.',
      )
      return {}
    }
    this.unknown(`options.${key}.`, value as Raw, known)
    return value as Raw
  }

  unknown(where: string, part: Raw, known: readonly string[]): void {
    for (const key of Object.keys(part)) {
      if (known.includes(key)) continue
      this.faults.push({
        code: 'TELLTALE_E_OPTION',
        message: `${where}${key} is not an option.`,
        remedy: `Known here: ${known.join(', ')}.`,
      })
    }
  }
}

const isString = (item: unknown): item is string => typeof item === 'string'
const isRegExp = (item: unknown): item is RegExp => item instanceof RegExp
const isFunction = (item: unknown): item is () => unknown => typeof item === 'function'

/**
 * Completes and checks the options. Throws one `TelltaleError` that lists every fault; each names
 * the option or variable, the value, and the remedy.
 */
export function resolveOptions(options: TelltaleOptions = {}, env: Env = process.env): Settings {
  const read = new Reader(env)
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    read.refuse('options', 'an object', options, 'Call init({ service: "shop" }).')
    throw new TelltaleError(read.faults)
  }
  const top = options as Raw
  read.unknown('options.', top, [
    'service',
    'environment',
    'release',
    'enabled',
    'log',
    'request',
    'redact',
    'errors',
    'trace',
    'health',
    'metrics',
    'shutdown',
    'management',
  ])
  const environment = read.string('', top, 'environment', 'development', [
    'TELLTALE_ENVIRONMENT',
    'SENTRY_ENVIRONMENT',
    'NODE_ENV',
  ])
  const release = read.string('', top, 'release', '', ['TELLTALE_RELEASE', 'SENTRY_RELEASE'])
  const settings: Settings = {
    service: read.string('', top, 'service', '', ['OTEL_SERVICE_NAME']) || packageName(),
    environment,
    release: release === '' ? undefined : release,
    enabled: read.boolean('', top, 'enabled', true, ['TELLTALE_ENABLED']),
    log: resolveLog(read, top),
    request: resolveRequest(read, top),
    redact: resolveRedact(read, top),
    errors: resolveErrors(read, top),
    trace: resolveTrace(read, top),
    health: resolveHealth(read, top),
    metrics: resolveMetrics(read, top),
    shutdown: resolveShutdown(read, top),
    management: resolveManagement(read, top),
    debugError:
      env.TELLTALE_DEBUG_ERROR === '1' ||
      (environment !== 'production' && env.TELLTALE_DEBUG_ERROR !== '0'),
    verifyToken: env.TELLTALE_VERIFY_TOKEN ?? '',
  }
  if (read.faults.length > 0) throw new TelltaleError(read.faults)
  return freezeParts(settings)
}

function resolveLog(read: Reader, top: Raw): Settings['log'] {
  const part = read.part(top, 'log', [
    'level',
    'preset',
    'pretty',
    'maxLineBytes',
    'maxBufferBytes',
    'sync',
    'captureConsole',
    'holdDebug',
  ])
  return {
    level: read.oneOf('log.', part, 'level', 'info', LEVEL_NAMES, ['LOG_LEVEL']),
    preset: read.oneOf('log.', part, 'preset', 'telltale', PRESETS, ['TELLTALE_LOG_PRESET']),
    pretty: read.boolean('log.', part, 'pretty', writesToTerminal(), ['TELLTALE_LOG_PRETTY']),
    maxLineBytes: read.number('log.', part, 'maxLineBytes', 16_384, 1024, 1_048_576),
    maxBufferBytes: read.number('log.', part, 'maxBufferBytes', 8_388_608, 65_536, 1_073_741_824),
    sync: read.boolean('log.', part, 'sync', false, ['TELLTALE_LOG_SYNC']),
    captureConsole: read.boolean('log.', part, 'captureConsole', true, [
      'TELLTALE_CAPTURE_CONSOLE',
    ]),
    hold: resolveHold(read, part.holdDebug),
  }
}

function resolveHold(read: Reader, value: unknown): Settings['log']['hold'] {
  if (value === undefined || value === false) return undefined
  if (value !== true && (typeof value !== 'object' || value === null)) {
    read.refuse(
      'options.log.holdDebug',
      'true, false or an object',
      value,
      'Pass true for the defaults.',
    )
    return undefined
  }
  const part = value === true ? {} : (value as Raw)
  read.unknown('options.log.holdDebug.', part, ['level', 'slowMs', 'maxBytes'])
  return {
    level: read.oneOf(
      'log.holdDebug.',
      part,
      'level',
      'debug',
      LEVEL_NAMES.slice(0, 6) as LevelName[],
    ),
    slowMs: read.number('log.holdDebug.', part, 'slowMs', 1000, 1, 3_600_000),
    maxBytes: read.number('log.holdDebug.', part, 'maxBytes', 65_536, 1024, 16_777_216),
  }
}

function resolveRequest(read: Reader, top: Raw): Settings['request'] {
  const part = read.part(top, 'request', [
    'trustRequestId',
    'quietPaths',
    'sampleRate',
    'slowMs',
    'propagateRequestIdTo',
    'propagateTraceTo',
  ])
  const trust =
    typeof part.trustRequestId === 'function'
      ? (part.trustRequestId as (request: IncomingMessage) => boolean)
      : read.oneOf(
          'request.',
          part,
          'trustRequestId',
          'always',
          ['always', 'never'],
          ['TELLTALE_TRUST_REQUEST_ID'],
        )
  return {
    trustRequestId: trust,
    quietPaths: read.list(
      'request.',
      part,
      'quietPaths',
      'paths',
      (item): item is string => isString(item) && item.startsWith('/'),
    ),
    sampleRate: read.number('request.', part, 'sampleRate', 1, 0, 1, [
      'TELLTALE_REQUEST_SAMPLE_RATE',
    ]),
    slowMs: read.number('request.', part, 'slowMs', 1000, 1, 3_600_000),
    propagateRequestIdTo:
      part.propagateRequestIdTo === undefined
        ? ['localhost', '127.0.0.1', '::1']
        : read.list('request.', part, 'propagateRequestIdTo', 'host names', isString),
    propagateTraceTo:
      part.propagateTraceTo === undefined || part.propagateTraceTo === true
        ? true
        : read.list('request.', part, 'propagateTraceTo', 'host names', isString),
  }
}

function resolveRedact(read: Reader, top: Raw): Settings['redact'] {
  const part = read.part(top, 'redact', ['keys', 'allow', 'patterns'])
  return {
    keys: read.list('redact.', part, 'keys', 'key names', isString),
    allow: read.list('redact.', part, 'allow', 'key names', isString),
    patterns: read.list('redact.', part, 'patterns', 'regular expressions', isRegExp),
  }
}

/** `https://key@host[:port][/prefix]/project`; the project is digits. Sentry's DSN. */
export const DSN_PATTERN: RegExp =
  /^(https?):\/\/(\w+)(?::(\w+))?@(\[[0-9a-fA-F:.]+\]|[\w.-]+)(?::(\d{1,5}))?((?:\/[^\s?#/]+)*)\/(\d+)\/?$/

function resolveErrors(read: Reader, top: Raw): Settings['errors'] {
  const part = read.part(top, 'errors', [
    'dsn',
    'tracker',
    'sampleRate',
    'sendDefaultPii',
    'allowHeaders',
    'beforeSend',
    'ignoreErrors',
    'captureLogged',
    'captureCrashes',
    'sessions',
    'maxQueueBytes',
    'spoolDir',
    'contextLines',
    'serverName',
  ])
  let dsn = ''
  const given = read.pick('errors.', part, 'dsn', ['SENTRY_DSN'])
  if (given.value !== undefined && given.value !== false && given.value !== '') {
    if (typeof given.value === 'string' && DSN_PATTERN.test(given.value)) dsn = given.value
    else {
      const shown = String(given.value).replace(/\/\/[^@/]*@/, '//***@')
      read.refuse(
        given.name,
        'a DSN like https://<key>@<host>/<project number>',
        shown,
        'Copy the DSN from the project settings of your tracker, or leave it empty to turn errors off.',
      )
    }
  }
  const spool = read.pick('errors.', part, 'spoolDir', ['TELLTALE_SPOOL_DIR'])
  return {
    dsn,
    trackers: readTrackers(read, part.tracker),
    sampleRate: read.number('errors.', part, 'sampleRate', 1, 0, 1, ['SENTRY_SAMPLE_RATE']),
    sendDefaultPii: read.boolean('errors.', part, 'sendDefaultPii', false),
    allowHeaders: read.list('errors.', part, 'allowHeaders', 'header names', isString),
    beforeSend: read.callback('errors.', part, 'beforeSend'),
    ignoreErrors: read.list(
      'errors.',
      part,
      'ignoreErrors',
      'strings or regular expressions',
      (item): item is string | RegExp => isString(item) || isRegExp(item),
    ),
    captureLogged: read.boolean('errors.', part, 'captureLogged', true),
    captureCrashes: read.boolean('errors.', part, 'captureCrashes', true),
    sessions: read.boolean('errors.', part, 'sessions', true),
    maxQueueBytes: read.number('errors.', part, 'maxQueueBytes', 4_194_304, 65_536, 268_435_456),
    spoolDir:
      spool.value === false || spool.value === 'false'
        ? false
        : spool.value === undefined
          ? undefined
          : read.string('errors.', part, 'spoolDir', '', ['TELLTALE_SPOOL_DIR']),
    contextLines: read.number('errors.', part, 'contextLines', 5, 0, 20),
    serverName: read.string('errors.', part, 'serverName', '', ['SENTRY_NAME']) || undefined,
  }
}

const TRACKER_METHODS = ['capture', 'flush', 'close'] as const

function readTrackers(read: Reader, value: unknown): readonly ErrorTracker[] {
  if (value === undefined) return []
  const trackers: readonly unknown[] = Array.isArray(value) ? value : [value]
  const bad = trackers.findIndex(
    (tracker) =>
      typeof (tracker as Raw | null)?.name !== 'string' ||
      TRACKER_METHODS.some((method) => typeof (tracker as Raw)[method] !== 'function'),
  )
  if (bad < 0) return trackers as readonly ErrorTracker[]
  read.refuse(
    'options.errors.tracker',
    'an ErrorTracker or an array of them',
    trackers[bad],
    'Give it a name and the functions capture, flush and close.',
  )
  return []
}

function resolveTrace(read: Reader, top: Raw): Settings['trace'] {
  const part = read.part(top, 'trace', ['sampleRate', 'sampler', 'format'])
  const lifecycle =
    part.format === undefined
      ? read.oneOf(
          'trace.',
          {},
          'format',
          'static',
          ['static', 'stream'],
          ['SENTRY_TRACE_LIFECYCLE'],
        )
      : 'static'
  return {
    sampleRate: read.number('trace.', part, 'sampleRate', 0.2, 0, 1, ['SENTRY_TRACES_SAMPLE_RATE']),
    sampler: read.callback('trace.', part, 'sampler'),
    format:
      lifecycle === 'stream'
        ? 'stream'
        : read.oneOf('trace.', part, 'format', 'transaction', ['transaction', 'stream']),
  }
}

function resolveHealth(read: Reader, top: Raw): Settings['health'] {
  const part = read.part(top, 'health', [
    'enabled',
    'basePath',
    'checks',
    'intervalMs',
    'waitForStarted',
    'token',
  ])
  const base = read.string('health.', part, 'basePath', '/api/v1/health', ['TELLTALE_HEALTH_PATH'])
  if (!/^\/[\w\-./~]*$/.test(base)) {
    read.refuse(
      'options.health.basePath',
      'an absolute path',
      base,
      'Start it with / and use letters, digits, - . _ ~ only.',
    )
  }
  const checks = new Map<string, Required<HealthCheckSettings>>()
  const given = part.checks
  if (given !== undefined && (typeof given !== 'object' || given === null)) {
    read.refuse(
      'options.health.checks',
      'an object of checks',
      given,
      'Pass { database: postgres(pool) }.',
    )
  } else {
    for (const [name, value] of Object.entries((given ?? {}) as Raw)) {
      const settings = readCheck(read, name, value)
      if (settings !== undefined) checks.set(name, settings)
    }
  }
  return {
    enabled: read.boolean('health.', part, 'enabled', true, ['TELLTALE_HEALTH']),
    basePath: base.replace(/\/+$/, ''),
    checks,
    intervalMs: read.number('health.', part, 'intervalMs', 5000, 100, 3_600_000),
    waitForStarted: read.boolean('health.', part, 'waitForStarted', false),
    token: read.string('health.', part, 'token', '', ['TELLTALE_HEALTH_TOKEN']),
  }
}

function readCheck(
  read: Reader,
  name: string,
  value: unknown,
): Required<HealthCheckSettings> | undefined {
  const where = `health.checks.${name}.`
  if (!/^[\w.:-]{1,64}$/.test(name)) {
    read.refuse(
      'options.health.checks',
      'named with letters, digits, . : _ - (at most 64)',
      name,
      'Rename the check.',
    )
    return undefined
  }
  const part: Raw = typeof value === 'function' ? { check: value } : (value as Raw)
  if (typeof part !== 'object' || part === null || typeof part.check !== 'function') {
    read.refuse(
      `options.${where.slice(0, -1)}`,
      'a function (signal) => Promise, or { check, critical }',
      value,
      'Pass postgres(pool), redis(client) or a function of your own.',
    )
    return undefined
  }
  read.unknown(`options.${where}`, part, ['check', 'critical', 'timeoutMs', 'failureThreshold'])
  return {
    check: part.check as HealthCheck,
    critical: read.boolean(where, part, 'critical', true),
    timeoutMs: read.number(where, part, 'timeoutMs', 800, 1, 900),
    failureThreshold: read.number(where, part, 'failureThreshold', 2, 1, 10),
  }
}

/** Completes the settings of one check registered after init. Throws a `TelltaleError` like init does. */
export function resolveCheck(
  name: string,
  value: HealthCheck | HealthCheckSettings,
): Required<HealthCheckSettings> {
  const read = new Reader({})
  const settings = readCheck(read, name, value)
  if (settings === undefined || read.faults.length > 0) throw new TelltaleError(read.faults)
  return settings
}

function resolveMetrics(read: Reader, top: Raw): Settings['metrics'] {
  const part = read.part(top, 'metrics', [
    'enabled',
    'path',
    'token',
    'maxSeries',
    'runtime',
    'registries',
  ])
  const path =
    part.path === false
      ? false
      : read.string('metrics.', part, 'path', '/metrics', ['TELLTALE_METRICS_PATH'])
  if (path !== false && !/^\/[\w\-./~]+$/.test(path)) {
    read.refuse(
      'options.metrics.path',
      'an absolute path or false',
      path,
      'Start it with / and use letters, digits, - . _ ~ only.',
    )
  }
  return {
    enabled: read.boolean('metrics.', part, 'enabled', true, ['TELLTALE_METRICS']),
    path,
    token: read.string('metrics.', part, 'token', '', ['TELLTALE_METRICS_TOKEN']),
    maxSeries: read.number('metrics.', part, 'maxSeries', 2000, 10, 100_000),
    runtime: read.boolean('metrics.', part, 'runtime', true),
    registries: read.list(
      'metrics.',
      part,
      'registries',
      'prom-client registries',
      (item): item is { metrics(): string } =>
        typeof (item as { metrics?: unknown } | null)?.metrics === 'function',
    ),
  }
}

function resolveShutdown(read: Reader, top: Raw): Settings['shutdown'] {
  const part = read.part(top, 'shutdown', ['enabled', 'drainDelayMs', 'timeoutMs', 'closers'])
  const inKubernetes = read.env.KUBERNETES_SERVICE_HOST !== undefined
  return {
    enabled: read.boolean('shutdown.', part, 'enabled', true, ['TELLTALE_SHUTDOWN']),
    drainDelayMs: read.number(
      'shutdown.',
      part,
      'drainDelayMs',
      inKubernetes ? 5000 : 0,
      0,
      600_000,
      ['TELLTALE_DRAIN_DELAY_MS'],
    ),
    timeoutMs: read.number('shutdown.', part, 'timeoutMs', 25_000, 100, 3_600_000, [
      'TELLTALE_SHUTDOWN_TIMEOUT_MS',
    ]),
    closers: read.list('shutdown.', part, 'closers', 'functions', isFunction),
  }
}

function resolveManagement(read: Reader, top: Raw): Settings['management'] {
  const part = read.part(top, 'management', ['port', 'host'])
  const port = read.number('management.', part, 'port', -1, 0, 65_535, ['TELLTALE_MANAGEMENT_PORT'])
  const host = read.string('management.', part, 'host', '127.0.0.1', ['TELLTALE_MANAGEMENT_HOST'])
  return port === -1 ? undefined : { port, host }
}

function packageName(): string {
  let folder = process.cwd()
  for (let depth = 0; depth < 10; depth++) {
    try {
      const name: unknown = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).name
      if (typeof name === 'string' && name !== '') return name
    } catch {
      // no package.json here, or not a readable one: look one folder up
    }
    const parent = join(folder, '..')
    if (parent === folder) break
    folder = parent
  }
  return 'service'
}

/** Freezes the settings and each of their parts; values that came from the caller stay as they are. */
function freezeParts(settings: Settings): Settings {
  for (const part of Object.values(settings)) {
    if (Object.getPrototypeOf(Object(part)) === Object.prototype) Object.freeze(part)
  }
  return Object.freeze(settings)
}
