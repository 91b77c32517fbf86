/**
 * Gives an existing winston logger the ids, as a format to put in `format.combine`.
 *
 * Sources: logform's format contract, `transform(info, options)` that returns the info
 * (github.com/winstonjs/logform#understanding-formats).
 */
import { currentIds } from './pino.js'

/** A logform format, described by its shape. */
export type WinstonFormat = {
  readonly options: object
  transform<T extends object>(info: T, options?: unknown): T
}

/**
 * The format that puts request_id, trace_id and span_id on every record; ids that are already on it
 * stay. Goes before `format.json()`. Never throws.
 *
 * @example
 * createLogger({ format: format.combine(winstonFormat(), format.json()) })
 */
export function winstonFormat(): WinstonFormat {
  return {
    options: {},
    transform(info) {
      const record = info as Record<string, unknown>
      for (const [name, id] of Object.entries(currentIds())) record[name] ??= id
      return info
    },
  }
}
