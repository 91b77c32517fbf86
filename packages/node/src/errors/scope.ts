/** What the application says about its errors: user, tags, contexts; in Sentry's names. */
import type { Breadcrumb, Fields, Scope, User } from '../context.js'
import { cut, EVENT_CHARS, read, type Scrub } from './scrub.js'

/** Severity in Sentry's names; the kit's `warn` and `trace` are understood as well. */
export type SeverityLevel = 'fatal' | 'error' | 'warning' | 'log' | 'info' | 'debug'

/** A breadcrumb as an application gives it. */
export type BreadcrumbInput = {
  readonly message?: string
  readonly category?: string
  readonly level?: string
  readonly type?: string
  /** Seconds since the epoch; default now. */
  readonly timestamp?: number
  readonly data?: Readonly<Record<string, unknown>>
}

/** What may be said about one capture. */
export type CaptureContext = {
  readonly user?: User
  readonly tags?: Readonly<Record<string, unknown>>
  readonly extra?: Readonly<Record<string, unknown>>
  readonly contexts?: Readonly<Record<string, Readonly<Record<string, unknown>> | null>>
  readonly level?: string
  readonly fingerprint?: readonly string[]
}

/** The scope given to withScope's callback; each call answers the scope itself. */
export type ScopeHandle = {
  setUser(user: User | null): ScopeHandle
  setTag(key: string, value: unknown): ScopeHandle
  setTags(tags: Readonly<Record<string, unknown>>): ScopeHandle
  setContext(name: string, context: Readonly<Record<string, unknown>> | null): ScopeHandle
  setExtra(key: string, value: unknown): ScopeHandle
  setExtras(extras: Readonly<Record<string, unknown>>): ScopeHandle
  setLevel(level: string): ScopeHandle
  setFingerprint(fingerprint: readonly string[]): ScopeHandle
  addBreadcrumb(crumb: BreadcrumbInput): ScopeHandle
}

const MAX_ENTRIES = 50
const MAX_TAG = 200

const SEVERITIES: Readonly<Record<string, SeverityLevel>> = {
  fatal: 'fatal',
  error: 'error',
  warning: 'warning',
  warn: 'warning',
  log: 'log',
  info: 'info',
  debug: 'debug',
  trace: 'debug',
}

/** Sentry's name of a level; undefined for anything unknown. */
export function severity(level: unknown): SeverityLevel | undefined {
  return typeof level === 'string' && Object.hasOwn(SEVERITIES, level)
    ? SEVERITIES[level]
    : undefined
}

/** Writes values into a scope: scrubbed at once, so that later changes of the caller's objects do not show. */
export type ScopeWriter = {
  user(scope: Scope, user: User | null): void
  tags(scope: Scope, tags: Readonly<Record<string, unknown>>): void
  context(scope: Scope, name: string, context: unknown): void
  extras(scope: Scope, extras: unknown): void
  /** Writes all parts of a capture context. */
  all(scope: Scope, context: CaptureContext): void
  handle(scope: Scope, addBreadcrumb: (crumb: BreadcrumbInput) => void): ScopeHandle
  breadcrumb(input: BreadcrumbInput): Breadcrumb
}

/** Creates the writer of one scrub. Its functions never throw. */
export function createScopeWriter(scrub: Scrub): ScopeWriter {
  const budget = (): { left: number } => ({ left: EVENT_CHARS / 4 })

  const writer: ScopeWriter = {
    user(scope, user) {
      scope.user =
        user === null || user === undefined ? undefined : (scrub.fields(user, budget()) as User)
    },
    tags(scope, tags) {
      const out = { ...scope.tags }
      let count = Object.keys(out).length
      for (const [key, value] of Object.entries(scrub.fields(tags, budget()))) {
        if (value === undefined || value === null) continue
        if (!Object.hasOwn(out, key) && ++count > MAX_ENTRIES) break
        out[key] = cut(typeof value === 'object' ? JSON.stringify(value) : String(value), MAX_TAG)
      }
      scope.tags = out
    },
    context(scope, key, context) {
      const name = cut(String(key), MAX_TAG)
      const contexts = { ...scope.contexts }
      if (context === null || context === undefined) delete contexts[name]
      else if (Object.hasOwn(contexts, name) || Object.keys(contexts).length < MAX_ENTRIES)
        contexts[name] = scrub.fields(context, budget())
      scope.contexts = contexts
    },
    extras(scope, extras) {
      scope.extra = { ...scope.extra, ...scrub.fields(extras, budget()) }
      const keys = Object.keys(scope.extra)
      for (let i = MAX_ENTRIES * 2; i < keys.length; i++) delete scope.extra[keys[i] as string]
    },
    all(scope, context) {
      if (context.user !== undefined) writer.user(scope, context.user)
      if (context.tags !== undefined) writer.tags(scope, context.tags)
      if (context.extra !== undefined) writer.extras(scope, context.extra)
      if (context.contexts !== undefined) {
        for (const [name, value] of Object.entries(context.contexts as Record<string, Fields>))
          writer.context(scope, name, value)
      }
      const level = severity(context.level)
      if (level !== undefined) scope.level = level
      if (Array.isArray(context.fingerprint)) scope.fingerprint = fingerprint(context.fingerprint)
    },
    handle(scope, addBreadcrumb) {
      const handle: ScopeHandle = {
        setUser: chain((user) => writer.user(scope, user)),
        setTag: chain((key, value) => writer.tags(scope, { [key]: value })),
        setTags: chain((tags) => writer.tags(scope, tags)),
        setContext: chain((name, context) => writer.context(scope, name, context)),
        setExtra: chain((key, value) => writer.extras(scope, { [key]: value })),
        setExtras: chain((extras) => writer.extras(scope, extras)),
        setLevel: chain((level) => {
          scope.level = severity(level) ?? scope.level
        }),
        setFingerprint: chain((parts) => {
          scope.fingerprint = fingerprint(parts)
        }),
        addBreadcrumb: chain(addBreadcrumb),
      }
      function chain<A extends unknown[]>(
        write: (...args: A) => void,
      ): (...args: A) => ScopeHandle {
        return (...args) => {
          write(...args)
          return handle
        }
      }
      return handle
    },
    breadcrumb(input) {
      const left = budget()
      const seconds = read(input, 'timestamp')
      const given = read(input, 'data')
      return {
        ms: typeof seconds === 'number' ? seconds * 1000 : Date.now(),
        level: severity(read(input, 'level')) ?? 'info',
        category: scrub.text(textOf(read(input, 'category'), 'default'), left, MAX_TAG),
        message: scrub.text(textOf(read(input, 'message'), ''), left, 2048),
        data: given === undefined ? '' : JSON.stringify(scrub.fields(given, left)),
      }
    },
  }
  return writer
}

function fingerprint(parts: readonly unknown[]): string[] {
  return parts.slice(0, 20).map((part) => cut(String(part), MAX_TAG))
}

function textOf(value: unknown, fallback: string): string {
  return typeof value === 'string' ? value : typeof value === 'number' ? String(value) : fallback
}
