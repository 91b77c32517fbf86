/**
 * The process's one logging: loggers, levels, the request_finished line. Shared by the ESM and the
 * CJS copy of the kit, and usable before `init` with plain defaults.
 */
import { types } from 'node:util'
import { writesToTerminal } from '../builtin.js'
import { type Fields, ownListeners, pushBreadcrumb, storage, type Unit } from '../context.js'
import { reportFault, show } from '../faults.js'
import type { LevelName, Settings } from '../options.js'
import { createRedactor, type Redactor } from '../redact.js'
import type { RequestRecord } from '../request/record.js'
import { captureConsole } from './console.js'
import type { Encoder, Serializers } from './encode.js'
import { format } from './format.js'
import { holdLine, takeHeld } from './held.js'
import { LEVELS } from './level.js'
import { type Binding, type Call, createLines, type Lines } from './line.js'
import { createPretty, wantsColour } from './pretty.js'
import { createWriter } from './stdout.js'

/**
 * One log call, event first; never throws, writes exactly one line.
 *
 * Forms: `(event)`, `(event, fields)`, `(event, error)`, `(event, error, fields)`, pino's
 * `(fields, event)` and `(error, event)`, `(error)`, and `(text with %s %d %i %f %j %o, …values)`.
 * An Error as the second argument or under `error` or `err` becomes the line's `error` object.
 * Values left over stand under `args`.
 */
export type LogMethod = {
  (event: string, fieldsOrError?: unknown, ...rest: readonly unknown[]): void
  (fieldsOrError: unknown, event?: string, ...rest: readonly unknown[]): void
}

export type ChildOptions = {
  /** Overrides the level that `setLevel` gives; kept until set again. */
  readonly level?: LevelName | 'silent'
  /** Shown as `logger`; `setLevel` can address it. Default: the parent's. */
  readonly name?: string
  /** Applied to the fields of that name, as pino does. */
  readonly serializers?: Serializers
}

/** A logger. Also serves as Fastify's `loggerInstance` and Nest's `LoggerService`. */
export type Logger = {
  readonly trace: LogMethod
  readonly debug: LogMethod
  readonly info: LogMethod
  readonly warn: LogMethod
  readonly error: LogMethod
  readonly fatal: LogMethod
  /** Nest's names for info and debug. */
  readonly log: LogMethod
  readonly verbose: LogMethod
  /** Accepts a call and does nothing, as pino's. */
  readonly silent: LogMethod
  /** Least severe level written now; set: for this logger alone, on the root for all. */
  level: LevelName | 'silent'
  isLevelEnabled(level: string): boolean
  /** A logger whose lines carry `fields` as well; later names win. Costs about 0.1 µs. */
  child(fields?: Fields, options?: ChildOptions): Logger
  /** The fields given to child(), the parents' included. */
  bindings(): Fields
}

export type LogHooks = {
  /** Called for lines of level error and fatal that hold an error. A throw is caught and reported. */
  onError?(
    error: unknown,
    line: { level: LevelName; event: string; fields: Fields | undefined },
  ): void
  /** Called before a turn's lines are written; may write lines of its own. Never throws. */
  beforeWrite?(): void
}

export type Logging = {
  readonly log: Logger
  /** The encoder of the present settings. */
  readonly encoder: Encoder
  configure(settings: Settings, redactor: Redactor, hooks: LogHooks): void
  /** Writes the request_finished line of a record, after its held lines; drops them when it went well. */
  finish(record: RequestRecord): void
  /** Asks for `beforeWrite` at the end of this turn of the event loop. */
  atTurnEnd(): void
  /** Has what waits for the end of this turn written now. */
  settle(): void
  /** Takes a unit's held lines: writes them when `write`, else forgets them. For units without finish. */
  releaseHeld(unit: Unit, write: boolean): void
  /** Changes the level of everything, or of the loggers of one name; back again after `ttlMs`. */
  setLevel(level: LevelName | 'silent', options?: { logger?: string; ttlMs?: number }): void
  /** Gives one unit of work a level of its own; default: the unit that runs now. */
  setUnitLevel(level: LevelName | 'silent', unit?: Unit): void
  /** Hands lines to `take` instead of stdout until the returned function is called. For tests. */
  capture(take: (line: string) => void): () => void
  readonly counts: { readonly written: number; readonly dropped: number }
  /** Resolves when everything is out; always resolves, after two seconds without progress. */
  flush(): Promise<void>
  /** Writes everything now; waits for a slow reader, at most five seconds without progress. */
  flushSync(): void
  /** Restores console, flushes, goes back to the defaults. */
  close(): void
}

const SILENT = Number.POSITIVE_INFINITY
const NAMES: readonly LevelName[] = ['trace', 'debug', 'info', 'warn', 'error', 'fatal']
const [TRACE, DEBUG, INFO, WARN, ERROR, FATAL] = [10, 20, 30, 40, 50, 60] as const

const DEFAULTS: Pick<Settings, 'service' | 'environment' | 'release'> & {
  readonly log: Settings['log']
  readonly request: Pick<Settings['request'], 'sampleRate' | 'slowMs'>
} = {
  service: '',
  environment: '',
  release: undefined,
  log: {
    level: 'info',
    preset: 'telltale',
    pretty: false,
    maxLineBytes: 16_384,
    maxBufferBytes: 8_388_608,
    sync: false,
    captureConsole: false,
    hold: undefined,
  },
  request: { sampleRate: 1, slowMs: 1000 },
}

function levelNumber(level: unknown): number | undefined {
  if (level === 'silent') return SILENT
  return typeof level === 'string' && Object.hasOwn(LEVELS, level)
    ? LEVELS[level as LevelName]
    : undefined
}

function levelName(level: number): LevelName | 'silent' {
  return NAMES[level / 10 - 1] ?? 'silent'
}

/** The level table. `epoch` grows with each change, so that loggers read the table only then. */
const table = { epoch: 1, base: INFO as number, byName: new Map<string, number>() }
/** True when a call below the level may still concern its unit of work. */
let looksAtUnit = false

let settings = DEFAULTS
let hooks: LogHooks = {}
/** Made by `configure`, or with the defaults by whoever logs before it. */
let lines: Lines | undefined
const writer = createWriter(1)
let pretty: ((line: string) => string) | undefined
let captured: ((line: string) => void) | undefined
let restore: (() => void) | undefined
let isHooked = false
const timers = new Set<NodeJS.Timeout>()

function out(line: string, level: number): void {
  if (captured !== undefined) captured(line)
  else {
    if (!isHooked) hookExit()
    writer.write(pretty === undefined ? line : pretty(line), level)
  }
}

/** One listener per process: what is gathered goes out before the process does. */
function hookExit(): void {
  isHooked = true
  process.on('exit', () => {
    writer.flushSync()
    writer.exiting()
  })
}

class Core {
  declare readonly log: LogMethod
  declare readonly verbose: LogMethod
  threshold = INFO as number
  epoch = 0
  own = 0
  readonly isRoot: boolean
  readonly binding: Binding

  constructor(
    isRoot: boolean,
    name: string,
    fields: Fields | undefined,
    serializers: Serializers | undefined,
  ) {
    this.isRoot = isRoot
    this.binding = { name, fields, serializers, json: '', madeBy: undefined, isComplex: false }
  }

  trace(a?: unknown, b?: unknown, c?: unknown): void {
    const self = this ?? root
    if (self.epoch !== table.epoch) refresh(self)
    if (self.threshold > TRACE && !looksAtUnit) return
    // biome-ignore lint/complexity/noArguments: a rest parameter costs an array in each call
    call(self, TRACE, a, b, c, arguments.length, arguments.length > 3 ? arguments : undefined)
  }

  debug(a?: unknown, b?: unknown, c?: unknown): void {
    const self = this ?? root
    if (self.epoch !== table.epoch) refresh(self)
    if (self.threshold > DEBUG && !looksAtUnit) return
    // biome-ignore lint/complexity/noArguments: as in trace
    call(self, DEBUG, a, b, c, arguments.length, arguments.length > 3 ? arguments : undefined)
  }

  info(a?: unknown, b?: unknown, c?: unknown): void {
    const self = this ?? root
    if (self.epoch !== table.epoch) refresh(self)
    if (self.threshold > INFO && !looksAtUnit) return
    // biome-ignore lint/complexity/noArguments: as in trace
    call(self, INFO, a, b, c, arguments.length, arguments.length > 3 ? arguments : undefined)
  }

  warn(a?: unknown, b?: unknown, c?: unknown): void {
    const self = this ?? root
    if (self.epoch !== table.epoch) refresh(self)
    if (self.threshold > WARN && !looksAtUnit) return
    // biome-ignore lint/complexity/noArguments: as in trace
    call(self, WARN, a, b, c, arguments.length, arguments.length > 3 ? arguments : undefined)
  }

  error(a?: unknown, b?: unknown, c?: unknown): void {
    const self = this ?? root
    if (self.epoch !== table.epoch) refresh(self)
    if (self.threshold > ERROR && !looksAtUnit) return
    // biome-ignore lint/complexity/noArguments: as in trace
    call(self, ERROR, a, b, c, arguments.length, arguments.length > 3 ? arguments : undefined)
  }

  fatal(a?: unknown, b?: unknown, c?: unknown): void {
    const self = this ?? root
    if (self.epoch !== table.epoch) refresh(self)
    if (self.threshold > FATAL && !looksAtUnit) return
    // biome-ignore lint/complexity/noArguments: as in trace
    call(self, FATAL, a, b, c, arguments.length, arguments.length > 3 ? arguments : undefined)
  }

  silent(): void {}

  get level(): LevelName | 'silent' {
    if (this.epoch !== table.epoch) refresh(this)
    return levelName(this.threshold)
  }

  set level(level: LevelName | 'silent') {
    const number = levelNumber(level)
    if (this.isRoot) setLevel(level)
    else if (number === undefined) refuseLevel(level)
    else {
      this.own = number
      this.epoch = 0
    }
  }

  isLevelEnabled(level: string): boolean {
    if (this.epoch !== table.epoch) refresh(this)
    const number = levelNumber(level)
    return number !== undefined && number !== SILENT && number >= this.threshold
  }

  child(fields?: Fields, options?: ChildOptions): Logger {
    const parent = this ?? root
    const above = parent.binding
    let own: Fields | undefined
    try {
      const given = typeof fields === 'object' && fields !== null ? fields : undefined
      own = given === undefined || isEmpty(given) ? above.fields : { ...above.fields, ...given }
    } catch {
      own = above.fields
    }
    const more = options?.serializers
    const serializers = more === undefined ? above.serializers : { ...above.serializers, ...more }
    const child = new Core(false, options?.name ?? above.name, own, serializers)
    child.own = levelNumber(options?.level) ?? (parent.isRoot ? 0 : parent.own)
    return child as Logger
  }

  bindings(): Fields {
    return { ...(this ?? root).binding.fields }
  }
}

// Nest's names; an alias costs nothing and keeps `info` the one implementation.
Object.assign(Core.prototype, { log: Core.prototype.info, verbose: Core.prototype.debug })

const root = new Core(true, '', undefined, undefined)

function isEmpty(fields: Fields): boolean {
  for (const _ in fields) return false
  return true
}

function linesNow(): Lines {
  lines ??= linesOf(DEFAULTS, defaultRedactor())
  return lines
}

function refresh(core: Core): void {
  const named = core.binding.name === '' ? undefined : table.byName.get(core.binding.name)
  core.threshold = named ?? (core.own === 0 ? table.base : core.own)
  core.epoch = table.epoch
}

function refuseLevel(level: unknown): void {
  reportFault(
    'TELLTALE_E_OPTION',
    `A log level must be one of ${NAMES.join(', ')} or silent, got ${show(level)}.`,
  )
}

/** What a call said, sorted out. */
type Said = {
  level: number
  event: string
  fields: Fields | undefined
  error: unknown
  hasError: boolean
}

function call(
  core: Core,
  level: number,
  a: unknown,
  b: unknown,
  c: unknown,
  count: number,
  all: IArguments | undefined,
): void {
  const context = storage.getStore()
  let isHeld = false
  if (looksAtUnit) {
    const unit = context?.unit
    const isOpen = unit !== undefined && !unit.ended
    const limit = isOpen && unit.level !== 0 ? unit.level : core.threshold
    if (level < limit) {
      const hold = settings.log.hold
      if (hold === undefined || !isOpen || limit === SILENT || level < LEVELS[hold.level]) return
      isHeld = true
    }
  }
  const said: Said = { level, event: '', fields: undefined, error: undefined, hasError: false }
  const made = linesNow()
  let line: string
  try {
    // The common forms first; `sort` knows them all.
    if (
      typeof a === 'string' &&
      (count === 1 ||
        (count === 2 && typeof b === 'object' && b !== null && !isError(b) && !a.includes('%')))
    ) {
      said.event = a
      if (count === 2) said.fields = Array.isArray(b) ? { args: [b] } : (b as Fields)
    } else sort(said, a, b, c, count, all)
    if (said.event === '') said.event = said.hasError ? 'error' : 'log'
    line = made.line(said, core.binding, context)
  } catch (error) {
    reportFault('TELLTALE_E_LOG_ENCODE', error)
    said.fields = undefined
    said.hasError = false
    said.event = typeof a === 'string' ? a : 'unreadable'
    line = made.line(said, root.binding, context)
  }
  if (isHeld && context !== undefined) {
    const hold = settings.log.hold
    if (hold !== undefined) holdLine(context.unit, line, hold.maxBytes)
    return
  }
  if (context !== undefined && level >= INFO && !context.unit.ended) {
    const data = made.lastFields()
    pushBreadcrumb(context.unit, {
      ms: made.lastMs(),
      level: levelName(level),
      category: core.binding.name || 'log',
      message: made.lastEvent(),
      data: data === '' ? '' : `{${data}}`,
    })
  }
  const { error, hasError } = made.lastError()
  out(line, level)
  if (hasError && level >= ERROR && hooks.onError !== undefined) {
    try {
      hooks.onError(error, {
        level: levelName(level) as LevelName,
        event: said.event,
        fields: said.fields,
      })
    } catch (thrown) {
      reportFault('TELLTALE_E_INTERNAL', thrown)
    }
  }
}

/** Sorts the arguments of a call into event, error, fields (in either order) and what is left over. */
function sort(
  said: Said,
  a: unknown,
  b: unknown,
  c: unknown,
  count: number,
  all: IArguments | undefined,
): void {
  const args: unknown[] = all === undefined ? [a, b, c].slice(0, count) : Array.from(all)
  let at = 0
  const first = args[0]
  if (isError(first)) {
    said.error = first
    said.hasError = true
    at = 1
  } else if (typeof first === 'object' && first !== null && !Array.isArray(first)) {
    said.fields = first as Fields
    at = 1
  }
  if (at < args.length && (at === 0 || typeof args[at] === 'string')) {
    const formatted = format(args, at, linesNow().encoder)
    said.event = formatted.text
    at = formatted.next
  } else if (said.fields !== undefined) said.event = eventIn(said.fields)
  if (at < args.length && !said.hasError && isError(args[at])) {
    said.error = args[at++]
    said.hasError = true
  }
  if (at < args.length && said.fields === undefined) {
    const next = args[at]
    if (typeof next === 'object' && next !== null && !isError(next) && !Array.isArray(next)) {
      said.fields = next as Fields
      at++
    }
  }
  if (at < args.length && !said.hasError && isError(args[at])) {
    said.error = args[at++]
    said.hasError = true
  }
  if (at < args.length && !(at === args.length - 1 && args[at] === undefined)) {
    const rest = args.slice(at)
    const fields: Record<string, unknown> = { ...said.fields }
    fields.args = 'args' in fields ? [fields.args, ...rest] : rest
    said.fields = fields
  }
}

/** The event of a call that only gave fields: what other loggers' habits put there. */
function eventIn(fields: Fields): string {
  for (const name of ['event', 'msg', 'message']) {
    let text: unknown
    try {
      text = fields[name]
    } catch {
      // a getter that throws; the encoder shows it
    }
    if (typeof text === 'string' && text !== '') return text
  }
  return ''
}

function isError(value: unknown): value is Error {
  if (typeof value !== 'object' || value === null) return false
  try {
    if (Object.getPrototypeOf(value) === Object.prototype) return false
    return value instanceof Error || types.isNativeError(value)
  } catch {
    // a Proxy whose traps throw
    return false
  }
}

function setLevel(
  level: LevelName | 'silent',
  options: { logger?: string; ttlMs?: number } = {},
): void {
  const number = levelNumber(level)
  if (number === undefined) {
    refuseLevel(level)
    return
  }
  const { logger, ttlMs } = options
  const before = logger === undefined ? table.base : table.byName.get(logger)
  applyLevel(number, logger)
  if (ttlMs === undefined) return
  const timer = setTimeout(() => {
    timers.delete(timer)
    applyLevel(before, logger)
  }, ttlMs)
  timer.unref()
  timers.add(timer)
}

function applyLevel(level: number | undefined, logger: string | undefined): void {
  if (logger === undefined) table.base = level ?? INFO
  else if (level === undefined) table.byName.delete(logger)
  else table.byName.set(logger, level)
  table.epoch++
}

function setUnitLevel(level: LevelName | 'silent', unit?: Unit): void {
  const number = levelNumber(level)
  const target = unit ?? storage.getStore()?.unit
  if (number === undefined) refuseLevel(level)
  if (number === undefined || target === undefined) return
  target.level = number
  looksAtUnit = true
}

function finish(record: RequestRecord): void {
  try {
    const { unit, statusCode } = record
    const failed = statusCode >= 500 || record.aborted
    const { hold } = settings.log
    if (hold !== undefined || unit.held !== undefined) {
      const slowMs = hold?.slowMs ?? SILENT
      releaseHeld(unit, failed || unit.hasError || record.latencyMs >= slowMs)
    }
    if (record.quiet && !failed) return
    const isError = statusCode >= 500 || (record.aborted && record.reason === 'error')
    const level = isError ? ERROR : record.aborted || statusCode === 429 ? WARN : INFO
    if (root.epoch !== table.epoch) refresh(root)
    if (level < (unit.level === 0 ? root.threshold : unit.level)) return
    let weight = 1
    const { sampleRate, slowMs } = settings.request
    if (sampleRate < 1 && level === INFO && !unit.hasError && record.latencyMs < slowMs) {
      if (Math.random() >= sampleRate) return
      weight = 1 / sampleRate
    }
    out(linesNow().finished(record, level, weight), level)
  } catch (error) {
    reportFault('TELLTALE_E_INTERNAL', error)
  }
}

function releaseHeld(unit: Unit, write: boolean): void {
  if (unit.held === undefined) return
  const { lines: held, fallen } = takeHeld(unit)
  if (!write) return
  if (fallen > 0) out(lossLine(fallen, undefined), WARN)
  for (const line of held) out(line, INFO)
}

function lossLine(count: number, byLevel: Readonly<Record<number, number>> | undefined): string {
  const fields: Record<string, unknown> = { count }
  if (byLevel === undefined) fields.reason = 'hold'
  else {
    fields.by_level = Object.fromEntries(
      Object.entries(byLevel).map(([level, lost]) => [levelName(Number(level)), lost]),
    )
  }
  const said: Call = {
    level: WARN,
    event: 'log_lines_dropped',
    fields,
    error: undefined,
    hasError: false,
  }
  const line = linesNow().line(said, root.binding, undefined)
  return pretty === undefined || byLevel === undefined ? line : pretty(line)
}

/**
 * SIGTERM's default ends the process at once, this turn's lines with it. When nobody else listens,
 * they are written first and the signal is sent again, so that the exit status stays the same; when
 * somebody does, the process goes on and its turn ends as always.
 */
function onTerminate(): void {
  if (process.listenerCount('SIGTERM') > 1) return
  writer.flushSync()
  process.off('SIGTERM', onTerminate)
  process.kill(process.pid, 'SIGTERM')
}

function linesOf(
  { service, environment, release, log }: typeof DEFAULTS,
  redactor: Redactor,
): Lines {
  const preset = log.pretty ? 'telltale' : log.preset
  const { maxLineBytes } = log
  return createLines({ service, environment, release, preset, maxLineBytes }, redactor)
}

function configureWriter({ log }: typeof DEFAULTS, { beforeWrite = () => {} }: LogHooks): void {
  const { sync, maxBufferBytes } = log
  writer.configure({ sync, maxBufferBytes, lossLine, beforeWrite })
}

function apply(next: typeof DEFAULTS, redactor: Redactor, nextHooks: LogHooks): void {
  restore?.()
  restore = undefined
  settings = next
  hooks = nextHooks
  pretty = next.log.pretty ? createPretty(wantsColour(process.env, writesToTerminal())) : undefined
  lines = linesOf(next, redactor)
  configureWriter(next, nextHooks)
  table.base = levelNumber(next.log.level) ?? INFO
  table.epoch++
  looksAtUnit = next.log.hold !== undefined
}

function configure(next: Settings, redactor: Redactor, nextHooks: LogHooks): void {
  apply(next, redactor, nextHooks)
  if (!isHooked) hookExit()
  ownListeners.add(onTerminate)
  process.prependListener('SIGTERM', onTerminate)
  const undo = next.log.captureConsole
    ? captureConsole(root as Logger, () => linesNow().encoder)
    : undefined
  restore = () => {
    undo?.()
    process.off('SIGTERM', onTerminate)
  }
}

function defaultRedactor(): Redactor {
  return createRedactor({ keys: [], allow: [], patterns: [] })
}

function close(): void {
  writer.flushSync()
  for (const timer of timers) clearTimeout(timer)
  timers.clear()
  table.byName.clear()
  apply(DEFAULTS, defaultRedactor(), {})
}

function create(): Logging {
  configureWriter(DEFAULTS, {})
  return {
    log: root as Logger,
    get encoder() {
      return linesNow().encoder
    },
    configure,
    finish,
    atTurnEnd: writer.atTurnEnd,
    settle: () => hooks.beforeWrite?.(),
    releaseHeld,
    setLevel,
    setUnitLevel,
    capture(take) {
      const before = captured
      captured = take
      return () => {
        captured = before
      }
    },
    counts: writer.counts,
    flush: writer.flush,
    flushSync: writer.flushSync,
    close,
  }
}

const KEY: unique symbol = Symbol.for('telltale.log.v1') as never
type Shared = { [KEY]?: Logging }

function sharedLogging(): Logging {
  const shared = globalThis as Shared
  shared[KEY] ??= create()
  return shared[KEY]
}

/** The one logging of the process. */
export const logging: Logging = sharedLogging()

/** The root logger; usable before init. */
export const log: Logger = logging.log
