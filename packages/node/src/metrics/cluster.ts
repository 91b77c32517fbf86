/**
 * The way between the processes of a `node:cluster`. Only the primary hears all workers, so it has to
 * run the kit, and to do so before it forks: it leaves its process id in the environment, by which a
 * worker knows at once that somebody listens.
 */
import type { Cluster, Worker } from 'node:cluster'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { isThread } from '../builtin.js'
import { guarded } from '../faults.js'
import type { Peer } from './hub.js'
import type { Uplink } from './member.js'
import { isOurs, type ToHub, type ToMember } from './wire.js'

const PRIMARY = 'TELLTALE_CLUSTER_PRIMARY'

/** What this process is in a cluster; `alone` is a worker whose primary does not run the kit. */
export type ClusterRole = 'none' | 'worker' | 'alone'

export function clusterRole(): ClusterRole {
  if (isThread || process.connected !== true) return 'none'
  if (!load().isWorker) return 'none'
  return process.env[PRIMARY] === String(process.ppid) ? 'worker' : 'alone'
}

type HubEvents = {
  receive(peer: Peer, message: ToHub): void
  ended(peer: Peer): void
}

/** Listens to the workers of this process, from the first process that it starts; the answer stops it. */
export function listenToWorkers({ receive, ended }: HubEvents): () => void {
  const peers = new Map<number, Peer>()
  let cluster: Cluster | undefined

  function onMessage(worker: Worker, message: unknown): void {
    if (!isOurs(message)) return
    let peer = peers.get(worker.id)
    if (peer === undefined) {
      const { id } = worker
      peer = {
        prefix: '',
        // The first workers keep the numbers that node:cluster gave them.
        ...(id <= Object.keys(cluster?.workers ?? {}).length && { number: id }),
        send: (down) =>
          guarded(() => {
            if (worker.isConnected()) worker.send(down, () => undefined)
          }),
      }
      peers.set(worker.id, peer)
    }
    receive(peer, message as ToHub)
  }

  // Not on exit: what a worker said last may still be on its way then.
  function onDisconnect(worker: Worker): void {
    const peer = peers.get(worker.id)
    peers.delete(worker.id)
    if (peer !== undefined) ended(peer)
  }

  function onChild(): void {
    guarded(() => {
      unsubscribe('child_process', onChild)
      cluster = load()
      cluster.on('message', onMessage)
      cluster.on('disconnect', onDisconnect)
    })
  }

  process.env[PRIMARY] = String(process.pid)
  // A process that never starts another does not load node:cluster.
  subscribe('child_process', onChild)
  return () => {
    if (process.env[PRIMARY] === String(process.pid)) delete process.env[PRIMARY]
    unsubscribe('child_process', onChild)
    cluster?.off('message', onMessage)
    cluster?.off('disconnect', onDisconnect)
  }
}

/** The way to the primary of this worker; `close` stops listening to it. */
export function openPrimary(receive: (message: ToMember) => void): Uplink & { close(): void } {
  const { worker } = load()
  const onMessage = (message: unknown): void => {
    if (isOurs(message)) receive(message as ToMember)
  }
  // Not on `process`: there a listener of ours would hold the channel, and with it the process.
  worker?.on('message', onMessage)
  return {
    send(message, sent) {
      const done = (): void => sent?.()
      guarded(() => {
        if (process.connected === true) process.send?.(message, undefined, undefined, done)
        else done()
      })
    },
    close: () => {
      worker?.off('message', onMessage)
    },
  }
}

function load(): Cluster {
  return process.getBuiltinModule('node:cluster') as unknown as Cluster
}
