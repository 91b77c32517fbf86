/**
 * Turns any value into a plain one that is safe to send: secrets masked by key and by value, size
 * and depth bounded, cycles cut, nothing thrown whatever getters and proxies do.
 */

/** What this room needs of the kit's redactor (`redact.ts`). */
export type Redactor = {
  isSecretKey(key: string): boolean
  text(value: string): string
  url(value: string): string
  element(list: readonly unknown[], at: number): unknown
}

/** Characters that one event may still spend; a character is at most six bytes of JSON. */
export type Budget = { left: number }

/** Characters of one event: at most 960 KiB of JSON, below the 1 MiB that Relay accepts (relay-config). */
export const EVENT_CHARS = 160_000

const MASK = '[REDACTED]'
const MAX_DEPTH = 6
const MAX_WIDTH = 100
const MAX_TEXT = 8192
const MAX_KEY = 200
/** A secret that crosses the cut is removed with the run of letters it belongs to, up to this length. */
const CUT_MARGIN = 1024

export type Scrub = {
  /** Masked and cut to `max` characters (default 8,192). Never throws. */
  text(value: string, budget: Budget, max?: number): string
  /** Any value as plain JSON data. Never throws. */
  value(value: unknown, budget: Budget): unknown
  /** An object's own fields as plain JSON data; {} for anything else. */
  fields(value: unknown, budget: Budget): Record<string, unknown>
}

/** Reads a property of a hostile object; undefined when that throws. */
export function read(object: unknown, key: string): unknown {
  if (object === undefined || object === null) return undefined
  try {
    return (object as Record<string, unknown>)[key]
  } catch {
    return undefined
  }
}

/** `text` without the characters past `max`, marked by an ellipsis. */
export function cut(text: string, max: number): string {
  return text.length <= max ? text : `${text.slice(0, max - 1)}…`
}

/** Creates the scrub of one redactor. */
export function createScrub(redactor: Redactor): Scrub {
  function text(value: string, budget: Budget, max: number = MAX_TEXT): string {
    let out = value
    if (out.length > max) {
      let end = max + CUT_MARGIN
      if (out.length > end) {
        const floor = end - CUT_MARGIN
        while (end > floor && out.charCodeAt(end - 1) > 32) end--
      }
      out = out.slice(0, end)
    }
    try {
      out = redactor.text(out)
    } catch {
      out = '[unreadable]'
    }
    out = cut(out, Math.max(0, Math.min(max, budget.left)))
    budget.left -= out.length + 8
    return out
  }

  function list(items: readonly unknown[], budget: Budget, above: readonly object[]): unknown[] {
    const out: unknown[] = []
    for (let i = 0; i < items.length; i++) {
      if (i === MAX_WIDTH || budget.left <= 0) {
        out.push(`[${items.length - i} more]`)
        break
      }
      out.push(plain(redactor.element(items, i), budget, above))
    }
    return out
  }

  function own(value: object, budget: Budget, above: readonly object[]): Record<string, unknown> {
    const out: Record<string, unknown> = {}
    const keys = Object.keys(value)
    for (let i = 0; i < keys.length; i++) {
      const key = keys[i] as string
      if (i === MAX_WIDTH || budget.left <= 0) {
        out['…'] = `[${keys.length - i} more]`
        break
      }
      if (key === '__proto__') continue
      const name = cut(key, MAX_KEY)
      budget.left -= name.length + 8
      if (redactor.isSecretKey(key)) {
        out[name] = MASK
        continue
      }
      try {
        out[name] = plain((value as Record<string, unknown>)[key], budget, above)
      } catch {
        out[name] = '[unreadable]'
      }
    }
    return out
  }

  function object(value: object, budget: Budget, above: readonly object[]): unknown {
    if (above.includes(value)) return '[Circular]'
    if (Array.isArray(value)) {
      return above.length >= MAX_DEPTH ? '[Array]' : list(value, budget, [...above, value])
    }
    if (value instanceof Error) {
      return {
        type: text(String(read(value, 'name')), budget, 200),
        message: text(String(read(value, 'message')), budget),
      }
    }
    if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString()
    if (value instanceof URL) return text(redactor.url(value.href), budget)
    if (value instanceof RegExp) return text(String(value), budget)
    if (ArrayBuffer.isView(value)) return `[${value.constructor.name} ${value.byteLength} bytes]`
    if (above.length >= MAX_DEPTH) return '[Object]'
    const inside = [...above, value]
    if (value instanceof Map) return list([...value.entries()].map(pair), budget, inside)
    if (value instanceof Set) return list([...value], budget, inside)
    if (value instanceof Promise) return '[Promise]'
    const toJson = (value as { toJSON?: unknown }).toJSON
    if (typeof toJson === 'function') {
      const json: unknown = toJson.call(value, '')
      if (json !== value) return plain(json, budget, inside)
    }
    return own(value, budget, inside)
  }

  /** A Map's entry as an object, so that a secret key masks its value. */
  function pair([key, value]: [unknown, unknown]): unknown {
    return typeof key === 'string' ? { [key]: value } : { key, value }
  }

  function plain(value: unknown, budget: Budget, above: readonly object[]): unknown {
    switch (typeof value) {
      case 'string':
        return text(value, budget)
      case 'number':
        budget.left -= 8
        return Number.isFinite(value) ? value : String(value)
      case 'boolean':
        budget.left -= 8
        return value
      case 'bigint': {
        const digits = value > 10n ** 40n || value < -(10n ** 40n) ? '[BigInt]' : `${value}n`
        budget.left -= digits.length
        return digits
      }
      case 'undefined':
        return undefined
      case 'symbol':
        return text(String(value), budget, 200)
      case 'function':
        return `[Function ${cut(String(read(value, 'name') || 'anonymous'), MAX_KEY)}]`
      default:
        if (value === null) return null
        budget.left -= 8
        try {
          return object(value as object, budget, above)
        } catch {
          return '[unreadable]'
        }
    }
  }

  return {
    text,
    value: (value, budget) => plain(value, budget, []),
    fields(value, budget) {
      const out = plain(value, budget, [])
      return typeof out === 'object' && out !== null && !Array.isArray(out)
        ? (out as Record<string, unknown>)
        : {}
    },
  }
}
