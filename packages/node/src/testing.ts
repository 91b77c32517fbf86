/**
 * `@telltale/node/testing`: what a service's own tests need to see what it would have told: the
 * events a tracker would receive, and the lines that would be on stdout.
 */
import type { ErrorEvent, ErrorTracker } from './errors/tracker.js'
import { logging } from './log/logger.js'

/** A tracker that keeps what it receives. Pass it to `init` as `errors.tracker`. */
export type MemoryTracker = ErrorTracker & {
  /** Error events, oldest first, as a tracker would receive them: scrubbed and complete. */
  readonly events: ErrorEvent[]
  /** Transactions, oldest first, parsed. */
  readonly transactions: Record<string, unknown>[]
  readonly checkIns: Record<string, unknown>[]
  /** The first event, past or future, that matches; rejects after `timeoutMs`, default 5,000. */
  next(matches?: (event: ErrorEvent) => boolean, timeoutMs?: number): Promise<ErrorEvent>
  clear(): void
}

/**
 * Makes a tracker in memory.
 *
 * @example
 * const tracker = createMemoryTracker()
 * init({ service: 'shop', errors: { tracker } })
 * // … a request that fails …
 * const event = await tracker.next()
 * assert.equal(event.transaction, 'GET /orders/:id')
 */
export function createMemoryTracker(): MemoryTracker {
  const events: ErrorEvent[] = []
  const transactions: Record<string, unknown>[] = []
  const checkIns: Record<string, unknown>[] = []
  const waiting = new Set<(event: ErrorEvent) => void>()
  return {
    name: 'memory',
    events,
    get transactions() {
      logging.settle()
      return transactions
    },
    checkIns,
    capture(event) {
      events.push(event)
      for (const tell of [...waiting]) tell(event)
    },
    transaction(json) {
      transactions.push(JSON.parse(json))
    },
    checkIn(json) {
      checkIns.push(JSON.parse(json))
    },
    flush: () => Promise.resolve(true),
    close: () => Promise.resolve(true),
    next(matches = () => true, timeoutMs = 5000) {
      const found = events.find(matches)
      if (found !== undefined) return Promise.resolve(found)
      return new Promise((resolve, reject) => {
        const tell = (event: ErrorEvent): void => {
          if (!matches(event)) return
          clearTimeout(timer)
          waiting.delete(tell)
          resolve(event)
        }
        const timer = setTimeout(() => {
          waiting.delete(tell)
          reject(
            new Error(
              `No such event within ${timeoutMs} ms; ${events.length} others came. Is the error caught before it reaches the framework?`,
            ),
          )
        }, timeoutMs)
        waiting.add(tell)
      })
    },
    clear() {
      logging.settle()
      events.length = 0
      transactions.length = 0
      checkIns.length = 0
    },
  }
}

/** A line as it would be on stdout, parsed. */
export type CapturedLine = Readonly<Record<string, unknown>> & {
  readonly level: string
  readonly event: string
}

/** Lines kept instead of printed, until `stop`. */
export type LogCapture = {
  readonly lines: CapturedLine[]
  /** The lines of one event name. */
  of(event: string): CapturedLine[]
  clear(): void
  stop(): void
}

/**
 * Keeps log lines in memory instead of writing them to stdout. Call it after `init`.
 *
 * @example
 * const logs = captureLogs()
 * await placeOrder()
 * assert.equal(logs.of('order_placed').length, 1)
 * logs.stop()
 */
export function captureLogs(): LogCapture {
  const lines: CapturedLine[] = []
  const stop = logging.capture((line) => {
    lines.push(JSON.parse(line) as CapturedLine)
  })
  const settled = (): CapturedLine[] => {
    logging.settle()
    return lines
  }
  return {
    get lines() {
      return settled()
    },
    of: (event) => settled().filter((line) => line.event === event),
    clear() {
      settled().length = 0
    },
    stop,
  }
}
