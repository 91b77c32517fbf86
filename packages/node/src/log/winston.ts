/**
 * Gives an existing winston logger the ids, as a format to put in `format.combine`.
 *
 * Sources: logform's format contract, `transform(info, options)` that returns the info
 * (github.com/winstonjs/logform#understanding-formats).
 */
import { currentIds } from './pino.js'

/** The part of a winston record that a format sees. */
export type WinstonInfo = { [key: string | symbol]: unknown }

/** A logform format, described by its shape. */
export type WinstonFormat = {
  readonly options: object
  transform(info: WinstonInfo, options?: unknown): WinstonInfo
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
      const ids = currentIds()
      for (const [name, id] of Object.entries(ids)) info[name] ??= id
      return info
    },
  }
}
