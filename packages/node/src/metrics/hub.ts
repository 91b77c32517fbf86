/**
 * The process whose scrape shows everyone: the primary of a cluster, or the main thread. It keeps the
 * last known rows of each member (a worker, a thread), asks them all at a scrape, and does not wait
 * for one that does not answer.
 */
import { guarded } from '../faults.js'
import { keep, retire, rowsOf, type Source, type Store } from './aggregate.js'
import type { Registry } from './registry.js'
import { type ToHub, type ToMember, TYPE } from './wire.js'

/** The way to one worker, which may speak for threads of its own, or to one thread. */
export type Peer = {
  /** What its gauges are named after: the lowest number free makes `1`, or `thread-1`. */
  readonly prefix: string
  /** The number to take when it is free. */
  readonly number?: number
  /** Never throws; what cannot be sent is lost. */
  send(message: ToMember): void
}

export type Hub = {
  /** Takes a message of a peer. Never throws. */
  receive(peer: Peer, message: ToHub): void
  /** A peer has ended: its totals are kept, its gauges go. */
  ended(peer: Peer): void
  /** Asks every member and resolves when all have answered, or `budgetMs` has passed. */
  collect(budgetMs: number): Promise<void>
  /** True when there is, or was, anyone but this process. */
  readonly hasOthers: boolean
  /** What gauges of this process itself are named after: `primary` in a cluster, else ''. */
  readonly label: string
  /** Names of all families of members, present and past. */
  names(): Set<string>
  /** What members, present and past, have of a family, as it is now. */
  sources(name: string): Source[]
  /** Tells the members that nobody listens any more. */
  close(): void
}

type Member = {
  readonly label: string
  readonly store: Store
  /** The question that it has not answered yet; 0 when none. */
  asked: number
}

/** What a hub tells of the workers and threads it adds up. */
export const HUB_METRICS = {
  stale: {
    name: 'telltale_metrics_worker_stale',
    help: 'Worker or thread whose last known values this scrape shows, because it did not answer: 1; else 0.',
    type: 'gauge',
    labelNames: ['worker'],
  },
  ended: {
    name: 'telltale_metrics_workers_ended_total',
    help: 'Workers and threads that have ended; their counters and histograms are still added up.',
    type: 'counter',
    labelNames: [],
  },
} as const

/** Makes the hub. `answer` renders a scrape that reached another process. */
export function createHub(
  registry: Registry,
  maxSeries: number,
  answer: (peer: Peer, id: number, message: ToHub & { do: 'scrape' }) => void,
): Hub {
  const peers = new Map<Peer, Map<string, Member>>()
  const totals: Store = new Map()
  let endedCount = 0
  let lastAsked = 0
  let hasOthers = false
  let isPrimary = false
  let underWay: Promise<void> | undefined
  let onAnswer = (): void => undefined

  function add(peer: Peer, from: string): Member {
    let members = peers.get(peer)
    if (members === undefined) {
      members = new Map()
      peers.set(peer, members)
    }
    const member: Member = { label: labelFor(peer, members, from), store: new Map(), asked: 0 }
    members.set(from, member)
    if (!hasOthers) registerOwn()
    hasOthers = true
    isPrimary ||= peer.prefix === ''
    return member
  }

  // Numbers are used again, so that workers which come and go do not add series for ever.
  function labelFor(peer: Peer, members: ReadonlyMap<string, Member>, from: string): string {
    const own = members.get('')?.label
    const prefix = from === '' ? peer.prefix : `${own ?? peer.prefix}/thread-`
    const taken = new Set<string>()
    for (const others of peers.values()) for (const { label } of others.values()) taken.add(label)
    let number = 1
    if (from === '' && peer.number !== undefined && !taken.has(`${prefix}${peer.number}`)) {
      return `${prefix}${peer.number}`
    }
    while (taken.has(`${prefix}${number}`)) number++
    return `${prefix}${number}`
  }

  function remove(peer: Peer, from: string): void {
    const members = peers.get(peer)
    const member = members?.get(from)
    if (members === undefined || member === undefined) return
    retire(totals, member.store, maxSeries)
    endedCount++
    members.delete(from)
    if (members.size === 0) peers.delete(peer)
    onAnswer()
  }

  function take(peer: Peer, message: ToHub & { do: 'rows' }): void {
    const { from, first, answers, families } = message
    if (first) remove(peer, from)
    const member = peers.get(peer)?.get(from) ?? (first ? add(peer, from) : undefined)
    if (member === undefined) return
    for (const family of families) keep(member.store, family, maxSeries)
    // A later answer also settles an earlier question: a peer that was busy answers the last one only.
    if (answers === 0 || answers < member.asked) return
    member.asked = 0
    onAnswer()
  }

  function* all(): Generator<Member> {
    for (const members of peers.values()) yield* members.values()
  }

  async function ask(budgetMs: number): Promise<void> {
    const id = ++lastAsked
    for (const [peer, members] of peers) {
      // One that still owes an answer has not read the question either: no more of them pile up.
      if (members.get('')?.asked !== 0) continue
      for (const member of members.values()) if (member.asked === 0) member.asked = id
      peer.send({ type: TYPE, do: 'collect', id, budgetMs: budgetMs * 0.7 })
    }
    const isWaiting = (): boolean => [...all()].some((member) => member.asked === id)
    if (!isWaiting()) return
    await new Promise<void>((resolve) => {
      // Holds the process for this moment: somebody waits for the text.
      const timer = setTimeout(resolve, budgetMs)
      onAnswer = () => {
        if (isWaiting()) return
        clearTimeout(timer)
        resolve()
      }
    })
    onAnswer = () => undefined
  }

  function registerOwn(): void {
    registry.collect({
      ...HUB_METRICS.stale,
      read(report) {
        for (const member of all()) report(member.asked === 0 ? 0 : 1, { worker: member.label })
      },
    })
    registry.collect({ ...HUB_METRICS.ended, read: (report) => report(endedCount) })
  }

  return {
    receive(peer, message) {
      guarded(() => {
        if (message.do === 'rows') take(peer, message)
        else if (message.do === 'ended') {
          if (message.from !== '') remove(peer, message.from)
          else this.ended(peer)
        } else if (message.do === 'scrape') answer(peer, message.id, message)
      })
    },
    ended(peer) {
      guarded(() => {
        for (const from of [...(peers.get(peer)?.keys() ?? [])].reverse()) remove(peer, from)
      })
    },
    collect(budgetMs) {
      underWay ??= ask(budgetMs).finally(() => {
        underWay = undefined
      })
      return underWay
    },
    get hasOthers() {
      return hasOthers
    },
    get label() {
      return isPrimary ? 'primary' : ''
    },
    names() {
      const names = new Set(totals.keys())
      for (const { store } of all()) for (const name of store.keys()) names.add(name)
      return names
    },
    sources(name) {
      const found: Source[] = []
      for (const { label, store } of all()) {
        const family = store.get(name)
        if (family !== undefined) found.push({ head: family.head, label, rows: rowsOf(family) })
      }
      const total = totals.get(name)
      if (total !== undefined) found.push({ head: total.head, label: '', rows: rowsOf(total) })
      return found
    },
    close() {
      for (const peer of peers.keys()) peer.send({ type: TYPE, do: 'closed' })
      peers.clear()
    },
  }
}
