/**
 * How a line is named. A preset renames fields and levels; it never restructures, so that every
 * preset carries the same facts in the same order.
 *
 * Sources: ECS field reference and ecs-logging specification (elastic.co/docs/reference/ecs);
 * Google Cloud structured logging (cloud.google.com/logging/docs/structured-logging); Datadog
 * standard attributes (docs.datadoghq.com/standard-attributes) and connecting logs and traces
 * (docs.datadoghq.com/tracing/other_telemetry/connect_logs_and_traces); pino's own line.
 */
import type { LevelName, Preset } from '../options.js'

/** Names of a line's fields in one preset. */
export type PresetNames = {
  /** Our name → the preset's; names that are not listed stay. */
  readonly names: Readonly<Record<string, string>>
  /** JSON text of each level. */
  readonly levels: Readonly<Record<LevelName, string>>
  /** RFC 3339 text, or a number of milliseconds since the epoch. */
  readonly time: 'iso' | 'epoch'
  /** Names inside the error object. */
  readonly error: Readonly<Record<'type' | 'message' | 'stack', string>>
  /** Constant fragment after the service's fields; '' when none. */
  readonly constant: string
}

const NAMED: Readonly<Record<LevelName, string>> = {
  trace: '"trace"',
  debug: '"debug"',
  info: '"info"',
  warn: '"warn"',
  error: '"error"',
  fatal: '"fatal"',
}
const ERROR = { type: 'type', message: 'message', stack: 'stack' }

export const PRESET_NAMES: Readonly<Record<Preset, PresetNames>> = {
  telltale: { names: {}, levels: NAMED, time: 'iso', error: ERROR, constant: '' },
  ecs: {
    names: {
      timestamp: '@timestamp',
      level: 'log.level',
      event: 'message',
      logger: 'log.logger',
      service: 'service.name',
      environment: 'service.environment',
      release: 'service.version',
      request_id: 'http.request.id',
      trace_id: 'trace.id',
      span_id: 'span.id',
      method: 'http.request.method',
      path: 'url.path',
      route: 'http.route',
      status_code: 'http.response.status_code',
    },
    levels: NAMED,
    time: 'iso',
    error: { type: 'type', message: 'message', stack: 'stack_trace' },
    constant: ',"ecs.version":"8.11"',
  },
  gcp: {
    names: {
      timestamp: 'time',
      level: 'severity',
      event: 'message',
      trace_id: 'logging.googleapis.com/trace',
      span_id: 'logging.googleapis.com/spanId',
    },
    levels: {
      trace: '"DEBUG"',
      debug: '"DEBUG"',
      info: '"INFO"',
      warn: '"WARNING"',
      error: '"ERROR"',
      fatal: '"CRITICAL"',
    },
    time: 'iso',
    error: ERROR,
    constant: '',
  },
  datadog: {
    names: {
      level: 'status',
      event: 'message',
      logger: 'logger.name',
      environment: 'dd.env',
      release: 'dd.version',
      request_id: 'http.request_id',
      trace_id: 'dd.trace_id',
      span_id: 'dd.span_id',
      method: 'http.method',
      path: 'http.url_details.path',
      route: 'http.route',
      status_code: 'http.status_code',
    },
    levels: { ...NAMED, fatal: '"critical"' },
    time: 'iso',
    error: { type: 'kind', message: 'message', stack: 'stack' },
    constant: '',
  },
  pino: {
    names: { timestamp: 'time', event: 'msg', error: 'err' },
    levels: { trace: '10', debug: '20', info: '30', warn: '40', error: '50', fatal: '60' },
    time: 'epoch',
    error: ERROR,
    constant: '',
  },
}

/** The name that a preset gives to one of our fields. */
export function nameIn(preset: PresetNames, field: string): string {
  return preset.names[field] ?? field
}
