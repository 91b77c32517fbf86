/** What a run has seen: everything the checks judge, and nothing else. */
import type { Canaries } from './canaries.js'
import type { Capture } from './capture.js'
import type { HookReport } from './channel.js'
import type { LogRecord } from './dialect.js'
import { field } from './dialect.js'
import type { Dsn } from './elsewhere.js'
import type { HealthPaths } from './health.js'
import type { Exchange } from './http.js'
import type { VerifyOptions } from './options.js'
import type { Target } from './proxy.js'
import type { Exit } from './service.js'
import type { Json, Mood, Tracker, TrackerItem } from './tracker.js'

export type Evidence = {
  readonly options: VerifyOptions
  readonly startedAt: Date
  readonly token: string
  readonly canaries: Canaries
  /** Passwords of dependency URLs that the environment holds: they must come out nowhere either. */
  readonly knownSecrets: readonly { readonly place: string; readonly value: string }[]
  readonly base: string
  readonly capture: Capture
  readonly reports: readonly HookReport[]
  readonly tracker: Tracker
  readonly exchanges: readonly Exchange[]
  readonly targets: readonly Target[]
  /** DSNs that stand in the project. */
  readonly dsns: readonly Dsn[]
  /** Events that the proxy kept from another tracker. */
  readonly elsewhere: readonly { readonly address: string }[]
  readonly marks: readonly Mark[]
  /** Undefined when verify attached to a running service. */
  boot?: Boot
  health?: HealthPaths
  /** Who answers the verify routes; undefined when the service has none. */
  kit?: string
  traffic?: Traffic
  probes?: Probes
  errors?: Errors
  metrics?: Metrics
  cuts?: readonly Cut[]
  /** Why nothing was cut. */
  noCut?: string
  stop?: Stop
  crashes?: readonly Crash[]
  untracked?: Untracked
}

/** A point or a span of the run, for the timeline. */
export type Mark = {
  readonly at: number
  readonly until?: number
  readonly kind: 'phase' | 'cut' | 'event' | 'signal'
  readonly label: string
}

export type Boot = {
  readonly listeningMs: number
  readonly isAliveLater: boolean
  readonly isReady: boolean
  readonly listener: number
}

export type Marked = { readonly mark: string; readonly exchange: Exchange }

export type Traffic = {
  /** Requests that should succeed. */
  readonly ordinary: readonly Exchange[]
  /** Requests to paths that do not exist, each its own. */
  readonly missing: readonly Exchange[]
  /** Interleaved slow requests whose handler writes lines with their mark. */
  readonly interleaved: readonly Marked[]
  readonly bodies: readonly (Marked & { readonly kind: string })[]
  /** One exchange per kind of answer that must carry the id. */
  readonly answers: readonly { readonly kind: string; readonly exchange: Exchange }[]
  readonly inbound: readonly Inbound[]
  readonly slow: Exchange | undefined
  readonly aborted: Exchange | undefined
  readonly burst:
    | {
        readonly mark: string
        readonly lines: number
        readonly from: number
        readonly until: number
        readonly exchange: Exchange
      }
    | undefined
}

export type Inbound = {
  readonly kind: string
  readonly isValid: boolean
  readonly sent: string
  readonly exchange: Exchange
}

export type Probes = {
  readonly live: readonly Exchange[]
  readonly liveParallel: readonly Exchange[]
  /** Chunks that went to databases and caches while live was asked one after the other. */
  readonly askedByLive: number
  readonly liveWithBadAuth: Exchange | undefined
  readonly ready: readonly Exchange[]
  readonly from: number
  readonly until: number
}

export type Deliberate = {
  readonly exchange: Exchange
  /** Which user it was made as; the same key is the same user. */
  readonly user: string | undefined
  readonly source: 'route' | 'verify'
}

export type Errors = {
  readonly single: readonly Deliberate[]
  readonly pairs: readonly Deliberate[]
  /** The user that the service set is known by what it set alone. */
  readonly hasUser: boolean
  readonly moods: readonly {
    readonly mood: Mood
    readonly exchanges: readonly Exchange[]
    readonly from: number
    readonly until: number
  }[]
  readonly baseline: readonly Exchange[]
  readonly isAliveAfter: boolean
}

export type Metrics = {
  readonly path: string
  readonly before: string
  readonly after: string
  readonly sent: number
  readonly afterMissing: string
  readonly missing: number
}

export type Cut = {
  readonly target: Target
  readonly role: 'database' | 'cache' | 'other'
  readonly mode: 'reset' | 'stall'
  readonly before: Exchange
  /** Asked from the cut on. */
  readonly ready: readonly Exchange[]
  readonly live: readonly Exchange[]
  /** Asked from the restoration on. */
  readonly recovered: readonly Exchange[]
  readonly isAlive: boolean
  readonly exit: Exit | undefined
  /** How often the service was seen to try during the cut. */
  readonly attempts: number
  readonly at: number
  readonly restoredAt: number
}

export type Stop = {
  readonly at: number
  readonly inFlight: Exchange | undefined
  readonly readyAfter: readonly Exchange[]
  /** Milliseconds from the signal until no new connection was accepted. */
  readonly refusedMs: number | undefined
  readonly exit: Exit | undefined
  readonly exitMs: number | undefined
  readonly last: readonly LogRecord[]
  readonly queued: Exchange | undefined
}

export type Crash = {
  readonly kind: 'throw' | 'reject' | 'route'
  readonly mark: string
  readonly lines: number
  readonly exit: Exit | undefined
  readonly exitMs: number | undefined
  readonly records: readonly LogRecord[]
  readonly events: readonly TrackerItem[]
  readonly failure: string | undefined
}

export type Untracked = {
  readonly isUp: boolean
  readonly failure: string | undefined
  /** Trackers it tried to reach all the same; the hook kept it from them. */
  readonly refused: readonly string[]
  /** The deliberate error without a tracker. */
  readonly error: Exchange | undefined
  readonly ordinary: readonly Exchange[]
  readonly hidden: Exchange | undefined
  readonly hiddenLikeMissing: Exchange | undefined
  readonly notices: readonly string[]
  readonly twice: { readonly exitMs: number | undefined; readonly diedOfFirst: boolean } | undefined
}

/** The id of the request that an error event belongs to, wherever the client puts it. */
export function requestIdOf(item: TrackerItem): string | undefined {
  const event = item.payload ?? {}
  const tags = tagsOf(event)
  const places: unknown[] = [
    ...['request_id', 'requestId', 'request.id', 'correlation_id', 'correlationId'].flatMap(
      (name) => [tags[name], field(event, `extra.${name}`)],
    ),
    ...Object.values((event.contexts as Json | undefined) ?? {}).flatMap((context) =>
      typeof context === 'object' && context !== null
        ? [(context as Json).request_id, (context as Json).requestId]
        : [],
    ),
  ]
  return places.find((value): value is string => typeof value === 'string' && value !== '')
}

/** Tags as a map; clients send a map or pairs. */
export function tagsOf(event: Json): Json {
  const { tags } = event
  if (Array.isArray(tags)) return Object.fromEntries(tags as [string, unknown][])
  return typeof tags === 'object' && tags !== null ? (tags as Json) : {}
}

/** The exceptions of an event, outermost last; clients send a list or `{values}`. */
export function exceptionsOf(event: Json): readonly Json[] {
  const { exception } = event as { exception?: unknown }
  if (Array.isArray(exception)) return exception as Json[]
  const values = (exception as { values?: unknown } | undefined)?.values
  return Array.isArray(values) ? (values as Json[]) : []
}

/** Records by request id. */
export function byRequest(records: readonly LogRecord[]): Map<string, LogRecord[]> {
  const map = new Map<string, LogRecord[]>()
  for (const record of records) {
    if (record.requestId === undefined) continue
    const list = map.get(record.requestId)
    if (list === undefined) map.set(record.requestId, [record])
    else list.push(record)
  }
  return map
}

/** True when a record tells of this request: by id, else by a path that no other request has. */
export function finishedOf(records: readonly LogRecord[], exchange: Exchange): LogRecord[] {
  const path = exchange.path.split('?')[0] as string
  const isUnique = path.includes('telltale-verify')
  return records.filter(
    (record) =>
      record.isFinished &&
      ((exchange.id !== undefined && record.requestId === exchange.id) ||
        (isUnique && record.path !== undefined && pathname(record.path) === path)),
  )
}

/** The path of what a log calls its path or URL. */
export function pathname(text: string): string {
  const path = /^https?:\/\//.test(text) && URL.canParse(text) ? new URL(text).pathname : text
  return path.split('?')[0] as string
}
