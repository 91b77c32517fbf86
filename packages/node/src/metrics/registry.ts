/**
 * The registry: families of counters, gauges and histograms, and their rows, one per label set.
 *
 * A family holds at most `maxSeries` label sets. What comes beyond is recorded in one more row whose
 * label values are all `_overflow`, so that totals stay exact while memory stays bounded.
 * One file, because rows, families and the instruments over them share their slabs and that bound.
 */
import { reportFault, show, TelltaleError } from '../faults.js'

export type MetricType = 'counter' | 'gauge' | 'histogram'
export type LabelValue = string | number | boolean
/** One value for each label name. Values are cut at 1,024 characters; control characters become U+FFFD. */
export type LabelValues<L extends string> = { readonly [K in L]: LabelValue }
/** Arguments of a recording call: labels first when the metric has any, else none. */
export type LabelledArgs<L extends string, Rest extends unknown[]> = [L] extends [never]
  ? Rest
  : [labels: LabelValues<L>, ...rest: Rest]

/**
 * How one scrape shows a gauge that several workers of a cluster, or threads, have: added up, the
 * smallest, the largest, or each with a label `worker`. Counters and histograms are always added up.
 */
export type Across = 'sum' | 'min' | 'max' | 'each'

export type MetricOptions<L extends string> = {
  /** Prometheus name, unit last (`_seconds`, `_bytes`). `_total` is added to a counter that lacks it. */
  readonly name: string
  /** One sentence: what is counted or measured. */
  readonly help: string
  readonly labelNames?: readonly L[]
}
export type GaugeOptions<L extends string> = MetricOptions<L> & {
  /** Default sum. */
  readonly across?: Across
}
export type HistogramOptions<L extends string> = MetricOptions<L> & {
  /** Upper bounds, rising, without +Inf. Default: OpenTelemetry's bounds for durations in seconds. */
  readonly buckets?: readonly number[]
}

/** One label set of a counter, found once: the cheapest way to count. */
export type CounterSeries = {
  /** Adds `value`, default 1. A negative or non-finite value is ignored and counted. Never throws. */
  inc(value?: number): void
}
export type GaugeSeries = {
  set(value: number): void
  inc(value?: number): void
  dec(value?: number): void
}
export type HistogramSeries = {
  /** Records `value`; a negative or non-finite value is ignored and counted. Never throws. */
  observe(value: number): void
}

/** A number that only rises. */
export type Counter<L extends string = never> = {
  inc(...args: LabelledArgs<L, [value?: number]>): void
  labels(values: LabelValues<L>): CounterSeries
}
/** A number that rises and falls. */
export type Gauge<L extends string = never> = {
  set(...args: LabelledArgs<L, [value: number]>): void
  inc(...args: LabelledArgs<L, [value?: number]>): void
  dec(...args: LabelledArgs<L, [value?: number]>): void
  labels(values: LabelValues<L>): GaugeSeries
}
/** A distribution over fixed buckets. */
export type Histogram<L extends string = never> = {
  observe(...args: LabelledArgs<L, [value: number]>): void
  /** Starts a clock; the function it returns records and returns the seconds since. */
  startTimer(...args: LabelledArgs<L, []>): () => number
  labels(values: LabelValues<L>): HistogramSeries
}

/** Reports one value of a collected metric; a label set reported twice in one scrape is summed. */
export type Add<L extends string = string> = (value: number, labels?: LabelValues<L>) => void

/** A metric whose values are read at each scrape. */
export type CollectedMetric<L extends string = string> = GaugeOptions<L> & {
  readonly type: 'counter' | 'gauge'
  /** May be asynchronous. A throw, a rejection or a late answer is counted and hides only this metric. */
  read(add: Add<L>): void | Promise<void>
}

/** OpenTelemetry's bucket bounds of `http.server.request.duration`, seconds. */
export const DURATION_BUCKETS: readonly number[] = [
  0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
]
/** The value of every label of the row that takes what the limit of label sets refused. */
export const OVERFLOW = '_overflow'

const MAX_VALUE_LENGTH = 1024
/** Names made from data would grow without bound; families beyond this are not exported. */
const MAX_FAMILIES = 1000
const ACROSS: readonly unknown[] = ['sum', 'min', 'max', 'each']
/** Names the process or thread that a value of a gauge is from, where each has its own. */
export const WORKER_LABEL = 'worker'
/** Labels that the exposition formats keep for buckets and quantiles. */
const RESERVED_LABELS = new Set(['le', 'quantile'])
const ROWS_PER_SLAB = 64

/** The last sampled request that fell into a bucket. */
export type Exemplar = { traceId: string; spanId: string; value: number; ms: number }

class CounterRow implements CounterSeries {
  readonly labels: string
  readonly family: Family
  value = 0

  constructor(family: Family, labels: string) {
    this.family = family
    this.labels = labels
  }

  inc(value = 1): void {
    const next = this.value + value
    // Beyond 2^53 an increment of one no longer changes a double: refused, hence counted.
    if (value >= 0 && next < Number.POSITIVE_INFINITY && (next > this.value || value === 0)) {
      this.value = next
    } else ignore(this.family, value)
  }
}

class GaugeRow implements GaugeSeries {
  readonly labels: string
  readonly family: Family
  value = 0

  constructor(family: Family, labels: string) {
    this.family = family
    this.labels = labels
  }

  set(value: number): void {
    if (typeof value === 'number') this.value = value
    else ignore(this.family, value)
  }

  inc(value = 1): void {
    if (Number.isFinite(value)) this.value += value
    else ignore(this.family, value)
  }

  dec(value = 1): void {
    if (Number.isFinite(value)) this.value -= value
    else ignore(this.family, value)
  }
}

/** Cells of one label set inside a slab: one count per bucket, the last for +Inf, then the sum. */
export class HistogramRow implements HistogramSeries {
  readonly labels: string
  readonly family: Family
  readonly bounds: readonly number[]
  readonly cells: Float64Array
  readonly at: number
  exemplars: (Exemplar | undefined)[] | undefined = undefined

  constructor(family: Family, labels: string, cells: Float64Array, at: number) {
    this.family = family
    this.labels = labels
    this.bounds = family.bounds
    this.cells = cells
    this.at = at
  }

  observe(value: number): void {
    this.record(value)
  }

  /** Records and returns the index of the bucket; -1 when the value was ignored. */
  record(value: number): number {
    const { bounds, cells, at } = this
    const sumAt = at + bounds.length + 1
    const sum = (cells[sumAt] as number) + value
    if (!(value >= 0 && sum < Number.POSITIVE_INFINITY)) {
      ignore(this.family, value)
      return -1
    }
    let bucket = 0
    while (bucket < bounds.length && value > (bounds[bucket] as number)) bucket++
    cells[at + bucket] = (cells[at + bucket] as number) + 1
    cells[sumAt] = sum
    return bucket
  }
}

export type Row = CounterRow | GaugeRow | HistogramRow
type Node = Map<string, Node | Row>
type Values = Readonly<Record<string, unknown>>

/** All rows of one metric, and what it lost. */
export class Family {
  /** Without `_total`: OpenMetrics' name of the family. */
  readonly name: string
  readonly help: string
  readonly type: MetricType
  readonly labelNames: readonly string[]
  readonly bounds: readonly number[]
  /** True: rows are read at scrape by `readers`. */
  readonly collected: boolean
  readonly across: Across
  readonly maxSeries: number
  readonly rows: Row[] = []
  readonly readers: Set<Reader> = new Set()
  /** Recordings that went to the overflow row. */
  dropped = 0
  /** Values that the metric cannot take. */
  ignored = 0
  private readonly tree: Node = new Map()
  private overflow: Row | undefined = undefined
  private slab: Float64Array = new Float64Array(0)
  private slabUsed = 0

  constructor(
    name: string,
    help: string,
    type: MetricType,
    labelNames: readonly string[],
    bounds: readonly number[],
    collected: boolean,
    across: Across,
    maxSeries: number,
  ) {
    this.name = name
    this.help = help
    this.type = type
    this.labelNames = labelNames
    this.bounds = [...bounds]
    this.collected = collected
    this.across = across
    this.maxSeries = maxSeries
  }

  /** The name of a plain sample: the family's, with `_total` for a counter. */
  get sampleName(): string {
    return this.type === 'counter' ? `${this.name}_total` : this.name
  }

  /** The row of a label set, made on first use; undefined when the labels cannot be read. Never throws. */
  find(labels: Values): Row | undefined {
    try {
      const names = this.labelNames
      let found = this.tree.get(key(labels[names[0] as string]))
      // Written out for three: a place in the code that meets one name is several times as fast.
      if (names.length > 1 && found !== undefined) {
        found = (found as Node).get(key(labels[names[1] as string]))
        if (names.length > 2 && found !== undefined) {
          found = (found as Node).get(key(labels[names[2] as string]))
          for (let i = 3; i < names.length && found !== undefined; i++) {
            found = (found as Node).get(key(labels[names[i] as string]))
          }
        }
      }
      return (found as Row | undefined) ?? this.miss(labels)
    } catch (error) {
      this.ignored++
      reportFault('TELLTALE_E_METRIC', `${this.sampleName}: labels unreadable: ${describe(error)}`)
      return undefined
    }
  }

  /** True for the row that takes what the limit refused. */
  isOverflow(row: Row): boolean {
    return row === this.overflow
  }

  /** The one row of a metric without labels. */
  only(): Row {
    const first = this.rows[0]
    if (first !== undefined) return first
    return this.append('')
  }

  // Only canonical values become keys, so that two values which look the same in the exposition
  // share a row; anything else comes through here each time, bounded and correct, only slower.
  private miss(labels: Values): Row {
    const values = this.labelNames.map((name) => canonical(labels[name]))
    const found = this.walk(values)
    if (found !== undefined) return found
    const known = Object.keys(labels).filter((name) => !this.labelNames.includes(name))
    if (known.length > 0) {
      reportFault(
        'TELLTALE_E_METRIC',
        `${this.sampleName} has no label ${show(known[0])}; it has ${list(this.labelNames)}.`,
      )
    }
    if (this.rows.length < this.maxSeries) return this.insert(values)
    this.dropped++
    if (this.overflow === undefined) {
      this.warnAboutLimit()
      const overflowValues = this.labelNames.map(() => OVERFLOW)
      this.overflow = this.walk(overflowValues) ?? this.insert(overflowValues)
    }
    return this.overflow
  }

  private walk(values: readonly string[]): Row | undefined {
    let node: Node | Row | undefined = this.tree
    for (const value of values) {
      if (node === undefined) return undefined
      node = (node as Node).get(value)
    }
    return node as Row | undefined
  }

  private insert(values: readonly string[]): Row {
    let node = this.tree
    const last = values.length - 1
    for (let i = 0; i < last; i++) {
      const value = values[i] as string
      let next = node.get(value) as Node | undefined
      if (next === undefined) {
        next = new Map()
        node.set(value, next)
      }
      node = next
    }
    const row = this.append(labelText(this.labelNames, values))
    node.set(values[last] as string, row)
    return row
  }

  /** A row that is not exported: what a caller gets whose labels cannot be read. */
  detached(): Row {
    return this.create('')
  }

  private append(labels: string): Row {
    const row = this.create(labels)
    this.rows.push(row)
    return row
  }

  private create(labels: string): Row {
    if (this.type === 'counter') return new CounterRow(this, labels)
    if (this.type === 'gauge') return new GaugeRow(this, labels)
    return this.histogramRow(labels)
  }

  private histogramRow(labels: string): HistogramRow {
    const width = this.bounds.length + 2
    if (this.slabUsed + width > this.slab.length) {
      this.slab = new Float64Array(width * (this.labelNames.length === 0 ? 1 : ROWS_PER_SLAB))
      this.slabUsed = 0
    }
    const row = new HistogramRow(this, labels, this.slab, this.slabUsed)
    this.slabUsed += width
    return row
  }

  private warnAboutLimit(): void {
    let widest = ''
    let most = -1
    this.labelNames.forEach((name, depth) => {
      const values = new Set<string>()
      gather(this.tree, depth, values)
      if (values.size > most) {
        most = values.size
        widest = name
      }
    })
    reportFault(
      'TELLTALE_E_SERIES_LIMIT',
      `${this.sampleName} has ${this.maxSeries} label sets; label ${show(widest)} has ${most} values. ` +
        `Further label sets are counted under ${OVERFLOW}. Give ${show(widest)} fewer values, or raise metrics.maxSeries.`,
    )
  }
}

function gather(node: Node, depth: number, into: Set<string>): void {
  if (depth === 0) for (const value of node.keys()) into.add(value)
  else for (const next of node.values()) gather(next as Node, depth - 1, into)
}

function key(value: unknown): string {
  return typeof value === 'string' ? value : String(value ?? '')
}

function canonical(value: unknown): string {
  let text = key(value)
  if (text.length > MAX_VALUE_LENGTH) text = `${text.slice(0, MAX_VALUE_LENGTH - 1)}…`
  // biome-ignore lint/suspicious/noControlCharactersInRegex: parsers of the format stop at them
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f\ud800-\udfff]/gu, '\ufffd')
}

/** `a="x",b="y"`, escaped as both formats ask: backslash, quote, line feed. */
export function labelText(names: readonly string[], values: readonly string[]): string {
  return names.map((name, i) => `${name}="${escapeValue(values[i] ?? '')}"`).join(',')
}

function escapeValue(value: string): string {
  return /["\\\n]/.test(value)
    ? value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
    : value
}

function ignore(family: Family, value: unknown): void {
  family.ignored++
  reportFault(
    'TELLTALE_E_METRIC',
    `${family.sampleName} cannot take ${typeof value === 'number' ? String(value) : show(value)}.`,
  )
}

/** The message of anything that was thrown; never throws. */
export function describe(error: unknown): string {
  try {
    return error instanceof Error ? `${error.name}: ${error.message}` : show(error)
  } catch {
    return 'an error that cannot be shown'
  }
}

function list(names: readonly string[]): string {
  return names.length === 0 ? 'none' : names.join(', ')
}

/** One run of something that is read at a scrape; every scrape that comes while it is open gets its result. */
export type Run<T> = {
  readonly result: T
  /** `late`: a scrape has gone without it; what it brings is not used any more. */
  state: 'open' | 'done' | 'failed' | 'late'
  /** Resolves when the run has ended. Never rejects. */
  settled: Promise<void>
}

/** What is read at a scrape, at most one run at a time; `running` is undefined when idle. */
export type Runnable<T> = { running: Run<T> | undefined }

/** One reader of a collected family; its runs collect label text and value. */
export type Reader = Runnable<Map<string, number>> & {
  readonly read: (add: Add) => void | Promise<void>
}

/** What a reader reported: label text to value, bounded like the rows of a family. */
export function createAdd(family: Family, into: Map<string, number>): Add {
  return (value, labels) => {
    if (typeof value !== 'number' || (family.type === 'counter' && !(value >= 0))) {
      ignore(family, value)
      return
    }
    const values = family.labelNames.map((name) =>
      canonical((labels as Values | undefined)?.[name]),
    )
    let text = labelText(family.labelNames, values)
    if (!into.has(text) && into.size >= family.maxSeries) {
      family.dropped++
      text = labelText(
        family.labelNames,
        family.labelNames.map(() => OVERFLOW),
      )
    }
    into.set(text, (into.get(text) ?? 0) + value)
  }
}

export type Registry = {
  counter<L extends string = never>(options: MetricOptions<L>): Counter<L>
  gauge<L extends string = never>(options: GaugeOptions<L>): Gauge<L>
  histogram<L extends string = never>(options: HistogramOptions<L>): Histogram<L>
  /** The family behind a histogram, for callers that keep rows themselves. */
  histogramFamily(options: HistogramOptions<string>): Family
  /** Adds a reader to a collected metric; returns the function that takes it away again. */
  collect<L extends string = never>(metric: CollectedMetric<L>): () => void
  /** In order of registration. */
  readonly families: ReadonlyMap<string, Family>
  /** True when a family or one of its samples bears this name. */
  isTaken(name: string): boolean
}

/**
 * Makes a registry. Registering a name again with the same type, labels and buckets returns the
 * metric that exists; anything else throws a TelltaleError (TELLTALE_E_METRIC) naming both.
 */
export function createRegistry(maxSeries: number): Registry {
  const families = new Map<string, Family>()
  const taken = new Map<string, string>()
  const instruments = new Map<Family, unknown>()

  function family(
    type: MetricType,
    options: HistogramOptions<string> & GaugeOptions<string>,
    collected: boolean,
    buckets: readonly number[],
  ): Family {
    validate(options, buckets)
    const across = options.across ?? 'sum'
    const name =
      type === 'counter' && options.name.endsWith('_total')
        ? options.name.slice(0, -'_total'.length)
        : options.name
    const labels = [...new Set(options.labelNames ?? [])]
    const existing = families.get(name)
    if (existing !== undefined) {
      if (
        existing.type === type &&
        existing.collected === collected &&
        existing.across === across &&
        sameSet(existing.labelNames, labels) &&
        sameList(existing.bounds, buckets)
      ) {
        return existing
      }
      throw refused(
        `Metric ${show(options.name)} is asked for as ${shape(type, labels, buckets, collected, across)} but is registered as ${shape(existing.type, existing.labelNames, existing.bounds, existing.collected, existing.across)}.`,
        'Use the same type, labels, buckets and across everywhere, or another name.',
      )
    }
    const samples = sampleNames(name, type)
    for (const sample of samples) {
      const owner = taken.get(sample)
      if (owner !== undefined) {
        throw refused(
          `Metric ${show(options.name)} (${type}) would write ${show(sample)}, which belongs to metric ${show(owner)}.`,
          'Give one of them another name.',
        )
      }
    }
    const made = new Family(
      name,
      String(options.help),
      type,
      labels,
      buckets,
      collected,
      across,
      maxSeries,
    )
    if (families.size >= MAX_FAMILIES) {
      reportFault(
        'TELLTALE_E_METRIC',
        `${options.name} is not exported: there are ${MAX_FAMILIES} metrics already. Use labels instead of names made from data.`,
      )
      return made
    }
    families.set(name, made)
    for (const sample of samples) taken.set(sample, made.sampleName)
    if (!collected && labels.length === 0) made.only()
    return made
  }

  function instrument<T>(of: Family, make: (of: Family) => T): T {
    const existing = instruments.get(of)
    if (existing !== undefined) return existing as T
    const made = make(of)
    if (families.get(of.name) === of) instruments.set(of, made)
    return made
  }

  return {
    counter: <L extends string = never>(options: MetricOptions<L>): Counter<L> =>
      instrument(family('counter', options, false, []), makeCounter) as unknown as Counter<L>,
    gauge: <L extends string = never>(options: GaugeOptions<L>): Gauge<L> =>
      instrument(family('gauge', options, false, []), makeGauge) as unknown as Gauge<L>,
    histogram: <L extends string = never>(options: HistogramOptions<L>): Histogram<L> =>
      instrument(
        family('histogram', options, false, options.buckets ?? DURATION_BUCKETS),
        makeHistogram,
      ) as unknown as Histogram<L>,
    histogramFamily: (options) =>
      family('histogram', options, false, options.buckets ?? DURATION_BUCKETS),
    collect(metric) {
      const of = family(metric.type, metric, true, [])
      const reader: Reader = {
        read: (add) => metric.read(add as Add<never>),
        running: undefined,
      }
      of.readers.add(reader)
      return () => {
        of.readers.delete(reader)
      }
    },
    families,
    isTaken: (name) => taken.has(name),
  }
}

/** What counts readers that fail. It exists from the start, the scraper from the first scrape on. */
export function readerErrors(registry: Registry): Counter<'metric' | 'reason'> {
  return registry.counter({
    name: 'telltale_metrics_collect_errors_total',
    help: 'Readers that failed during a scrape; reason is error, timeout or busy (the previous run has not ended).',
    labelNames: ['metric', 'reason'],
  })
}

function makeCounter(of: Family): Counter<string> {
  const labels = (values: Values): CounterSeries =>
    (of.labelNames.length === 0 ? of.only() : (of.find(values) ?? of.detached())) as CounterRow
  if (of.labelNames.length === 0) {
    const row = of.only() as CounterRow
    return { inc: ((value?: number) => row.inc(value)) as never, labels }
  }
  return {
    inc: (values: Values, value?: number) =>
      (of.find(values) as CounterRow | undefined)?.inc(value),
    labels,
  }
}

function makeGauge(of: Family): Gauge<string> {
  const labels = (values: Values): GaugeSeries =>
    (of.labelNames.length === 0 ? of.only() : (of.find(values) ?? of.detached())) as GaugeRow
  if (of.labelNames.length === 0) {
    const row = of.only() as GaugeRow
    return {
      set: ((value: number) => row.set(value)) as never,
      inc: ((value?: number) => row.inc(value)) as never,
      dec: ((value?: number) => row.dec(value)) as never,
      labels,
    }
  }
  return {
    set: (values: Values, value: number) => (of.find(values) as GaugeRow | undefined)?.set(value),
    inc: (values: Values, value?: number) => (of.find(values) as GaugeRow | undefined)?.inc(value),
    dec: (values: Values, value?: number) => (of.find(values) as GaugeRow | undefined)?.dec(value),
    labels,
  }
}

function makeHistogram(of: Family): Histogram<string> {
  const labels = (values: Values): HistogramSeries =>
    (of.labelNames.length === 0 ? of.only() : (of.find(values) ?? of.detached())) as HistogramRow
  const timer = (values: Values): (() => number) => {
    const startedAt = performance.now()
    return () => {
      const seconds = (performance.now() - startedAt) / 1000
      labels(values).observe(seconds)
      return seconds
    }
  }
  if (of.labelNames.length === 0) {
    const row = of.only() as HistogramRow
    return { observe: ((value: number) => row.observe(value)) as never, startTimer: timer, labels }
  }
  return {
    observe: (values: Values, value: number) =>
      (of.find(values) as HistogramRow | undefined)?.observe(value),
    startTimer: timer,
    labels,
  }
}

function sampleNames(name: string, type: MetricType): string[] {
  if (type === 'counter') return [name, `${name}_total`]
  if (type === 'gauge') return [name]
  return [name, `${name}_bucket`, `${name}_sum`, `${name}_count`]
}

// Names as of https://prometheus.io/docs/concepts/data_model/
function validate(options: GaugeOptions<string>, buckets: readonly number[]): void {
  if (typeof options.name !== 'string' || !/^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(options.name)) {
    throw refused(
      `A metric cannot be named ${show(options.name)}.`,
      'Use letters, digits, _ and :, not starting with a digit.',
    )
  }
  if (typeof options.help !== 'string' || options.help === '') {
    throw refused(
      `Metric ${show(options.name)} has no help text.`,
      'Say in one sentence what it is.',
    )
  }
  for (const label of options.labelNames ?? []) {
    if (!/^(?!__)[a-zA-Z_][a-zA-Z0-9_]*$/.test(label) || RESERVED_LABELS.has(label)) {
      throw refused(
        `Metric ${show(options.name)} cannot have a label ${show(label)}.`,
        'Use letters, digits and _, not starting with a digit or __; le and quantile are taken.',
      )
    }
  }
  if (!ACROSS.includes(options.across ?? 'sum')) {
    throw refused(
      `Metric ${show(options.name)} cannot have across ${show(options.across)}.`,
      `Pass one of ${ACROSS.join(', ')}.`,
    )
  }
  if (options.across === 'each' && options.labelNames?.includes(WORKER_LABEL)) {
    throw refused(
      `Metric ${show(options.name)} has a label "${WORKER_LABEL}" and across "each", which adds one.`,
      'Give the label another name.',
    )
  }
  if (buckets.length > 200 || buckets.some((bound, i) => !isRising(buckets[i - 1], bound))) {
    throw refused(
      `Metric ${show(options.name)} cannot have the buckets ${show(buckets)}.`,
      'Pass at most 200 finite numbers from small to large, without +Inf.',
    )
  }
}

function isRising(before: number | undefined, bound: number): boolean {
  return Number.isFinite(bound) && bound >= 0 && (before === undefined || bound > before)
}

function refused(message: string, remedy: string): TelltaleError {
  return new TelltaleError([{ code: 'TELLTALE_E_METRIC', message, remedy }])
}

function shape(
  type: MetricType,
  labels: readonly string[],
  bounds: ArrayLike<number>,
  collected: boolean,
  across: Across,
): string {
  const buckets = type === 'histogram' ? ` with buckets ${Array.from(bounds).join(' ')}` : ''
  const how = across === 'sum' ? '' : ` with across ${across}`
  return `${collected ? 'a collected ' : 'a '}${type} {${labels.join(', ')}}${buckets}${how}`
}

function sameSet(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((name) => b.includes(name))
}

function sameList(a: ArrayLike<number>, b: ArrayLike<number>): boolean {
  return a.length === b.length && Array.from(a).every((value, i) => value === b[i])
}
