/**
 * The company a process keeps: whether it adds up the metrics of others, has its own added up, or is
 * by itself; and the messages between them.
 */
import { isThread } from '../builtin.js'
import { guarded } from '../faults.js'
import { clusterRole, listenToWorkers, openPrimary } from './cluster.js'
import { type Format, turn } from './exposition.js'
import { createHub, type Hub, type Peer } from './hub.js'
import { createMember, type HubText, type Member, type Readings, type Uplink } from './member.js'
import type { Registry } from './registry.js'
import { listenToThreads, openMainThread, type Threads } from './threads.js'
import { type ToHub, type ToMember, TYPE } from './wire.js'

export type Fleet = {
  /** Adds the others up; undefined where another process or thread does, and while there are none. */
  readonly hub: Hub | undefined
  /** Speaks to the one that adds up; undefined where nobody does, or this one. */
  readonly member: Member | undefined
  /** Sends the last totals; resolves when they have left or `budgetMs` has passed. */
  flush(budgetMs: number): Promise<void>
  /** Sends what changed at once. */
  push(): void
  close(): void
}

/** What the fleet needs of the scraper. */
export type FleetDeps = {
  registry(): Registry
  readonly maxSeries: number
  read(budgetMs: number): Promise<Readings>
  /** The text of a scrape, without its end and without the application's own registries. */
  core(format: Format, budgetMs: number): Promise<HubText>
}

/** Finds out where this process or thread stands and joins. */
export function joinFleet(deps: FleetDeps): Fleet {
  if (isThread) return asThread(deps)
  return clusterRole() === 'worker' ? asWorker(deps) : asHub(deps)
}

function asHub({ registry, maxSeries, core }: FleetDeps): Fleet {
  let hub: Hub | undefined
  // Made for the first of the others: most processes have none.
  const theHub = (): Hub => {
    hub ??= createHub(registry(), maxSeries, (peer, id, message) => {
      void sendText(peer, id, core(message.format, message.budgetMs))
    })
    return hub
  }
  const peers = new Map<number, Peer>()
  const threads = listenToThreads({
    receive(id, message) {
      let peer = peers.get(id)
      if (peer === undefined) {
        peer = { prefix: 'thread-', send: (down) => threads.send(id, down) }
        peers.set(id, peer)
      }
      theHub().receive(peer, message)
    },
    ended(id) {
      const peer = peers.get(id)
      peers.delete(id)
      if (peer !== undefined) hub?.ended(peer)
    },
  })
  const stopListening = listenToWorkers({
    receive: (peer, message) => theHub().receive(peer, message),
    ended: (peer) => hub?.ended(peer),
  })
  return {
    get hub() {
      return hub
    },
    member: undefined,
    flush: () => Promise.resolve(),
    push() {},
    close() {
      hub?.close()
      stopListening()
      threads.close()
    },
  }
}

function asWorker(deps: FleetDeps): Fleet {
  const uplink = openPrimary((message) => member.receive(message))
  const threads: Threads = relayThreads(deps, (id, message) => member.relay(nameOf(id), message))
  const member = createMember(deps.registry(), deps.read, uplink, true, threads.sendAll)
  return withMember(() => member, uplink, threads, member.push)
}

function relayThreads({ core }: FleetDeps, relay: (id: number, message: ToHub) => void): Threads {
  const threads = listenToThreads({
    receive(id, message) {
      if (message.do !== 'scrape') relay(id, message)
      else {
        const peer = { send: (down: ToMember) => threads.send(id, down) }
        void sendText(peer, message.id, core(message.format, message.budgetMs))
      }
    },
    ended: (id) => relay(id, { type: TYPE, do: 'ended', from: '' }),
  })
  return threads
}

function asThread({ registry, read }: FleetDeps): Fleet {
  let member: Member | undefined
  const uplink = openMainThread(
    (message) => member?.receive(message),
    () => {
      member?.stop()
      member = createMember(registry(), read, uplink, true, () => undefined)
    },
  )
  const onExit = (): void => {
    // A thread may end before the main one has heard of it: making a member sends all it has.
    if (member === undefined) {
      createMember(registry(), read, uplink.last, false, () => undefined).stop()
    } else member.push()
  }
  return withMember(() => member, uplink, undefined, onExit)
}

function withMember(
  current: () => Member | undefined,
  uplink: Uplink & { close(): void },
  threads: Threads | undefined,
  onExit: () => void,
): Fleet {
  const exit = (): void => guarded(onExit)
  process.on('exit', exit)
  return {
    hub: undefined,
    get member() {
      return current()
    },
    flush: (budgetMs) => current()?.flush(budgetMs) ?? Promise.resolve(),
    push: () => current()?.push(),
    close() {
      process.off('exit', exit)
      threads?.sendAll({ type: TYPE, do: 'closed' })
      current()?.close()
      threads?.close()
      uplink.close()
    },
  }
}

function nameOf(thread: number): string {
  return `thread-${thread}`
}

async function sendText(to: Pick<Peer, 'send'>, id: number, text: Promise<HubText>): Promise<void> {
  try {
    const { chunks, names } = await text
    for (const chunk of chunks) {
      to.send({ type: TYPE, do: 'text', id, text: chunk.toString() })
      await turn()
    }
    to.send({ type: TYPE, do: 'text', id, text: '', end: { names: [...names] } })
  } catch (error) {
    to.send({ type: TYPE, do: 'text', id, text: '', end: { names: [], fault: String(error) } })
  }
}
