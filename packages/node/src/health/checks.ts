/**
 * Ready-made checks, for `init({ health: { checks: { … } } })`. Each makes a real round trip over a
 * connection of its own and can be cancelled at any moment; none needs its driver to be a dependency
 * of the kit.
 */
import { statfs } from 'node:fs/promises'
import { request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { ConnectionOptions } from 'node:tls'
import { getHeapStatistics } from 'node:v8'
import { show, TelltaleError } from '../faults.js'
import type { HealthCheck, HealthCheckContext, HealthOutcome } from '../options.js'
import { abortable, createKeptLink, hasAddress, type KeptLink, type Link } from './kept.js'
import { createPoolWatch, type PoolWatch } from './pool-watch.js'
import { createRedisLink, type RedisEndpoint } from './redis-link.js'

export type { HealthCheck, HealthCheckSettings, HealthOutcome } from '../options.js'
export type { Reason } from './reason.js'

/** A `pg` Pool or Client, of any version. */
export type PostgresTarget = {
  query(...args: never[]): unknown
  connect(...args: never[]): unknown
}
/** A `mysql2` Pool, with callbacks or with promises. */
export type MysqlTarget = {
  getConnection(...args: never[]): unknown
  end(...args: never[]): unknown
}
/** An `ioredis` or `redis` (node-redis) client. */
export type RedisTarget = { duplicate(...args: never[]): unknown }

export type DatabaseOptions = {
  /** True: a server that only reads (a replica, a read-only mode) is `readonly`, 503. Default false. */
  readonly writable?: boolean
  /** Milliseconds a full pool may stand still before it is `pool_stuck`, 503. Default 30,000. */
  readonly stuckAfterMs?: number
}

const STUCK_AFTER_MS = 30_000
const ignore = (): void => {}

/**
 * Checks PostgreSQL with a query on its own connection, opened with the options of the pool or
 * client and named `<service>-health`. A pool whose connections are all out is `pool_busy` (200),
 * one that stands still `pool_stuck` (503), one that was ended `closed` (503). With a URL, the
 * application's `pg` is loaded at the first run.
 */
export function postgres(
  target: PostgresTarget | string,
  options: DatabaseOptions = {},
): HealthCheck {
  if (typeof target === 'string') readUrl('postgres', target, ['postgres:', 'postgresql:'])
  const { writable = false, stuckAfterMs = STUCK_AFTER_MS } = options
  const pool = target as unknown as PgPool
  const isPool = typeof target !== 'string' && typeof pool.totalCount === 'number'
  const watch = isPool
    ? createPoolWatch(
        {
          isClosed: () => pool.ended === true || pool.ending === true,
          isFull: () => pool.totalCount >= (pool.options?.max ?? 10) && pool.idleCount === 0,
          firstWaiter: () => pool._pendingQueue?.[0],
          events: pool,
        },
        stuckAfterMs,
      )
    : undefined
  const link = createKeptLink((context, onBroken) =>
    createPostgresLink(pgClient(target, context), writable, onBroken),
  )
  return databaseCheck(link, watch)
}

type PgPool = {
  readonly totalCount: number
  readonly idleCount: number
  readonly ended?: boolean
  readonly ending?: boolean
  readonly options?: { readonly max?: number; readonly Client?: PgClientClass }
  readonly Client?: PgClientClass
  readonly _pendingQueue?: readonly unknown[]
  on(event: string, listener: () => void): unknown
  removeListener(event: string, listener: () => void): unknown
}
type PgClientClass = new (config: Readonly<Record<string, unknown>>) => PgClient
type PgClient = {
  readonly host?: string
  readonly connection?: { readonly stream?: { destroy(): void; unref?(): void } }
  readonly connectionParameters?: Readonly<Record<string, unknown>>
  connect(done: (error: unknown) => void): void
  query(text: string, done: (error: unknown, result?: { rows: unknown[] }) => void): void
  on(event: 'error' | 'end', listener: () => void): unknown
  end(done?: () => void): unknown
}

/** The driver's own client with the application's options, changed only where the check needs it. */
function pgClient(target: PostgresTarget | string, context: HealthCheckContext): PgClient {
  let Client: PgClientClass | undefined
  let config: Record<string, unknown>
  if (typeof target === 'string') {
    Client = loadDriver<{ Client: PgClientClass }>('pg').Client
    config = { connectionString: target }
  } else {
    const pool = target as unknown as PgPool
    const client = target as unknown as PgClient
    if (client.connectionParameters === undefined) {
      // The drivers hide secrets from enumeration, so a spread would lose the password.
      config = { ...pool.options, ...hidden(pool.options, 'password') }
      Client =
        pool.Client ?? pool.options?.Client ?? loadDriver<{ Client: PgClientClass }>('pg').Client
    } else {
      const { host, port, user, database, ssl } = client.connectionParameters
      config = {
        host,
        port,
        user,
        database,
        ssl,
        ...hidden(client.connectionParameters, 'password'),
      }
      Client = client.constructor as PgClientClass
    }
  }
  if (typeof config.connectionString === 'string') {
    config.connectionString = config.connectionString.replace(
      /([?&])(fallback_)?application_name=[^&]*/g,
      '$1',
    )
  }
  return new Client({
    ...config,
    ...hidden(config, 'password'),
    application_name: `${context.service}-health`,
    connectionTimeoutMillis: 0,
    keepAlive: true,
  })
}

function hidden(from: object | undefined, key: string): Record<string, unknown> {
  const value = (from as Record<string, unknown> | undefined)?.[key]
  return value === undefined ? {} : { [key]: value }
}

function createPostgresLink(client: PgClient, writable: boolean, onBroken: () => void): Link {
  client.on('error', onBroken)
  client.on('end', onBroken)
  const unref = (): void => client.connection?.stream?.unref?.()
  const text = writable
    ? "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool AS readonly"
    : 'SELECT 1'
  return {
    async open() {
      await hasAddress(client.host)
      await new Promise<void>((resolve, reject) => {
        client.connect((error) => (isNothing(error) ? resolve() : reject(error)))
        unref()
      })
      // With TLS the stream is another one by now.
      unref()
    },
    ask() {
      return new Promise((resolve, reject) => {
        client.query(text, (error, result) => {
          if (!isNothing(error)) return reject(error)
          const row = result?.rows[0] as { readonly?: boolean } | undefined
          if (row === undefined) reject(new Error('The query was answered without a row.'))
          else resolve(row.readonly === true ? { status: 'fail', reason: 'readonly' } : undefined)
        })
      })
    },
    destroy() {
      const stream = client.connection?.stream
      if (stream !== undefined) stream.destroy()
      else client.end(ignore)
    },
  }
}

/**
 * Checks MySQL or MariaDB with a query on its own connection, opened with the options of the
 * `mysql2` pool. Pool states as in `postgres`. With a URL, the application's `mysql2` is loaded at
 * the first run.
 */
export function mysql(target: MysqlTarget | string, options: DatabaseOptions = {}): HealthCheck {
  if (typeof target === 'string') readUrl('mysql', target, ['mysql:', 'mariadb:'])
  const { writable = false, stuckAfterMs = STUCK_AFTER_MS } = options
  const given = target as unknown as MysqlPool & { readonly pool?: MysqlPool }
  const pool = typeof target === 'string' ? undefined : (given.pool ?? given)
  const watch =
    pool?._allConnections === undefined
      ? undefined
      : createPoolWatch(
          {
            isClosed: () => pool._closed === true,
            isFull: () =>
              pool.config.connectionLimit > 0 &&
              pool._allConnections.length >= pool.config.connectionLimit &&
              pool._freeConnections.length === 0,
            firstWaiter: () =>
              pool._connectionQueue.length > 0 ? pool._connectionQueue.get(0) : undefined,
            events: pool,
          },
          stuckAfterMs,
        )
  let template = pool
  const link = createKeptLink((context, onBroken) => {
    template ??= loadDriver<{ createPool(url: string): MysqlPool }>('mysql2').createPool(
      target as string,
    )
    return createMysqlLink(ownMysqlPool(template, context), writable, onBroken)
  })
  return databaseCheck(link, watch)
}

type Ring<T> = { readonly length: number; get(index: number): T | undefined }
type MysqlPool = {
  readonly config: MysqlPoolConfig
  readonly _closed?: boolean
  readonly _allConnections: Ring<MysqlConnection>
  readonly _freeConnections: Ring<MysqlConnection>
  readonly _connectionQueue: Ring<unknown>
  getConnection(done: (error: unknown, connection?: MysqlConnection) => void): void
  on(event: string, listener: () => void): unknown
  removeListener(event: string, listener: () => void): unknown
}
type MysqlPoolConfig = {
  connectionLimit: number
  maxIdle: number
  connectionConfig: {
    readonly host?: string
    readonly socketPath?: string
    readonly connectAttributes?: object
  }
}
type MysqlConnection = {
  readonly stream?: { destroy(): void; unref?(): void }
  query(text: string, done: (error: unknown, rows?: unknown) => void): unknown
  on(event: 'error' | 'end', listener: () => void): unknown
}

/**
 * A pool of one, of the class and with the options of the application's: mysql2 gives no other way
 * from a pool to a connection outside it.
 */
function ownMysqlPool(pool: MysqlPool, context: HealthCheckContext): MysqlPool {
  const Pool = pool.constructor as new (options: { config: MysqlPoolConfig }) => MysqlPool
  const { connectionConfig } = pool.config
  const config = copyOf(pool.config, {
    connectionLimit: 1,
    maxIdle: 1,
    waitForConnections: true,
    connectionConfig: copyOf(connectionConfig, {
      connectTimeout: context.timeoutMs + 100,
      connectAttributes: {
        ...connectionConfig.connectAttributes,
        program_name: `${context.service}-health`,
      },
    }),
  })
  return new Pool({ config })
}

function copyOf<T extends object>(original: T, changes: object): T {
  const copy = Object.create(
    Object.getPrototypeOf(original),
    Object.getOwnPropertyDescriptors(original),
  ) as T
  return Object.assign(copy, changes)
}

function createMysqlLink(own: MysqlPool, writable: boolean, onBroken: () => void): Link {
  let connection: MysqlConnection | undefined
  const text = writable ? 'SELECT @@global.read_only AS readonly' : 'SELECT 1'
  return {
    async open() {
      const { host, socketPath } = own.config.connectionConfig
      if (socketPath === undefined) await hasAddress(host)
      await new Promise<void>((resolve, reject) => {
        own.getConnection((error) => (isNothing(error) ? resolve() : reject(error)))
        connection = own._allConnections.get(0)
        connection?.stream?.unref?.()
        connection?.on('error', onBroken)
        connection?.on('end', onBroken)
      })
      connection?.stream?.unref?.()
    },
    ask() {
      return new Promise((resolve, reject) => {
        if (connection === undefined) return reject(new Error('Connection is closed'))
        connection.query(text, (error, rows) => {
          if (!isNothing(error)) return reject(error)
          const row = (rows as { readonly?: unknown }[] | undefined)?.[0]
          if (row === undefined) reject(new Error('The query was answered without a row.'))
          else
            resolve(
              Number(row.readonly ?? 0) > 0 ? { status: 'fail', reason: 'readonly' } : undefined,
            )
        })
      })
    },
    destroy() {
      // mysql2's own destroy() only half-closes, which a server that hangs never answers.
      connection?.stream?.destroy()
    },
  }
}

/**
 * Checks Redis with PING on its own connection, opened with the options of the `ioredis` or `redis`
 * client, or a `redis://` or `rediss://` URL; nothing enters the client's queue. A client that was
 * closed is `closed`. Clusters, sentinels and credential providers are asked through the client
 * itself, at most one PING at a time, and only while it is connected.
 */
export function redis(
  target: RedisTarget | string,
  options: Pick<DatabaseOptions, 'writable'> = {},
): HealthCheck {
  const { writable = false } = options
  const client = typeof target === 'string' ? undefined : (target as unknown as RedisClient)
  const endpoint =
    client === undefined
      ? redisUrl(readUrl('redis', target as string, ['redis:', 'rediss:']))
      : redisEndpoint(client)
  let wasOpen = false
  const isClosed = (): boolean => {
    if (client === undefined) return false
    if (client.isOpen !== undefined) {
      // node-redis says the same before connect() and after close().
      wasOpen ||= client.isOpen
      return wasOpen && !client.isOpen
    }
    return client.status === 'end'
  }
  if (endpoint === undefined && client !== undefined) return throughRedisClient(client, isClosed)
  const link = createKeptLink((context, onBroken) =>
    createRedisLink(endpoint ?? {}, writable, context, onBroken),
  )
  return withClose(
    async (signal, context) =>
      isClosed() ? { status: 'fail', reason: 'closed' } : link.ask(signal, context),
    () => link.close(),
  )
}

type RedisClient = {
  /** ioredis: wait, connecting, connect, ready, reconnecting, end. */
  readonly status?: string
  /** node-redis. */
  readonly isOpen?: boolean
  readonly isReady?: boolean
  readonly options?: RedisClientOptions
  ping?(): Promise<unknown>
}
type RedisClientOptions = {
  readonly host?: string
  readonly port?: number
  readonly path?: string
  readonly username?: string
  readonly password?: string
  readonly tls?: ConnectionOptions
  readonly sentinels?: unknown
  readonly Connector?: unknown
  readonly credentialsProvider?: unknown
  readonly socket?: ConnectionOptions & {
    readonly host?: string
    readonly port?: number
    readonly path?: string
    readonly tls?: boolean
  }
}

/** Where a plain client connects to; undefined when only the client itself can tell. */
function redisEndpoint(client: RedisClient): RedisEndpoint | undefined {
  const { options } = client
  if (options === undefined || options.sentinels || options.Connector) return undefined
  if (options.credentialsProvider) return undefined
  // ioredis writes null for what was not given.
  const username = options.username ?? undefined
  const password = options.password ?? undefined
  if (client.isOpen !== undefined) {
    const { host, port, path, tls, ...secure } = options.socket ?? {}
    return { host, port, path, username, password, tls: tls === true ? secure : undefined }
  }
  if ((client as { isCluster?: boolean }).isCluster === true) return undefined
  const { host, port, path, tls } = options
  return { host, port, path: path ?? undefined, username, password, tls: tls ?? undefined }
}

function redisUrl(url: URL): RedisEndpoint {
  return {
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port === '' ? 6379 : Number(url.port),
    username: decodeURIComponent(url.username),
    password: decodeURIComponent(url.password),
    tls: url.protocol === 'rediss:' ? {} : undefined,
  }
}

function throughRedisClient(client: RedisClient, isClosed: () => boolean): HealthCheck {
  return async (signal) => {
    if (isClosed()) return { status: 'fail', reason: 'closed' }
    if (client.status !== 'ready' && client.isReady !== true) {
      return { status: 'fail', reason: 'refused' }
    }
    await abortable(signal, ignore, async () => client.ping?.())
    return undefined
  }
}

/**
 * Checks that a URL answers with `status` (default: any from 200 to 299). Redirects are not
 * followed, the body is not read, no connection is kept.
 */
export function http(url: string | URL, options: { readonly status?: number } = {}): HealthCheck {
  const target = readUrl('http', String(url), ['http:', 'https:'])
  const { status } = options
  return async (signal) => {
    const code = await abortable(signal, ignore, async () => {
      await hasAddress(target.hostname.replace(/^\[|\]$/g, ''))
      return statusOf(target, signal)
    })
    if (status === undefined ? code >= 200 && code <= 299 : code === status) return undefined
    const error = new Error(`The URL answered ${code}.`)
    throw code === 401 || code === 403 ? Object.assign(error, { code: '28000' }) : error
  }
}

function statusOf(url: URL, signal: AbortSignal): Promise<number> {
  return new Promise((resolve, reject) => {
    const send = url.protocol === 'https:' ? requestHttps : requestHttp
    const request = send(url, {
      agent: false,
      signal,
      headers: { 'User-Agent': 'telltale-health' },
    })
    request.on('socket', (socket) => socket.unref())
    request.on('error', reject)
    request.on('response', (response) => {
      resolve(response.statusCode ?? 0)
      response.on('error', ignore)
      response.destroy()
    })
    request.end()
  })
}

/** Checks the free space of the file system that holds `path`. Default: at least 5 % free. */
export function disk(
  path: string,
  options: { readonly minFreeBytes?: number; readonly minFreeRatio?: number } = {},
): HealthCheck {
  const { minFreeBytes = 0, minFreeRatio = options.minFreeBytes === undefined ? 0.05 : 0 } = options
  return async () => {
    const { bavail, blocks, bsize } = await statfs(path)
    const isFull = bavail * bsize < minFreeBytes || bavail < blocks * minFreeRatio
    return isFull ? { status: 'fail', reason: 'disk_full' } : undefined
  }
}

/**
 * Checks how late timers fire now: the latest of three in a row must not be more than `maxDelayMs`
 * late (default 500). A single block in the past is not held against the service; a loop that is
 * always late is.
 */
export function eventLoop(options: { readonly maxDelayMs?: number } = {}): HealthCheck {
  const { maxDelayMs = 500 } = options
  return async () => {
    let worstMs = 0
    for (let round = 0; round < 3; round++) worstMs = Math.max(worstMs, await timerDelay())
    return worstMs > maxDelayMs ? { status: 'fail', reason: 'event_loop' } : undefined
  }
}

function timerDelay(): Promise<number> {
  const startMs = performance.now()
  return new Promise((resolve) => {
    setTimeout(() => resolve(performance.now() - startMs - 5), 5).unref()
  })
}

/** Checks the memory of the process. Default: at most 95 % of V8's heap limit. */
export function memory(
  options: { readonly maxRssBytes?: number; readonly maxHeapRatio?: number } = {},
): HealthCheck {
  const { maxRssBytes = Number.POSITIVE_INFINITY } = options
  const { maxHeapRatio = options.maxRssBytes === undefined ? 0.95 : 1 } = options
  return () => {
    const { used_heap_size, heap_size_limit } = getHeapStatistics()
    const isOver =
      used_heap_size > heap_size_limit * maxHeapRatio || process.memoryUsage.rss() > maxRssBytes
    return isOver ? { status: 'fail', reason: 'memory' } : undefined
  }
}

/** A closed pool fails without asking; a working server with a full pool answers what the pool adds. */
function databaseCheck(link: KeptLink, watch: PoolWatch | undefined): HealthCheck {
  return withClose(
    async (signal, context) => {
      watch?.watch()
      if (watch?.isClosed() === true) {
        link.close()
        return { status: 'fail', reason: 'closed' }
      }
      return (await link.ask(signal, context)) ?? watch?.outcome()
    },
    () => {
      link.close()
      watch?.close()
    },
  )
}

function withClose(
  check: (signal: AbortSignal, context: HealthCheckContext) => Promise<HealthOutcome>,
  close: () => void,
): HealthCheck {
  return Object.assign(check, { close })
}

function isNothing(error: unknown): boolean {
  return error === undefined || error === null
}

/** Loads a driver as the application would: from its main module, else from the working directory. */
function loadDriver<T>(name: string): T {
  let cause: unknown
  for (const base of [process.argv[1], join(process.cwd(), 'index.js')]) {
    if (base === undefined) continue
    try {
      return createRequire(base)(name) as T
    } catch (error) {
      cause = error
    }
  }
  throw new Error(`The package ${name} could not be loaded; install it or pass a pool.`, { cause })
}

function readUrl(check: string, url: string, protocols: readonly string[]): URL {
  try {
    const parsed = new URL(url)
    if (protocols.includes(parsed.protocol)) return parsed
  } catch {
    // said below, without the value: it may hold a password
  }
  throw new TelltaleError([
    {
      code: 'TELLTALE_E_OPTION',
      message: `${check}() was given a URL it cannot use${url === '' ? `: ${show(url)}` : ''}.`,
      remedy: `Pass one that begins with ${protocols.map((one) => `${one}//`).join(' or ')}.`,
    },
  ])
}
