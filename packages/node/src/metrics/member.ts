/**
 * A worker of a cluster whose primary is the hub, or a thread: sends what changed, answers questions,
 * has its scrapes made by the hub, and hands on the messages of its own threads.
 */
import { reportFault } from '../faults.js'
import { type Format, turn } from './exposition.js'
import type { Family, Registry } from './registry.js'
import {
  createChanges,
  type Head,
  type ToHub,
  type ToMember,
  TYPE,
  toWire,
  type WireFamily,
  wireFamily,
} from './wire.js'

/** Values that readers reported, and the families of which not every reader did. */
export type Readings = {
  readonly values: ReadonlyMap<Family, ReadonlyMap<string, number>>
  readonly incomplete: ReadonlySet<Family>
}

/** The way to the hub. `sent` is called when the message has left, or never will. */
export type Uplink = { send(message: ToHub, sent?: () => void): void }

/** The hub's answer to a scrape: the text without its end, and the names that it takes. */
export type HubText = { readonly chunks: readonly Buffer[]; readonly names: ReadonlySet<string> }

/** The process that adds the metrics up did not give an answer. */
export class HubError extends Error {
  override readonly name = 'HubError'
}

export type Member = {
  /** Takes a message of the hub. Never throws. */
  receive(message: ToMember): void
  /** Hands a message of a thread of this process on. */
  relay(from: string, message: ToHub): void
  /** True while the hub listens: its scrapes show everyone. */
  readonly isOpen: boolean
  /** The hub's text; rejects when it does not come. */
  scrape(format: Format, budgetMs: number): Promise<HubText>
  /** Sends what changed at once; for the last moment of the process. Never throws. */
  push(): void
  /** Sends everything, collected metrics too, and resolves when it has left or `budgetMs` has passed. */
  flush(budgetMs: number): Promise<void>
  /** Stops without a word: the hub is another one now. */
  stop(): void
  /** Says good-bye and stops. */
  close(): void
}

/** Milliseconds between looks at what changed: what a killed worker loses at most. */
const PUSH_EVERY_MS = 2000
/** What the hub gets beyond the time for its readers, milliseconds. */
const HUB_EXTRA_MS = 800

export function createMember(
  registry: Registry,
  read: (budgetMs: number) => Promise<Readings>,
  uplink: Uplink,
  isOpenAtOnce: boolean,
  forward: (message: ToMember) => void,
): Member {
  let changes = createChanges(registry)
  let isFirst = true
  let isOpen = isOpenAtOnce
  let isBusy = false
  let wanted: { readonly id: number; readonly budgetMs: number } | undefined
  let isAnswering = false
  let lastScrape = 0
  const scrapes = new Map<
    number,
    { chunks: Buffer[]; resolve(text: HubText): void; reject(error: Error): void }
  >()

  function post(families: readonly WireFamily[], answers: number, sent?: () => void): void {
    const first = isFirst
    isFirst = false
    uplink.send({ type: TYPE, do: 'rows', from: '', first, answers, families }, sent)
  }

  function push(): void {
    for (const families of changes()) post(families, 0)
    if (isFirst) post([], 0)
  }

  async function pushUnlessBusy(): Promise<void> {
    // A hub that does not read must not fill this process's memory.
    if (isBusy) return
    isBusy = true
    for (const families of changes()) {
      await new Promise<void>((resolve) => post(families, 0, resolve))
      await turn()
    }
    isBusy = false
  }

  async function everything(id: number, budgetMs: number, sent?: () => void): Promise<void> {
    const reading = read(budgetMs)
    for (const families of changes()) {
      post(families, 0)
      await turn()
    }
    post(collected(await reading), id, sent)
  }

  async function answer(): Promise<void> {
    if (isAnswering) return
    isAnswering = true
    try {
      while (wanted !== undefined) {
        const { id, budgetMs } = wanted
        await everything(id, budgetMs)
        if (wanted.id === id) wanted = undefined
      }
    } catch (error) {
      wanted = undefined
      reportFault('TELLTALE_E_INTERNAL', error)
    }
    isAnswering = false
  }

  function fail(reason: string): void {
    for (const { reject } of scrapes.values()) reject(new HubError(reason))
    scrapes.clear()
  }

  const timer = setInterval(() => {
    pushUnlessBusy().catch((error) => reportFault('TELLTALE_E_INTERNAL', error))
  }, PUSH_EVERY_MS)
  timer.unref?.()
  push()

  return {
    get isOpen() {
      return isOpen
    },
    receive(message) {
      if (message.do === 'collect') {
        isOpen = true
        wanted = message
        void answer()
        forward(message)
      } else if (message.do === 'closed') {
        isOpen = false
        fail('the process that adds the metrics up has closed its kit')
        forward(message)
      } else {
        const scrape = scrapes.get(message.id)
        if (scrape === undefined) return
        if (message.text !== '') scrape.chunks.push(Buffer.from(message.text))
        if (message.end === undefined) return
        scrapes.delete(message.id)
        const { fault, names } = message.end
        if (fault === undefined) scrape.resolve({ chunks: scrape.chunks, names: new Set(names) })
        else scrape.reject(new HubError(fault))
      }
    },
    relay(from, message) {
      if (message.do !== 'scrape') uplink.send({ ...message, from })
    },
    scrape(format, budgetMs) {
      const id = ++lastScrape
      return new Promise<HubText>((resolve, reject) => {
        scrapes.set(id, { chunks: [], resolve, reject })
        const late = setTimeout(() => {
          scrapes.delete(id)
          reject(new HubError('the process that adds the metrics up did not answer'))
        }, budgetMs + HUB_EXTRA_MS)
        late.unref?.()
        uplink.send({ type: TYPE, do: 'scrape', id, format, budgetMs })
      })
    },
    push,
    async flush(budgetMs) {
      await new Promise<void>((resolve) => {
        const late = setTimeout(resolve, budgetMs)
        late.unref?.()
        everything(0, budgetMs / 2, () => {
          clearTimeout(late)
          resolve()
        }).catch(() => resolve())
      })
    },
    stop,
    close() {
      push()
      uplink.send({ type: TYPE, do: 'ended', from: '' })
      stop()
    },
  }

  function stop(): void {
    clearInterval(timer)
    isOpen = false
    wanted = undefined
    fail('the kit is closed')
    changes = function* () {}
  }
}

function collected({ values, incomplete }: Readings): WireFamily[] {
  const families: WireFamily[] = []
  for (const [family, rows] of values) {
    // Half of a counter would look like a fall: what was known before stands.
    if (incomplete.has(family)) continue
    const head: Head = family
    families.push(
      wireFamily(
        head,
        true,
        Array.from(rows, ([labels, value]) => [labels, [toWire(value)]] as const),
      ),
    )
  }
  return families
}
