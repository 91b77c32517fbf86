/**
 * Puts a line together: cached head, event, service, ids, then the bound, the child's and the
 * caller's fields, then the error. Every key stands once in the raw text, and the line stays below
 * its byte limit.
 */
import type { Context, Fields, Unit } from '../context.js'
import { RESERVED } from '../fields.js'
import type { LevelName, Preset } from '../options.js'
import type { Redactor } from '../redact.js'
import type { RequestRecord } from '../request/record.js'
import { createEncoder, type LineEncoder, type Serializers } from './encode.js'
import { LEVELS } from './level.js'
import { nameIn, PRESET_NAMES } from './presets.js'

/** What a line takes from the settings. */
export type LineSettings = {
  /** '' leaves the field out. */
  readonly service: string
  readonly environment: string
  readonly release: string | undefined
  readonly preset: Preset
  /** Bytes of one line with its newline. */
  readonly maxLineBytes: number
}

/** A logger's own part of its lines. `json` is made on first use and belongs to one `Lines`. */
export type Binding = {
  readonly name: string
  readonly fields: Fields | undefined
  readonly serializers: Serializers | undefined
  json: string
  madeBy: Lines | undefined
  /** True when there is no fragment: the fields are merged with the call's each time. */
  isComplex: boolean
}

/** What one call said. */
export type Call = {
  readonly level: number
  readonly event: string
  readonly fields: Fields | undefined
  readonly error: unknown
  readonly hasError: boolean
}

/** Makes lines in one preset. Lines end in a newline. */
export type Lines = {
  readonly encoder: LineEncoder
  line(call: Call, binding: Binding, context: Context | undefined): string
  /** When the last line was made, milliseconds since the epoch. */
  lastMs(): number
  /** The event of the last `line`, redacted and bounded. */
  lastEvent(): string
  /** JSON members of the caller's fields of the last `line`; '' when there were none. */
  lastFields(): string
  /** The error that the last `line` carried, and whether it did. */
  lastError(): { readonly error: unknown; readonly hasError: boolean }
  finished(record: RequestRecord, level: number, weight: number): string
}

/** Names that request_finished takes for itself, in the order of the line. */
const FINISHED = [
  'method',
  'path',
  'path_truncated',
  'route',
  'status_code',
  'latency_ms',
  'aborted',
  'reason',
  'request_id_in',
  'db_count',
  'db_ms',
  'http_out_count',
  'http_out_ms',
  'sample_weight',
] as const

const MAX_CACHED_TEXTS = 4096
/** Longer events are made each time, so that those which hold data do not fill the cache. */
const MAX_CACHED_EVENT = 64
/** Characters kept of each of service, environment and release. */
const MAX_NAME_LENGTH = 128

const two = (number: number): string => (number < 10 ? `0${number}` : String(number))

/** `2026-11-28T19:06:17.` in UTC. The first toISOString of a process takes a millisecond of its start. */
function secondText(at: Date): string {
  const date = `${at.getUTCFullYear()}-${two(at.getUTCMonth() + 1)}-${two(at.getUTCDate())}`
  return `${date}T${two(at.getUTCHours())}:${two(at.getUTCMinutes())}:${two(at.getUTCSeconds())}.`
}

/** Milliseconds since the epoch as RFC 3339 text in UTC; the second's text is made once. */
function createClock(): (ms: number) => string {
  let second = Number.NaN
  let prefix = ''
  return (ms) => {
    const whole = Math.floor(ms / 1000)
    if (whole !== second) {
      second = whole
      prefix = secondText(new Date(whole * 1000))
    }
    const rest = ms - whole * 1000
    return `${prefix}${rest < 10 ? '00' : rest < 100 ? '0' : ''}${rest}Z`
  }
}

/** Texts that come again and again, such as routes and methods, made once. */
function createTextCache(make: (text: string) => string): (text: string) => string {
  const known = new Map<string, string>()
  return (text) => {
    let json = known.get(text)
    if (json === undefined) {
      json = make(text)
      if (known.size >= MAX_CACHED_TEXTS) known.clear()
      known.set(text, json)
    }
    return json
  }
}

/** `.001` to `.999`, without zeros at the end; '' for 0. Each is made when it is needed first. */
const THOUSANDTHS: (string | undefined)[] = []

/** Milliseconds to three decimals as JSON: a third of what the general way takes. */
function millisecondsText(ms: number): string {
  const micros = Math.round(ms * 1000)
  if (!(micros >= 0 && micros < 1e12)) return String(finite(micros / 1000))
  const whole = Math.floor(micros / 1000)
  const n = micros - whole * 1000
  let fraction = THOUSANDTHS[n]
  if (fraction === undefined) {
    fraction = n === 0 ? '' : String(n / 1000).slice(1)
    THOUSANDTHS[n] = fraction
  }
  return whole + fraction
}

const SOUND_ID = /^[\w.:-]{1,128}$/

/** Prepares everything about a line that does not change from call to call. */
export function createLines(settings: LineSettings, redactor: Redactor): Lines {
  const preset = PRESET_NAMES[settings.preset]
  const max = settings.maxLineBytes
  const named = (field: string): string => nameIn(preset, field)
  const errorName = named('error')
  const reserved = new Set([...RESERVED, 'logger', 'fields', 'truncated', 'error'].map(named))
  const encoder = createEncoder({
    redactor,
    maxBytes: max,
    reserved,
    errorNames: preset.error,
  })
  const cached = createTextCache((text) => encoder.text(text, 1024))
  const clock = createClock()
  const isEpoch = preset.time === 'epoch'
  const openTime = `{"${named('timestamp')}":${isEpoch ? '' : '"'}`
  let open = ''
  let openMs = Number.NaN
  const afterTime = `${isEpoch ? '' : '"'},"${named('level')}":`
  const heads: string[] = []
  for (const level in LEVELS) {
    const name = level as LevelName
    heads[LEVELS[name] / 10] = `${afterTime}${preset.levels[name]},"${named('event')}":`
  }
  const own = (field: string, value: string | undefined): string =>
    value === undefined || value === ''
      ? ''
      : `,"${named(field)}":${encoder.text(value.slice(0, MAX_NAME_LENGTH), max >> 3)}`
  const service =
    own('service', settings.service) +
    own('environment', settings.environment) +
    own('release', settings.release) +
    preset.constant
  const requestId = `,"${named('request_id')}":`
  const traceId = `,"${named('trace_id')}":"`
  const spanId = `,"${named('span_id')}":"`
  const openRequestId = `${requestId}"`
  const thenTraceId = `"${traceId}`
  const thenSpanId = `"${spanId}`
  const loggerName = `,"${named('logger')}":`
  const finishedNames = new Set<string>(FINISHED.map(named))
  const finishedKeys = FINISHED.map((field) => `,"${named(field)}":`)
  const key = (field: (typeof FINISHED)[number]): string =>
    finishedKeys[FINISHED.indexOf(field)] as string
  const METHOD = key('method')
  const PATH = key('path')
  const PATH_CUT = `${key('path_truncated')}true`
  const ROUTE = key('route')
  const STATUS = key('status_code')
  const LATENCY = key('latency_ms')
  const ABORTED = `${key('aborted')}true`
  const REASON = key('reason')
  const REJECTED = key('request_id_in')
  const DB_COUNT = key('db_count')
  const DB_MS = key('db_ms')
  const OUT_COUNT = key('http_out_count')
  const OUT_MS = key('http_out_ms')
  const WEIGHT = key('sample_weight')

  let lastFields = ''
  let lastEvent = ''
  let lastEventJson = ''
  const last: { error: unknown; hasError: boolean } = { error: undefined, hasError: false }

  /** `tail`: the event as JSON and `service`. */
  const start = (level: number, tail: string): string => {
    const ms = Date.now()
    if (ms !== openMs) {
      openMs = ms
      open = openTime + (isEpoch ? ms : clock(ms))
      // Makes one piece of it, which many lines share.
      open.charCodeAt(0)
    }
    return open + heads[(level / 10) | 0] + tail
  }
  const tails = new Map<string, string>()
  function tailOf(event: string): string {
    const known = tails.get(event)
    if (known !== undefined) {
      lastEventJson = ''
      return known
    }
    const json = encoder.text(event, max >> 2)
    lastEventJson = encoder.wasPlain() ? '' : json
    const tail = json + service
    if (lastEventJson === '' && event.length <= MAX_CACHED_EVENT) {
      if (tails.size >= MAX_CACHED_TEXTS) tails.clear()
      tails.set(event, tail)
    }
    return tail
  }

  const finishedTail = `"request_finished"${service}`
  const methodAndPath = createTextCache((method) => METHOD + cached(method) + PATH)
  const endings = new Map<string | null, { readonly statusCode: number; readonly json: string }>()
  function routeAndStatus(route: string | null, statusCode: number): string {
    const known = endings.get(route)
    if (known?.statusCode === statusCode) return known.json
    const json = `${ROUTE}${route === null ? 'null' : cached(route)}${STATUS}${statusCode}${LATENCY}`
    if (endings.size >= MAX_CACHED_TEXTS) endings.clear()
    endings.set(route, { statusCode, json })
    return json
  }

  /** Ids are not secrets: their digits must not be taken for a card number. */
  function idText(id: string): string {
    return SOUND_ID.test(id) ? `"${id}"` : encoder.text(id, 512)
  }

  function ids(context: Context): string {
    if (context.idsJson !== '') return context.idsJson
    const unit = context.unit
    // Trace and span ids are hex of the kit's making; a request id may come from the caller of runWith.
    // A request's was checked at the entrance.
    let json: string
    if (unit.method !== '')
      json = `${openRequestId}${unit.requestId}${thenTraceId}${unit.traceId}${thenSpanId}${context.spanId}"`
    else {
      json = requestId + idText(unit.requestId)
      if (unit.traceId !== '') json += `${traceId}${unit.traceId}"`
      if (context.spanId !== '') json += `${spanId}${context.spanId}"`
    }
    context.idsJson = json
    return json
  }

  /**
   * The fragment of bound fields; undefined when they must be merged with the call's: they hold a
   * name of ours or an error, or need more than an eighth of a line.
   */
  function fragment(fields: Fields, serializers: Serializers | undefined): string | undefined {
    const wasTruncated = encoder.takeTruncated()
    const { plain, reserved: ours, hasError } = encoder.top(fields, max >> 3, serializers)
    const isWhole = !encoder.takeTruncated()
    if (wasTruncated) encoder.markTruncated()
    if (ours !== '' || hasError || !isWhole) return undefined
    return plain === '' ? '' : `,${plain}`
  }

  function boundJson(unit: Unit, fields: Fields): string | undefined {
    unit.fieldsJson ??= fragment(fields, undefined)
    return unit.fieldsJson
  }

  function bindingJson(binding: Binding, fields: Fields): string {
    if (binding.madeBy !== lines) {
      const json = fragment(fields, binding.serializers)
      binding.isComplex = json === undefined
      binding.json = json ?? ''
      binding.madeBy = lines
    }
    return binding.json
  }

  function line(call: Call, binding: Binding, context: Context | undefined): string {
    lastEvent = call.event
    let head = start(call.level, tailOf(call.event))
    if (binding.name !== '') head += loggerName + cached(binding.name)
    let bound = ''
    let fields = call.fields
    let merge = false
    let unitFields: Fields | undefined
    if (context !== undefined) {
      head += ids(context)
      unitFields = context.unit.fields
      if (unitFields !== undefined) {
        const json = boundJson(context.unit, unitFields)
        if (json === undefined || (fields !== undefined && shares(unitFields, fields))) merge = true
        else bound = json
      }
    }
    const childFields = binding.fields
    if (childFields !== undefined) {
      bound += bindingJson(binding, childFields)
      if (
        binding.isComplex ||
        (fields !== undefined && shares(childFields, fields)) ||
        (unitFields !== undefined && shares(childFields, unitFields))
      )
        merge = true
    }
    if (merge) {
      fields = merged(unitFields, childFields, fields)
      bound = ''
    }
    let text = finishLine(head, bound, call, fields, binding.serializers, max)
    if (text.length * 3 > max) {
      const over = Buffer.byteLength(text) - max
      if (over > 0) {
        text = finishLine(head, bound, call, fields, binding.serializers, max - over - 64)
        if (Buffer.byteLength(text) > max) text = shortest(call, context)
      }
    }
    return text
  }

  function finishLine(
    head: string,
    bound: string,
    call: Call,
    fields: Fields | undefined,
    serializers: Serializers | undefined,
    limit: number,
    beside?: Fields,
  ): string {
    let error = ''
    last.hasError = call.hasError
    last.error = call.error
    if (call.hasError) error = `,"${errorName}":${encoder.errorWithin(call.error, limit >> 1)}`
    lastFields = ''
    let text = head + bound
    if (fields !== undefined) {
      const room = limit - text.length - error.length - 64
      const top = encoder.top(fields, room, serializers)
      let ours = top.reserved
      if (top.plain !== '') {
        lastFields = top.plain
        text += `,${lastFields}`
      }
      if (top.hasError) {
        const inner = top.error
        if (call.hasError) {
          const json = `"${top.errorKey}":${encoder.errorWithin(inner, room >> 2)}`
          ours = ours === '' ? json : `${ours},${json}`
        } else {
          last.hasError = true
          last.error = inner
          error = `,"${errorName}":${encoder.errorWithin(inner, Math.min(limit >> 1, limit - text.length - ours.length - 64))}`
        }
      }
      if (beside !== undefined) {
        const { plain, reserved: names } = encoder.top(beside, limit >> 3, undefined)
        ours = [ours, plain, names].filter((json) => json !== '').join(',')
      }
      if (ours !== '') text += `,"fields":{${ours}}`
    }
    text += error
    return encoder.takeTruncated() ? `${text},"truncated":true}\n` : `${text}}\n`
  }

  /** What is left when even the parts that are always there do not fit. */
  function shortest(call: Call, context: Context | undefined): string {
    const head = start(call.level, encoder.text(call.event.slice(0, 64), 256) + service)
    encoder.takeTruncated()
    return `${head}${context === undefined ? '' : ids(context)},"truncated":true}\n`
  }

  function finished(record: RequestRecord, level: number, weight: number): string {
    const { context, unit } = record
    let text = start(level, finishedTail) + ids(context)
    text += methodAndPath(record.method) + encoder.text(record.path, 4096)
    if (unit.pathTruncated) text += PATH_CUT
    text += routeAndStatus(record.route, record.statusCode) + millisecondsText(record.latencyMs)
    if (record.aborted) text += ABORTED
    if (record.reason !== '') text += REASON + cached(record.reason)
    if (unit.rejectedId !== '') text += REJECTED + encoder.text(unit.rejectedId, 512)
    if (unit.dbCount > 0) text += DB_COUNT + unit.dbCount + DB_MS + millisecondsText(unit.dbMs)
    if (unit.httpOutCount > 0)
      text += OUT_COUNT + unit.httpOutCount + OUT_MS + millisecondsText(unit.httpOutMs)
    if (weight !== 1) text += WEIGHT + finite(weight)
    const fields = unit.fields
    if (fields === undefined && !unit.hasError) {
      return encoder.takeTruncated() ? `${text},"truncated":true}\n` : `${text}}\n`
    }
    const call = {
      level,
      event: 'request_finished',
      fields: undefined,
      error: unit.error,
      hasError: unit.hasError,
    }
    let whole: string
    const json = fields === undefined ? '' : boundJson(unit, fields)
    if (fields === undefined || (json !== undefined && !takes(fields)))
      whole = finishLine(text, json ?? '', call, undefined, undefined, max)
    else {
      // Names that this line needs itself go where reserved names go.
      const kept: Record<string, unknown> = Object.create(null)
      const beside: Record<string, unknown> = Object.create(null)
      for (const name of Object.keys(fields))
        (finishedNames.has(name) ? beside : kept)[name] = fields[name]
      whole = finishLine(text, '', { ...call, fields: kept }, kept, undefined, max, beside)
    }
    if (whole.length * 3 > max && Buffer.byteLength(whole) > max)
      whole = finishLine(text, '', call, undefined, undefined, max >> 1)
    return whole
  }

  function takes(fields: Fields): boolean {
    for (const name in fields) if (finishedNames.has(name)) return true
    return false
  }

  const lines: Lines = {
    encoder,
    line,
    lastMs: () => openMs,
    lastEvent: () => (lastEventJson === '' ? lastEvent : JSON.parse(lastEventJson)),
    lastFields: () => lastFields,
    lastError: () => last,
    finished,
  }
  return lines
}

/** True when two objects have a key in common. */
function shares(some: Fields, others: Fields): boolean {
  for (const name in some) if (name in others) return true
  return false
}

/** One object of all fields; the later wins. */
function merged(...parts: readonly (Fields | undefined)[]): Fields {
  const all: Record<string, unknown> = Object.create(null)
  for (const part of parts) {
    if (part === undefined) continue
    for (const name of Object.keys(part)) {
      try {
        all[name] = part[name]
      } catch {
        all[name] = '[unreadable]'
      }
    }
  }
  return all
}

function finite(value: number): number | string {
  return Number.isFinite(value) ? value : 'null'
}
