// What the tracker's answers do to a real service, through init.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { request } from '../contract/harness.js'
import { receiverOf, run, SOAK_REQUESTS, startService } from './process.js'

/** A service whose requests are all traced; `ask` answers the status, `flush` whether all arrived. */
async function start(t, dsn, options = {}) {
  const service = await startService({
    kind: 'failing.mjs',
    env: { SENTRY_DSN: dsn },
    options: {
      environment: 'test',
      ...options,
      trace: { sampleRate: 1 },
      errors: { spoolDir: false, serverName: 'host', ...options.errors },
    },
  })
  t.after(() => service.child.kill('SIGKILL'))
  const ask = (path, headers) => request(service.port, path, { headers })
  return {
    ...service,
    ask,
    flush: async () => (await ask('/flush')).body,
    async stop() {
      service.kill()
      const { code } = await service.ended
      assert.equal(code, 0)
    },
  }
}

const typeOf = ({ envelope }) => envelope.items[0].header.type
const values = (receiver) => receiver.events().map(({ exception }) => exception.values.at(-1).value)
const routes = (receiver) => receiver.transactions().map(({ transaction }) => transaction)

test('K12: 429 with 60:error:key stops the errors of a service; its transactions flow; one client report', async (t) => {
  const receiver = await receiverOf(t)
  receiver.answer((asked) =>
    typeOf(asked) === 'event'
      ? { status: 429, headers: { 'x-sentry-rate-limits': '60:error:key' } }
      : undefined,
  )
  const service = await start(t, receiver.dsn)
  assert.equal((await service.ask('/boom/refused')).status, 500)
  assert.equal(await service.flush(), 'true')
  const words = ['add', 'pay', 'ship', 'return']
  for (const word of words) assert.equal((await service.ask(`/boom/${word}`)).status, 500)
  for (let i = 0; i < 6; i++) await service.ask('/boom')
  await service.stop()
  const sent = receiver.requests.filter((asked) => typeOf(asked) === 'event')
  assert.equal(sent.length, 1, 'errors sent though they were limited')
  assert.equal(routes(receiver).filter((name) => name === 'GET /boom/:what').length, 5)
  assert.equal(routes(receiver).filter((name) => name === 'GET /boom').length, 6)
  // Four kinds, five of the storm, and the event that stands for its sixth. The refused one is the server's to count.
  assert.deepEqual(receiver.reported(), { 'ratelimit_backoff,error': 10 })
  assert.equal(receiver.clientReports().length, 1)
})

test('K13: a shorter limit that comes later does not shorten the longer one of a service', async (t) => {
  const receiver = await receiverOf(t)
  const told = []
  receiver.answer((asked) => {
    const type = typeOf(asked)
    if (type !== 'event' && type !== 'transaction') return undefined
    told.push(type)
    return type === 'event'
      ? { status: 429, headers: { 'x-sentry-rate-limits': '60:error:key' } }
      : { headers: { 'x-sentry-rate-limits': '1:error:key', 'retry-after': '1' } }
  })
  const service = await start(t, receiver.dsn)
  await service.ask('/boom/first')
  assert.equal(await service.flush(), 'true')
  await service.ask('/ok')
  assert.equal(await service.flush(), 'true')
  assert.equal(told.at(-1), 'transaction')
  // The shorter limit has passed.
  await sleep(1200)
  await service.ask('/boom/second')
  await service.stop()
  assert.equal(told.filter((type) => type === 'event').length, 1)
  assert.deepEqual(receiver.reported(), { 'ratelimit_backoff,error': 1 })
})

test('K16: a service repeats after 503, not after 400; 413 is counted as send_error', async (t) => {
  const receiver = await receiverOf(t)
  const tries = {}
  receiver.answer(({ envelope }) => {
    const [item] = envelope.items
    if (item.header.type !== 'event') return undefined
    const what = item.payload.exception.values.at(-1).value
    tries[what] = (tries[what] ?? 0) + 1
    if (what === 'cannot wait') return tries[what] < 3 ? { status: 503 } : undefined
    if (what === 'cannot parse') return { status: 400 }
    if (what === 'cannot fit') return { status: 413 }
    return undefined
  })
  const service = await start(t, receiver.dsn)
  for (const word of ['wait', 'parse', 'fit', 'pass']) await service.ask(`/boom/${word}`)
  assert.equal(await service.flush(), 'true')
  assert.deepEqual(tries, {
    'cannot wait': 3,
    'cannot parse': 1,
    'cannot fit': 1,
    'cannot pass': 1,
  })
  assert.deepEqual(values(receiver).sort(), ['cannot pass', 'cannot wait'])
  const page = (await service.ask('/metrics')).body
  assert.match(page, /^telltale_events_lost_total\{reason="send_error"\} 2$/m)
  await service.stop()
  assert.deepEqual(receiver.reported(), { 'send_error,error': 2 })
})

/** An item as it was sent, without what differs between two runs of one service. */
function timeless(bytes) {
  return bytes
    .toString('utf8')
    .replace(/"((?:start_|)timestamp|app_memory|event_time|value)":[\d.]+/g, '"$1":0')
    .replace(/"(event_id|span_id)":"[0-9a-f]+"/g, '"$1":""')
    .replace(/"(app_start_time|timestamp)":"[^"]*"/g, '"$1":""')
}

test('K24: another DSN is all it takes: the same service sends the same bytes to another sink', async (t) => {
  const [one, other] = [await receiverOf(t), await receiverOf(t)]
  const sinks = [
    [one, one.dsn],
    [
      other,
      other.dsn.replace(/\/\/\w+@/, '//0123456789abcdef0123456789abcdef@').replace(/1$/, 'sub/42'),
    ],
  ]
  const sent = []
  for (const [receiver, dsn] of sinks) {
    const service = await start(t, dsn, { release: 'shop@1', errors: { sessions: false } })
    for (const [i, path] of ['/boom/pay', '/handled', '/boom', '/ok'].entries()) {
      await service.ask(path, {
        host: 'shop.test',
        'x-request-id': `request-${i}`,
        traceparent: `00-${`${i + 1}`.repeat(32)}-${'a'.repeat(16)}-01`,
      })
    }
    await service.stop()
    sent.push(
      receiver.items
        .filter(({ type }) => type === 'event' || type === 'transaction')
        .map(({ bytes }) => timeless(bytes))
        .sort(),
    )
  }
  assert.equal(sent[0].length, 8)
  assert.deepEqual(sent[1], sent[0])
  const [{ url, headers }] = other.requests
  assert.equal(url, '/sub/api/42/envelope/')
  assert.match(headers['x-sentry-auth'], /sentry_key=0123456789abcdef0123456789abcdef/)
})

test('37, K21: a soak with errors and traces does not grow the heap', async (t) => {
  const receiver = await receiverOf(t)
  const { code, lines, stderr } = await run(['--expose-gc', 'fixtures/soak.cjs'], {
    env: { SENTRY_DSN: receiver.dsn, REQUESTS: String(SOAK_REQUESTS) },
    maxLifeMs: 3 * SOAK_REQUESTS,
  }).ended
  assert.equal(code, 0, stderr)
  const { made, heaps, ms, lost } = lines.at(-1)
  assert.equal(made, SOAK_REQUESTS)
  const grownBytes = heaps.at(-1) - heaps[1]
  t.diagnostic(
    `${Math.round(ms)} ms; heap after each of six chunks: ${heaps.map((h) => (h / 1e6).toFixed(1))} MB`,
  )
  assert.ok(grownBytes < 2_000_000, `${heaps}`)
  assert.deepEqual(lost, {})
  const counted = receiver.items
    .filter(({ type }) => type === 'sessions')
    .flatMap(({ payload }) => payload.aggregates)
    .reduce((sum, { exited, errored }) => [sum[0] + exited, sum[1] + errored], [0, 0])
  const errored = SOAK_REQUESTS / 10 + SOAK_REQUESTS / 1000
  assert.deepEqual(counted, [SOAK_REQUESTS - errored, errored])
})
