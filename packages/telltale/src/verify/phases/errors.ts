/** Deliberate errors: alone, in pairs of users at once, and with a tracker that is in every bad mood. */
import { type Deliberate, type Errors, requestIdOf } from '../evidence.js'
import { type Exchange, inParallel } from '../http.js'
import { percentile } from '../percentile.js'
import { sleep } from '../pulse.js'
import type { Stage } from '../stage.js'
import type { Mood } from '../tracker.js'
import { USER_HEADER, verifyRoute } from '../verify-routes.js'

const PAIRS = 25
const PER_MOOD = 25
const MOODS: readonly Mood[] = ['reset', '500', '429', 'hang']
/** How long a second event for the same error may take to come. */
const DUPLICATE_MS = 600
const ATTEMPTS = 3
/** No machine is as slow as this for a whole mood. */
const HOPELESS_MS = 2000

/** Undefined when nothing is known that fails. */
export async function provokeErrors(stage: Stage): Promise<Errors | undefined> {
  const { client, options, token, tracker, hasRoutes, canaries } = stage
  const { errorRoute, auth } = options
  if (!hasRoutes && errorRoute === undefined) return undefined

  const viaVerify = async (
    user: string,
    message: string | undefined,
    name: string,
  ): Promise<Deliberate> => {
    const headers = { ...canaries.headers(false), [USER_HEADER]: user }
    const ask = verifyRoute(
      token,
      'throw',
      { mark: stage.mark(name), ...(message === undefined ? { quote: 1 } : { message }) },
      { headers },
    )
    const exchange = await client.ask({ ...ask, path: `${ask.path}&${canaries.query}` })
    return { exchange, user: `verify-${user}`, source: 'verify' }
  }
  const viaRoute = async (user: number, isFirst = false): Promise<Deliberate> => {
    const route = errorRoute as NonNullable<typeof errorRoute>
    const signedIn = stage.signedIn(user)
    const planted = canaries.headers(auth.length > 0 || undefined !== signedIn.authorization)
    // The first is the route as it was named: some compare it whole.
    const query = isFirst ? '' : `${route.path.includes('?') ? '&' : '?'}${canaries.query}`
    const exchange = await client.ask({
      purpose: 'throw',
      method: route.method,
      path: route.path + query,
      headers: { ...(auth.length > 0 ? omitOwn(planted, signedIn) : planted), ...signedIn },
    })
    return { exchange, user: auth.length > 0 ? `auth-${user}` : undefined, source: 'route' }
  }

  const single: Deliberate[] = []
  if (hasRoutes) single.push(await viaVerify('telltale-0', undefined, 'throw'))
  if (errorRoute !== undefined) {
    for (let user = 0; user < Math.max(1, auth.length); user++)
      single.push(await viaRoute(user, true))
  }
  await stage.until(
    () => single.every((one) => eventsOf(stage, one.exchange) > 0),
    options.errorTimeoutMs / options.scale,
  )
  await sleep(DUPLICATE_MS)

  // A client may thin out one and the same error; those of the verify routes are all different.
  const pairs = hasRoutes
    ? await inParallel(PAIRS * 2, 10, (index) =>
        viaVerify(`telltale-${index % 2}`, `pair ${index}`, `pair-${index}`),
      )
    : errorRoute !== undefined && auth.length > 1
      ? await inParallel(PAIRS * 2, 10, (index) => viaRoute(index % 2))
      : []
  await stage.until(
    () => pairs.every((one) => eventsOf(stage, one.exchange) > 0),
    pairs.length === 0 ? 0 : 2000,
  )

  const fail = (index: number, name: string): Promise<Exchange> =>
    (hasRoutes
      ? viaVerify('telltale-0', `${name} ${index}`, `${name}-${index}`)
      : viaRoute(0)
    ).then((one) => one.exchange)
  const ended = stage.service.watch()
  const baseline = await inParallel(PER_MOOD, 5, (index) => fail(index, 'baseline'))
  const moods: Errors['moods'][number][] = []
  for (const mood of MOODS) {
    const from = stage.now()
    tracker.mood = mood
    let exchanges: Exchange[] = []
    // Late once may be the machine; late each time is the service.
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      exchanges = await inParallel(PER_MOOD, 5, (index) => fail(index, `${mood}-${attempt}`))
      const p95 = percentileMs(exchanges, 0.95)
      if (p95 <= deadLimitMs(baseline, options.scale) || p95 > HOPELESS_MS) break
    }
    moods.push({ mood, exchanges, from, until: stage.now() })
  }
  tracker.mood = 'ok'
  // What comes next must not wait behind them.
  tracker.endHanging()
  return {
    single,
    pairs,
    hasUser: hasRoutes || auth.length > 0,
    baseline,
    moods,
    isAliveAfter: ended() === undefined,
  }
}

/** How long failing requests may take (p95) while the tracker is away: near the baseline, with room for noise. */
export function deadLimitMs(baseline: readonly Exchange[], scale: number): number {
  return (percentileMs(baseline, 0.95) * 3 + 250) * scale
}

/** A percentile of how long requests took; 0 for none. */
export function percentileMs(exchanges: readonly Exchange[], share: number): number {
  return percentile(
    exchanges.map(({ ms }) => ms),
    share,
  )
}

/** The planted headers without those that the user's own sign-in needs. */
function omitOwn(
  planted: Record<string, string>,
  own: Record<string, string>,
): Record<string, string> {
  const taken = new Set(Object.keys(own).map((name) => name.toLowerCase()))
  return Object.fromEntries(Object.entries(planted).filter(([name]) => !taken.has(name)))
}

function eventsOf(stage: Stage, exchange: Exchange): number {
  const events = stage.tracker.events()
  if (exchange.id === undefined) return events.length
  return events.filter((item) => requestIdOf(item) === exchange.id).length
}
