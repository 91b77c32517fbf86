/** A process that dies of an uncaught error, and what it leaves behind. */

import { isFatalLevel } from '../dialect.js'
import type { Crash } from '../evidence.js'
import type { Stage } from '../stage.js'
import { verifyRoute } from '../verify-routes.js'

const LINES = 500
export const CRASH_EXIT_MS = 3000

export async function crashService(stage: Stage, kind: Crash['kind']): Promise<Crash> {
  const { client, service, tracker, options, token } = stage
  const mark = stage.mark(`crash-${kind}`)
  const before = tracker.events().length
  // Of a cluster the worker dies that was asked; its primary goes on and starts another.
  const exit = service.watch()
  const at = stage.now()
  const ask =
    kind === 'route' && options.crashRoute !== undefined
      ? { purpose: 'crash', ...options.crashRoute, headers: stage.signedIn(0) }
      : verifyRoute(token, 'crash', { kind, mark, lines: LINES })
  const answer = client.ask({ ...ask, timeoutMs: 10_000 * options.scale, agent: false })
  await stage.until(() => exit() !== undefined, 8000)
  const exitMs = exit() === undefined ? undefined : stage.now() - at
  await answer
  const events = (): ReturnType<typeof tracker.events> =>
    tracker
      .events()
      .slice(before)
      .filter((item) => isFatalLevel(item.payload?.level))
  await stage.until(
    () => events().length > 0 && service.capture.records().some((one) => isFatalLevel(one.level)),
    1500,
  )
  stage.add({ at, kind: 'signal', label: `crash: ${kind}` })
  return {
    kind,
    mark,
    lines: LINES,
    exit: exit(),
    exitMs,
    records: service.capture.records(),
    events: events(),
    failure: undefined,
  }
}
