/** Ordinary traffic: many requests at once, bodies of every kind, hostile ids, slow and abandoned requests. */
import { byRequest, finishedOf, type Inbound, type Marked, type Traffic } from '../evidence.js'
import { type Exchange, inParallel } from '../http.js'
import { sleep } from '../pulse.js'
import type { Stage } from '../stage.js'
import { parseObject } from '../tracker.js'
import { BASE, TOKEN_HEADER, verifyRoute } from '../verify-routes.js'

const ORDINARY = 60
const MISSING = 140
const INTERLEAVED = 50
/** How long a line may take after its answer. */
const LINES_MS = 3000
export const SLOW_MS = 300

export async function sendTraffic(stage: Stage): Promise<Traffic> {
  const { client, options, token, hasRoutes } = stage
  const work = (
    parameters: Record<string, string | number>,
    rest: Parameters<typeof verifyRoute>[3] = {},
  ): Promise<Exchange> => client.ask(verifyRoute(token, 'work', parameters, rest))

  const routes = options.routes.length > 0 ? options.routes : [{ method: 'GET', path: '/' }]
  const ordinary = await inParallel(ORDINARY, 8, (index) => {
    if (hasRoutes && index % 2 === 0) return work({ mark: `ordinary-${index}` })
    const route = routes[index % routes.length] as { method: string; path: string }
    return client.ask({ purpose: 'ordinary', ...route, headers: stage.signedIn(0) })
  })
  const missing = await inParallel(MISSING, 8, (index) =>
    client.ask({ purpose: 'missing', path: stage.missingPath(`m${index}`) }),
  )

  const interleaved: Marked[] = hasRoutes
    ? await inParallel(INTERLEAVED, INTERLEAVED, async (index) => {
        const mark = stage.mark(`interleaved-${index}`)
        return { mark, exchange: await work({ mark, ms: 20 + ((index * 7) % 60) }) }
      })
    : []

  const bodies: (Marked & { kind: string })[] = []
  for (const { kind, type, body } of BODIES) {
    const headers = { 'content-type': type }
    if (hasRoutes) {
      const mark = stage.mark(`body-${kind}`)
      const exchange = await work({ mark, ms: 5 }, { method: 'POST', headers, body })
      bodies.push({ kind, mark, exchange })
    } else if (options.bodyRoute !== undefined && kind === 'JSON') {
      const { method, path } = options.bodyRoute
      const exchange = await client.ask({
        purpose: 'body',
        method,
        path,
        body,
        headers: { ...headers, ...stage.signedIn(0) },
      })
      bodies.push({ kind, mark: '', exchange })
    }
  }

  const answers = await sampleAnswers(stage, routes[0] as { method: string; path: string })
  const inbound = await sendIds(stage)
  const slowRoute = options.slowRoute
  const slow = hasRoutes
    ? await leastDisturbed(() => work({ mark: 'slow', ms: SLOW_MS }))
    : slowRoute === undefined
      ? undefined
      : await client.ask({ purpose: 'slow', ...slowRoute, headers: stage.signedIn(0) })
  const leave = { abortAfterMs: 80, agent: false as const }
  const aborted = hasRoutes
    ? await work({ mark: stage.mark('aborted'), ms: 1000 }, leave)
    : slowRoute === undefined
      ? undefined
      : await client.ask({ purpose: 'aborted', ...slowRoute, ...leave })

  let burst: Traffic['burst']
  if (hasRoutes) {
    const mark = stage.mark('burst')
    const answer = await client.ask(verifyRoute(token, 'burst', { mark }))
    const lines = Number(parseObject(answer.body)?.lines ?? 0)
    const from = answer.at
    // Nothing else is asked until its lines are in: what stands between them is theirs.
    await stage.until(
      () => stage.service.capture.records().filter(({ raw }) => raw.mark === mark).length >= lines,
      1000,
    )
    burst = { mark, lines, from, until: stage.now(), exchange: answer }
  }

  // Secrets, in every place where a request may carry one.
  const { canaries } = stage
  const headers = {
    ...canaries.headers(false),
    'content-type': 'application/json',
  }
  await client.ask({
    purpose: 'secrets',
    method: 'POST',
    path: `${stage.missingPath('secrets')}?${canaries.query}`,
    headers,
    body: canaries.body,
  })
  if (hasRoutes) {
    const mark = `secrets&${canaries.query}`
    const ask = verifyRoute(token, 'work', {}, { method: 'POST', headers, body: canaries.body })
    await client.ask({ ...ask, path: `${ask.path}?mark=${mark}` })
  }
  for (const route of routes) {
    await client.ask({
      purpose: 'secrets',
      method: route.method,
      path: `${route.path}${route.path.includes('?') ? '&' : '?'}${canaries.query}`,
      headers: canaries.headers(false),
    })
  }

  // Lines may follow their answers; what never comes is what the checks will tell.
  const expected = [...ordinary, ...missing, ...interleaved.map(({ exchange }) => exchange)]
  await stage.until(() => {
    const finished = byRequest(stage.service.capture.records().filter((one) => one.isFinished))
    return expected.every(({ id }) => id !== undefined && finished.has(id))
  }, LINES_MS)
  const lastOnes = [slow, ...bodies.map(({ exchange }) => exchange)].filter(
    (exchange) => exchange !== undefined,
  )
  await stage.until(
    () => lastOnes.every((one) => finishedOf(stage.service.capture.records(), one).length > 0),
    1000,
  )
  await stage.until(
    () => stage.service.capture.records().some((one) => one.isAborted || one.status === 499),
    aborted === undefined ? 0 : LINES_MS,
  )
  // A second line of a request, which should not exist, gets its chance.
  await sleep(150)
  return { ordinary, missing, interleaved, bodies, answers, inbound, slow, aborted, burst }
}

const boundary = 'telltale-boundary'
const BODIES = [
  { kind: 'JSON', type: 'application/json', body: JSON.stringify({ text: 'x'.repeat(1000) }) },
  { kind: 'urlencoded', type: 'application/x-www-form-urlencoded', body: 'a=1&b=two' },
  {
    kind: 'multipart',
    type: `multipart/form-data; boundary=${boundary}`,
    body: `--${boundary}\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--${boundary}--\r\n`,
  },
  {
    kind: '1 MB',
    type: 'application/json',
    body: JSON.stringify({ text: 'y'.repeat(1024 * 1024) }),
  },
] as const

/** Of up to three slow requests the one that a busy machine disturbed least: it is compared with a clock. */
async function leastDisturbed(ask: () => Promise<Exchange>): Promise<Exchange> {
  let best = await ask()
  for (let times = 0; times < 2 && best.ms > SLOW_MS + 50; times++) {
    const next = await ask()
    if (next.ms < best.ms) best = next
  }
  return best
}

async function sampleAnswers(
  stage: Stage,
  route: { method: string; path: string },
): Promise<Traffic['answers']> {
  const { client, token, hasRoutes } = stage
  const answers: { kind: string; exchange: Exchange }[] = []
  const add = async (kind: string, ask: Parameters<typeof client.ask>[0]): Promise<void> => {
    answers.push({ kind, exchange: await client.ask(ask) })
  }
  const ok = hasRoutes ? verifyRoute(token, 'work', { mark: 'answer' }) : undefined
  await add('an ordinary answer', ok ?? { purpose: 'answer', ...route, headers: stage.signedIn(0) })
  await add('a 404', { purpose: 'answer', path: stage.missingPath('answer') })
  await add('an answer to HEAD', {
    ...(ok ?? { purpose: 'answer', path: route.path }),
    method: 'HEAD',
  })
  await add('an answer to OPTIONS', {
    purpose: 'answer',
    method: 'OPTIONS',
    path: stage.missingPath('options'),
  })
  if (hasRoutes) {
    await add('a streamed answer', verifyRoute(token, 'work', { mark: 'stream', stream: 1 }))
  }
  return answers
}

/** Ids of the client's: one that is fine, and everything that is not. */
async function sendIds(stage: Stage): Promise<Inbound[]> {
  const { client } = stage
  const host = new URL(client.base).host
  const path = stage.hasRoutes ? `${BASE}whoami` : (stage.options.routes[0]?.path ?? '/')
  const inbound: Inbound[] = []
  const send = async (
    kind: string,
    isValid: boolean,
    value: Buffer,
    twice = false,
  ): Promise<void> => {
    const line = Buffer.concat([Buffer.from('X-Request-ID: '), value, Buffer.from('\r\n')])
    const head = Buffer.concat([
      Buffer.from(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\n${TOKEN_HEADER}: ${stage.token}\r\n`),
      line,
      ...(twice ? [Buffer.from('X-Request-ID: second-id-of-two-1\r\n')] : []),
      Buffer.from('Connection: close\r\n\r\n'),
    ])
    inbound.push({
      kind,
      isValid,
      sent: value.toString('latin1'),
      exchange: await client.askRaw('inbound', head),
    })
  }
  await send('a valid id', true, Buffer.from(`telltale-${stage.run}-0001`))
  await send('10 KB', false, Buffer.from('a'.repeat(10_240)))
  await send('nothing', false, Buffer.from(''))
  await send('bytes beyond ASCII', false, Buffer.from('caf\xe9-\xff\xfe-12345', 'latin1'))
  await send('spaces and quotes', false, Buffer.from('a b"c" {d} <script>alert(1)</script>'))
  await send('a line break, encoded', false, Buffer.from('id%0d%0aX-Injected:%20yes-1234'))
  await send('a tab and JSON', false, Buffer.from('x\t","level":"fatal","y":"1234'))
  await send('two headers', false, Buffer.from('first-id-of-two-1'), true)
  return inbound
}
