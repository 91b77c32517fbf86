/**
 * The way between the threads of a process: broadcast channels, which need nothing of the
 * application's own ports. Threads meet on one channel; each then has one of its own with the main
 * thread, so that rows are not copied into all the others.
 */
import type { BroadcastChannel, Worker } from 'node:worker_threads'
import { workerThreads } from '../builtin.js'
import { guarded } from '../faults.js'
import type { Uplink } from './member.js'
import { isOurs, type ToHub, type ToMember } from './wire.js'

const MEETING = 'telltale.metrics.v1'
type Meeting = {
  /** The thread that is there. */
  readonly here?: number
  /** What it has to say, when it ends before the main thread has answered. */
  readonly last?: ToHub
  /** The main thread asks who is there. */
  readonly who?: true
  /** A thread that has ended. */
  readonly ended?: number
}

export type ThreadEvents = {
  receive(threadId: number, message: ToHub): void
  ended(threadId: number): void
}
export type Threads = {
  send(threadId: number, message: ToMember): void
  /** To all of them. */
  sendAll(message: ToMember): void
  close(): void
}

/** In the main thread: meets the others, from the first that is started. */
export function listenToThreads({ receive, ended }: ThreadEvents): Threads {
  const channels = new Map<number, BroadcastChannel>()
  let meeting: BroadcastChannel | undefined

  function meet(): void {
    meeting = open(MEETING, (data) => {
      const { here, last, ended: gone } = data as Meeting
      if (here !== undefined && !channels.has(here)) {
        const channel = open(channelOf(here), (message) => {
          if (isOurs(message)) receive(here, message as ToHub)
        })
        channels.set(here, channel)
        channel.postMessage(WELCOME)
      }
      if (here !== undefined && last !== undefined) receive(here, last)
      if (gone !== undefined) leave(gone)
    })
    meeting.postMessage({ who: true } satisfies Meeting)
  }

  function leave(thread: number): void {
    // What it said last is on its way; the end must come after it.
    setTimeout(() => {
      channels.get(thread)?.close()
      channels.delete(thread)
      ended(thread)
    }, LAST_WORDS_MS).unref()
  }

  const stopWatching = watchThreads(leave, () => {
    if (meeting === undefined) meet()
  })
  return {
    send(thread, message) {
      guarded(() => channels.get(thread)?.postMessage(message))
    },
    sendAll(message) {
      for (const channel of channels.values()) guarded(() => channel.postMessage(message))
    },
    close() {
      stopWatching()
      for (const channel of channels.values()) channel.close()
      channels.clear()
      meeting?.close()
    },
  }
}

const WELCOME = { welcome: true } as const
const LAST_WORDS_MS = 20

/**
 * In another thread: the way to the main one. `onWelcome` is called when it is there, again when it
 * came back; until then nothing is sent but, by `last`, the words of a thread that ends.
 */
export function openMainThread(
  receive: (message: ToMember) => void,
  onWelcome: () => void,
): Uplink & { readonly last: Uplink; close(): void } {
  let isWelcome = false
  const { threadId } = workerThreads()
  const channel = open(channelOf(threadId), (data) => {
    if (isOurs(data)) receive(data as ToMember)
    else if ((data as Partial<typeof WELCOME>).welcome === true) {
      isWelcome = true
      onWelcome()
    }
  })
  const meeting = open(MEETING, (data) => {
    if ((data as Meeting).who === true) meeting.postMessage({ here: threadId } satisfies Meeting)
  })
  meeting.postMessage({ here: threadId } satisfies Meeting)
  // The main thread only sees the end of those that it started itself.
  const stopWatching = watchThreads((thread) => {
    guarded(() => meeting.postMessage({ ended: thread } satisfies Meeting))
  })
  return {
    send(message, sent) {
      if (isWelcome) guarded(() => channel.postMessage(message))
      sent?.()
    },
    last: {
      send(last) {
        guarded(() => meeting.postMessage({ here: threadId, last } satisfies Meeting))
      },
    },
    close() {
      stopWatching()
      channel.close()
      meeting.close()
    },
  }
}

function watchThreads(ended: (threadId: number) => void, started?: () => void): () => void {
  const onWorker = (worker: Worker): void => {
    const { threadId: id } = worker
    guarded(() => started?.())
    worker.once('exit', () => guarded(() => ended(id)))
  }
  process.on('worker', onWorker as never)
  return () => {
    process.off('worker', onWorker as never)
  }
}

/** Opens a channel that keeps no thread alive. */
function open(name: string, receive: (data: unknown) => void): BroadcastChannel {
  const channel = new (workerThreads().BroadcastChannel)(name)
  channel.onmessage = (event: unknown) => guarded(() => receive((event as { data: unknown }).data))
  channel.unref()
  return channel
}

function channelOf(thread: number): string {
  return `${MEETING}.${thread}`
}
