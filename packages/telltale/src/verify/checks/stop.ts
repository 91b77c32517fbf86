/** SIGTERM. */

import { type Evidence, requestIdOf } from '../evidence.js'
import { EXIT_MS } from '../phases/stop.js'
import { curlOf, quote } from '../reproduce.js'
import { type Check, edit, excerpt, fail, pass, unproven } from './check.js'

const REFUSE_MS = 5000
const TWICE_MS = 2000
const AT_ONCE_MS = 500

/** What was in flight, the signal, and what ready says after it. */
function stopLine({ stop: seen, base, health }: Evidence): string {
  const flight =
    seen?.inFlight === undefined ? '' : `${curlOf(base, seen.inFlight)} & FLIGHT=$!; sleep 0.5; `
  const ready =
    health?.ready === undefined
      ? ''
      : `; sleep ${(AT_ONCE_MS / 1000) * 1.2}; curl -i ${quote(base + health.ready)}`
  const last = 'sleep 3; kill -0 $PID && echo running || { wait $PID; echo "exit code $?"; }'
  return `${flight}kill -TERM $PID${ready}${flight === '' ? '' : '; wait $FLIGHT'}; ${last}`
}

export const stop: readonly Check[] = [
  {
    id: 'stop.graceful',
    title: 'SIGTERM ends the service in order',
    criterion:
      'The request in flight gets its answer, ready is 503 at once, no new connection within 5 s, exit 0 within 10 s, events flushed, a last line.',
    needsStart: true,
    run(evidence) {
      const { stop: seen, health, tracker, options, capture } = evidence
      if (seen === undefined) return unproven('the process had ended before; see health.cut.alive')
      const reproduce = stopLine(evidence)
      const faults: string[] = []
      if (seen.exit === undefined) faults.push(`the process still runs ${EXIT_MS / 1000} s later`)
      else if (seen.exit.signal !== undefined)
        faults.push('it died of the signal: nothing handles it')
      else if (seen.exit.code !== 0) faults.push(`exit code ${seen.exit.code}`)
      if (
        seen.inFlight !== undefined &&
        (seen.inFlight.status === 0 || seen.inFlight.status >= 500)
      ) {
        faults.push(`the request in flight got ${seen.inFlight.status || seen.inFlight.failure}`)
      }
      // The signal needs a moment to be seen; what is asked later has to know of it.
      const stillReady = seen.readyAfter.find(
        ({ status, at }) => status === 200 && at - seen.at > AT_ONCE_MS * options.scale,
      )
      if (
        health?.ready !== undefined &&
        stillReady !== undefined &&
        seen.exit?.signal === undefined
      ) {
        faults.push('ready answered 200 after the signal')
      }
      // Which of the two the process was: one that refuses nobody, or one that did not end.
      if (seen.exit !== undefined && (seen.refusedMs ?? 0) > REFUSE_MS * options.scale) {
        faults.push(
          `new connections were accepted for ${((seen.refusedMs ?? 0) / 1000).toFixed(1)} s`,
        )
      }
      const { queued } = seen
      if (queued?.id !== undefined && seen.exit !== undefined && tracker.unread === 0) {
        const hasOwn = tracker.events().some((item) => requestIdOf(item) === queued.id)
        const tellsIds = tracker.events().some((item) => requestIdOf(item) !== undefined)
        if (!hasOwn && tellsIds)
          faults.push('an error just before the signal never reached the tracker')
      }
      if (faults.length > 0) {
        return fail({
          expected:
            'the answer of the request in flight, ready 503, no new connections, exit code 0',
          got: faults.join('; '),
          evidence: seen.last.slice(-3).map((record) => excerpt(record.text)),
          fix: edit(
            'On SIGTERM: ready to 503, server.close(), close idle connections, wait for requests in flight, close the pools, flush, exit 0. The kit does.',
          ),
          reproduce,
        })
      }
      if (seen.inFlight === undefined) {
        return unproven('it ends in order, but no request was in flight; name a --slow-route')
      }
      const hasLine = seen.last.some((record) =>
        /shut.?down|stopp|clos|terminat|drain/i.test(record.message ?? ''),
      )
      if (!hasLine && capture.records().length > 0) {
        return fail({
          expected: 'a last line that says that the service has ended in order',
          got: 'none',
          evidence: seen.last.slice(-2).map((record) => excerpt(record.text)),
          fix: edit("Log 'shutdown_finished' as the last thing."),
          reproduce,
        })
      }
      return pass(
        `exit 0 after ${((seen.exitMs ?? 0) / 1000).toFixed(1)} s, the request in flight got ${seen.inFlight.status}`,
      )
    },
  },
  {
    id: 'stop.twice',
    title: 'A second signal does not hang',
    criterion: 'After a second SIGTERM the process is gone within 2 s.',
    needsStart: true,
    run({ untracked, options, stop: seen }) {
      const twice = untracked?.twice
      if (twice === undefined)
        return unproven(untracked?.failure ?? 'the service was not started a second time')
      if (seen !== undefined && seen.exit === undefined)
        return unproven('even the first signal is ignored; see stop.graceful')
      if (
        twice.exitMs !== undefined &&
        (twice.diedOfFirst || twice.exitMs <= (TWICE_MS + 400) * options.scale)
      ) {
        return pass(
          twice.diedOfFirst
            ? 'gone after the first'
            : `gone after ${(twice.exitMs / 1000).toFixed(1)} s`,
        )
      }
      return fail({
        expected: 'an exit within 2 s of the second signal',
        got:
          twice.exitMs === undefined
            ? 'the process still runs'
            : `after ${(twice.exitMs / 1000).toFixed(1)} s`,
        fix: edit('Let the second SIGTERM or SIGINT exit at once.'),
        reproduce:
          'kill -TERM $PID; sleep 0.4; kill -TERM $PID; sleep 2; kill -0 $PID && echo running',
      })
    },
  },
]
