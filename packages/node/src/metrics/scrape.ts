/**
 * One scrape: readers are asked, everything is written, and scrapes that arrive meanwhile get the
 * same answer, or in another format an answer of the same readings. Nothing is reset by a scrape, so
 * any number of scrapers see the same numbers.
 */
import { reportFault } from '../faults.js'
import { combineAll, type Source } from './aggregate.js'
import { type Format, Writer, writeCollected, writeFamily, writeRows } from './exposition.js'
import type { Fleet } from './fleet.js'
import { foreignNames, readForeign, writeForeign } from './foreign.js'
import type { Hub } from './hub.js'
import type { HubText, Readings } from './member.js'
import {
  type Counter,
  createAdd,
  describe,
  type Family,
  HistogramRow,
  type Reader,
  type Registry,
  type Run,
  type Runnable,
  readerErrors,
} from './registry.js'
import { cellsOf } from './wire.js'

/** The finished text, in pieces of about a millisecond's work. */
export type Rendered = {
  readonly format: Format
  readonly chunks: readonly Buffer[]
  readonly bytes: number
}

/** A prom-client registry, as far as we use it. */
export type ForeignRegistry = {
  metrics(): Promise<string> | string
  readonly contentType?: unknown
}

export type Scraper = {
  /**
   * Renders all metrics; joins the rendering under way when there is one of this format.
   * `budgetMs` is how long asynchronous readers are waited for, 1 to 1,000. Rejects when another
   * process adds the metrics up and does not answer: its own alone would look like a fall.
   */
  render(format: Format, budgetMs?: number): Promise<Rendered>
  /** As `render`, without the application's registries and without the end. */
  core(format: Format, budgetMs: number): Promise<HubText>
  /** Runs every reader, as a scrape does. */
  read(budgetMs: number): Promise<Readings>
}

const MAX_BUDGET_MS = 1000
/** How long a scrape waits for other workers and threads. */
const MEMBERS_MS = 400

/** Makes the scraper. `before` runs at the start of each scrape. */
export function createScraper(
  registry: Registry,
  registries: readonly ForeignRegistry[],
  before: () => void,
  fleet: () => Pick<Fleet, 'hub' | 'member'> | undefined,
): Scraper {
  const errors = readerErrors(registry)
  const underWay = new Map<Format, Promise<Rendered>>()
  const foreign = registries.map((source): Foreign => ({ source, running: undefined }))
  const coresUnderWay = new Map<Format, Promise<HubText>>()
  const told = new Set<string>()
  /** The last complete answers of readers whose values are added to those of others. */
  const complete = new Map<Family, ReadonlyMap<string, number>>()
  async function render(format: Format, budgetMs: number): Promise<Rendered> {
    const writer = new Writer(format)
    await writer.pause()
    const deadline = performance.now() + budgetMs
    const asked = foreign.flatMap((one) => askForeign(one, errors) ?? [])
    const foreignDone = settle(asked, deadline).then(() =>
      asked.filter((run) => isDone(run, FOREIGN, errors)),
    )
    const member = fleet()?.member
    let names: ReadonlySet<string> | undefined
    if (member?.isOpen) {
      await foreignDone
      const core = await member.scrape(format, budgetMs)
      for (const chunk of core.chunks) writer.append(chunk)
      names = core.names
    } else names = await writeCore(writer, budgetMs, deadline, foreignDone)
    const seen = new Set(names)
    for (const { result } of await foreignDone) {
      await appendForeign(writer, result, registry, seen, told)
    }
    writer.end()
    return { format, chunks: writer.chunks, bytes: writer.bytes }
  }

  /** Answers the names of samples that are not those of the registry. */
  async function writeCore(
    writer: Writer,
    budgetMs: number,
    deadline: number,
    beforeOwn: Promise<unknown>,
  ): Promise<Set<string>> {
    before()
    const hub = fleet()?.hub
    const membersDone = hub?.collect(Math.min(MEMBERS_MS, budgetMs / 2))
    const isOwn = (name: string): boolean => name.startsWith('telltale_')
    const others = [...registry.families.values()].filter((family) => !isOwn(family.name))
    const values = await readAll(writer, others, deadline, errors)
    await membersDone
    await beforeOwn
    // The kit's own losses come last: they include what this scrape lost.
    const own = [...registry.families.values()].filter((family) => isOwn(family.name))
    const ownValues = await readAll(writer, own, deadline, errors)
    if (!hub?.hasOthers) {
      for (const family of others) await writeOne(writer, family, values.values.get(family))
      for (const family of own) await writeOne(writer, family, ownValues.values.get(family))
      return new Set()
    }
    for (const readings of [values, ownValues]) {
      for (const [family, rows] of readings.values) {
        if (!readings.incomplete.has(family)) complete.set(family, rows)
      }
    }
    const remote = hub.names()
    for (const family of registry.families.values()) remote.delete(family.name)
    const names = new Set<string>()
    const writeAll = async (families: readonly Family[], elsewhere: string[]): Promise<void> => {
      for (const family of families) {
        await writeMerged(writer, hub, family.name, localSource(hub, family, complete.get(family)))
      }
      for (const name of elsewhere) {
        await writeMerged(writer, hub, name, undefined)
        for (const taken of [
          name,
          `${name}_total`,
          `${name}_bucket`,
          `${name}_sum`,
          `${name}_count`,
        ])
          names.add(taken)
      }
    }
    await writeAll(
      others,
      [...remote].filter((name) => !isOwn(name)),
    )
    await writeAll(own, [...remote].filter(isOwn))
    return names
  }

  return {
    render(format, budgetMs = MAX_BUDGET_MS) {
      const joined = underWay.get(format)
      if (joined !== undefined) return joined
      const started = render(format, within(budgetMs)).finally(() => underWay.delete(format))
      underWay.set(format, started)
      return started
    },
    core(format, budgetMs) {
      const joined = coresUnderWay.get(format)
      if (joined !== undefined) return joined
      const started = core(format, within(budgetMs)).finally(() => coresUnderWay.delete(format))
      coresUnderWay.set(format, started)
      return started
    },
    read(budgetMs) {
      before()
      const deadline = performance.now() + within(budgetMs)
      return readAll(new Writer('text'), [...registry.families.values()], deadline, errors)
    },
  }

  async function core(format: Format, budgetMs: number): Promise<HubText> {
    const member = fleet()?.member
    if (member?.isOpen) return member.scrape(format, budgetMs)
    const writer = new Writer(format)
    await writer.pause()
    const deadline = performance.now() + budgetMs
    const names = await writeCore(writer, budgetMs, deadline, Promise.resolve())
    for (const family of registry.families.keys()) names.add(family)
    writer.encode()
    return { chunks: writer.chunks, names }
  }
}

function within(budgetMs: number): number {
  return Math.min(MAX_BUDGET_MS, Math.max(1, budgetMs))
}

/** This process's own part of a family: its rows, or what its readers reported. */
function localSource(
  hub: Hub,
  family: Family,
  values: ReadonlyMap<string, number> | undefined,
): Source {
  const rows = family.collected
    ? Array.from(values ?? [], ([labels, value]) => ({
        labels,
        cells: [value],
        exemplars: undefined,
      }))
    : family.rows.map((row) => ({
        labels: row.labels,
        cells: cellsOf(row),
        exemplars: row instanceof HistogramRow ? row.exemplars : undefined,
      }))
  return { head: family, label: hub.label, rows }
}

async function writeMerged(
  writer: Writer,
  hub: Hub,
  name: string,
  local: Source | undefined,
): Promise<void> {
  const sources = hub.sources(name)
  if (local !== undefined) sources.unshift(local)
  const head = sources[0]?.head
  if (head !== undefined) await writeRows(writer, head, await combineAll(writer, sources))
}

function writeOne(
  writer: Writer,
  family: Family,
  values: ReadonlyMap<string, number> | undefined,
): Promise<void> {
  return values === undefined ? writeFamily(writer, family) : writeCollected(writer, family, values)
}

type Errors = Counter<'metric' | 'reason'>

function fail(errors: Errors, metric: string, reason: string, detail: string): void {
  errors.inc({ metric, reason })
  reportFault('TELLTALE_E_METRIC', `reading ${metric}: ${detail}`)
}

/** Joins the run under way, or starts one; undefined while one that came too late has not ended. */
function join<T>(
  source: Runnable<T>,
  name: string,
  errors: Errors,
  start: () => Run<T>,
): Run<T> | undefined {
  const { running } = source
  if (running === undefined) return start()
  if (running.state !== 'late') return running
  fail(errors, name, 'busy', 'the previous run has not ended.')
  return undefined
}

/** Runs `read`, which fills the result of the run. */
function start<T>(
  source: Runnable<T>,
  name: string,
  errors: Errors,
  result: T,
  read: (run: Run<T>) => unknown,
): Run<T> {
  const run: Run<T> = { result, state: 'open', settled: Promise.resolve() }
  const broke = (error: unknown): void => {
    if (run.state === 'open') run.state = 'failed'
    fail(errors, name, 'error', describe(error))
  }
  try {
    const answer = read(run)
    if (typeof (answer as PromiseLike<void> | undefined)?.then !== 'function') {
      run.state = 'done'
      return run
    }
    source.running = run
    run.settled = Promise.resolve(answer).then(
      () => {
        source.running = undefined
        if (run.state === 'open') run.state = 'done'
      },
      (error) => {
        source.running = undefined
        broke(error)
      },
    )
  } catch (error) {
    broke(error)
  }
  return run
}

/** Ends the time of a run; true when its result counts. */
function isDone(run: Run<unknown>, name: string, errors: Errors): boolean {
  if (run.state === 'open') run.state = 'late'
  if (run.state === 'late') {
    fail(errors, name, 'timeout', 'no answer within the time of the scrape.')
  }
  return run.state === 'done'
}

/** Runs every reader and waits for the asynchronous ones until the deadline. */
async function readAll(
  writer: Writer,
  families: readonly Family[],
  deadline: number,
  errors: Errors,
): Promise<Readings> {
  const incomplete = new Set<Family>()
  const runs: [Family, Run<Map<string, number>>][] = []
  const totals = new Map<Family, Map<string, number>>()
  for (const family of families) {
    if (!family.collected) continue
    totals.set(family, new Map())
    for (const reader of family.readers) {
      const run = join(reader, family.sampleName, errors, () => ask(reader, family, errors))
      if (run === undefined) incomplete.add(family)
      else runs.push([family, run])
      if (writer.isDue()) await writer.pause()
    }
  }
  await settle(
    runs.map(([, run]) => run),
    deadline,
  )
  for (const [family, run] of runs) {
    if (!isDone(run, family.sampleName, errors)) {
      incomplete.add(family)
      continue
    }
    const total = totals.get(family) as Map<string, number>
    for (const [labels, value] of run.result) {
      total.set(labels, (total.get(labels) ?? 0) + value)
    }
  }
  return { values: totals, incomplete }
}

function ask(reader: Reader, family: Family, errors: Errors): Run<Map<string, number>> {
  const values = new Map<string, number>()
  const add = createAdd(family, values)
  return start(reader, family.sampleName, errors, values, (run) =>
    reader.read((value, labels) => {
      if (run.state === 'open') add(value, labels)
    }),
  )
}

/** Waits until all are settled or the deadline has come. */
async function settle(runs: readonly Run<unknown>[], deadline: number): Promise<void> {
  const open = runs.filter((run) => run.state === 'open')
  if (open.length === 0) return
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, Math.max(0, deadline - performance.now()))
    timer.unref?.()
  })
  await Promise.race([Promise.all(open.map((run) => run.settled)), late])
  clearTimeout(timer)
}

type Foreign = Runnable<ForeignText> & { readonly source: ForeignRegistry }
type ForeignText = { text: string; format: Format }

const FOREIGN = 'prom-client registry'

function askForeign(foreign: Foreign, errors: Errors): Run<ForeignText> | undefined {
  return join(foreign, FOREIGN, errors, () =>
    start(foreign, FOREIGN, errors, { text: '', format: 'text' }, ({ result }) =>
      readRegistry(foreign.source, result),
    ),
  )
}

async function readRegistry(source: ForeignRegistry, into: ForeignText): Promise<void> {
  const text: unknown = await source.metrics()
  if (typeof text !== 'string') throw new TypeError('metrics() did not give a string')
  into.text = text
  into.format = String(source.contentType).startsWith('application/openmetrics-text')
    ? 'openmetrics'
    : 'text'
}

async function appendForeign(
  writer: Writer,
  { text, format }: ForeignText,
  registry: Registry,
  seen: Set<string>,
  told: Set<string>,
): Promise<void> {
  const families = await readForeign(writer, text)
  for (const family of families.values()) {
    const names = foreignNames(family)
    if (names.some((name) => seen.has(name) || registry.isTaken(name))) {
      if (!told.has(family.name) && told.size < 1000) {
        if (told.size === 0) {
          reportFault(
            'TELLTALE_E_METRIC',
            `${family.name} of a prom-client registry is left out: a metric of this name exists. Rename it, or set metrics.runtime to false when it comes from collectDefaultMetrics.`,
          )
        }
        told.add(family.name)
      }
      continue
    }
    for (const name of names) seen.add(name)
    await writeForeign(writer, family, format)
  }
}
