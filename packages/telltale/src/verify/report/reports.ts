/** Writes what the options ask for. */
import type { Evidence } from '../evidence.js'
import type { VerifyOptions } from '../options.js'
import type { Report, Timeline } from './report.js'

export async function writeReports(
  options: VerifyOptions,
  report: Report,
  _timeline: Timeline,
  _evidence: Evidence,
): Promise<void> {
  if (options.json) process.stdout.write(`${JSON.stringify(report, undefined, 2)}\n`)
}
