/** Severities: names, numbers (pino's), and what applies at run time. */
import type { LevelName } from '../options.js'

export const LEVELS: Readonly<Record<LevelName, number>> = {
  trace: 10,
  debug: 20,
  info: 30,
  warn: 40,
  error: 50,
  fatal: 60,
}
