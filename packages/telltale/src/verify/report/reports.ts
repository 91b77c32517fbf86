/** Writes what the options ask for. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import type { Evidence } from '../evidence.js'
import { UsageError, type VerifyOptions } from '../options.js'
import { renderCtrf } from './ctrf.js'
import { renderGithub } from './github.js'
import { renderJunit } from './junit.js'
import type { Report, Timeline } from './report.js'
import { renderSarif } from './sarif.js'
import { saveRun } from './save.js'
import { renderTap } from './tap.js'

export function writeReports(
  options: VerifyOptions,
  report: Report,
  timeline: Timeline,
  evidence: Evidence,
): void {
  const write = (file: string | undefined, render: (report: Report) => string): void => {
    if (file === undefined) return
    const path = resolve(options.cwd, file)
    writing(path, () => {
      mkdirSync(dirname(path), { recursive: true })
      writeFileSync(path, render(report))
    })
  }
  write(options.junit, renderJunit)
  write(options.ctrf, renderCtrf)
  write(options.sarif, renderSarif)
  if (options.save !== undefined) {
    const folder = resolve(options.cwd, options.save)
    writing(folder, () => saveRun(folder, report, timeline, evidence))
  }
  if (options.json) process.stdout.write(`${JSON.stringify(report, undefined, 2)}\n`)
  else if (options.tap) process.stdout.write(renderTap(report))
  else if (options.github) process.stdout.write(renderGithub(report))
}

/** What the disk refuses is told with the path, not as a failure of ours. */
function writing(path: string, write: () => void): void {
  try {
    write()
  } catch (error) {
    throw new UsageError(
      `The report could not be written to ${path}: ${(error as Error).message}. Name a place that can be written to.`,
      3,
    )
  }
}
