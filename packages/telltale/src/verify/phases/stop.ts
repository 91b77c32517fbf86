/** SIGTERM with a request in flight and a kept connection. */
import { Agent } from 'node:http'
import type { Stop } from '../evidence.js'
import type { Exchange } from '../http.js'
import { sleep } from '../pulse.js'
import { isOpen } from '../service.js'
import type { Stage } from '../stage.js'
import { USER_HEADER, verifyRoute } from '../verify-routes.js'

const IN_FLIGHT_MS = 1500
export const EXIT_MS = 10_000

export async function stopService(stage: Stage): Promise<Stop> {
  const { client, service, options, token, hasRoutes } = stage
  const kept = new Agent({ keepAlive: true, maxSockets: 1 })
  if (stage.ready !== undefined) {
    await client.ask({ purpose: 'ready', path: stage.ready, agent: kept })
  }
  let inFlight: Promise<Exchange> | undefined
  const agent = false as const
  if (hasRoutes) {
    const mark = stage.mark('in-flight')
    inFlight = client.ask(
      verifyRoute(token, 'work', { mark, ms: IN_FLIGHT_MS * options.scale }, { agent }),
    )
    // In the handler, by its own word.
    await stage.until(() => service.capture.lines.some(({ text }) => text.includes(mark)), 2000)
  } else if (options.slowRoute !== undefined) {
    inFlight = client.ask({
      purpose: 'slow',
      ...options.slowRoute,
      headers: stage.signedIn(0),
      agent,
    })
    await sleep(50)
  }
  // One error just before the end: what is queued must still go out.
  const queued = hasRoutes
    ? await client.ask(
        verifyRoute(
          token,
          'throw',
          { mark: stage.mark('queued'), message: 'before the end' },
          { headers: { [USER_HEADER]: 'telltale-0' } },
        ),
      )
    : undefined

  const at = stage.now()
  service.signal('SIGTERM')
  stage.add({ at, kind: 'signal', label: 'SIGTERM' })
  const readyAfter: Exchange[] = []
  let refusedMs: number | undefined
  // The kept connection is how a load balancer learns; a new one is how the next client does.
  let isAsking = stage.ready !== undefined
  let asking: Agent | false = kept
  while (stage.now() - at < EXIT_MS * options.scale && service.isAlive()) {
    if (refusedMs === undefined && !(await isOpen(service.port, service.host))) {
      refusedMs = stage.now() - at
    }
    if (isAsking) {
      const answer = await client.ask({
        purpose: 'ready',
        path: stage.ready as string,
        timeoutMs: 2000,
        agent: asking,
      })
      if (answer.status !== 0) readyAfter.push(answer)
      isAsking = answer.status === 200 || (answer.status === 0 && asking !== false)
      if (answer.status === 0) asking = false
    }
    await stage.until(() => !service.isAlive(), 50)
  }
  const isGone = !service.isAlive()
  const exitMs = isGone ? stage.now() - at : undefined
  if (isGone) refusedMs ??= exitMs
  const answered = await inFlight
  kept.destroy()
  // What was printed last may still be in the pipe.
  await stage.until(
    () =>
      service.capture
        .records()
        .some((one) => /shut.?down.*(?:finish|complete|done)/i.test(one.message ?? '')),
    isGone ? 500 : 0,
  )
  return {
    at,
    inFlight: answered,
    readyAfter,
    refusedMs,
    exit: service.exit(),
    exitMs,
    last: service.capture.records().slice(-10),
    queued,
  }
}
