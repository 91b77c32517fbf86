/** `telltale verify`: options in, reports out, an exit code. */
import { createTerminal } from '../terminal.js'
import { choose, judge } from './checks/index.js'
import { HELP, readOptions, UsageError, type VerifyOptions } from './options.js'
import { renderPeople } from './report/people.js'
import { makeErrorReport, makeReport, makeTimeline, type Report } from './report/report.js'
import { writeReports } from './report/reports.js'
import { createRun } from './run.js'

/** Runs the command; resolves with the exit code of docs/verify.md. Never throws. */
export async function verify(argv: readonly string[]): Promise<number> {
  const startedAt = new Date()
  const isJson = argv
    .slice(0, argv.includes('--') ? argv.indexOf('--') : undefined)
    .includes('--json')
  let options: VerifyOptions | 'help'
  try {
    options = readOptions(argv, process.cwd())
    if (options === 'help') {
      process.stdout.write(`${HELP}\n`)
      return 0
    }
    choose(options)
  } catch (error) {
    return refuse(error, isJson, startedAt)
  }
  return await verifyService(options, startedAt)
}

async function verifyService(options: VerifyOptions, startedAt: Date): Promise<number> {
  const terminal = createTerminal(
    process.stdout,
    process.stderr,
    options.quiet || options.json || options.tap,
  )
  const begin = performance.now()
  const run = createRun(options, (what) => terminal.progress(what))
  const interruption = interrupted()
  try {
    const evidence = await Promise.race([run.done, interruption.came])
    if (evidence === 'interrupted') {
      terminal.clear()
      // What is under way fails now that its service is gone; nobody listens any more.
      run.done.catch(() => {})
      await run.close()
      return tell(makeErrorReport('interrupted', 130, startedAt), options.json)
    }
    const durationMs = performance.now() - begin
    const report = makeReport(evidence, judge(evidence, choose(options)), durationMs)
    terminal.clear()
    await run.close()
    writeReports(options, report, makeTimeline(evidence, durationMs), evidence)
    if (!options.json && !options.tap) process.stdout.write(`${renderPeople(report, terminal)}\n`)
    return report.exitCode
  } catch (error) {
    terminal.clear()
    await run.close()
    return refuse(error, options.json, startedAt)
  } finally {
    interruption.stop()
  }
}

/** Ctrl-C and SIGTERM, taken until `stop`: what was started has to be ended first. */
function interrupted(): { readonly came: Promise<'interrupted'>; stop(): void } {
  let tell: (what: 'interrupted') => void = () => {}
  const came = new Promise<'interrupted'>((resolve) => {
    tell = resolve
  })
  const onSignal = (): void => tell('interrupted')
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal)
  return {
    came,
    stop() {
      for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(signal, onSignal)
    },
  }
}

function refuse(error: unknown, isJson: boolean, startedAt: Date): number {
  const isUsage = error instanceof UsageError
  const message = isUsage ? error.message : `verify failed itself: ${(error as Error).stack}`
  return tell(makeErrorReport(message, isUsage ? error.exitCode : 3, startedAt), isJson)
}

function tell(report: Report, isJson: boolean): number {
  if (isJson) process.stdout.write(`${JSON.stringify(report)}\n`)
  else process.stderr.write(`\n${report.error?.message}\n`)
  return report.exitCode
}
