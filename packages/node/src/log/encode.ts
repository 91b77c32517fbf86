/**
 * Any value to JSON text: redacted, bounded in bytes, on one line, and never a throw. A bad value
 * (a throwing getter, a hostile Proxy, a cycle) is replaced by a placeholder; the rest stays. One file,
 * because all of it spends one budget.
 */
import { types } from 'node:util'
import type { Fields } from '../context.js'
import { MASK, type Redactor } from '../redact.js'

/** Turns values into JSON text. Its functions never throw. */
export type Encoder = {
  /** JSON text of any value. */
  value(value: unknown): string
  /** A fragment `,"k":v` for each field; reserved names go under `"fields"`. '' when empty. */
  fields(fields: Fields): string
  /** `{"type","message","code","stack","cause","errors"}` of an Error, or of whatever was thrown. */
  error(error: unknown): string
}

/** What the top level of one record came to. The object is reused: read it at once. */
export type TopLevel = {
  /** `"k":v,"k":v` without a comma in front; '' when empty. */
  plain: string
  /** The same for names that are ours. */
  reserved: string
  /** The value under `error` or `err`. */
  error: unknown
  hasError: boolean
  /** Which of the two it stood under. */
  errorKey: string
}

/** Serializers by field name, as pino and Fastify give them to `child`. */
export type Serializers = Readonly<Record<string, (value: unknown) => unknown>>

/** The encoder as the logger uses it, with a byte budget per piece of a line. */
export type LineEncoder = Encoder & {
  /** JSON string of a text, at most `maxBytes` bytes. */
  text(text: string, maxBytes: number): string
  /** True when the last `text` needed no change. */
  wasPlain(): boolean
  top(fields: Fields, maxBytes: number, serializers: Serializers | undefined): TopLevel
  errorWithin(error: unknown, maxBytes: number): string
  /** True when something was cut since the last call. */
  takeTruncated(): boolean
  markTruncated(): void
}

export type EncoderOptions = {
  readonly redactor: Redactor
  /** Bytes that `value`, `fields` and `error` may come to. */
  readonly maxBytes: number
  /** Names that a caller's fields may not take. */
  readonly reserved: ReadonlySet<string>
  /** Names inside the error object. */
  readonly errorNames: Readonly<Record<'type' | 'message' | 'stack', string>>
}

const MAX_DEPTH = 10
const MAX_CAUSES = 5
const MAX_ERRORS = 10
const MAX_KEYS = 4096
const MAX_KEY_LENGTH = 256
/** Bytes that any scalar but a string may need, and what a key must leave for its value. */
const SLACK = 48
/** Characters looked at beyond a cut, so that a secret which straddles it is still recognised. */
const OVERLAP = 512

/** What a character needs: 0 nothing, 1 an escape, 2–6 a closer look for secrets (see `scan`). */
const CLASSES = new Uint8Array(128)
CLASSES.fill(1, 0, 32)
CLASSES[34] = 1
CLASSES[92] = 1
CLASSES[127] = 1
CLASSES.fill(2, 48, 58)
CLASSES[32] = 3
CLASSES[45] = 3
CLASSES[61] = 4
CLASSES[64] = 4
CLASSES[58] = 5
CLASSES[121] = 6

const ESCAPE = 1
const SUSPECT = 2
const WIDE = 4
/** What may be the name and value of a secret, or the credentials of a URL. */
const PAIR = 8

/**
 * One look at each character: whether the text needs escaping, may hold a secret, or is not ASCII.
 * Ordinary texts come out 0 and are copied as they are.
 */
function scan(text: string): number {
  let found = 0
  let digits = 0
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code >= 128) {
      found |= WIDE
      digits = 0
      // C1 controls, line separators and surrogates; JSON.stringify escapes only lone surrogates.
      if (code < 160 || (code >= 0xd800 && code <= 0xdfff) || code === 0x2028 || code === 0x2029)
        found |= ESCAPE
      continue
    }
    const kind = CLASSES[code] as number
    if (kind === 0) {
      digits = 0
      continue
    }
    if (kind === 2) {
      if (++digits >= 13) found |= SUSPECT
    } else if (kind === 3) {
      if (code === 32 && i >= 5) {
        const before = text.charCodeAt(i - 1) | 32
        // "bearer " and "basic "
        if (before === 114 ? (text.charCodeAt(i - 6) | 32) === 98 : before === 99) found |= SUSPECT
      }
    } else {
      digits = 0
      if (kind === 1) found |= ESCAPE
      else if (kind === 4) found |= PAIR
      else if (kind === 5) {
        const after = text.charCodeAt(i + 1)
        const before = text.charCodeAt(i - 1)
        if (after === 32 || after === 34 || after === 39 || after === 92 || before === 34)
          found |= PAIR
      } else if (text.charCodeAt(i - 1) === 101 && text.charCodeAt(i + 1) === 74) found |= SUSPECT
    }
  }
  return found
}

const UNSAFE = /[\u007f-\u009f\u2028\u2029]/g

const LONE_SURROGATE = /\p{Surrogate}/gu

const hexEscape = (char: string): string => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`

/** Lone surrogates become the text of their escape: as JSON escapes they stop jq and other parsers. */
function escaped(text: string): string {
  return JSON.stringify(text.replace(LONE_SURROGATE, hexEscape)).replace(UNSAFE, hexEscape)
}

type Key = { readonly first: string; readonly next: string; readonly bytes: number; kind: number }
const KEY_PLAIN = 0
const KEY_SECRET = 1
const KEY_RESERVED = 2
const KEY_ERROR = 3

/** Compiles an encoder. */
export function createEncoder(options: EncoderOptions): LineEncoder {
  const { redactor, maxBytes, reserved } = options
  const patterned = redactor.patterned === true
  const typeName = `{"${options.errorNames.type}":`
  const messageName = `,"${options.errorNames.message}":`
  const stackName = `,"${options.errorNames.stack}":`
  const keys = new Map<string, Key>()
  const result: TopLevel = {
    plain: '',
    reserved: '',
    error: undefined,
    hasError: false,
    errorKey: '',
  }

  // State of the one encoding under way. A getter or toJSON may log while we read it, so each
  // public entry saves and restores it.
  let budget = 0
  let truncated = false
  let isPlain = false
  let ancestors: object[] = []

  /** `flags` of the text, as `scan` finds them. */
  function redacted(text: string, flags: number): string {
    if (patterned || (flags & SUSPECT) !== 0) return redactor.text(text)
    if ((flags & PAIR) === 0) return text
    return flags === PAIR ? redactor.pairs(text) : redactor.text(text)
  }

  function key(name: string): Key {
    const known = keys.get(name)
    if (known !== undefined) return known
    const long = name.length > MAX_KEY_LENGTH
    const shown = long ? `${name.slice(0, MAX_KEY_LENGTH)}…${name.length}` : name
    const flags = scan(shown)
    const masked = redacted(shown, flags)
    const json = (flags & ESCAPE) === 0 && masked === shown ? `"${shown}"` : escaped(masked)
    const made: Key = {
      first: `${json}:`,
      next: `,${json}:`,
      bytes: Buffer.byteLength(json) + 2,
      kind:
        name === 'error' || name === 'err'
          ? KEY_ERROR
          : reserved.has(name)
            ? KEY_RESERVED
            : redactor.isSecretKey(name)
              ? KEY_SECRET
              : KEY_PLAIN,
    }
    if (!long) {
      if (keys.size >= MAX_KEYS) keys.clear()
      keys.set(name, made)
    }
    return made
  }

  /** JSON string within the budget; spends it. */
  function string(text: string): string {
    const length = text.length
    if (length > budget - 2) return cut(text)
    const flags = scan(text)
    if (flags === 0 && !patterned) {
      budget -= length + 2
      return `"${text}"`
    }
    const clean = redacted(text, flags)
    const json = (flags & ESCAPE) === 0 && clean === text ? `"${text}"` : escaped(clean)
    const bytes = (flags & WIDE) === 0 ? json.length : Buffer.byteLength(json)
    if (bytes > budget) return cut(text)
    budget -= bytes
    return json
  }

  function cut(text: string): string {
    truncated = true
    const room = Math.max(0, budget - 8)
    const clean = redactor.text(text.slice(0, room + OVERLAP))
    let end = Math.min(room, clean.length)
    for (;;) {
      const json = escaped(`${clean.slice(0, end)}…`)
      const bytes = Buffer.byteLength(json)
      if (bytes <= budget || end === 0) {
        budget -= bytes
        return json
      }
      end = Math.min(end - 1, Math.floor((end * room) / bytes))
    }
  }

  function raw(json: string): string {
    budget -= json.length
    return json
  }

  function any(value: unknown, depth: number): string {
    switch (typeof value) {
      case 'string':
        return string(value)
      case 'number':
        return number(value)
      case 'boolean':
        budget -= 5
        return value ? 'true' : 'false'
      case 'undefined':
        return raw('null')
      case 'bigint':
        return string(bigint(value))
      case 'symbol':
        return string(String(value))
      case 'function':
        return string(`[Function ${nameOf(value)}]`)
    }
    if (value === null) return raw('null')
    const open = ancestors.length
    try {
      return object(value as object, depth)
    } catch {
      ancestors.length = open
      return raw('"[unreadable]"')
    }
  }

  /** Not-a-number and the infinities are null, as in JSON: a store refuses text in a numeric field. */
  function number(value: number): string {
    budget -= 8
    if (!Number.isFinite(value)) return 'null'
    const text = `${value}`
    if (text.length > 8) {
      budget -= text.length - 8
      if (value >= 2e12 && text.length >= 13 && redactor.text(text) !== text) return `"${MASK}"`
    }
    return text
  }

  function object(value: object, depth: number): string {
    if (Array.isArray(value)) return nested(value, depth, array)
    const proto: unknown = Object.getPrototypeOf(value)
    if (proto !== Object.prototype && proto !== null) {
      const special = builtIn(value, depth)
      if (special !== undefined) return special
    }
    const toJSON: unknown = (value as { toJSON?: unknown }).toJSON
    if (typeof toJSON === 'function') {
      if (depth >= MAX_DEPTH) return raw('"[Object]"')
      const json: unknown = toJSON.call(value, '')
      if (json !== value) return any(json, depth + 1)
    }
    return nested(value, depth, members)
  }

  function nested<T extends object>(
    value: T,
    depth: number,
    write: (value: T, depth: number) => string,
  ): string {
    if (ancestors.includes(value)) return raw('"[Circular]"')
    if (depth >= MAX_DEPTH) {
      truncated = true
      return raw(Array.isArray(value) ? '"[Array]"' : '"[Object]"')
    }
    budget -= 2
    ancestors.push(value)
    const json = write(value, depth + 1)
    ancestors.pop()
    return json
  }

  /** Values whose facts are not in their own properties; undefined for all others. */
  function builtIn(value: object, depth: number): string | undefined {
    if (types.isNativeError(value) || value instanceof Error) return thrown(value, 0)
    if (types.isDate(value)) {
      const ms = value.getTime()
      return raw(Number.isNaN(ms) ? '"Invalid Date"' : `"${new Date(ms).toISOString()}"`)
    }
    if (types.isMap(value)) return nested(value, depth, map)
    if (types.isSet(value)) return nested(value, depth, (set, inner) => array(firstOf(set), inner))
    if (ArrayBuffer.isView(value) || types.isAnyArrayBuffer(value))
      return raw(`{"bytes":${value.byteLength}}`)
    if (types.isRegExp(value)) return string(String(value))
    if (types.isPromise(value)) return raw('"[Promise]"')
    if (types.isWeakMap(value) || types.isWeakSet(value)) return raw('"[Weak]"')
    if (types.isBoxedPrimitive(value)) return any(value.valueOf(), depth + 1)
    if (value instanceof URL) return string(redactor.url(value.href))
    if (value instanceof URLSearchParams) return string(redactor.url(`?${value}`).slice(1))
    if (typeof Headers === 'function' && value instanceof Headers)
      return nested(new Map(value), depth, map)
    return undefined
  }

  function firstOf(values: Iterable<unknown>): unknown[] {
    const list: unknown[] = []
    for (const value of values) {
      if (list.length > budget) break
      list.push(value)
    }
    return list
  }

  function array(list: readonly unknown[], depth: number): string {
    let json = '['
    const length = list.length
    for (let i = 0; i < length; i++) {
      if (budget < SLACK) {
        truncated = true
        break
      }
      budget--
      if (i > 0) json += ','
      json += any(element(list, i), depth)
    }
    return `${json}]`
  }

  function element(list: readonly unknown[], at: number): unknown {
    try {
      return redactor.element(list, at)
    } catch {
      return '[unreadable]'
    }
  }

  function map(values: ReadonlyMap<unknown, unknown>, depth: number): string {
    let named = true
    let seen = 0
    for (const name of values.keys()) {
      if (typeof name !== 'string' || ++seen > budget) {
        named = false
        break
      }
    }
    let json = ''
    for (const [name, value] of values) {
      if (budget < SLACK) {
        truncated = true
        break
      }
      const secret = typeof name === 'string' && redactor.isSecretKey(name)
      if (named) json += member(name as string, value, depth, json === '')
      else {
        budget -= 4
        const entry = `[${any(name, depth)},${secret ? raw(`"${MASK}"`) : any(value, depth)}]`
        json += json === '' ? entry : `,${entry}`
      }
    }
    return named ? `{${json}}` : `[${json}]`
  }

  function members(value: object, depth: number): string {
    let json = ''
    for (const name of Object.keys(value)) {
      if (budget < SLACK) {
        truncated = true
        break
      }
      json += member(name, read(value, name), depth, json === '')
    }
    return `{${json}}`
  }

  /** One member; '' when its value is undefined or no room is left. */
  function member(name: string, value: unknown, depth: number, first: boolean): string {
    budget--
    if (value === undefined) return ''
    const made = key(name)
    if (budget < made.bytes + SLACK) {
      budget = 0
      truncated = true
      return ''
    }
    budget -= made.bytes
    const start = first ? made.first : made.next
    if (made.kind === KEY_SECRET || (made.kind !== KEY_PLAIN && redactor.isSecretKey(name)))
      return start + secret(value)
    if (name === 'rawHeaders' && Array.isArray(value)) return `${start}${raw('"[headers]"')}`
    return start + any(value, depth)
  }

  /** Whether a secret is there at all may be told; what it is, not. */
  function secret(value: unknown): string {
    return raw(value === null ? 'null' : typeof value === 'boolean' ? `${value}` : `"${MASK}"`)
  }

  /** An Error, or whatever else was thrown, with its causes. */
  function thrown(error: unknown, causes: number): string {
    if (typeof error !== 'object' || error === null) {
      const type = error === null ? 'null' : typeof error
      return `${raw(`${typeName}"${type}"${messageName}`)}${string(printed(error))}${raw('}')}`
    }
    if (ancestors.includes(error)) return `${raw(`${typeName}"Circular"}`)}`
    const message = messageOf(error)
    ancestors.push(error)
    const before = budget
    // Each cause gets a part of what is left, so that a long one leaves room for the root cause.
    const share = causes === 0 ? before : Math.floor(before * 0.6)
    let json = raw(typeName) + within(string, typeOf(error), 256)
    json += raw(messageName) + within(string, message, Math.floor(share / 4))
    const code = read(error, 'code')
    if (typeof code === 'string' || typeof code === 'number')
      json +=
        raw(',"code":') + (typeof code === 'string' ? within(string, code, 256) : any(code, 0))
    const stack = read(error, 'stack')
    if (typeof stack === 'string' && stack !== '')
      json += raw(stackName) + within(string, trimmedStack(stack, message), Math.floor(share / 2))
    const cause = read(error, 'cause')
    if (cause !== undefined && cause !== null && budget > SLACK * 4) {
      if (causes < MAX_CAUSES) {
        budget -= 12
        json += `,"cause":${thrown(cause, causes + 1)}`
      } else truncated = true
    }
    const errors = read(error, 'errors')
    if (Array.isArray(errors) && causes < MAX_CAUSES && budget > SLACK * 4) {
      budget -= 16
      let list = ''
      for (let i = 0; i < errors.length; i++) {
        if (i >= MAX_ERRORS || budget < SLACK * 4) {
          truncated = true
          break
        }
        list += (i === 0 ? '' : ',') + thrown(read(errors, i), causes + 1)
      }
      json += `,"errors":[${list}]`
    }
    ancestors.pop()
    return json + raw('}')
  }

  /** Runs `write` with at most `bytes` of the budget. */
  function within<T>(write: (value: T) => string, value: T, bytes: number): string {
    const rest = Math.max(0, budget - bytes)
    budget -= rest
    const json = write(value)
    budget += rest
    return json
  }

  function messageOf(error: object): string {
    const message = read(error, 'message')
    if (typeof message === 'string') return message
    if (types.isNativeError(error)) return message === undefined ? '' : printed(message)
    const rest = budget
    const cutBefore = truncated
    budget = Math.min(budget, 2048)
    const json = any(error, MAX_DEPTH - 3)
    budget = rest
    truncated = cutBefore
    return json
  }

  function encode<T>(bytes: number, write: (value: T) => string, value: T): string {
    const savedBudget = budget
    const savedAncestors = ancestors
    budget = bytes
    ancestors = []
    try {
      return write(value)
    } catch {
      return '"[unreadable]"'
    } finally {
      budget = savedBudget
      ancestors = savedAncestors
    }
  }

  const anyTop = (value: unknown): string => any(value, 0)
  const thrownTop = (error: unknown): string => thrown(error, 0)

  function top(fields: Fields, bytes: number, serializers: Serializers | undefined): TopLevel {
    const savedBudget = budget
    const savedAncestors = ancestors
    budget = bytes
    ancestors = [fields]
    let plain = ''
    let ours = ''
    let error: unknown
    let hasError = false
    try {
      for (const name of Object.keys(fields)) {
        let value = read(fields, name)
        if (serializers !== undefined) value = serialized(serializers, name, value)
        const made = key(name)
        if (made.kind === KEY_PLAIN) {
          if (budget < SLACK) {
            truncated = true
            break
          }
          // The one road of ordinary fields, kept short: see `member`.
          if (typeof value === 'string' && budget > made.bytes + SLACK && name !== 'rawHeaders') {
            budget -= made.bytes
            plain += (plain === '' ? made.first : made.next) + string(value)
          } else plain += member(name, value, 1, plain === '')
        } else if (made.kind === KEY_ERROR && !hasError && value !== undefined) {
          error = value
          hasError = true
          result.errorKey = name
        } else if (budget < SLACK) {
          truncated = true
        } else if (made.kind === KEY_RESERVED) ours += member(name, value, 2, ours === '')
        else if (reserved.has(name)) ours += member(name, value, 2, ours === '')
        else plain += member(name, value, 1, plain === '')
      }
    } catch {
      plain += `${plain === '' ? '' : ','}"unreadable":true`
    }
    budget = savedBudget
    ancestors = savedAncestors
    result.plain = plain
    result.reserved = ours
    result.error = error
    result.hasError = hasError
    return result
  }

  function fieldsFragment(fields: Fields): string {
    const made = top(fields, maxBytes, undefined)
    const { plain, reserved: ours, error, hasError } = made
    let json = plain === '' ? '' : `,${plain}`
    if (ours !== '') json += `,"fields":{${ours}}`
    if (hasError) json += `,"error":${encode(maxBytes, thrownTop, error)}`
    return json
  }

  return {
    value: (value) => encode(maxBytes, anyTop, value),
    fields: fieldsFragment,
    error: (error) => encode(maxBytes, thrownTop, error),
    text(text, bytes) {
      if (text.length <= bytes >> 1) {
        const flags = scan(text)
        isPlain = flags === 0 && !patterned
        if (isPlain) return `"${text}"`
      } else isPlain = false
      return encode(bytes, string, text)
    },
    wasPlain: () => isPlain,
    top,
    errorWithin: (error, bytes) => encode(bytes, thrownTop, error),
    takeTruncated() {
      const was = truncated
      truncated = false
      return was
    },
    markTruncated() {
      truncated = true
    },
  }
}

/** Reads a property; a getter or trap that throws gives a placeholder. */
function read(value: object, name: string | number): unknown {
  try {
    return (value as Record<string | number, unknown>)[name]
  } catch {
    return '[unreadable]'
  }
}

function serialized(serializers: Serializers, name: string, value: unknown): unknown {
  try {
    const serializer = Object.hasOwn(serializers, name) ? serializers[name] : undefined
    return serializer === undefined || value === undefined ? value : serializer(value)
  } catch {
    return value
  }
}

function nameOf(value: object): string {
  const name = read(value, 'name')
  return typeof name === 'string' && name !== '' ? name : '(anonymous)'
}

function printed(value: unknown): string {
  if (typeof value === 'bigint') return bigint(value)
  try {
    return String(value)
  } catch {
    return '[unreadable]'
  }
}

/** Decimal digits; hexadecimal past 4,096 bits, where decimal takes quadratic time. */
function bigint(value: bigint): string {
  return BigInt.asIntN(4096, value) === value ? value.toString() : '[BigInt]'
}

function typeOf(error: object): string {
  const name = read(error, 'name')
  if (typeof name === 'string' && name !== '' && name !== 'Error') return name
  const made = read(error, 'constructor')
  return typeof made === 'function' ? nameOf(made) : name === 'Error' ? name : 'Object'
}

/** A stack repeats the message; where that is long, the frames are worth more than the repetition. */
function trimmedStack(stack: string, message: string): string {
  if (message.length <= 512) return stack
  const at = stack.slice(0, 256 + message.length).indexOf(message)
  if (at === -1) return stack
  return `${stack.slice(0, at)}${message.slice(0, 256)}…${stack.slice(at + message.length)}`
}
