/**
 * A check's own connection: opened from the application's options, kept between runs, opened again
 * when it broke, destroyed at the timeout. The application's pool never has a waiter of ours.
 */
import { lookup } from 'node:dns'
import { isIP } from 'node:net'
import type { HealthCheckContext, HealthOutcome } from '../options.js'

/** One connection of a check. */
export type Link = {
  /** Connects and signs in. */
  open(): Promise<void>
  /** One real round trip. */
  ask(): Promise<HealthOutcome>
  /** Cuts the connection at once, also while it is being opened. Must not throw. */
  destroy(): void
}

export type KeptLink = {
  /** Asks over the kept connection, or over a new one. Settles at the latest when `signal` aborts. */
  ask(signal: AbortSignal, context: HealthCheckContext): Promise<HealthOutcome>
  close(): void
}

/** Keeps one link; `make` creates it without connecting and calls `onBroken` when it is lost later. */
export function createKeptLink(
  make: (context: HealthCheckContext, onBroken: () => void) => Link,
): KeptLink {
  let kept: Link | undefined

  function drop(link: Link): void {
    if (kept === link) kept = undefined
    link.destroy()
  }

  return {
    async ask(signal, context) {
      for (;;) {
        const reused = kept
        const link: Link = reused ?? make(context, () => drop(link))
        kept = link
        try {
          return await abortable(
            signal,
            () => drop(link),
            async () => {
              if (reused === undefined) await link.open()
              return link.ask()
            },
          )
        } catch (error) {
          drop(link)
          // A kept connection that was cut meanwhile says nothing about the server now.
          if (reused === undefined || signal.aborted) throw error
        }
      }
    },
    close() {
      if (kept !== undefined) drop(kept)
    },
  }
}

/** Runs `work`; when `signal` aborts first, calls `onAbort` and rejects with the signal's reason. */
export function abortable<T>(
  signal: AbortSignal,
  onAbort: () => void,
  work: () => Promise<T>,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => {
      onAbort()
      reject(signal.reason)
    }
    if (signal.aborted) return abort()
    signal.addEventListener('abort', abort, { once: true })
    work()
      .then(resolve, reject)
      .finally(() => signal.removeEventListener('abort', abort))
  })
}

const lookups = new Map<string, Promise<void>>()

/**
 * Resolves once `host` has an address. Names are looked up in Node's thread pool of four and cannot
 * be cancelled there, so a resolver that hangs is asked once per name, not once per run.
 */
export function hasAddress(host: string | undefined): Promise<void> {
  if (host === undefined || host === '' || host.startsWith('/') || isIP(host) !== 0) {
    return Promise.resolve()
  }
  let pending = lookups.get(host)
  if (pending === undefined) {
    pending = new Promise<void>((resolve, reject) => {
      lookup(host, (error) => (error === null ? resolve() : reject(error)))
    }).finally(() => lookups.delete(host))
    lookups.set(host, pending)
  }
  return pending
}
