/**
 * Writes an event from what was noted when an error was captured: everything scrubbed, the whole
 * below 1 MiB. https://develop.sentry.dev/sdk/data-model/event-payloads/
 */
import {
  arch,
  availableParallelism,
  hostname,
  release as osRelease,
  platform,
  totalmem,
} from 'node:os'
import type { Breadcrumb, Fields, Scope, Unit, User } from '../context.js'
import type { Settings } from '../options.js'
import { VERSION } from '../version.js'
import type { ChainLink } from './exception.js'
import { severity } from './scope.js'
import { type Budget, EVENT_CHARS, type Redactor, type Scrub } from './scrub.js'
import type { Frames } from './source-context.js'
import { type CallSite, parseFrames } from './stack.js'
import type { ErrorEvent, ExceptionValue } from './tracker.js'

/** Name of the kit in events. */
export const SDK_NAME = 'telltale.node'

/** How an error came to be known. https://develop.sentry.dev/sdk/data-model/event-payloads/exception/#exception-mechanism */
export type Mechanism = {
  readonly type: string
  readonly handled: boolean
  readonly data?: Readonly<Record<string, unknown>>
}

/** What is noted at the capture itself: nothing in it changes afterwards. */
export type Note = {
  readonly eventId: string
  readonly ms: number
  readonly chain: readonly ChainLink[]
  readonly message: string
  readonly level: string
  readonly mechanism: Mechanism
  readonly scope: Scope
  readonly unit: Unit | undefined
  readonly spanId: string
  readonly fields: Fields | undefined
  readonly headers: Unit['headers']
  readonly url: string
  readonly breadcrumbs: readonly Breadcrumb[]
  /** Fields of captureEvent, laid over the event. */
  readonly given: Readonly<Record<string, unknown>> | undefined
  readonly original: unknown
}

type Request = NonNullable<ErrorEvent['request']>

const ALLOWED_HEADERS = [
  'accept',
  'accept-encoding',
  'accept-language',
  'content-length',
  'content-type',
  'host',
  'origin',
  'referer',
  'traceparent',
  'user-agent',
  'x-request-id',
]
const URL_HEADERS: ReadonlySet<string> = new Set(['referer', 'origin'])
const NEVER_HEADERS: ReadonlySet<string> = new Set([
  'authorization',
  'proxy-authorization',
  'cookie',
  'set-cookie',
])

/** `METHOD /route/:id` of a request, `METHOD unmatched` without a route; the name of any other unit. */
export function transactionName(unit: Unit): string {
  if (unit.kind !== 'request') return unit.route ?? unit.kind
  return `${unit.method || 'GET'} ${unit.route ?? 'unmatched'}`
}

export type EventWriter = {
  /** Reads what writing this event needs from disk; undefined when that is nothing. Never rejects. */
  prepare(note: Note): Promise<void> | undefined
  /** Writes an event; `others` is how many suppressed occurrences it stands for besides itself. */
  write(note: Note, others: number): ErrorEvent
}

/** Creates the event writer of one configuration. */
export function createEventWriter(
  settings: Settings,
  redactor: Redactor,
  scrub: Scrub,
  frames: Frames,
): EventWriter {
  const { sendDefaultPii } = settings.errors
  const allowed = new Set([...ALLOWED_HEADERS, ...settings.errors.allowHeaders.map(lower)])
  const serverName = settings.errors.serverName ?? hostname()
  const fixedContexts = {
    runtime: { name: 'node', version: process.version },
    os: { name: platform(), version: osRelease() },
    device: { arch: arch(), processor_count: availableParallelism(), memory_size: totalmem() },
  }
  const startedAt = new Date(Date.now() - process.uptime() * 1000).toISOString()

  function exceptions(note: Note, budget: Budget): ExceptionValue[] {
    const { chain, mechanism } = note
    const isChain = chain.length > 1
    const values: ExceptionValue[] = []
    for (const link of chain) {
      const value: ExceptionValue = {
        type: scrub.text(link.type, budget, 200),
        value: scrub.text(link.value, budget),
        mechanism: {
          type: link.parentId === -1 ? mechanism.type : 'chained',
          handled: mechanism.handled,
        },
      }
      const about = value.mechanism as NonNullable<ExceptionValue['mechanism']>
      if (link.isSynthetic) about.synthetic = true
      if (isChain) {
        about.exception_id = link.id
        if (link.parentId !== -1) {
          about.parent_id = link.parentId
          about.source = link.source
        }
      }
      if (link.isGroup) about.is_exception_group = true
      const data = {
        ...link.data,
        ...(link.parentId === -1 ? scrub.fields(mechanism.data, budget) : undefined),
      }
      if (Object.keys(data).length > 0) about.data = scrub.fields(data, budget)
      if (link.stack !== '') {
        const resolved = frames.resolve(sitesOf(link))
        // Newest first here: where room runs out, the frames farthest from the throw lose their lines.
        for (let i = resolved.length - 1; i >= 0; i--) {
          const frame = resolved[i] as (typeof resolved)[number]
          let size = 160 + (frame.abs_path?.length ?? 0) * 2 + (frame.function?.length ?? 0)
          if (frame.context_line !== undefined) {
            let lines = frame.context_line.length
            for (const line of frame.pre_context ?? []) lines += line.length + 3
            for (const line of frame.post_context ?? []) lines += line.length + 3
            if (budget.left - lines < EVENT_CHARS / 3) {
              delete frame.pre_context
              delete frame.context_line
              delete frame.post_context
            } else size += lines
          }
          budget.left -= size
          if (budget.left < EVENT_CHARS / 4) {
            resolved.splice(0, i)
            break
          }
        }
        if (resolved.length > 0) value.stacktrace = { frames: resolved }
      }
      values.push(value)
    }
    return values.reverse()
  }

  function headersOf(note: Note, budget: Budget): Record<string, string> {
    const out: Record<string, string> = {}
    for (const [name, raw] of Object.entries(note.headers ?? {})) {
      if (raw === undefined) continue
      const key = name.toLowerCase()
      const value = Array.isArray(raw) ? raw.join(', ') : String(raw)
      if (key === 'cookie' && sendDefaultPii) {
        out[key] = value.replace(/=[^;]*/g, '=[REDACTED]').slice(0, 1024)
      } else if (
        !(NEVER_HEADERS.has(key) || redactor.isSecretKey(key)) &&
        (sendDefaultPii || allowed.has(key))
      ) {
        out[key] = scrub.text(URL_HEADERS.has(key) ? redactor.url(value) : value, budget, 1024)
      }
    }
    return out
  }

  function requestOf(note: Note, unit: Unit, budget: Budget): Request {
    const headers = headersOf(note, budget)
    const secure = String(note.headers?.['x-forwarded-proto'] ?? '').startsWith('https')
    const whole = scrub.text(
      redactor.url(
        `${secure ? 'https' : 'http'}://${headers.host ?? 'localhost'}${note.url || unit.path}`,
      ),
      budget,
      4096,
    )
    const mark = whole.indexOf('?')
    const request: Request = {
      method: unit.method,
      url: mark === -1 ? whole : whole.slice(0, mark),
      headers,
    }
    if (mark !== -1) request.query_string = whole.slice(mark + 1)
    return request
  }

  function userOf(note: Note): User | undefined {
    let user = note.scope.user
    if (user === undefined && !sendDefaultPii) return undefined
    if (!sendDefaultPii) {
      const { ip_address: _, ...rest } = user as User
      return rest
    }
    const forwarded = note.headers?.['x-forwarded-for']
    if (user?.ip_address === undefined && typeof forwarded === 'string')
      user = { ...user, ip_address: (forwarded.split(',')[0] as string).trim().slice(0, 64) }
    return user
  }

  function contextsOf(note: Note, budget: Budget): Record<string, Fields> {
    const { unit } = note
    const contexts: Record<string, Fields> = {
      ...fixedContexts,
      app: { app_start_time: startedAt, app_memory: process.memoryUsage.rss() },
    }
    if (unit !== undefined) {
      const isChild = note.spanId !== unit.spanId
      const parent = isChild ? unit.spanId : unit.parentSpanId
      contexts.trace = {
        trace_id: unit.traceId,
        span_id: note.spanId,
        ...(parent === '' ? undefined : { parent_span_id: parent }),
        op: unit.kind === 'request' ? 'http.server' : unit.kind,
      }
      if (note.fields !== undefined) contexts.bind = scrub.fields(note.fields, budget)
    }
    return { ...contexts, ...(scrub.fields(note.scope.contexts, budget) as Record<string, Fields>) }
  }

  function crumbs(note: Note, budget: Budget): unknown[] {
    const out: unknown[] = []
    for (let i = note.breadcrumbs.length - 1; i >= 0 && budget.left > 2000; i--) {
      const crumb = note.breadcrumbs[i] as Breadcrumb
      const entry: Record<string, unknown> = {
        timestamp: crumb.ms / 1000,
        level: severity(crumb.level) ?? 'info',
        category: crumb.category,
        message: scrub.text(crumb.message, budget, 1024),
      }
      if (crumb.data !== '') entry.data = scrub.value(parseJson(crumb.data), budget)
      budget.left -= 60 + crumb.category.length
      out.push(entry)
    }
    return out.reverse()
  }

  function prepare(note: Note): Promise<void> | undefined {
    const needed = note.chain.map((link) => frames.prepare(sitesOf(link))).filter(Boolean)
    return needed.length === 0 ? undefined : Promise.all(needed).then(() => undefined)
  }

  function write(note: Note, others: number): ErrorEvent {
    const { unit, scope } = note
    const budget: Budget = { left: EVENT_CHARS }
    const event: ErrorEvent = {
      event_id: note.eventId,
      timestamp: note.ms / 1000,
      platform: 'node',
      level: note.level,
      server_name: serverName,
      environment: settings.environment,
      sdk: { name: SDK_NAME, version: VERSION },
    }
    if (settings.release !== undefined) event.release = settings.release
    if (note.message !== '') event.message = scrub.text(note.message, budget)
    if (note.chain.length > 0) event.exception = { values: exceptions(note, budget) }
    const tags: Record<string, string> = { service: settings.service }
    if (unit !== undefined) {
      tags.request_id = unit.requestId
      if (unit.kind !== 'scope') event.transaction = transactionName(unit)
      if (unit.kind === 'request') event.request = requestOf(note, unit, budget)
    }
    event.tags = { ...tags, ...scope.tags }
    for (const value of Object.values(event.tags)) budget.left -= value.length + 40
    const user = userOf(note)
    if (user !== undefined) event.user = scrub.fields(user, budget) as User
    event.contexts = contextsOf(note, budget)
    if (note.breadcrumbs.length > 0) event.breadcrumbs = { values: crumbs(note, budget) }
    const extra = scrub.fields(scope.extra, budget)
    if (others > 0) extra.suppressed_count = others
    if (Object.keys(extra).length > 0) event.extra = extra
    if (scope.fingerprint !== undefined)
      event.fingerprint = scope.fingerprint.map((part) => scrub.text(part, budget, 200))
    if (note.given !== undefined)
      return {
        ...event,
        ...(scrub.fields(note.given, budget) as Partial<ErrorEvent>),
        event_id: note.eventId,
      }
    return event
  }

  return { prepare, write }
}

function sitesOf(link: ChainLink): readonly CallSite[] {
  link.sites ??= parseFrames(link.stack)
  return link.sites
}

function lower(text: string): string {
  return text.toLowerCase()
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}
