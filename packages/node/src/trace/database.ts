/**
 * Database and cache activity. mysql2, ioredis and node-redis publish tracing channels; pg 8
 * publishes nothing, so the user hands the pool to `observe` and that one object is wrapped.
 */
import { type AsyncLocalStorage, AsyncResource } from 'node:async_hooks'
import { channel, subscribe, unsubscribe } from 'node:diagnostics_channel'
import { type Context, currentContext, pushBreadcrumb, storage } from '../context.js'
import { newSpanId } from './ids.js'
import { keepSpan, wallMs } from './span.js'

type Query = { readonly context: Context; readonly startTick: number }
type Kind = {
  readonly op: string
  readonly system: string
  readonly countsAsDatabase: boolean
  /** What is a string in this language; a quoted name is matched too, so that it is skipped whole. */
  readonly strings: RegExp
}

/** Standard strings, E'' strings, dollar quotes; "names" are kept. An unclosed string runs to the end. */
const SQL_STRINGS =
  /"[^"]*"|\b[eE]'(?:[^'\\]|''|\\.)*(?:'|$)|'(?:[^']|'')*(?:'|$)|\$([A-Za-z_]\w*)?\$.*?(?:\$\1\$|$)/gs
/** MySQL: a backslash escapes, and double quotes hold strings; `names` are kept. */
const MYSQL_STRINGS = /`[^`]*`|'(?:[^'\\]|''|\\.)*(?:'|$)|"(?:[^"\\]|""|\\.)*(?:"|$)/gs

/** Statement text for spans and breadcrumbs: literals are values, and values may be secrets. */
export function withoutLiterals(statement: string, kind: Pick<Kind, 'system' | 'strings'>): string {
  const name = kind.system === 'mysql' ? '`' : '"'
  return statement
    .slice(0, 2000)
    .replace(kind.strings, (found: string) => (found.startsWith(name) ? found : '?'))
    .replace(/\b\d+(?:\.\d+)?\b/g, (digits, at: number, text: string) =>
      text[at - 1] === '$' ? digits : '?',
    )
    .replace(/\s+/g, ' ')
    .trim()
    .slice(0, 500)
}

function finishQuery(query: Query, kind: Kind, statement: string, failed: boolean): void {
  const { context, startTick } = query
  const unit = context.unit
  const endTick = performance.now()
  if (kind.countsAsDatabase) {
    unit.dbCount++
    unit.dbMs += endTick - startTick
  }
  if (unit.ended) return
  const name = withoutLiterals(statement, kind)
  keepSpan(unit, {
    spanId: newSpanId(),
    parentSpanId: context.spanId,
    op: kind.op,
    name,
    startMs: wallMs(unit, startTick),
    endMs: wallMs(unit, endTick),
    status: failed ? 'error' : 'ok',
    data: { 'db.system': kind.system },
  })
  pushBreadcrumb(unit, {
    ms: Date.now(),
    level: failed ? 'error' : 'info',
    category: 'query',
    message: name,
    data: '',
  })
}

const MYSQL: Kind = {
  op: 'db',
  system: 'mysql',
  countsAsDatabase: true,
  strings: MYSQL_STRINGS,
}
const REDIS: Kind = {
  op: 'cache',
  system: 'redis',
  countsAsDatabase: false,
  strings: SQL_STRINGS,
}
const POSTGRES: Kind = {
  op: 'db',
  system: 'postgresql',
  countsAsDatabase: true,
  strings: SQL_STRINGS,
}

type Traced = {
  readonly query?: unknown
  readonly command?: unknown
  readonly sql?: unknown
  readonly error?: unknown
}

function statementOf(message: Traced): string {
  const found = message.query ?? message.command ?? message.sql
  if (typeof found === 'string') return found
  const sql = (found as { sql?: unknown } | undefined)?.sql
  return typeof sql === 'string' ? sql : ''
}

/** What publishes queries: the tracing channel's name and what its messages are about. */
const CHANNELS: readonly (readonly [string, Kind])[] = [
  ['mysql2:query', MYSQL],
  ['mysql2:execute', MYSQL],
  ['ioredis:command', REDIS],
  ['node-redis:command', REDIS],
]

/** Subscribes to the drivers' channels; returns the function that undoes it. */
export function watchDatabases(): () => void {
  const running = new WeakMap<object, Query>()
  const undo: (() => void)[] = []
  for (const [name, kind] of CHANNELS) {
    const onStart = (message: unknown): void => {
      const context = currentContext()
      if (context !== undefined)
        running.set(message as object, { context, startTick: performance.now() })
    }
    const onEnd = (message: unknown): void => {
      const query = running.get(message as object)
      if (query === undefined) return
      running.delete(message as object)
      const traced = message as Traced
      finishQuery(query, kind, statementOf(traced), traced.error !== undefined)
    }
    subscribe(`tracing:${name}:start`, onStart)
    subscribe(`tracing:${name}:asyncEnd`, onEnd)
    undo.push(() => {
      unsubscribe(`tracing:${name}:start`, onStart)
      unsubscribe(`tracing:${name}:asyncEnd`, onEnd)
    })
  }
  for (const name of CALLBACK_CHANNELS) undo.push(keepCallers(name))
  return () => {
    for (const stop of undo) stop()
  }
}

/** mysql2's callbacks, also those that its promises are made of, run in whatever freed the connection. */
const CALLBACK_CHANNELS = ['mysql2:pool:connect', 'mysql2:query', 'mysql2:execute'] as const

/** Lets a traced callback run in the context that was current when its operation was asked for. */
function keepCallers(name: string): () => void {
  const callers = new WeakMap<object, Context>()
  const onStart = (message: unknown): void => {
    const context = currentContext()
    if (context !== undefined) callers.set(message as object, context)
  }
  const resumed = channel(`tracing:${name}:asyncStart`)
  subscribe(`tracing:${name}:start`, onStart)
  // A channel calls `run` of what is bound to it and nothing else.
  const store = storage as AsyncLocalStorage<Context>
  resumed.bindStore(store, (message) => callers.get(message as object) as Context)
  return () => {
    unsubscribe(`tracing:${name}:start`, onStart)
    resumed.unbindStore(store)
  }
}

type Callback = (error: unknown, ...rest: unknown[]) => void
type PgClient = { query: (...args: unknown[]) => unknown }
type PgPool = {
  connect(callback?: Callback): unknown
  on(event: 'connect', listener: (client: PgClient) => void): unknown
  readonly _clients?: readonly PgClient[]
}

const kObserved: unique symbol = Symbol('telltale.observed') as never
type Observed = { [kObserved]?: true }

function observeClient(client: PgClient & Observed): void {
  if (client[kObserved] === true) return
  client[kObserved] = true
  const query = client.query
  client.query = function (this: PgClient, ...args: unknown[]): unknown {
    const context = currentContext()
    if (context === undefined) return Reflect.apply(query, this, args)
    const started: Query = { context, startTick: performance.now() }
    const first = args[0] as string | { text?: unknown } | undefined
    const statement = typeof first === 'string' ? first : String(first?.text ?? '')
    const last = args[args.length - 1]
    if (typeof last === 'function') {
      args[args.length - 1] = AsyncResource.bind((error: unknown, ...rest: unknown[]) => {
        finishQuery(started, POSTGRES, statement, error != null)
        ;(last as Callback)(error, ...rest)
      })
      return Reflect.apply(query, this, args)
    }
    const result = Reflect.apply(query, this, args)
    if (typeof (result as Promise<unknown> | null)?.then !== 'function') return result
    // The derived promise is returned: an unhandled rejection of the caller's stays unhandled.
    return (result as Promise<unknown>).then(
      (value) => {
        finishQuery(started, POSTGRES, statement, false)
        return value
      },
      (error: unknown) => {
        finishQuery(started, POSTGRES, statement, true)
        throw error
      },
    )
  }
}

/**
 * Watches a `pg` Pool or Client: its queries count on `request_finished` (`db_count`, `db_ms`),
 * become spans and breadcrumbs, and callbacks keep the caller's context while they wait for a
 * connection. Only this object is changed. Returns it.
 *
 * @example
 * const pool = observe(new pg.Pool())
 */
export function observe<T extends object>(target: T): T {
  const pool = target as unknown as PgPool & Observed
  if (
    typeof pool.connect === 'function' &&
    typeof pool.on === 'function' &&
    Array.isArray(pool._clients)
  ) {
    if (pool[kObserved] === true) return target
    pool[kObserved] = true
    for (const client of pool._clients) observeClient(client)
    pool.on('connect', observeClient)
    const connect = pool.connect
    pool.connect = function (this: PgPool, callback?: Callback): unknown {
      if (typeof callback !== 'function') return connect.call(this)
      return connect.call(this, AsyncResource.bind(callback))
    }
  } else if (typeof (target as unknown as PgClient).query === 'function') {
    observeClient(target as unknown as PgClient)
  }
  return target
}
