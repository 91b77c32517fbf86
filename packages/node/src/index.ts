/** `@telltale/node`: one `init()` makes a Node service observable. Exports only. */
export { setRoute } from './adapters/node.js'
export {
  addBreadcrumb,
  captureCheckIn,
  captureEvent,
  captureException,
  captureMessage,
  close,
  counter,
  flush,
  gauge,
  histogram,
  lastEventId,
  setContext,
  setExtra,
  setExtras,
  setLevel,
  setRequestLevel,
  setTag,
  setTags,
  setUser,
  withMonitor,
  withScope,
} from './api.js'
export { bind, keepContext } from './bind.js'
export { currentRequestId, type Fields, type User } from './context.js'
export type { ErrorEvent, ErrorTracker, StackFrame } from './errors/tracker.js'
export { type Fault, type FaultCode, TelltaleError } from './faults.js'
export { type Logger, log } from './log/logger.js'
export type { Counter, Gauge, Histogram } from './metrics/registry.js'
export type {
  HealthCheck,
  HealthCheckSettings,
  HealthOutcome,
  LevelName,
  Preset,
  Settings,
  TelltaleOptions,
} from './options.js'
export { init, type Telltale } from './telltale.js'
export { observe } from './trace/database.js'
export {
  continueTrace,
  runWith,
  type Span,
  type SpanOptions,
  startSpan,
  type WorkOptions,
} from './trace/span.js'
export { VERSION } from './version.js'
