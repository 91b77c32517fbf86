/** The service without a tracker and without the token: it runs, tells, hides, and stops when told twice. */

import type { Deliberate, Untracked } from '../evidence.js'
import type { Exchange } from '../http.js'
import { inParallel } from '../http.js'
import type { Stage } from '../stage.js'
import { BASE, TOKEN_HEADER } from '../verify-routes.js'

const SENDING_MS = 400

export async function runUntracked(
  stage: Stage,
  tracked: Deliberate | undefined,
): Promise<Untracked> {
  const { client, service, options, proxy } = stage
  const ordinary = await inParallel(20, 2, (index) =>
    client.ask({ purpose: 'untracked', path: stage.missingPath(`untracked${index}`) }),
  )
  const refused = (): string[] => {
    const own = new Set(service.reports.map(({ pid }) => pid))
    return [
      ...service.reports.flatMap((report) => (report.type === 'refused' ? [report.host] : [])),
      ...proxy.elsewhere.flatMap(({ address, pid }) => (own.has(pid ?? 0) ? [address] : [])),
    ]
  }
  let error: Exchange | undefined
  if (tracked?.source === 'route' && options.errorRoute !== undefined) {
    error = await client.ask({
      purpose: 'untracked',
      ...options.errorRoute,
      headers: stage.signedIn(0),
    })
    // What it sends all the same is on its way when the answer is there.
    await stage.until(() => refused().length > 0, SENDING_MS)
  }
  const hidden = await client.ask({
    purpose: 'hidden',
    path: `${BASE}whoami`,
    headers: { [TOKEN_HEADER]: stage.token },
  })
  const hiddenLikeMissing = await client.ask({ purpose: 'hidden', path: `${BASE}missing` })
  const isUp = service.isAlive()
  const at = stage.now()
  service.signal('SIGTERM')
  await stage.until(() => !service.isAlive(), 400)
  const diedOfFirst = !service.isAlive()
  if (!diedOfFirst) {
    service.signal('SIGTERM')
    await stage.until(() => !service.isAlive(), 5000)
  }
  const exitMs = service.isAlive() ? undefined : stage.now() - at
  return {
    isUp,
    failure: undefined,
    refused: refused(),
    error,
    ordinary,
    hidden,
    hiddenLikeMissing,
    notices: service.capture.lines
      .filter(({ text }) => /sentry_dsn|tracker|dsn/i.test(text))
      .map(({ text }) => text)
      .slice(0, 5),
    twice: { exitMs, diedOfFirst },
  }
}
