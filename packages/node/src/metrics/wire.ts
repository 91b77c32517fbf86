/**
 * What the processes of a cluster and the threads of a process tell each other about metrics.
 *
 * Between processes these travel as ordinary messages of `process.send`, so that the application's
 * own `message` listeners see them too: every one is an object with `type: 'telltale:metrics'`.
 */
import type { Format } from './exposition.js'
import {
  type Exemplar,
  type Family,
  HistogramRow,
  type MetricType,
  type Registry,
  type Row,
} from './registry.js'

export const TYPE = 'telltale:metrics'

/** What a family is; rows of two processes are added up only when all of it agrees. */
export type Head = Pick<Family, 'name' | 'help' | 'across' | 'labelNames'> & {
  readonly type: MetricType
  readonly bounds: ArrayLike<number>
}
/** JSON has no NaN and no infinities. */
type WireNumber = number | 'NaN' | 'Infinity' | '-Infinity'
/** The bucket, then the exemplar's fields. */
type WireExemplar = readonly [number, traceId: string, spanId: string, value: number, ms: number]
/** Label text; the value, or a histogram's count of each bucket and its sum; exemplars. */
export type WireRow = readonly [
  labels: string,
  cells: readonly WireNumber[],
  exemplars?: readonly WireExemplar[],
]
export type WireFamily = Omit<Head, 'bounds'> & {
  readonly bounds: readonly number[]
  /** True: these rows are all there are; else the others stay as they were. */
  readonly whole: boolean
  readonly rows: readonly WireRow[]
}

/** From a worker to its primary, or from a thread to the main one. `from` is '' for itself. */
export type ToHub =
  | {
      readonly type: typeof TYPE
      readonly do: 'rows'
      readonly from: string
      /** True: the sender begins; what was known of it before has ended. */
      readonly first: boolean
      /** The `collect` that this answers for the last time; 0 when there is more to come, or none. */
      readonly answers: number
      readonly families: readonly WireFamily[]
    }
  | { readonly type: typeof TYPE; readonly do: 'ended'; readonly from: string }
  | {
      readonly type: typeof TYPE
      readonly do: 'scrape'
      readonly id: number
      readonly format: Format
      readonly budgetMs: number
    }

/** From the primary to a worker, or from the main thread to another. */
export type ToMember =
  | {
      readonly type: typeof TYPE
      readonly do: 'collect'
      readonly id: number
      readonly budgetMs: number
    }
  | {
      readonly type: typeof TYPE
      readonly do: 'text'
      readonly id: number
      readonly text: string
      /** On the last piece: the names that the text takes, or why there is none. */
      readonly end?: { readonly names: readonly string[]; readonly fault?: string }
    }
  | { readonly type: typeof TYPE; readonly do: 'closed' }

/** True for a message of ours; anything else on the same channel is the application's. */
export function isOurs(message: unknown): message is ToHub | ToMember {
  return (message as { type?: unknown } | null | undefined)?.type === TYPE
}

/** Cells of a row as they are now. */
export function cellsOf(row: Row): ArrayLike<number> {
  return row instanceof HistogramRow
    ? row.cells.subarray(row.at, row.at + row.family.bounds.length + 2)
    : [row.value]
}

export function wireFamily(head: Head, whole: boolean, rows: readonly WireRow[]): WireFamily {
  const { name, help, type, across, labelNames, bounds } = head
  return { name, help, type, across, labelNames, bounds: Array.from(bounds), whole, rows }
}

export function wireRow(row: Row): WireRow {
  const cells = Array.from(cellsOf(row), toWire)
  const exemplars = row instanceof HistogramRow ? row.exemplars : undefined
  return exemplars === undefined ? [row.labels, cells] : [row.labels, cells, pack(exemplars)]
}

export function toWire(value: number): WireNumber {
  return Number.isFinite(value) ? value : (String(value) as WireNumber)
}

function pack(exemplars: readonly (Exemplar | undefined)[]): WireExemplar[] {
  const packed: WireExemplar[] = []
  for (let i = 0; i < exemplars.length; i++) {
    const one = exemplars[i]
    if (one !== undefined) packed.push([i, one.traceId, one.spanId, one.value, one.ms])
  }
  return packed
}

export function unpack(row: WireRow, buckets: number): (Exemplar | undefined)[] | undefined {
  const packed = row[2]
  if (packed === undefined) return undefined
  const exemplars: (Exemplar | undefined)[] = new Array(buckets).fill(undefined)
  for (const [i, traceId, spanId, value, ms] of packed) {
    if (i < buckets) exemplars[i] = { traceId, spanId, value, ms }
  }
  return exemplars
}

const ROWS_PER_BATCH = 200

/**
 * What changed in the rows of a registry since the last call to the same sender, in pieces of about a
 * millisecond's work. Counters and histograms are known by one number: their value or their count.
 */
export function createChanges(registry: Registry): () => Generator<WireFamily[]> {
  const sent = new Map<Family, number[]>()
  return function* changes() {
    let batch: WireFamily[] = []
    let size = 0
    for (const family of [...registry.families.values()]) {
      if (family.collected) continue
      let marks = sent.get(family)
      if (marks === undefined) {
        marks = []
        sent.set(family, marks)
      }
      let rows: WireRow[] = []
      const count = family.rows.length
      for (let i = 0; i < count; i++) {
        const row = family.rows[i] as Row
        const mark = markOf(row)
        if (Object.is(marks[i], mark)) continue
        marks[i] = mark
        rows.push(wireRow(row))
        if (++size < ROWS_PER_BATCH) continue
        batch.push(wireFamily(family, false, rows))
        yield batch
        batch = []
        rows = []
        size = 0
      }
      if (rows.length > 0) batch.push(wireFamily(family, false, rows))
    }
    if (batch.length > 0) yield batch
  }
}

function markOf(row: Row): number {
  if (!(row instanceof HistogramRow)) return row.value
  const { cells, at } = row
  const end = at + row.family.bounds.length
  let count = 0
  for (let i = at; i <= end; i++) count += cells[i] as number
  return count
}
