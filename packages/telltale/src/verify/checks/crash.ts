/** What a process leaves behind that dies of an uncaught error. */
import { isFatalLevel } from '../dialect.js'
import type { Crash, Evidence } from '../evidence.js'
import { CRASH_EXIT_MS } from '../phases/crash.js'
import { headerOf, quote } from '../reproduce.js'
import { TOKEN_HEADER, verifyRoute } from '../verify-routes.js'
import { type Check, edit, excerpt, fail, pass, unproven, type Verdict } from './check.js'

const WORDS: Readonly<Record<Crash['kind'], string>> = {
  throw: 'an uncaught throw',
  reject: 'an unhandled rejection',
  route: 'the crash route',
}

/** Judges each crash that took place; why there is none otherwise. */
function eachCrash(
  evidence: Evidence,
  judge: (crash: Crash) => Verdict | undefined,
  ok: string,
): Verdict {
  const { crashes = [] } = evidence
  if (crashes.length === 0) {
    return unproven(
      'no way to crash the service is known; name one with --crash-route, or give it the verify routes',
    )
  }
  for (const crash of crashes) {
    if (crash.failure !== undefined)
      return unproven(`the service did not start again: ${excerpt(crash.failure)}`)
    const verdict = judge(crash)
    if (verdict !== undefined) return verdict
  }
  return pass(`${crashes.map(({ kind }) => WORDS[kind]).join(', ')}: ${ok}`)
}

function reproduceOf({ base, token, options }: Evidence, crash: Crash): string {
  const { crashRoute } = options
  if (crash.kind === 'route' && crashRoute !== undefined) {
    return `curl -i -X ${crashRoute.method} ${quote(base + crashRoute.path)}`
  }
  const { path } = verifyRoute(token, 'crash', {
    kind: crash.kind,
    mark: 'again',
    lines: crash.lines,
  })
  return `curl -i ${headerOf(TOKEN_HEADER, token)} ${quote(base + path)}; wait $PID; echo "exit code $?"`
}

export const crash: readonly Check[] = [
  {
    id: 'crash.log',
    title: 'A crash loses no line',
    criterion: 'The last line before the crash and a fatal line are on stdout after the exit.',
    needsStart: true,
    needsLines: true,
    run(evidence) {
      return eachCrash(
        evidence,
        (one) => {
          if (one.exit === undefined)
            return unproven('the process did not die of it; see crash.exit')
          if (evidence.capture.records().length === 0) {
            return unproven('there are no JSON lines; see logs.json')
          }
          const burst = one.records.filter((record) => record.raw.mark === one.mark)
          const lost = one.kind === 'route' ? 0 : one.lines - burst.length
          const fatal = one.records.findLast((record) => isFatalLevel(record.level))
          if (lost === 0 && fatal !== undefined) return undefined
          return fail({
            expected: `${one.kind === 'route' ? '' : `${one.lines} lines written before the crash, and `}a fatal line`,
            got: lost > 0 ? `${burst.length} of ${one.lines} lines` : 'no fatal line',
            evidence: one.records.slice(-3).map((record) => excerpt(record.text)),
            fix: edit(
              'Write to stdout synchronously when the process ends, and log the uncaught error at level fatal first.',
            ),
            reproduce: reproduceOf(evidence, one),
          })
        },
        'every line and a fatal one',
      )
    },
  },
  {
    id: 'crash.event',
    title: 'A crash reaches the tracker',
    criterion: 'An event with level fatal arrives before the process is gone.',
    needsStart: true,
    needsEvents: true,
    run(evidence) {
      return eachCrash(
        evidence,
        (one) => {
          if (one.exit === undefined)
            return unproven('the process did not die of it; see crash.exit')
          if (one.events.length > 0) return undefined
          return fail({
            expected: `an event with level fatal for ${WORDS[one.kind]}`,
            got: 'none',
            evidence: one.records.slice(-2).map((record) => excerpt(record.text)),
            fix: edit(
              'Capture uncaughtException and unhandledRejection, flush for two seconds at most, then exit.',
            ),
            reproduce: reproduceOf(evidence, one),
          })
        },
        'an event with level fatal',
      )
    },
  },
  {
    id: 'crash.exit',
    title: 'A crash ends the process, with a code that says so',
    criterion: 'Exit within 3 s, with a code other than 0.',
    needsStart: true,
    run(evidence) {
      return eachCrash(
        evidence,
        (one) => {
          const limit = CRASH_EXIT_MS * evidence.options.scale
          if (one.exit === undefined || (one.exitMs ?? 0) > limit) {
            return fail({
              expected: `an exit within ${limit / 1000} s`,
              got:
                one.exit === undefined
                  ? `the process goes on after ${WORDS[one.kind]}`
                  : `after ${((one.exitMs ?? 0) / 1000).toFixed(1)} s`,
              fix: edit(
                'Exit after an uncaught error: what state the process is in, nobody knows.',
              ),
              reproduce: reproduceOf(evidence, one),
            })
          }
          if (one.exit.code !== 0) return undefined
          return fail({
            expected: 'an exit code other than 0',
            got: `0 after ${WORDS[one.kind]}, as if all were well`,
            fix: edit(
              'Exit with code 1 after an uncaught error, so that the orchestrator counts it as a crash.',
            ),
            reproduce: reproduceOf(evidence, one),
          })
        },
        `exit code ${evidence.crashes?.map(({ exit }) => exit?.code ?? exit?.signal).join(', ')}`,
      )
    },
  },
]
