/**
 * The arithmetic of several workers' metrics: what is known of each, what ended ones leave behind,
 * and the rows of one scrape over all of them.
 *
 * Counters and histograms are added up, those of ended workers too, so that they never fall; gauges
 * as their `across` says, without the ended.
 */
import { reportFault } from '../faults.js'
import type { SampleRow, Writer } from './exposition.js'
import { type Across, type Exemplar, labelText, OVERFLOW, WORKER_LABEL } from './registry.js'
import { type Head, unpack, type WireFamily } from './wire.js'

/** Never changed once stored, so that a scrape which gives way to the event loop reads one state. */
export type StoredRow = {
  readonly cells: readonly number[]
  readonly exemplars: readonly (Exemplar | undefined)[] | undefined
  /** What adding up lost of each cell; only totals have it. */
  readonly lost?: readonly number[] | undefined
}
export type StoredFamily = { readonly head: Head; readonly rows: Map<string, StoredRow> }
/** The last known rows of one worker, or the totals of all ended ones, by family. */
export type Store = Map<string, StoredFamily>

const MAX_FAMILIES = 1000

/** Takes what a worker told. Families and rows beyond the limits are left out. */
export function keep(store: Store, wire: WireFamily, maxSeries: number): void {
  const { rows, whole, ...head } = wire
  if (typeof head.name !== 'string' || !Array.isArray(rows)) return
  let family = store.get(head.name)
  if (family === undefined || !agree(family.head, head)) {
    if (family === undefined && store.size >= MAX_FAMILIES) return
    family = { head, rows: new Map() }
    store.set(head.name, family)
  }
  if (whole) family.rows.clear()
  const width = widthOf(head)
  for (const row of rows) {
    const [labels, values] = row
    if (values.length !== width) continue
    // One more than the limit: the row of the overflow.
    if (family.rows.size > maxSeries && !family.rows.has(labels)) continue
    family.rows.set(labels, { cells: values.map(Number), exemplars: unpack(row, width - 1) })
  }
}

/**
 * Adds the counters and histograms of a worker that has ended to the totals of all such. Label sets
 * beyond `maxSeries` are added up in one row of the overflow.
 */
export function retire(totals: Store, ended: Store, maxSeries: number): void {
  for (const { head, rows } of ended.values()) {
    if (head.type === 'gauge') continue
    let family = totals.get(head.name)
    if (family === undefined) {
      if (totals.size >= MAX_FAMILIES) continue
      family = { head, rows: new Map() }
      totals.set(head.name, family)
    }
    if (!agree(family.head, head)) continue
    for (const [labels, row] of rows) {
      const isKnown = family.rows.has(labels) || family.rows.size < maxSeries
      const key = isKnown ? labels : overflowOf(head)
      const total = family.rows.get(key)
      if (total === undefined) family.rows.set(key, row)
      else {
        const sum = copyOf(total)
        combine(sum, row, 'sum')
        family.rows.set(key, sum)
      }
    }
  }
}

/** Rows of one source: a process, a thread, or the ended ones. */
export type Source = {
  readonly head: Head
  /** Names the source in gauges that each has; '' for a process that is no worker. */
  readonly label: string
  readonly rows: readonly (SampleRow & Pick<StoredRow, 'lost'>)[]
}

type MergedRow = {
  cells: number[]
  exemplars: (Exemplar | undefined)[] | undefined
  lost: number[] | undefined
}

/** Puts the rows of all sources of one family together, in slices. The first source says what it is. */
export async function combineAll(
  writer: Writer,
  sources: readonly Source[],
): Promise<Map<string, MergedRow>> {
  const merged = new Map<string, MergedRow>()
  const first = sources[0]?.head
  if (first === undefined) return merged
  for (const { head, label, rows } of sources) {
    if (!agree(first, head)) {
      reportFault(
        'TELLTALE_E_CLUSTER',
        `${head.name} has another type, other labels or other buckets in another worker; its values there are left out.`,
      )
      continue
    }
    const isEach = head.type === 'gauge' && head.across === 'each' && label !== ''
    const across = head.type === 'gauge' ? head.across : 'sum'
    const suffix = isEach ? labelText([WORKER_LABEL], [label]) : ''
    for (const row of rows) {
      const labels = !isEach ? row.labels : row.labels === '' ? suffix : `${row.labels},${suffix}`
      const found = merged.get(labels)
      if (found !== undefined) combine(found, row, across)
      else merged.set(labels, copyOf(row))
      if (writer.isDue()) await writer.pause()
    }
  }
  for (const { cells, lost } of merged.values()) {
    if (lost !== undefined)
      for (let i = 0; i < cells.length; i++) cells[i] = (cells[i] as number) + (lost[i] as number)
  }
  return merged
}

/** The rows of a stored family as they are now. */
export function rowsOf(family: StoredFamily): Source['rows'] {
  return Array.from(family.rows, ([labels, row]) => ({ labels, ...row }))
}

type Addend = Pick<SampleRow, 'cells' | 'exemplars'> & Pick<StoredRow, 'lost'>

function copyOf({ cells, exemplars, lost }: Addend): MergedRow {
  return { cells: Array.from(cells), exemplars: exemplars?.slice(), lost: lost?.slice() }
}

/**
 * Sums carry what each addition lost (Knuth's TwoSum), because a plain sum depends on its order by the
 * last digit: when a worker ends its part moves to the totals, and a counter that falls by 1e-17 is a
 * reset to Prometheus.
 */
function combine(into: MergedRow, row: Addend, across: Across): void {
  const { cells } = into
  if (across === 'sum') into.lost ??= new Array(cells.length).fill(0)
  for (let i = 0; i < cells.length; i++) {
    const a = cells[i] as number
    const b = row.cells[i] as number
    if (into.lost === undefined || across !== 'sum') {
      cells[i] = across === 'min' ? Math.min(a, b) : Math.max(a, b)
      continue
    }
    const sum = a + b
    cells[i] = sum
    const rest = Number.isFinite(sum) ? a - (sum - (sum - a)) + (b - (sum - a)) : 0
    into.lost[i] = (into.lost[i] as number) + rest + (row.lost?.[i] ?? 0)
  }
  if (row.exemplars === undefined) return
  into.exemplars ??= new Array(cells.length - 1).fill(undefined)
  for (let i = 0; i < into.exemplars.length; i++) {
    const next = row.exemplars[i]
    if (next !== undefined && next.ms >= (into.exemplars[i]?.ms ?? 0)) into.exemplars[i] = next
  }
}

function agree(a: Head, b: Head): boolean {
  return (
    a === b ||
    (a.type === b.type &&
      a.across === b.across &&
      isSame(a.labelNames, b.labelNames) &&
      isSame(a.bounds, b.bounds))
  )
}

function isSame(a: ArrayLike<unknown>, b: ArrayLike<unknown>): boolean {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}

function widthOf(head: Head): number {
  return head.type === 'histogram' ? head.bounds.length + 2 : 1
}

function overflowOf({ labelNames }: Head): string {
  return labelText(
    labelNames,
    labelNames.map(() => OVERFLOW),
  )
}
