import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'
import express from 'express'
import { captureException, init, setUser } from '../../dist/esm/index.js'
import { captureLogs, createMemoryTracker } from '../../dist/esm/testing.js'
import { request } from '../contract/harness.js'
import { word } from '../errors/memory.js'
import { startSentryReceiver } from '../receivers/sentry.js'
import { freePort } from '../services/server.js'
import { serve, startKit, until } from './kit.js'

const undo = []
afterEach(async () => {
  for (const stop of undo.splice(0).reverse()) await stop()
})

async function failing() {
  const app = await serve(
    express()
      .get('/boom', () => {
        throw new Error('boom')
      })
      .use((_e, _req, res, _next) => res.status(500).json({ mine: true })),
  )
  undo.push(() => app.close())
  return app
}

function start(errors) {
  const kit = init({
    service: 'kit',
    trace: { sampleRate: 1 },
    errors: { captureCrashes: false, spoolDir: false, ...errors },
    shutdown: { enabled: false },
  })
  const logs = captureLogs()
  undo.push(async () => {
    logs.stop()
    await kit.close(100)
  })
  return kit
}

const hostile = {
  name: 'hostile',
  capture() {
    throw new Error('tracker')
  },
  transaction() {
    throw new Error('tracker')
  },
  flush: () => Promise.reject(new Error('tracker')),
  close: () => Promise.reject(new Error('tracker')),
}

test('two trackers both receive, also when one throws; the answer is the application’s', async () => {
  const memory = createMemoryTracker()
  const kit = start({ tracker: [hostile, memory] })
  const app = await failing()
  const answer = await request(app.port, '/boom')
  assert.equal(answer.body, '{"mine":true}')
  assert.equal((await memory.next()).exception.values.at(-1).value, 'boom')
  await until(() => memory.transactions.length === 1)
  assert.equal(typeof (await kit.flush(100)), 'boolean')
})

test('K17: a beforeSend that throws loses its event, counted, and nothing else', async () => {
  const tracker = createMemoryTracker()
  start({
    tracker,
    beforeSend() {
      throw new Error('mine')
    },
  })
  const app = await failing()
  assert.equal((await request(app.port, '/boom')).status, 500)
  let page = ''
  for (let i = 0; i < 20 && !/telltale_events_lost_total\{[^}]*\} 1/.test(page); i++)
    page = (await request(app.port, '/metrics')).body
  assert.match(page, /telltale_events_lost_total\{reason="before_send[^"]*"\} 1/)
  assert.equal(tracker.events.length, 0)
})

for (const [name, script] of [
  ['403', { status: 403 }],
  ['429', { status: 429, headers: { 'retry-after': '60' } }],
  ['503', { status: 503 }],
  ['hanging', { hang: true }],
  ['refused', undefined],
]) {
  test(`a tracker that answers ${name} leaves the application's answers as they are`, async () => {
    let dsn = `http://abcdef0123456789abcdef0123456789@127.0.0.1:${await freePort()}/1`
    if (script !== undefined) {
      const receiver = await startSentryReceiver()
      undo.push(() => receiver.close())
      receiver.answer(() => script)
      dsn = receiver.dsn
    }
    const kit = start({ dsn })
    const app = await failing()
    const answers = await Promise.all(Array.from({ length: 20 }, () => request(app.port, '/boom')))
    for (const { status, body } of answers) {
      assert.equal(status, 500)
      assert.equal(body, '{"mine":true}')
    }
    await kit.flush(300)
    const { status } = await request(app.port, '/metrics')
    assert.equal(status, 200)
  })
}

test('K3: 200 interleaved failing requests each carry their own user and request id', async () => {
  const running = startKit()
  undo.push(running.close)
  const app = await serve(async (req, res) => {
    setUser({ id: req.url })
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 5))
    captureException(new Error(`of ${req.url}`))
    res.end()
  })
  undo.push(() => app.close())
  await Promise.all(
    Array.from({ length: 200 }, (_, i) =>
      // Without digits: errors that differ only in a number are one storm.
      request(app.port, `/${word(i)}`, { headers: { 'x-request-id': `own-${word(i)}-xxxx` } }),
    ),
  )
  const { events } = running.tracker
  await until(() => events.length === 200)
  for (const event of events) {
    const path = event.exception.values.at(-1).value.slice(3)
    assert.equal(event.user.id, path)
    assert.ok(JSON.stringify(event).includes(`own-${path.slice(1)}-xxxx`))
  }
})
