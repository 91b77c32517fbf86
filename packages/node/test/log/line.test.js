import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { logging } from '../../dist/esm/log/logger.js'
import { configure, inUnit, keysOf, makeUnit, record } from './memory.mjs'

const PRESETS = ['telltale', 'ecs', 'gcp', 'datadog', 'pino']
const COLLIDING = {
  level: 'evil',
  timestamp: 0,
  event: 'y',
  request_id: 'FAKE',
  trace_id: 'FAKE',
  span_id: 'FAKE',
  service: 'FAKE',
  environment: 'FAKE',
  release: 'FAKE',
  logger: 'FAKE',
  fields: { a: 1 },
  truncated: 'FAKE',
  '@timestamp': 'FAKE',
  'log.level': 'FAKE',
  message: 'FAKE',
  'service.name': 'FAKE',
  'trace.id': 'FAKE',
  'http.request.id': 'FAKE',
  severity: 'FAKE',
  time: 'FAKE',
  status: 'FAKE',
  'dd.trace_id': 'FAKE',
  'logging.googleapis.com/trace': 'FAKE',
  msg: 'FAKE',
  err: new Error('err'),
  error: new Error('error'),
  args: 1,
  method: 'FAKE',
  path: 'FAKE',
  status_code: 1,
  latency_ms: 'FAKE',
  'url.path': 'FAKE',
  sample_weight: 'FAKE',
  own: 1,
}

test('45: the names of a line are in order, the caller cannot take them', (t) => {
  const { log, raw, lines } = configure(t, { environment: 'test', release: 'r1' })
  const unit = makeUnit()
  unit.fields = { tenant: 'acme' }
  inUnit(unit, () => log.child({ part: 'p' }, { name: 'db' }).info('order_placed', COLLIDING))
  assert.deepEqual(keysOf(raw[0]).slice(0, 13), [
    'timestamp',
    'level',
    'event',
    'service',
    'environment',
    'release',
    'logger',
    'request_id',
    'trace_id',
    'span_id',
    'tenant',
    'part',
    '@timestamp',
  ])
  const [line] = lines()
  assert.match(line.timestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  assert.ok(Math.abs(Date.parse(line.timestamp) - Date.now()) < 60_000)
  assert.deepEqual(
    [line.level, line.event, line.service, line.request_id, line.logger],
    ['info', 'order_placed', 'test', 'request-0001', 'db'],
  )
  assert.equal(line.fields.level, 'evil')
  assert.equal(line.fields.request_id, 'FAKE')
  assert.deepEqual(line.fields.fields, { a: 1 })
  assert.equal(line.own, 1)
})

for (const preset of PRESETS) {
  test(`45: ${preset}: no key stands twice, from call, child, bind and request_finished together`, (t) => {
    const { log, raw } = configure(t, {
      release: 'r1',
      log: { preset },
      request: { sampleRate: 1 },
    })
    const some = { own: 'bound', level: 'bound', tenant: 1 }
    for (const bound of [undefined, { tenant: 1 }, some, COLLIDING]) {
      const unit = makeUnit()
      unit.fields = bound
      unit.rejectedId = 'bad id'
      unit.pathTruncated = true
      unit.dbCount = 2
      unit.httpOutCount = 1
      inUnit(unit, () => {
        for (const fields of [undefined, { own: 2 }, { tenant: 2 }, COLLIDING]) {
          for (const child of [undefined, { own: 3 }, COLLIDING]) {
            const logger = child === undefined ? log : log.child(child, { name: 'n' })
            logger.info('event', fields)
            logger.info('event', new Error('x'), fields)
            logger.info(fields, 'event', 'left', 'over')
          }
        }
        logging.finish(record(unit, { statusCode: 500 }))
        unit.error = new Error('e')
        unit.hasError = true
        logging.finish(record(unit, { aborted: true, reason: 'timeout' }))
      })
    }
    assert.equal(raw.length, 4 * 4 * 3 * 3 + 8)
    for (const text of raw) keysOf(text)
  })
}

const keys = fc.constantFrom(...Object.keys(COLLIDING), 'a', 'b', 'toString', '__proto__')
const dictionary = fc.dictionary(keys, fc.oneof(fc.string(), fc.constant(new Error('e'))))

test('property: 45: whatever is bound, given to a child and to a call, each key stands once', (t) => {
  const { log, raw } = configure(t)
  fc.assert(
    fc.property(dictionary, dictionary, dictionary, (bound, child, fields) => {
      raw.length = 0
      const unit = makeUnit()
      unit.fields = bound
      inUnit(unit, () => log.child(child).info('event', fields))
      inUnit(unit, () => logging.finish(record(unit)))
      assert.equal(raw.length, 2)
      for (const text of raw) keysOf(text)
      const line = JSON.parse(raw[0])
      for (const name of ['a', 'b']) {
        const want = fields[name] ?? child[name] ?? bound[name]
        if (typeof want === 'string') assert.equal(typeof line[name], 'string')
      }
    }),
    { numRuns: 1000 },
  )
})

test('line: bound fields beyond their share are still whole while the line has room', (t) => {
  const { log, lines } = configure(t)
  const unit = makeUnit()
  unit.fields = { long: 'x'.repeat(5000) }
  inUnit(unit, () => log.child({ other: 'y'.repeat(5000) }).info('x', { a: 1 }))
  inUnit(unit, () => log.info('x'))
  for (const line of lines())
    assert.deepEqual([line.long.length, line.truncated], [5000, undefined])
  assert.equal(lines()[0].other.length, 5000)
})

test('line: the later of bind, child and call wins', (t) => {
  const { log, lines } = configure(t)
  const unit = makeUnit()
  unit.fields = { a: 'bind', b: 'bind', c: 'bind' }
  inUnit(unit, () => log.child({ b: 'child', c: 'child' }).info('x', { c: 'call' }))
  const [{ a, b, c }] = lines()
  assert.deepEqual([a, b, c], ['bind', 'child', 'call'])
})

const heads = {
  ecs: ['@timestamp', 'log.level', 'message', 'service.name', 'service.environment', 'ecs.version'],
  gcp: ['time', 'severity', 'message', 'service', 'environment'],
  datadog: ['timestamp', 'status', 'message', 'service', 'dd.env'],
  pino: ['time', 'level', 'msg', 'service', 'environment'],
}
for (const [preset, head] of Object.entries(heads)) {
  test(`line: the preset ${preset} renames and does not restructure`, (t) => {
    const { log, raw, lines } = configure(t, { log: { preset } })
    const unit = makeUnit()
    inUnit(unit, () => {
      log.warn('careful', { a: 1, nested: { level: 'stays' } })
      log.error('broken', new Error('boom'))
      logging.finish(record(unit))
    })
    assert.deepEqual(keysOf(raw[0]).slice(0, head.length), head)
    const [careful, broken, finished] = lines()
    assert.deepEqual([careful.a, careful.nested], [1, { level: 'stays' }])
    const values = Object.values(careful)
    for (const id of ['request-0001', 'a'.repeat(32), 'b'.repeat(16)])
      assert.ok(values.includes(id))
    const error = broken[preset === 'pino' ? 'err' : 'error']
    assert.equal(error.message, 'boom')
    const stack = { ecs: 'stack_trace' }[preset] ?? 'stack'
    assert.match(error[stack], /line\.test\.js/)
    assert.ok(Object.values(finished).includes('/orders/7'))
    if (preset === 'pino') assert.deepEqual([careful.level, typeof careful.time], [40, 'number'])
    if (preset === 'gcp') assert.equal(careful.severity, 'WARNING')
  })
}

test('finish: the line has every fact of the record, numbers as numbers', (t) => {
  const { lines, raw } = configure(t, { environment: 'test' })
  const unit = makeUnit()
  unit.dbCount = 2
  unit.dbMs = 3.5
  unit.httpOutCount = 1
  unit.httpOutMs = 4.25
  unit.rejectedId = 'evil\nid'
  unit.pathTruncated = true
  unit.fields = { tenant: 'acme' }
  logging.finish(record(unit))
  const { timestamp, ...line } = lines()[0]
  assert.deepEqual(line, {
    level: 'info',
    event: 'request_finished',
    service: 'test',
    environment: 'test',
    request_id: 'request-0001',
    trace_id: 'a'.repeat(32),
    span_id: 'b'.repeat(16),
    method: 'GET',
    path: '/orders/7',
    path_truncated: true,
    route: '/orders/:id',
    status_code: 200,
    latency_ms: 12.345,
    request_id_in: 'evil\nid',
    db_count: 2,
    db_ms: 3.5,
    http_out_count: 1,
    http_out_ms: 4.25,
    tenant: 'acme',
  })
  assert.equal(raw[0].indexOf('\n'), raw[0].length - 1)
})

for (const [more, level] of [
  [{ statusCode: 200 }, 'info'],
  [{ statusCode: 404, route: null }, 'info'],
  [{ statusCode: 429 }, 'warn'],
  [{ statusCode: 499, aborted: true, reason: 'client_closed' }, 'warn'],
  [{ statusCode: 500 }, 'error'],
  [{ statusCode: 503, quiet: true }, 'error'],
  [{ statusCode: 200, quiet: true, aborted: true, reason: 'timeout' }, 'warn'],
]) {
  test(`finish: level ${level} for ${JSON.stringify(more)}`, (t) => {
    const { lines } = configure(t)
    logging.finish(record(makeUnit(), more))
    const [line] = lines()
    assert.equal(line.level, level)
    assert.equal(line.aborted, more.aborted)
    assert.equal(line.reason, more.reason)
    if (more.route === null) assert.equal(line.route, null)
  })
}

test('finish: a quiet success writes nothing', (t) => {
  const { raw } = configure(t)
  logging.finish(record(makeUnit(), { quiet: true }))
  assert.equal(raw.length, 0)
})

test('finish: the true error stands on the line with its causes', (t) => {
  const { lines } = configure(t)
  const unit = makeUnit()
  unit.hasError = true
  unit.error = new TypeError('boom', { cause: new RangeError('root') })
  logging.finish(record(unit, { statusCode: 500 }))
  const [{ error }] = lines()
  assert.deepEqual(
    [error.type, error.message, error.cause.type],
    ['TypeError', 'boom', 'RangeError'],
  )
})

test('finish: a path with a secret or of 2 KB gives a bounded line without the secret', (t) => {
  const { raw } = configure(t, { log: { maxLineBytes: 8192 } })
  logging.finish(record(makeUnit(), { path: `/a?token=SECRET/${'漢'.repeat(680)}` }))
  assert.doesNotMatch(raw[0], /SECRET/)
  assert.ok(Buffer.byteLength(raw[0]) <= 8192)
  keysOf(raw[0])
})

test('59: sampling at 1 % keeps all failures, slow and aborted requests; weights add up', (t) => {
  const { lines } = configure(t, { request: { sampleRate: 0.01, slowMs: 500 } })
  const total = 40_000
  for (let i = 0; i < total; i++) {
    logging.finish(record(makeUnit()))
    if (i % 100 !== 0) continue
    logging.finish(record(makeUnit(), { statusCode: 500 }))
    logging.finish(record(makeUnit(), { statusCode: 429 }))
    logging.finish(record(makeUnit(), { statusCode: 499, aborted: true, reason: 'client_closed' }))
    logging.finish(record(makeUnit(), { latencyMs: 500 }))
  }
  const all = lines()
  const sampled = all.filter((line) => line.sample_weight !== undefined)
  assert.equal(all.length - sampled.length, 1600)
  assert.ok(sampled.every((line) => line.sample_weight === 100 && line.status_code === 200))
  const sigma = Math.sqrt(total * 0.01 * 0.99)
  assert.ok(Math.abs(sampled.length - total * 0.01) < 4.5 * sigma, `${sampled.length} lines`)
})
