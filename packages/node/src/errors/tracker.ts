/** What an error tracker is, and the event it receives. Event fields are Sentry's, whose protocol is the lingua franca. */
import type { Fields, User } from '../context.js'

/** One frame, oldest first in `frames`. Sentry's stack trace interface. */
export type StackFrame = {
  filename?: string
  abs_path?: string
  module?: string
  function?: string
  lineno?: number
  colno?: number
  in_app?: boolean
  pre_context?: string[]
  context_line?: string
  post_context?: string[]
  data?: Record<string, unknown>
}

/** One exception of a chain; the outermost is the last of `values`. */
export type ExceptionValue = {
  type?: string
  value?: string
  module?: string
  stacktrace?: { frames: StackFrame[] }
  mechanism?: {
    type: string
    handled: boolean
    synthetic?: boolean
    source?: string
    exception_id?: number
    parent_id?: number
    is_exception_group?: boolean
    data?: Record<string, unknown>
  }
}

/** An error or message, scrubbed and bounded. Sentry's event payload. */
export type ErrorEvent = {
  event_id: string
  /** Seconds since the epoch, fractional. */
  timestamp: number
  platform: 'node'
  level: string
  logger?: string
  server_name?: string
  release?: string
  environment?: string
  /** Route as `METHOD /path/:id`, or the unit's name. */
  transaction?: string
  message?: string
  exception?: { values: ExceptionValue[] }
  fingerprint?: readonly string[]
  user?: User
  tags?: Record<string, string>
  extra?: Record<string, unknown>
  contexts?: Record<string, Fields>
  breadcrumbs?: { values: unknown[] }
  request?: {
    method?: string
    url?: string
    query_string?: string
    headers?: Record<string, string>
    data?: unknown
    env?: Record<string, string>
  }
  sdk?: { name: string; version: string }
  modules?: Record<string, string>
}

/** A service that receives errors. Methods never throw into the kit's caller; the kit guards them anyway. */
export type ErrorTracker = {
  readonly name: string
  /** False while nobody would receive an event; asked at each capture, which then costs nothing. Absent: always true. */
  isActive?(): boolean
  /** Takes a finished, scrubbed event. Must not block; failures are the tracker's to count. */
  capture(event: ErrorEvent, hint: { readonly originalException: unknown }): void
  /** Takes a transaction payload (Sentry's transaction event as JSON text). Absent: no traces. */
  transaction?(json: string): void
  /** True when a transaction would go nowhere, so that it need not be written; a loss is counted then. Absent: never. */
  refusesTransaction?(): boolean
  /** Takes one span v2 as JSON text; used when trace.format is 'stream'. */
  span?(json: string): void
  checkIn?(json: string): void
  /** Takes the payload of a `sessions` item as JSON text: requests counted for release health. */
  sessions?(json: string): void
  /** Resolves true when everything was delivered within `timeoutMs`. Never rejects. */
  flush(timeoutMs: number): Promise<boolean>
  close(timeoutMs: number): Promise<boolean>
  /** Loads what the first event needs: called a second after the start, so that it need not wait. */
  prepare?(): void
  /** Last chance while the process exits: write what is unsent to disk, synchronously. */
  spoolSync?(): void
  /** Losses so far by Sentry's discard reason, for /metrics. */
  losses?(): Readonly<Record<string, number>>
}
