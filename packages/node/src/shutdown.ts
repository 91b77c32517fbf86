/**
 * From the signal to the end of the process: not ready, drain, last requests, closers, flush, exit.
 *
 * The exit code is `process.exitCode` when something set it, else 0 for a drain that completed, and
 * 128 + the signal's number for one that was cut off. An application that listens to the same
 * signal keeps the last word: everything happens but the exit.
 */
import type { Server } from 'node:net'
import { constants } from 'node:os'
import { ownListeners } from './context.js'
import { reportFault } from './faults.js'
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
  flushSync(): void
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
/** Of the time that is left, kept for flushing logs and errors. */
const FLUSH_MS = 2000
/** Terminals and npm both pass Ctrl-C on: a second signal this soon is the same one. */
const SAME_SIGNAL_MS = 300
const POLL_MS = 20

/** Installs the signal handlers when `settings.enabled`. Nothing here throws or holds an idle process. */
export function createShutdown(settings: Settings['shutdown'], deps: ShutdownDeps): Shutdown {
  const closers: (() => unknown)[] = [...settings.closers]
  const handlers = new Map<Signal, () => void>()
  let running: Promise<boolean> | undefined
  let startTick = 0

  /** True when everything ended in time. */
  async function run(signal: string): Promise<boolean> {
    startTick = performance.now()
    const deadline = startTick + settings.timeoutMs
    guard(() => deps.onDrain())
    guard(() => deps.log.info('shutdown_started', { signal, in_flight: deps.inFlight() }))
    await sleep(Math.min(settings.drainDelayMs, settings.timeoutMs))

    const servers = [...deps.servers()] as HttpServer[]
    const closed = Promise.all(servers.map(closeServer))
    let open = servers.length > 0
    void closed.then(() => {
      open = false
    })
    while ((open || deps.inFlight() > 0) && performance.now() < deadline - reserve()) {
      for (const server of servers) guard(() => server.closeIdleConnections?.())
      await sleep(POLL_MS)
    }
    const forced = open || deps.inFlight() > 0
    if (forced) {
      guard(() => deps.interrupt('shutdown'))
      for (const server of servers) guard(() => server.closeAllConnections?.())
    }
    const failed = await runClosers(deadline)
    await within(deps.flush(FLUSH_MS), FLUSH_MS)
    guard(() =>
      deps.log[forced || failed > 0 ? 'warn' : 'info']('shutdown_finished', {
        signal,
        duration_ms: Math.round(performance.now() - startTick),
        forced,
        closers_failed: failed,
      }),
    )
    guard(() => deps.flushSync())
    return !forced
  }

  /** Time kept back for closers and the flush; a short timeout is shared out. */
  function reserve(): number {
    return Math.min(FLUSH_MS, settings.timeoutMs / 4)
  }

  async function runClosers(deadline: number): Promise<number> {
    let failed = 0
    for (const close of closers) {
      const leftMs = Math.max(50, deadline - performance.now())
      try {
        const done = await within(Promise.resolve(close()), leftMs)
        if (done) continue
        throw new Error(`it did not finish within ${Math.round(leftMs)} ms`)
      } catch (error) {
        failed++
        reportFault('TELLTALE_E_SHUTDOWN', error)
        guard(() => deps.log.error('shutdown_closer_failed', { closer: close.name, error }))
      }
    }
    return failed
  }

  function onSignal(signal: Signal): void {
    if (running !== undefined) {
      if (performance.now() - startTick < SAME_SIGNAL_MS) return
      guard(() => deps.interrupt('shutdown'))
      guard(() => deps.flushSync())
      process.exit(exitCode(signal, false))
    }
    running = run(signal)
    void running.then((complete) => {
      if (!isAlone(signal)) {
        if (!complete) process.exitCode ??= exitCode(signal, false)
        return
      }
      process.exit(exitCode(signal, complete))
    })
  }

  /** True when nobody but the kit listens. */
  function isAlone(signal: Signal): boolean {
    return process.listeners(signal).every((listener) => ownListeners.has(listener))
  }

  if (settings.enabled) {
    for (const signal of SIGNALS) {
      const handler = (): void => onSignal(signal)
      handlers.set(signal, handler)
      ownListeners.add(handler)
      process.on(signal, handler)
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
  return complete ? 0 : 128 + constants.signals[signal]
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    try {
      server.close(() => resolve())
    } catch {
      resolve()
    }
  })
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

function guard(act: () => void): void {
  try {
    act()
  } catch (error) {
    reportFault('TELLTALE_E_INTERNAL', error)
  }
}
