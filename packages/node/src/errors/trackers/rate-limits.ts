/**
 * What the server asked us not to send, per data category.
 *
 * Source: Sentry's developer documentation, "Rate Limiting". Two rules go beyond the official SDK:
 * a shorter limit never shortens a longer one, and a limit of one category never hides the limit
 * of all.
 */

/** The headers of an answer that carry limits; undefined when absent. */
export type LimitHeaders = {
  readonly rateLimits: string | undefined
  readonly retryAfter: string | undefined
}

/** One limit: how long, and for which categories; none listed means all. */
export type Limit = { readonly seconds: number; readonly categories: readonly string[] }

/** The limits in force. Times are `performance.now()`, so that a clock that jumps changes nothing. */
export type RateLimits = {
  /** False until a server has set the first limit: nobody has to look at the clock. */
  readonly areAny: boolean
  /** True when `category` must not be sent at `nowMs`. O(1). */
  isLimited(category: string, nowMs: number): boolean
  /** Takes the limits of an answer; true when there were any. */
  apply(status: number, headers: LimitHeaders, nowMs: number): boolean
}

/** What a 429 without usable headers means, and an entry whose number is not one. */
const DEFAULT_SECONDS = 60
/** No limit is believed for longer; the server repeats what still holds. */
const MAX_SECONDS = 86_400
const MAX_ENTRIES = 100
/** Categories remembered at most: the names come from the network. */
const MAX_CATEGORIES = 100

/** No limits yet. */
export function createRateLimits(): RateLimits {
  let allUntilMs = 0
  const untilMs = new Map<string, number>()
  return {
    get areAny() {
      return allUntilMs > 0 || untilMs.size > 0
    },
    isLimited(category, nowMs) {
      if (allUntilMs > nowMs) return true
      if (untilMs.size === 0) return false
      const until = untilMs.get(category)
      return until !== undefined && until > nowMs
    },
    apply(status, headers, nowMs) {
      const limits = readLimits(status, headers)
      for (const { seconds, categories } of limits) {
        const until = nowMs + seconds * 1000
        if (categories.length === 0) allUntilMs = Math.max(allUntilMs, until)
        for (const category of categories) {
          const before = untilMs.get(category)
          if (before === undefined && untilMs.size >= MAX_CATEGORIES) continue
          untilMs.set(category, Math.max(before ?? 0, until))
        }
      }
      return limits.length > 0
    },
  }
}

/**
 * The limits an answer carries: X-Sentry-Rate-Limits on any status, else Retry-After (every
 * category), else 60 s for everything on a bare 429. A Retry-After on 5xx is no limit but a pause.
 * Never throws.
 */
export function readLimits(status: number, headers: LimitHeaders): readonly Limit[] {
  const limits = parseRateLimits(headers.rateLimits)
  if (limits.length > 0) return limits
  if (status >= 500) return []
  const seconds = parseRetryAfter(headers.retryAfter, Date.now())
  if (seconds !== undefined) return [{ seconds, categories: [] }]
  return status === 429 ? [{ seconds: DEFAULT_SECONDS, categories: [] }] : []
}

/** Parses `60:error;default:key, 2700::organization`. Unknown trailing parts are ignored. Never throws. */
export function parseRateLimits(header: string | undefined): readonly Limit[] {
  if (header === undefined) return []
  const limits: Limit[] = []
  for (const entry of header.split(',', MAX_ENTRIES)) {
    const text = entry.trim()
    if (text === '') continue
    const [number = '', categories = ''] = text.split(':', 2)
    limits.push({
      seconds: boundSeconds(/^\s*\d+(\.\d+)?\s*$/.test(number) ? Number(number) : DEFAULT_SECONDS),
      categories: categories
        .split(';', MAX_CATEGORIES)
        .map((category) => category.trim())
        .filter((category) => category !== ''),
    })
  }
  return limits
}

/** Seconds a Retry-After asks for: a number, or an HTTP date (RFC 9110, 10.2.3). Undefined when absent or neither. */
export function parseRetryAfter(header: string | undefined, epochMs: number): number | undefined {
  if (header === undefined) return undefined
  const text = header.trim()
  if (/^\d+$/.test(text)) return boundSeconds(Number(text))
  const atMs = /^[A-Za-z]/.test(text) ? Date.parse(text) : Number.NaN
  return Number.isNaN(atMs) ? undefined : boundSeconds(Math.ceil((atMs - epochMs) / 1000))
}

function boundSeconds(seconds: number): number {
  return Math.min(Math.max(seconds, 0), MAX_SECONDS)
}
