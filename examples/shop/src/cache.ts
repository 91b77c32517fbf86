/** Redis, when there is one. Every function works without it: a cache that is away is a cache miss. */
import { log } from '@telltale/node'
import { Redis } from 'ioredis'
import { redisUrl } from './config.js'

/** Undefined when REDIS_URL is not set. */
export const cache: Redis | undefined =
  redisUrl === ''
    ? undefined
    : new Redis(redisUrl, {
        connectTimeout: 1000,
        commandTimeout: 250,
        // A request never waits for a cache that is away.
        enableOfflineQueue: false,
        maxRetriesPerRequest: 0,
        retryStrategy: (attempt) => Math.min(attempt * 100, 2000),
      })

let isAway = false
cache?.on('error', (error) => {
  if (!isAway) log.warn('cache_lost', { error })
  isAway = true
})
cache?.on('ready', () => {
  if (isAway) log.info('cache_regained')
  isAway = false
})

/** The value of a key, or undefined: not there, unreadable, or no cache. Never rejects. */
export async function cacheGet<T>(key: string): Promise<T | undefined> {
  if (cache === undefined) return undefined
  try {
    const text = await cache.get(key)
    return text === null ? undefined : (JSON.parse(text) as T)
  } catch (error) {
    log.debug('cache_read_failed', { key, error })
    return undefined
  }
}

/** Keeps a value for `seconds`. Never rejects. */
export async function cachePut(key: string, value: unknown, seconds: number): Promise<void> {
  try {
    await cache?.set(key, JSON.stringify(value), 'EX', seconds)
  } catch (error) {
    log.debug('cache_write_failed', { key, error })
  }
}

/** Forgets a key. Never rejects; a value that stays because of a failure ends with its time. */
export async function cacheDrop(key: string): Promise<void> {
  try {
    await cache?.del(key)
  } catch (error) {
    log.debug('cache_write_failed', { key, error })
  }
}

/** Closes the connection, politely when it is up. Never rejects. */
export async function closeCache(): Promise<void> {
  try {
    await cache?.quit()
  } catch {
    cache?.disconnect()
  }
}
