/**
 * From the signal to the end of the process: not ready, drain, last requests, closers, flush, exit.
 *
 * The exit code is `process.exitCode` when something set it, else 0 when every request was answered,
 * and 128 + the signal's number when one was cut off. An application that listens to the same signal
 * keeps the last word: everything happens but the exit, until the deadline.
 */
import type { Cluster } from 'node:cluster'
import { Server } from 'node:net'
import { os } from './builtin.js'
import { ownListeners } from './context.js'
import { guarded, reportFault } from './faults.js'
import type { Settings } from './options.js'

export type ShutdownDeps = {
  servers(): Iterable<Server>
  /** Requests in flight now. */
  inFlight(): number
  /** Readiness goes 503 and answers get `Connection: close`. */
  onDrain(): void
  /** Ends the requests still in flight with their lines. */
  interrupt(reason: 'shutdown'): void
  readonly log: {
    info(event: string, fields: object): void
    warn(event: string, fields: object): void
    error(event: string, fields: object): void
  }
  flush(timeoutMs: number): Promise<unknown>
}

export type Shutdown = {
  /** True from the first signal on. */
  readonly isDraining: boolean
  /** Runs the shutdown without a signal, and resolves when everything is closed; does not exit. */
  begin(signal?: string): Promise<void>
  /** Adds a closer after those before it; the answer takes it away. */
  addCloser(close: () => unknown): () => void
  /** Gives the signals back. */
  close(): void
}

type Signal = 'SIGTERM' | 'SIGINT'
type HttpServer = Server & { closeIdleConnections?(): void; closeAllConnections?(): void }

const SIGNALS: readonly Signal[] = ['SIGTERM', 'SIGINT']
/** Most of the time that is kept back from the requests: half for the closers, half for the flush. */
const RESERVE_MS = 4000
const FLUSH_MS = 2000
/** What each closer gets however late it is, and the flush after them. */
const LEAST_MS = 50
/** Terminals and npm both pass Ctrl-C on: a second signal this soon is the same one. */
const SAME_SIGNAL_MS = 300
/** How long no request is in flight before kept connections are closed: one may be on its way. */
const QUIET_MS = 100
const POLL_MS = 20

/**
 * Installs the signal handlers when `settings.enabled`. Nothing here throws or holds an idle process.
 *
 * Of `timeoutMs` the drain delay takes at most half; a request gets all but the last quarter (4 s at
 * most), which the closers and the flush share.
 */
export function createShutdown(settings: Settings['shutdown'], deps: ShutdownDeps): Shutdown {
  const closers: (() => unknown)[] = [...settings.closers]
  const handlers = new Map<Signal, () => void>()
  const { timeoutMs } = settings
  const reserveMs = Math.min(RESERVE_MS, timeoutMs / 4)
  let running: Promise<boolean> | undefined
  let startTick = 0

  /** True when every request was answered. */
  async function run(signal: string): Promise<boolean> {
    startTick = performance.now()
    const endTick = startTick + timeoutMs
    guarded(() => deps.onDrain())
    guarded(() => deps.log.info('shutdown_started', { signal, in_flight: deps.inFlight() }))
    await sleep(Math.min(settings.drainDelayMs, timeoutMs / 2))

    const servers: HttpServer[] = [...deps.servers()]
    const open = new Set(servers)
    for (const server of servers) guarded(() => stopListening(server, () => open.delete(server)))
    const workers = signalWorkers(signal)
    await untilQuiet(() => open.size === 0, workers, endTick - reserveMs)
    const forced = deps.inFlight() > 0
    if (forced) guarded(() => deps.interrupt('shutdown'))
    for (const server of servers) {
      guarded(() => (forced ? server.closeAllConnections?.() : server.closeIdleConnections?.()))
    }

    const failed = await runClosers(endTick - reserveMs / 2)
    const flushMs = Math.min(FLUSH_MS, Math.max(LEAST_MS, endTick - performance.now()))
    await within(deps.flush(flushMs), flushMs + LEAST_MS).catch((error) =>
      reportFault('TELLTALE_E_INTERNAL', error),
    )
    tellEnd(signal, forced, failed)
    return !forced
  }

  function tellEnd(signal: string, forced: boolean, closersFailed: number): void {
    const level = forced || closersFailed > 0 ? 'warn' : 'info'
    guarded(() =>
      deps.log[level]('shutdown_finished', {
        signal,
        duration_ms: Math.round(performance.now() - startTick),
        forced,
        closers_failed: closersFailed,
      }),
    )
  }

  /**
   * Resolves when no request has been in flight for a moment, or no connection is left. Kept
   * connections stay open meanwhile, each for one more answer: to close one that looks idle would
   * lose the request that is on its way, and, in Node, the end of an answer not yet written.
   */
  async function untilQuiet(
    isClosed: () => boolean,
    workers: ReadonlySet<unknown>,
    endTick: number,
  ): Promise<void> {
    let busyTick = performance.now()
    for (;;) {
      const isBusy = deps.inFlight() > 0 || workers.size > 0
      const tick = performance.now()
      if (isBusy) busyTick = tick
      if (tick >= endTick || (!isBusy && (isClosed() || tick - busyTick >= QUIET_MS))) return
      await sleep(POLL_MS)
    }
  }

  async function runClosers(endTick: number): Promise<number> {
    let failed = 0
    for (const [index, close] of [...closers].entries()) {
      // A share each: one that hangs must not take the time of those behind it.
      const share = (endTick - performance.now()) / Math.max(1, closers.length - index)
      const leftMs = Math.max(LEAST_MS, share)
      try {
        const done = await within(Promise.resolve(close()), leftMs)
        if (done) continue
        throw new Error(`it did not finish within ${Math.round(leftMs)} ms`)
      } catch (error) {
        failed++
        reportFault('TELLTALE_E_SHUTDOWN', error)
        guarded(() => deps.log.error('shutdown_closer_failed', { closer: close.name, error }))
      }
    }
    return failed
  }

  function onSignal(signal: Signal): void {
    // Asked now: a listener that the application added with `once` is gone after its call.
    const isAlone = process.listeners(signal).every((listener) => ownListeners.has(listener))
    if (running !== undefined) {
      if (performance.now() - startTick < SAME_SIGNAL_MS) return
      guarded(() => deps.interrupt('shutdown'))
      tellEnd(signal, true, 0)
      process.exit(exitCode(signal, false))
    }
    running = run(signal)
    void running.then((complete) => {
      if (isAlone) process.exit(exitCode(signal, complete))
      if (!complete) process.exitCode ??= exitCode(signal, false)
      setTimeout(onOverdue, startTick + timeoutMs - performance.now(), signal).unref()
    })
  }

  function onOverdue(signal: Signal): void {
    const durationMs = Math.round(performance.now() - startTick)
    guarded(() => deps.log.warn('shutdown_overdue', { signal, duration_ms: durationMs }))
    process.exit(exitCode(signal, false))
  }

  if (settings.enabled) {
    for (const signal of SIGNALS) {
      const handler = (): void => onSignal(signal)
      handlers.set(signal, handler)
      ownListeners.add(handler)
      process.prependListener(signal, handler)
    }
  }

  return {
    get isDraining() {
      return running !== undefined
    },
    async begin(signal = 'close') {
      running ??= run(signal)
      await running
    },
    addCloser(close) {
      closers.push(close)
      return () => {
        const index = closers.indexOf(close)
        if (index >= 0) closers.splice(index, 1)
      }
    },
    close() {
      for (const [signal, handler] of handlers) process.off(signal, handler)
      handlers.clear()
    },
  }
}

function exitCode(signal: Signal, complete: boolean): number {
  const set = process.exitCode
  if (set !== undefined && set !== null && set !== 0 && set !== '0') return Number(set) || 1
  return complete ? 0 : 128 + os().constants.signals[signal]
}

/**
 * Gives the port back and leaves the connections alone; http's own close() destroys those it takes
 * for idle. Afterwards the application's close() of this server waits for its end without an error.
 */
function stopListening(server: Server, onClosed: () => void): void {
  let isClosed = false
  server.once('close', () => {
    isClosed = true
    onClosed()
  })
  Server.prototype.close.call(server)
  server.close = (done?: (error?: Error) => void) => {
    if (done !== undefined && isClosed) process.nextTick(done)
    else if (done !== undefined) server.once('close', () => done())
    return server
  }
}

/**
 * In a cluster's primary: passes the signal on to the workers alive now, because an orchestrator
 * signals the first process only. The answer empties as they end.
 */
function signalWorkers(signal: string): ReadonlySet<unknown> {
  const alive = new Set<unknown>()
  guarded(() => {
    if (!SIGNALS.includes(signal as Signal)) return
    const { isPrimary, workers } = process.getBuiltinModule('node:cluster') as unknown as Cluster
    if (!isPrimary) return
    for (const worker of Object.values(workers ?? {})) {
      if (worker === undefined || worker.isDead()) continue
      alive.add(worker)
      worker.once('exit', () => alive.delete(worker))
      worker.process.kill(signal as Signal)
    }
  })
  return alive
}

/** True when `work` settled well in time; rejects as it does. */
async function within(work: Promise<unknown>, timeoutMs: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(resolve, timeoutMs, false)
  })
  try {
    return await Promise.race([work.then(() => true), late])
  } finally {
    clearTimeout(timer)
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
