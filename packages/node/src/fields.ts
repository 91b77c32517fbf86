/** Every field name of a log line, in one place. `docs/fields.md` is made of this list. */

/** The names that a caller's fields can never overwrite. */
export const RESERVED = [
  'timestamp',
  'level',
  'event',
  'service',
  'environment',
  'release',
  'request_id',
  'trace_id',
  'span_id',
] as const

/** What each field means: its JSON type, its unit, and the lines that carry it. */
export const FIELDS: Readonly<
  Record<string, { readonly type: string; readonly on: string; readonly meaning: string }>
> = {
  timestamp: {
    type: 'string',
    on: 'every line',
    meaning: 'RFC 3339, UTC, milliseconds, ends in Z',
  },
  level: { type: 'string', on: 'every line', meaning: 'trace, debug, info, warn, error or fatal' },
  event: { type: 'string', on: 'every line', meaning: 'what happened, in snake_case by habit' },
  logger: { type: 'string', on: 'lines of a named logger', meaning: 'the name given to child()' },
  service: { type: 'string', on: 'every line', meaning: 'the name of this service' },
  environment: { type: 'string', on: 'every line', meaning: 'production, staging, development …' },
  release: { type: 'string', on: 'every line, when known', meaning: 'the version that runs' },
  request_id: {
    type: 'string',
    on: 'every line of a request or of runWith()',
    meaning: 'the id answered as X-Request-ID',
  },
  trace_id: { type: 'string', on: 'as request_id', meaning: 'W3C trace id, 32 hex digits' },
  span_id: { type: 'string', on: 'as request_id', meaning: 'W3C span id, 16 hex digits' },
  method: { type: 'string', on: 'request_finished', meaning: 'HTTP method' },
  path: {
    type: 'string',
    on: 'request_finished',
    meaning: 'path without query, at most 2048 bytes',
  },
  path_truncated: { type: 'boolean', on: 'request_finished', meaning: 'true when path was cut' },
  route: { type: 'string | null', on: 'request_finished', meaning: 'route template, /users/:id' },
  status_code: {
    type: 'number',
    on: 'request_finished',
    meaning:
      'the status sent; when the connection ended before any was sent, 500 by an error of the application, else 499',
  },
  latency_ms: { type: 'number', on: 'request_finished', meaning: 'milliseconds, monotonic clock' },
  aborted: { type: 'boolean', on: 'request_finished', meaning: 'true when the answer was cut off' },
  reason: {
    type: 'string',
    on: 'aborted request_finished, request_interrupted, readiness_changed',
    meaning:
      'why: client_closed, server_closed, error (the application destroyed the answer with one), timeout, shutdown, crash, or the class of a failed check',
  },
  event_id: {
    type: 'string',
    on: 'request_finished of a failure, with a tracker',
    meaning:
      'the event at the tracker, 32 hex digits; a storm of one error sends only some of them',
  },
  request_id_in: {
    type: 'string',
    on: 'request_finished',
    meaning: 'the incoming id that was not accepted, at most 64 characters',
  },
  db_count: { type: 'number', on: 'request_finished, when known', meaning: 'queries made' },
  db_ms: { type: 'number', on: 'request_finished, when known', meaning: 'milliseconds in queries' },
  http_out_count: { type: 'number', on: 'request_finished, when known', meaning: 'requests made' },
  http_out_ms: {
    type: 'number',
    on: 'request_finished, when known',
    meaning: 'milliseconds in them',
  },
  sample_weight: {
    type: 'number',
    on: 'sampled request_finished',
    meaning: 'how many requests this line stands for',
  },
  args: {
    type: 'array',
    on: 'lines whose call had values left over',
    meaning: 'the values that fitted nowhere else, in order',
  },
  count: { type: 'number', on: 'log_lines_dropped', meaning: 'lines that were not written' },
  by_level: {
    type: 'object',
    on: 'log_lines_dropped when standard output stalled',
    meaning: 'how many of them by level',
  },
  error: {
    type: 'object',
    on: 'lines with an error',
    meaning: '{type, message, code, stack, cause, errors}, causes nested, at most 5 deep',
  },
  fields: {
    type: 'object',
    on: 'lines whose caller used a reserved name',
    meaning: 'the fields that a caller named like one of ours',
  },
  truncated: {
    type: 'boolean',
    on: 'lines over the size limit',
    meaning: 'true when values were cut',
  },
  version: { type: 'string', on: 'telltale_started', meaning: 'the version of the kit' },
  node: { type: 'string', on: 'telltale_started', meaning: 'the version of Node' },
  parts: {
    type: 'object',
    on: 'telltale_started',
    meaning: 'each part of the kit: on or off, and why',
  },
  code: {
    type: 'string',
    on: 'request_rejected',
    meaning: "Node's error code, HPE_INVALID_METHOD and the like",
  },
  from: { type: 'string', on: 'readiness_changed', meaning: 'readiness before' },
  to: { type: 'string', on: 'readiness_changed', meaning: 'readiness now' },
  status: { type: 'string', on: 'readiness_unchanged', meaning: 'readiness now' },
  checks: {
    type: 'object',
    on: 'readiness_changed, readiness_unchanged',
    meaning: 'the checks at fault, each with its reason',
  },
  down_ms: {
    type: 'number',
    on: 'readiness_changed on recovery, readiness_unchanged',
    meaning: 'milliseconds since readiness was lost',
  },
  failed_runs: {
    type: 'number',
    on: 'readiness_unchanged',
    meaning: 'failed runs of checks since the last such line',
  },
  signal: { type: 'string', on: 'shutdown_*', meaning: 'SIGTERM, SIGINT, or close' },
  in_flight: { type: 'number', on: 'shutdown_started', meaning: 'requests being answered' },
  duration_ms: {
    type: 'number',
    on: 'shutdown_finished, shutdown_overdue',
    meaning: 'milliseconds since the signal',
  },
  forced: {
    type: 'boolean',
    on: 'shutdown_finished',
    meaning: 'true when requests were cut off at the deadline',
  },
  closers_failed: {
    type: 'number',
    on: 'shutdown_finished',
    meaning: 'closers that failed or hung',
  },
  closer: { type: 'string', on: 'shutdown_closer_failed', meaning: "the closer's function name" },
}

/** The lines that the kit writes by itself: their usual level, and when. */
export const EVENTS: Readonly<
  Record<string, { readonly level: string; readonly meaning: string }>
> = {
  telltale_started: {
    level: 'info',
    meaning: 'init is done; says what is on, what is off, and why',
  },
  verify_work: {
    level: 'info',
    meaning: 'a verify route at work; only with TELLTALE_VERIFY_TOKEN',
  },
  verify_burst: { level: 'info', meaning: 'a value that loggers stumble over; as verify_work' },
  verify_crash: { level: 'info', meaning: 'a line before a deliberate crash; as verify_work' },
  request_finished: {
    level: 'info; warn when aborted or 429; error from 500',
    meaning: 'a request has ended: exactly one line each',
  },
  request_rejected: { level: 'warn', meaning: "Node's HTTP parser refused what a client sent" },
  request_interrupted: {
    level: 'warn',
    meaning: 'a shutdown or a crash cut the request off; it gets no request_finished',
  },
  readiness_changed: {
    level: 'info, warn when degraded, error when failed',
    meaning: 'the answer of the ready endpoint changed, and why',
  },
  readiness_unchanged: { level: 'warn', meaning: 'still not ready; once a minute' },
  uncaught_exception: { level: 'fatal', meaning: 'the process ends with this error' },
  unhandled_rejection: { level: 'fatal', meaning: 'the process ends with this rejection' },
  shutdown_started: { level: 'info', meaning: 'a signal came; not ready, draining' },
  shutdown_closer_failed: { level: 'error', meaning: 'something given to close failed or hung' },
  shutdown_overdue: { level: 'warn', meaning: 'a second signal or the deadline ends the process' },
  shutdown_finished: {
    level: 'info, warn when forced',
    meaning: 'everything is closed and flushed',
  },
  log_lines_dropped: { level: 'warn', meaning: 'standard output stalled; how many lines are lost' },
  node_warning: {
    level: 'warn',
    meaning: 'a warning of Node (process.emitWarning), with its stack',
  },
}
