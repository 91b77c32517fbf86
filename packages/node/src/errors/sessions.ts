/**
 * Release health: how many requests ended well, with an error, in a crash. Sentry's request-mode
 * sessions, added up per minute in which they started.
 * https://develop.sentry.dev/sdk/telemetry/sessions/
 */
import type { Unit } from '../context.js'

/** Milliseconds between two reports. Sentry's session flusher. */
export const SESSIONS_INTERVAL_MS = 60_000
const MINUTE_MS = 60_000
/** Minutes kept until the next report; requests that began in others count for the newest of these. */
const MAX_MINUTES = 60

export type Sessions = {
  /** Counts a finished request by its `sessionStatus`. One comparison and one increment; never throws. */
  count(unit: Unit): void
  /** Reports what was counted since the last report; nothing when that is nothing. */
  report(): void
  /** Ends the reports of every `SESSIONS_INTERVAL_MS`. */
  close(): void
}

type Minute = { readonly startMs: number; exited: number; errored: number; crashed: number }

/**
 * Starts to count. `send` receives the payload of a `sessions` item as JSON text; it must not throw.
 * Call it outside every request: its timer must hold no request's context.
 */
export function createSessions(
  attributes: { readonly release: string; readonly environment: string },
  send: (json: string) => void,
  intervalMs: number = SESSIONS_INTERVAL_MS,
): Sessions {
  const attrs = JSON.stringify(attributes)
  let minutes: Minute[] = []
  let current: Minute = { startMs: Number.NEGATIVE_INFINITY, exited: 0, errored: 0, crashed: 0 }
  const timer = setInterval(report, intervalMs).unref()

  /** The minute of a start time; a request may have begun long before it ends. */
  function minuteOf(ms: number): Minute {
    const startMs = Math.floor(ms / MINUTE_MS) * MINUTE_MS
    let minute = minutes.find((one) => one.startMs === startMs)
    if (minute === undefined) {
      if (minutes.length >= MAX_MINUTES) return minutes.at(-1) as Minute
      minute = { startMs, exited: 0, errored: 0, crashed: 0 }
      minutes.push(minute)
    }
    return minute
  }

  function report(): void {
    if (minutes.length === 0) return
    const aggregates = minutes.map(({ startMs, ...counts }) => ({
      started: new Date(startMs).toISOString(),
      ...counts,
    }))
    minutes = []
    current = { startMs: Number.NEGATIVE_INFINITY, exited: 0, errored: 0, crashed: 0 }
    send(`{"aggregates":${JSON.stringify(aggregates)},"attrs":${attrs}}`)
  }

  return {
    count(unit) {
      const sinceMs = unit.startMs - current.startMs
      if (!(sinceMs >= 0 && sinceMs < MINUTE_MS)) current = minuteOf(unit.startMs)
      current[unit.sessionStatus]++
    },
    report,
    close: () => clearInterval(timer),
  }
}
