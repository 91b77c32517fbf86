import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'
import { createSessions } from '../../dist/esm/errors/sessions.js'
import { request } from '../contract/harness.js'
import { startService } from '../life/process.js'
import { startSentryReceiver } from '../receivers/sentry.js'

const undo = []
afterEach(async () => {
  for (const stop of undo.splice(0).reverse()) await stop()
})

async function receive() {
  const receiver = await startSentryReceiver()
  undo.push(() => receiver.close())
  return receiver
}

/** The service in a process of its own: a receiver beside the kit would be counted too. */
async function start(receiver, { release = 'shop@1', kind = 'failing.mjs', errors } = {}) {
  const service = await startService({
    kind,
    env: { SENTRY_DSN: receiver.dsn, SENTRY_RELEASE: release },
    options: {
      environment: 'test',
      trace: { sampleRate: 0 },
      errors: { spoolDir: false, ...errors },
    },
  })
  undo.push(() => service.child.kill('SIGKILL'))
  return {
    ...service,
    ask: (path) => request(service.port, path),
    async stop() {
      service.kill()
      return service.ended
    },
  }
}

const items = (receiver) => receiver.items.filter(({ type }) => type === 'sessions')

function sums(receiver) {
  const sum = { exited: 0, errored: 0, crashed: 0 }
  for (const { payload } of items(receiver)) {
    for (const { exited, errored, crashed } of payload.aggregates) {
      sum.exited += exited
      sum.errored += errored
      sum.crashed += crashed
    }
  }
  return sum
}

test('sessions: of 200 requests 7 failed, and exactly that is reported, at flush and at close', async () => {
  const receiver = await receive()
  const service = await start(receiver)
  const failing = new Map([
    [3, '/boom'],
    [40, '/boom'],
    [41, '/boom'],
    [77, '/handled'],
    [120, '/handled'],
    [150, '/logged'],
    [198, '/logged'],
  ])
  for (let i = 0; i < 199; i++) {
    await service.ask(failing.get(i) ?? (i % 50 === 9 ? '/refused' : '/ok'))
    // Probes and scrapes are no requests of the application's.
    if (i % 60 === 0) await service.ask('/metrics')
    if (i % 60 === 1) await service.ask('/api/v1/health/live/')
    if (i === 100) assert.equal((await service.ask('/flush')).body, 'true')
  }
  await service.stop()
  assert.deepEqual(sums(receiver), { exited: 193, errored: 7, crashed: 0 })
  assert.equal(items(receiver).length, 2)
  for (const { header, envelope, payload } of items(receiver)) {
    assert.equal(header.type, 'sessions')
    assert.ok(envelope.sent_at)
    assert.equal(envelope.event_id, undefined)
    assert.deepEqual(payload.attrs, { release: 'shop@1', environment: 'test' })
    for (const { started } of payload.aggregates) {
      assert.match(started, /^\d{4}-\d\d-\d\dT\d\d:\d\d:00\.000Z$/)
      assert.ok(Math.abs(Date.parse(started) - Date.now()) < 180_000)
    }
  }
})

for (const [name, more, why] of [
  ['without a release', { release: '' }, /SENTRY_RELEASE/],
  ['with errors.sessions false', { errors: { sessions: false } }, /errors\.sessions is false/],
]) {
  test(`sessions: ${name} there are none, and the start line says why`, async () => {
    const receiver = await receive()
    const service = await start(receiver, more)
    await service.ask('/boom')
    const line = await service.lines.wait(({ event }) => event === 'telltale_started')
    assert.match(line.parts.sessions, why)
    await service.stop()
    assert.equal(receiver.events().length, 1)
    assert.deepEqual(items(receiver), [])
  })
}

test('sessions: a request that an uncaught exception hits has crashed; what it cut off is not counted', async () => {
  const receiver = await receive()
  const service = await start(receiver, { kind: 'esm.mjs' })
  for (let i = 0; i < 5; i++) await service.ask('/ok')
  const waiting = service.ask('/wait?ms=20000').catch(() => undefined)
  await service.lines.wait(({ event }) => event === 'waiting')
  await service.ask('/crash').catch(() => undefined)
  await waiting
  assert.equal((await service.ended).code, 1)
  assert.deepEqual(sums(receiver), { exited: 5, errored: 0, crashed: 1 })
  assert.equal(receiver.events().length, 1)
})

test('sessions: a limit of their category stops them only, counted', async () => {
  const receiver = await receive()
  const isSessions = ({ envelope }) => envelope.items[0].header.type === 'sessions'
  receiver.answer((asked) =>
    isSessions(asked)
      ? { status: 429, headers: { 'x-sentry-rate-limits': '60:session:key' } }
      : undefined,
  )
  const service = await start(receiver)
  await service.ask('/ok')
  await service.ask('/flush')
  await service.ask('/boom')
  await service.stop()
  assert.equal(receiver.events().length, 1)
  assert.equal(receiver.requests.filter(isSessions).length, 1)
  assert.deepEqual(receiver.reported(), { 'ratelimit_backoff,session': 1 })
})

test('sessions: counted by the minute they began in, reported by the clock, bounded', async () => {
  const sent = []
  let told = () => {}
  const sessions = createSessions(
    { release: 'r', environment: 'e' },
    (json) => {
      sent.push(JSON.parse(json))
      told()
    },
    20,
  )
  undo.push(sessions.close)
  const at = (minute, sessionStatus = 'exited') => ({
    startMs: minute * 60_000 + 59_999,
    sessionStatus,
  })
  const reported = new Promise((resolve) => {
    told = resolve
  })
  for (const unit of [at(10), at(10), at(9, 'errored'), at(11, 'crashed'), at(10)])
    sessions.count(unit)
  // Kept alive by the test: the timer itself is not.
  const alive = setTimeout(() => {}, 10_000)
  await reported
  clearTimeout(alive)
  assert.deepEqual(sent, [
    {
      aggregates: [
        { started: '1970-01-01T00:10:00.000Z', exited: 3, errored: 0, crashed: 0 },
        { started: '1970-01-01T00:09:00.000Z', exited: 0, errored: 1, crashed: 0 },
        { started: '1970-01-01T00:11:00.000Z', exited: 0, errored: 0, crashed: 1 },
      ],
      attrs: { release: 'r', environment: 'e' },
    },
  ])
  sessions.close()
  for (let minute = 0; minute < 500; minute++) sessions.count(at(minute))
  sessions.report()
  sessions.report()
  assert.equal(sent.length, 2)
  assert.equal(sent[1].aggregates.length, 60)
  assert.equal(
    sent[1].aggregates.reduce((sum, { exited }) => sum + exited, 0),
    500,
  )
})
