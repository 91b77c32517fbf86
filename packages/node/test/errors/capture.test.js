import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer, request } from 'node:http'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { emptyUnit } from '../../dist/esm/context.js'
import { createErrors } from '../../dist/esm/errors/errors.js'
import {
  createMemoryTracker,
  createUnit,
  redactor,
  runInUnit,
  settingsWith,
  setUp,
  word,
} from './memory.js'

const total = (events) => events.reduce((sum, e) => sum + 1 + (e.extra?.suppressed_count ?? 0), 0)

test('K3: 200 interleaved units keep their own user and breadcrumbs', async (t) => {
  const { errors, events } = setUp(t)
  await Promise.all(
    Array.from({ length: 200 }, (_, n) => {
      const unit = createUnit()
      return runInUnit(unit, async () => {
        errors.setUser({ id: n })
        errors.addBreadcrumb({ message: `first ${n}` })
        await sleep(Math.random() * 20)
        errors.addBreadcrumb({ message: `second ${n}`, data: { n } })
        errors.captureException(new Error(`of ${word(n)}`), { tags: { n } })
        emptyUnit(unit)
      })
    }),
  )
  await errors.flush()
  assert.equal(events.length, 200)
  for (const event of events) {
    const n = Number(event.tags.n)
    assert.equal(event.exception.values[0].value, `of ${word(n)}`)
    assert.equal(event.user.id, n)
    assert.deepEqual(
      event.breadcrumbs.values.map((crumb) => crumb.message),
      [`first ${n}`, `second ${n}`],
    )
    assert.deepEqual(event.breadcrumbs.values[1].data, { n })
  }
})

test('K9: one error object is reported once, frozen or not, whoever captures it', async (t) => {
  const { errors, events } = setUp(t)
  for (const error of [new Error('one'), Object.freeze(new Error('two'))]) {
    const id = errors.captureException(error, { tags: { from: 'logger' } })
    assert.equal(errors.captureException(error), id)
    assert.equal(errors.captureException(error, { level: 'fatal' }), id)
  }
  await errors.flush()
  assert.deepEqual(
    events.map((event) => event.exception.values[0].value),
    ['one', 'two'],
  )
})

test('K10: 500 of one error send at most 10 events whose counts add up to 500', async (t) => {
  const { errors, events } = setUp(t)
  for (let i = 0; i < 500; i++) errors.captureException(new Error('again'))
  await errors.flush()
  assert.ok(events.length <= 10, `${events.length} events`)
  assert.equal(total(events), 500)
  assert.equal(new Set(events.map((event) => event.event_id)).size, events.length)
})

test('K10: the remainder is written by spoolSync as well', (t) => {
  const { errors, events } = setUp(t)
  for (let i = 0; i < 77; i++) errors.captureException(new Error('again'))
  errors.spoolSync()
  assert.equal(total(events), 77)
})

test('K10: a storm whose messages differ in ids, numbers and quoted text is one storm', async (t) => {
  const { errors, events } = setUp(t)
  const messages = [
    (i) => `user ${i} not found`,
    (i) => `user ${i * 1.5} of "team ${word(i)}" not found`,
    () => `order ${randomUUID()} is gone`,
    (i) => `no object ${randomBytes(12).toString('hex')} in bucket-${i}`,
    (i) => `Unknown column '${word(i)}' in 'field list'`,
  ]
  for (const message of messages) {
    events.length = 0
    for (let i = 0; i < 1000; i++) errors.captureException(new Error(message(i)))
    await errors.flush()
    assert.ok(events.length <= 10, `${events.length} events of ${message(7)}`)
    assert.equal(total(events), 1000)
    // What is sent says the whole message.
    assert.equal(events[0].exception.values[0].value.includes('*'), false)
  }
  events.length = 0
  for (let i = 0; i < 1000; i++) errors.captureMessage(`slow query ${i}`)
  await errors.flush()
  assert.ok(events.length <= 10)
  assert.equal(total(events), 1000)
})

test('K11: errors of different kinds, classes or places are no storm, however alike their ids', async (t) => {
  const { errors, events } = setUp(t)
  for (let i = 0; i < 500; i++) {
    errors.captureException(new Error(`user 7 cannot ${word(i)} order ${i} 'x'`))
  }
  for (const Kind of [TypeError, RangeError]) errors.captureException(new Kind('user 7'))
  errors.captureException(new Error('user 7'))
  errors.captureException(new Error('user 8'))
  await errors.flush()
  assert.equal(events.length, 504)
  assert.equal(total(events), 504)
})

test('K11: 500 different errors all go through', async (t) => {
  const { errors, events } = setUp(t)
  for (let i = 0; i < 500; i++) errors.captureException(new Error(`kind ${word(i)}`))
  await errors.flush()
  assert.equal(new Set(events.map((event) => event.exception.values[0].value)).size, 500)
  assert.equal(events.length, 500)
})

test('K11: what the pending queue cannot hold is counted', async (t) => {
  const { errors, events } = setUp(t)
  for (let i = 0; i < 1500; i++) errors.captureException(new Error(`kind ${word(i)}`))
  await errors.flush()
  assert.equal(events.length + errors.losses().queue_overflow, 1500)
})

test('K17: a beforeSend that throws, drops or answers a promise is counted and harmless', async (t) => {
  const answers = {
    throw: () => {
      throw new Error('mine')
    },
    drop: () => null,
    promise: async () => {
      throw new Error('late')
    },
  }
  const { errors, events } = setUp(t, {
    beforeSend: (event) => answers[event.exception.values[0].value]?.() ?? event,
  })
  for (const name of ['throw', 'promise', 'kept']) errors.captureException(new Error(name))
  await errors.flush()
  assert.deepEqual(
    events.map((event) => event.exception.values[0].value),
    ['kept'],
  )
  assert.equal(errors.losses().before_send, 2)
})

test('beforeSend: what it adds is scrubbed, what it changes is sent', async (t) => {
  const secret = ['hunt', 'er2'].join('')
  const { errors, events } = setUp(t, {
    beforeSend(event) {
      event.extra = { password: secret, big: 10n }
      event.extra.self = event.extra
      event.exception.values[0].value = 'changed'
      return event
    },
  })
  errors.captureException(new Error('x'))
  await errors.flush()
  assert.ok(!JSON.stringify(events).includes(secret))
  assert.equal(events[0].exception.values[0].value, 'changed')
  assert.ok(events[0].exception.values[0].stacktrace.frames.length > 0)
})

test('K18: hostile values become an event of at most 1 MiB', async (t) => {
  const { errors, events } = setUp(t)
  const cyclic = { name: 'loop' }
  cyclic.self = cyclic
  const extra = {
    cyclic,
    big: 2n ** 64n,
    proxy: new Proxy({}, { ownKeys: () => assert.fail('trap'), get: () => assert.fail('trap') }),
    long: 'x'.repeat(10_000_000),
    control: '\u0001'.repeat(1_000_000),
    list: new Array(100_000).fill('item'),
    map: new Map([['password', 'p']]),
    get broken() {
      throw new Error('getter')
    },
    date: new Date(NaN),
    symbol: Symbol('s'),
    buffer: Buffer.alloc(1e6),
    many: Array.from({ length: 100 }, () => '\u0001'.repeat(8000)),
  }
  errors.captureException(new Error('m'.repeat(10_000_000)), {
    extra,
    contexts: { mine: { many: extra.many, control: extra.control } },
  })
  await errors.flush()
  assert.equal(events.length, 1)
  assert.ok(Buffer.byteLength(JSON.stringify(events[0])) <= 1024 * 1024)
  assert.equal(events[0].extra.cyclic.self, '[Circular]')
  assert.equal(events[0].extra.proxy, '[unreadable]')
  assert.equal(events[0].extra.big, '18446744073709551616n')
  assert.equal(events[0].extra.broken, '[unreadable]')
})

test('K2: secrets reach no event through cause, extra, breadcrumbs, query or headers', async (t) => {
  const secret = ['hunt', 'er2'].join('')
  // Joined, because the lines of this file are on the event as source context.
  const address = ['203', '0', '113', '9'].join('.')
  const card = ['4111', '1111', '1111', '1111'].join('')
  const { errors, events } = setUp(t)
  const server = createServer((incoming, response) => {
    const unit = createUnit()
    unit.method = incoming.method
    unit.url = incoming.url
    unit.rawHeaders = incoming.rawHeaders
    unit.path = '/pay/7'
    unit.route = '/pay/:id'
    runInUnit(unit, () => {
      errors.setUser({ id: 7, ip_address: address, password: secret })
      errors.setContext('mine', { deep: { password: secret } })
      errors.addBreadcrumb({ message: `Bearer ${secret}`, data: { token: secret, card } })
      errors.captureException(
        new Error(`paid with ${card}`, { cause: new Error(`Bearer ${secret}`) }),
        { extra: { list: [{ password: secret }], text: `card ${card}` } },
      )
    })
    emptyUnit(unit)
    response.end()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const outgoing = request({
    port: server.address().port,
    method: 'POST',
    path: `/pay/7?password=${secret}&page=2`,
    headers: {
      authorization: `Bearer ${secret}`,
      cookie: `sid=${secret}`,
      'x-api-key': secret,
      'x-other': secret,
      referer: `http://h/?token=${secret}`,
    },
  })
  outgoing.end()
  await once(outgoing, 'response')
  server.closeAllConnections()
  server.close()
  await errors.flush()
  const text = JSON.stringify(events)
  assert.ok(!text.includes(secret), text)
  assert.ok(!text.includes(card))
  assert.ok(!text.includes(address))
  const [event] = events
  assert.equal(event.transaction, 'POST /pay/:id')
  assert.match(
    event.request.url,
    /^http:\/\/127\.0\.0\.1:\d+\/pay\/7$|^http:\/\/localhost:\d+\/pay\/7$/,
  )
  assert.match(event.request.query_string, /^password=.*&page=2$/)
  assert.equal(event.tags.service, 'shop')
  assert.match(event.tags.request_id, /^request-/)
  assert.match(event.contexts.trace.trace_id, /^\d{32}$/)
  assert.equal(event.request.headers.cookie, undefined)
  assert.equal(event.request.headers['x-other'], undefined)
})

test('K2: with sendDefaultPii or allowHeaders credentials still stay out', async (t) => {
  const secret = ['hunt', 'er2'].join('')
  for (const options of [
    { sendDefaultPii: true },
    { allowHeaders: ['Authorization', 'cookie', 'x-api-key', 'x-mine'] },
  ]) {
    const { errors, events } = setUp(t, options)
    const unit = createUnit()
    unit.rawHeaders = Object.entries({
      authorization: secret,
      'proxy-authorization': secret,
      cookie: `sid=${secret}; theme=${secret}`,
      'x-api-key': secret,
      'x-mine': 'yes',
      'x-forwarded-for': '192.0.2.1, 10.0.0.1',
    }).flat()
    runInUnit(unit, () => errors.captureException(new Error('x')))
    await errors.flush()
    const [event] = events
    assert.ok(!JSON.stringify(event).includes(secret))
    assert.equal(event.request.headers['x-mine'], 'yes')
    assert.equal(event.transaction, 'GET unmatched')
    if (options.sendDefaultPii) {
      assert.equal(event.user.ip_address, '192.0.2.1')
      assert.equal(event.request.headers.cookie, 'sid=[REDACTED]; theme=[REDACTED]')
    } else assert.equal(event.user, undefined)
  }
})

test('withScope: its changes end with it, also when async and outside any unit', async (t) => {
  const { errors, events } = setUp(t)
  errors.setTag('region', 'eu')
  await errors.withScope(async (scope) => {
    scope.setTag('inner', 1).setLevel('warning').setUser({ id: 'u' })
    await sleep(1)
    errors.setExtra('later', true)
    errors.captureException(new Error('inside'))
  })
  errors.captureException(new Error('outside'))
  await errors.flush()
  const [inside, outside] = events
  assert.deepEqual([inside.tags.inner, inside.tags.region], ['1', 'eu'])
  assert.deepEqual([inside.level, inside.user.id, inside.extra.later], ['warning', 'u', true])
  assert.equal(outside.tags.inner, undefined)
  assert.equal(outside.user, undefined)
  assert.equal(outside.level, 'error')
})

test('setUser outside any unit of work does nothing', async (t) => {
  const { errors, events } = setUp(t)
  errors.setUser({ id: 'everyone' })
  errors.captureException(new Error('x'))
  await errors.flush()
  assert.equal(events[0].user, undefined)
})

test('captureMessage, captureEvent and hints keep the shapes of Sentry', async (t) => {
  const { errors, events } = setUp(t)
  errors.captureMessage('hello', 'warning')
  errors.captureMessage('plain')
  const id = errors.captureEvent({ message: 'mine', level: 'fatal', tags: { a: 'b' } })
  assert.equal(errors.captureEvent !== undefined && errors.lastEventId(), id)
  errors.captureException(new Error('f'), { fingerprint: ['a'], tags: { n: 3 }, level: 'info' })
  errors.captureException(new Error('g'), (scope) => scope.setTag('from', 'callback'))
  await errors.flush()
  assert.deepEqual([events[0].message, events[0].level], ['hello', 'warning'])
  assert.equal(events[1].level, 'info')
  assert.deepEqual([events[2].event_id, events[2].message, events[2].level], [id, 'mine', 'fatal'])
  assert.deepEqual([events[3].fingerprint, events[3].tags.n, events[3].level], [['a'], '3', 'info'])
  assert.equal(events[4].tags.from, 'callback')
})

test('ignoreErrors and sampleRate drop and count', async (t) => {
  const { errors, events } = setUp(t, { ignoreErrors: ['skip me', /^TypeError: x\d$/g] })
  errors.captureException(new Error('please skip me now'))
  errors.captureException(new TypeError('x1'))
  errors.captureException(new TypeError('x2'))
  errors.captureException(new Error('kept'))
  await errors.flush()
  assert.equal(events.length, 1)
  assert.equal(errors.losses().event_processor, 3)
  const none = setUp(t, { sampleRate: 0 })
  none.errors.captureException(new Error('unlucky'))
  await none.errors.flush()
  assert.deepEqual([none.events.length, none.errors.losses().sample_rate], [0, 1])
})

test('a tracker that throws is guarded and counted, the others still receive', async (t) => {
  const good = createMemoryTracker()
  const bad = {
    ...createMemoryTracker(),
    capture: () => assert.fail('bad'),
    flush: () => assert.fail('bad'),
  }
  const errors = createErrors(settingsWith(), { redactor, trackers: [bad, good] })
  t.after(() => errors.close())
  errors.captureException(new Error('x'))
  assert.equal(await errors.flush(), false)
  assert.equal(good.events.length, 1)
  assert.equal(errors.losses().internal_sdk_error, 1)
})

test('flush ends at its deadline when a tracker hangs', async (t) => {
  const hanging = { ...createMemoryTracker(), flush: () => new Promise(() => {}) }
  const errors = createErrors(settingsWith(), { redactor, trackers: [hanging] })
  t.after(() => errors.close())
  assert.equal(await errors.flush(20), false)
})

test('withMonitor: in_progress, then ok or error with one id', async (t) => {
  const { errors, tracker } = setUp(t)
  assert.equal(
    errors.withMonitor('nightly', () => 7),
    7,
  )
  await assert.rejects(errors.withMonitor('nightly', async () => assert.fail('job')))
  assert.deepEqual(
    tracker.checkIns.map((checkIn) => checkIn.status),
    ['in_progress', 'ok', 'in_progress', 'error'],
  )
  assert.equal(tracker.checkIns[0].check_in_id, tracker.checkIns[1].check_in_id)
})
