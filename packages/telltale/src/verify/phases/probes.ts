/** The health routes while all is well: fast, open to everyone, and live without work for the database. */
import type { Probes } from '../evidence.js'
import { type Exchange, inParallel } from '../http.js'
import { roleOf } from '../proxy.js'
import type { Stage } from '../stage.js'

const LIVE_TIMES = 100

export async function askProbes(stage: Stage): Promise<Probes> {
  const { client, proxy, live } = stage
  const asked = (): number =>
    [...proxy.targets.values()]
      .filter((target) => roleOf(target) !== 'other' || target.isNamed)
      .reduce((sum, target) => sum + target.asked, 0)
  const from = stage.now()
  const answers: Exchange[] = []
  const before = asked()
  if (live !== undefined) {
    for (let index = 0; index < LIVE_TIMES; index++) {
      answers.push(await client.ask({ purpose: 'live', path: live }))
    }
  }
  const askedByLive = asked() - before
  const liveParallel =
    live === undefined
      ? []
      : await inParallel(LIVE_TIMES, LIVE_TIMES, () => client.ask({ purpose: 'live', path: live }))
  const liveWithBadAuth =
    live === undefined
      ? undefined
      : await client.ask({
          purpose: 'live',
          path: live,
          headers: { authorization: 'Bearer telltale-nobody' },
        })
  const ready = stage.ready === undefined ? [] : await inParallel(20, 4, () => stage.askReady())
  return {
    live: answers,
    liveParallel,
    askedByLive,
    liveWithBadAuth,
    ready,
    from,
    until: stage.now(),
  }
}
