/** The one record of a finished request: log line, metric row and transaction are all written from it. */
import type { Context, Unit } from '../context.js'

/** Why an answer was cut off: `error` by the application's own, `server_closed` by it without one. */
export type AbortReason =
  | 'client_closed'
  | 'server_closed'
  | 'error'
  | 'timeout'
  | 'shutdown'
  | 'crash'

export type RequestRecord = {
  readonly context: Context
  readonly unit: Unit
  readonly method: string
  /** Without query; at most 2048 bytes. */
  readonly path: string
  /** Template such as /users/:id; null when no route matched. */
  readonly route: string | null
  /** 100 to 599. When the connection ended before an answer was begun: 500 by an error of the application's, else 499. */
  readonly statusCode: number
  readonly aborted: boolean
  readonly reason: AbortReason | ''
  /** Milliseconds by the monotonic clock, at most three decimals. */
  readonly latencyMs: number
  /** Successful probe, scrape or quiet path: no line is written. */
  readonly quiet: boolean
  /** True for a completed protocol upgrade (101). */
  readonly upgraded: boolean
}
