/** The database and the cache go away, by reset and by silence, and come back. */
import type { Cut } from '../evidence.js'
import type { Exchange } from '../http.js'
import { roleOf, type Target } from '../proxy.js'
import { sleep } from '../pulse.js'
import type { Stage } from '../stage.js'

/** How long ready may take to notice, and each of its answers. */
export const NOTICE_MS = 5000
export const ANSWER_MS = 2000
const ASK_EVERY_MS = 100
/** An answer later than this is not waited for. */
const GIVE_UP_MS = 4000

/** What is worth cutting: databases, caches, and what the user named. */
export function dependenciesOf(targets: Iterable<Target>): Target[] {
  return [...targets].filter(
    (target) => target.accepted > 0 && (target.isNamed || roleOf(target) !== 'other'),
  )
}

export async function cutDependencies(stage: Stage): Promise<Cut[]> {
  const cuts: Cut[] = []
  for (const target of dependenciesOf(stage.proxy.targets.values())) {
    for (const mode of ['reset', 'stall'] as const) {
      const cut = await cutOnce(stage, target, mode)
      cuts.push(cut)
      // What never noticed or never came back has nothing more to tell.
      if (!cut.isAlive || !isOk(cut.recovered.at(-1) ?? cut.ready.at(-1))) return cuts
      if (!hasNoticed(cut)) break
    }
  }
  return cuts
}

/** 503, or 200 with an answer that says of something that it is not well. */
export function hasNoticed(cut: Cut): boolean {
  return cut.ready.some((answer) => isAway(cut, answer))
}

/** True when an answer of ready tells of the cut. A cache may be missed without being needed. */
export function isAway(cut: Pick<Cut, 'before' | 'role'>, answer: Exchange): boolean {
  if (answer.status === 503) return true
  if (cut.role !== 'cache' || answer.status !== 200) return false
  const bad = /"(?:degraded|fail|failed|warn|down|unhealthy|error|disconnected)"/i
  return bad.test(answer.body) && !bad.test(cut.before.body)
}

const isOk = (answer: Exchange | undefined): boolean => answer?.status === 200

async function cutOnce(stage: Stage, target: Target, mode: Cut['mode']): Promise<Cut> {
  const { client, service, proxy, live } = stage
  const { scale } = stage.options
  const watched = service.watch()
  const role = roleOf(target)
  const before = await stage.askReady(GIVE_UP_MS)
  const accepted = target.accepted
  const at = stage.now()
  proxy.set(target, mode)
  const ready: Exchange[] = []
  const alive: Exchange[] = []
  const askLive = async (): Promise<void> => {
    if (live !== undefined)
      alive.push(await client.ask({ purpose: 'live', path: live, timeoutMs: 2000 }))
  }
  // Twice in a row: an answer kept from before the cut may still be good.
  let away = 0
  while (away < 2 && stage.now() - at < (NOTICE_MS + 1000) * scale && service.isAlive()) {
    const answer = await stage.askReady(GIVE_UP_MS * scale)
    ready.push(answer)
    away = isAway({ before, role }, answer) ? away + 1 : 0
    await askLive()
    await sleep(ASK_EVERY_MS)
  }
  if (away > 0) await askLive()
  const attempts = target.accepted - accepted
  const restoredAt = stage.now()
  proxy.set(target, 'pass')
  stage.add({ at, until: restoredAt, kind: 'cut', label: `${nameOf(target)}: ${mode}` })
  const recovered: Exchange[] = []
  while (stage.now() - restoredAt < stage.options.recoverTimeoutMs && service.isAlive()) {
    const answer = await stage.askReady(GIVE_UP_MS * scale)
    recovered.push(answer)
    if (isOk(answer) && !isAway({ before, role }, answer)) break
    await sleep(ASK_EVERY_MS)
  }
  // A process that dies of the cut may take a moment to do so.
  if (away === 0) await sleep(200)
  // A worker of a cluster that died has been replaced, and yet it died.
  const exit = watched()
  return {
    target,
    role,
    mode,
    before,
    ready,
    live: alive,
    recovered,
    isAlive: exit === undefined,
    exit,
    attempts,
    at,
    restoredAt,
  }
}

/** `database 127.0.0.1:5432 (postgres)`. */
export function nameOf(target: Target): string {
  const kind = target.protocol === 'unknown' ? '' : ` (${target.protocol})`
  return target.isNamed ? `${target.name} ${target.address}${kind}` : `${target.address}${kind}`
}
