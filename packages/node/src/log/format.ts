/** printf-style texts: `('hello %s', name)`, with objects as redacted JSON instead of inspections. */
import type { Encoder } from './encode.js'

const PLACEHOLDER = /%[sdifjoOc%]/g

/** The text that `args[at]` and the values its placeholders take come to, and the next argument. */
export function format(
  args: readonly unknown[],
  at: number,
  encoder: Pick<Encoder, 'value'>,
): { readonly text: string; readonly next: number } {
  const first = args[at]
  if (typeof first !== 'string') return { text: shown(first, encoder), next: at + 1 }
  let next = at + 1
  if (next >= args.length || !first.includes('%')) return { text: first, next }
  const text = first.replace(PLACEHOLDER, (mark) => {
    if (mark === '%%') return '%'
    if (next >= args.length) return mark
    const value = args[next++]
    switch (mark) {
      case '%d':
        return typeof value === 'bigint' ? `${value}` : `${Number(asPrimitive(value))}`
      case '%i':
        return typeof value === 'bigint' ? `${value}` : `${Math.trunc(Number(asPrimitive(value)))}`
      case '%f':
        return `${Number.parseFloat(String(asPrimitive(value)))}`
      case '%c':
        return ''
      case '%s':
        return shown(value, encoder)
      default:
        return encoder.value(value)
    }
  })
  return { text, next }
}

/** A value inside a text: strings as they are, errors by name and message, all else as JSON. */
export function shown(value: unknown, encoder: Pick<Encoder, 'value'>): string {
  if (typeof value === 'string') return value
  if (value === undefined) return 'undefined'
  if (typeof value === 'number' || typeof value === 'bigint' || typeof value === 'symbol')
    return String(value)
  try {
    if (value instanceof Error) return `${value.name}: ${value.message}`
  } catch {
    // a hostile getter; the encoder knows what to do with it
  }
  const json = encoder.value(value)
  return typeof value === 'function' ? json.slice(1, -1) : json
}

function asPrimitive(value: unknown): unknown {
  return typeof value === 'object' || typeof value === 'symbol' || typeof value === 'function'
    ? Number.NaN
    : value
}
