import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { PassThrough } from 'node:stream'
import test from 'node:test'
import Fastify from 'fastify'
import pino from 'pino'
import winston from 'winston'
import { storage } from '../../dist/esm/context.js'
import { logging } from '../../dist/esm/log/logger.js'
import { pinoMixin } from '../../dist/esm/log/pino.js'
import { createPretty, wantsColour } from '../../dist/esm/log/pretty.js'
import { winstonFormat } from '../../dist/esm/log/winston.js'
import { configure, inUnit, makeUnit, record } from './memory.mjs'

const boom = new Error('boom')
const forms = [
  [['event'], { event: 'event' }],
  [['event', { a: 1 }], { event: 'event', a: 1 }],
  [['event', boom], { event: 'event', error: 'boom' }],
  [['event', boom, { a: 1 }], { event: 'event', error: 'boom', a: 1 }],
  [['event', { a: 1, err: boom }], { event: 'event', error: 'boom', a: 1 }],
  [['event', { a: 1, error: boom }], { event: 'event', error: 'boom', a: 1 }],
  [['event', { a: 1 }, boom], { event: 'event', error: 'boom', a: 1 }],
  [[{ a: 1 }, 'event'], { event: 'event', a: 1 }],
  [[{ a: 1 }, 'event %s', 'x'], { event: 'event x', a: 1 }],
  [[{ a: 1, err: boom }, 'event'], { event: 'event', error: 'boom', a: 1 }],
  [[{ event: 'named', a: 1 }], { event: 'named', a: 1, fields: { event: 'named' } }],
  [[{ msg: 'named', a: 1 }], { event: 'named', msg: 'named', a: 1 }],
  [[{ a: 1 }], { event: 'log', a: 1 }],
  [[boom], { event: 'error', error: 'boom' }],
  [[boom, 'event'], { event: 'event', error: 'boom' }],
  [[boom, { a: 1 }], { event: 'error', error: 'boom', a: 1 }],
  [['hello %s', 'bob'], { event: 'hello bob' }],
  [['%d%% of %j', 5, { password: 'x', n: 1 }], { event: '5% of {"password":"[REDACTED]","n":1}' }],
  [['hello %s', 'bob', { a: 1 }], { event: 'hello bob', a: 1 }],
  [['event', 'left', 2, null], { event: 'event', args: ['left', 2, null] }],
  [['event', { a: 1 }, 'left'], { event: 'event', a: 1, args: ['left'] }],
  [['event', { args: 0 }, 'left'], { event: 'event', args: [0, 'left'] }],
  [['event', [1, 2]], { event: 'event', args: [[1, 2]] }],
  [['event', undefined], { event: 'event' }],
  [['50% done', { a: 1 }], { event: '50% done', a: 1 }],
  [[42], { event: '42' }],
  [[null], { event: 'null' }],
  [[undefined], { event: 'undefined' }],
  [[Symbol('s')], { event: 'Symbol(s)' }],
  [[''], { event: 'log' }],
  [[], { event: 'log' }],
]
for (const [args, expected] of forms) {
  const title = args.map((arg) =>
    arg === boom ? 'Error' : typeof arg === 'symbol' ? 'symbol' : JSON.stringify(arg),
  )
  test(`logger: the call (${title.join(', ')})`, (t) => {
    const { log, lines } = configure(t)
    log.info(...args)
    const { timestamp, level, service, environment, error, ...line } = lines()[0]
    assert.deepEqual(error === undefined ? line : { ...line, error: error.message }, expected)
    assert.equal(lines().length, 1)
  })
}

test('logger: every level writes its name, silent writes nothing', (t) => {
  const { log, lines } = configure(t, { log: { level: 'trace' } })
  for (const level of ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'])
    log[level]('x')
  assert.deepEqual(
    lines().map((line) => line.level),
    ['trace', 'debug', 'info', 'warn', 'error', 'fatal'],
  )
})

test('logger: has the methods of a Nest LoggerService', (t) => {
  const { log, lines } = configure(t, { log: { level: 'debug' } })
  log.log('started', 'AppModule')
  log.verbose('details', 'AppModule')
  assert.deepEqual(
    lines().map((line) => [line.level, line.event, line.args]),
    [
      ['info', 'started', ['AppModule']],
      ['debug', 'details', ['AppModule']],
    ],
  )
})

test('logger: methods work when taken off the logger', (t) => {
  const { log, lines } = configure(t)
  const { info, child } = log
  info('detached')
  child({ a: 1 }).info('child')
  assert.deepEqual(
    lines().map((line) => line.event),
    ['detached', 'child'],
  )
})

test('58: a level set at run time holds at once for children made before, and by name', (t) => {
  const { log, lines } = configure(t)
  const child = log.child({ a: 1 })
  const db = log.child({}, { name: 'db' }).child({ deep: true })
  const fixed = log.child({}, { level: 'warn' })
  child.debug('no')
  logging.setLevel('debug')
  child.debug('yes')
  db.debug('yes')
  fixed.info('no')
  logging.setLevel('error', { logger: 'db' })
  db.warn('no')
  child.debug('yes')
  logging.setLevel('silent')
  log.fatal('no')
  db.error('yes')
  log.level = 'info'
  log.info('yes')
  assert.equal(child.level, 'info')
  assert.equal(child.isLevelEnabled('debug'), false)
  assert.equal(child.isLevelEnabled('warn'), true)
  assert.deepEqual(new Set(lines().map((line) => line.event)), new Set(['yes']))
  assert.equal(lines().length, 5)
})

test('58: a level with a time to live goes back by itself', async (t) => {
  const { log } = configure(t)
  logging.setLevel('debug', { ttlMs: 20 })
  logging.setLevel('trace', { logger: 'db', ttlMs: 20 })
  const db = log.child({}, { name: 'db' })
  assert.deepEqual([log.level, db.level], ['debug', 'trace'])
  const untilMs = Date.now() + 5000
  while (log.level !== 'info' || db.level !== 'info') {
    assert.ok(Date.now() < untilMs, 'the level never went back')
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
})

test('58: debug for one request is debug for that request only', (t) => {
  const { log, lines } = configure(t)
  inUnit(makeUnit('request-one1'), () => {
    logging.setUnitLevel('debug')
    log.debug('yes')
    log.trace('no')
  })
  inUnit(makeUnit('request-two2'), () => log.debug('no'))
  log.debug('no')
  const quiet = makeUnit('request-three')
  logging.setUnitLevel('error', quiet)
  inUnit(quiet, () => log.warn('no'))
  assert.deepEqual(
    lines().map((line) => [line.event, line.request_id]),
    [['yes', 'request-one1']],
  )
})

test('hold: debug lines come out before request_finished when it failed, was cut off, or was slow', (t) => {
  const { log, lines, raw } = configure(t, { log: { holdDebug: { slowMs: 100 } } })
  const outcomes = [
    [{ statusCode: 500 }, true],
    [{ statusCode: 499, aborted: true, reason: 'client_closed' }, true],
    [{ latencyMs: 100 }, true],
    [{}, false],
    [{ quiet: true }, false],
  ]
  for (const [more, isOut] of outcomes) {
    raw.length = 0
    const unit = makeUnit()
    inUnit(unit, () => {
      log.trace('below')
      log.debug('held', { n: 1 })
      log.info('written')
    })
    assert.deepEqual(
      lines().map((line) => line.event),
      ['written'],
    )
    logging.finish(record(unit, more))
    const events = lines().map((line) => line.event)
    const end = more.quiet ? [] : ['request_finished']
    assert.deepEqual(events, ['written', ...(isOut ? ['held'] : []), ...end])
    assert.equal(unit.held, undefined)
  }
  log.debug('outside')
  assert.ok(lines().every((line) => line.event !== 'outside'))
})

test('hold: memory is bounded, the oldest fall out and are counted', (t) => {
  const { log, lines } = configure(t, { log: { holdDebug: { maxBytes: 2048 } } })
  const unit = makeUnit()
  inUnit(unit, () => {
    for (let i = 0; i < 100; i++) log.debug('held', { i })
  })
  assert.ok(unit.heldBytes <= 2048)
  logging.finish(record(unit, { statusCode: 500 }))
  const [loss, ...rest] = lines()
  const held = rest.filter((line) => line.event === 'held')
  assert.equal(loss.event, 'log_lines_dropped')
  assert.equal(loss.count + held.length, 100)
  assert.equal(held.at(-1).i, 99)
})

test('breadcrumbs: written lines from info up become steps of the unit, request_finished does not', (t) => {
  const { log } = configure(t)
  const unit = makeUnit()
  inUnit(unit, () => {
    log.debug('no')
    log.info('one', { a: 1, password: 'x' })
    log.child({}, { name: 'db' }).warn('two ?token=SECRET')
    logging.finish(record(unit))
  })
  assert.deepEqual(
    unit.breadcrumbs.map(({ ms, ...crumb }) => crumb),
    [
      {
        level: 'info',
        category: 'log',
        message: 'one',
        data: '{"a":1,"password":"[REDACTED]"}',
      },
      { level: 'warn', category: 'db', message: 'two ?token=[REDACTED]', data: '' },
    ],
  )
})

test('hooks: onError hears errors of error and fatal lines; its throw goes nowhere', (t) => {
  const heard = []
  const onError = (error, line) => {
    heard.push([error.message, line.level, line.event, line.fields])
    throw new Error('hook')
  }
  const { log, lines } = configure(t, {}, { onError })
  log.error('one', boom, { a: 1 })
  log.fatal({ err: boom }, 'two')
  log.warn('no', boom)
  log.error('no')
  assert.deepEqual(heard, [
    ['boom', 'error', 'one', { a: 1 }],
    ['boom', 'fatal', 'two', { err: boom }],
  ])
  assert.equal(lines().length, 4)
})

test('logger: a value that logs while it is read disturbs neither line', (t) => {
  const { log, lines } = configure(t)
  log.info('outer', {
    a: 1,
    inner: {
      toJSON() {
        log.info('inner', { b: 2, error: boom })
        return 'done'
      },
    },
    z: 3,
  })
  const [inner, outer] = lines()
  assert.deepEqual([inner.event, inner.b, inner.a], ['inner', 2, undefined])
  assert.deepEqual([outer.event, outer.a, outer.inner, outer.z], ['outer', 1, 'done', 3])
  assert.equal(outer.error, undefined)
})

test('36: console.* becomes one line with the request id, and is put back at close', async (t) => {
  const before = { ...console }
  const { lines } = configure(t, { log: { captureConsole: true, level: 'debug' } })
  inUnit(makeUnit(), () => {
    console.log('hello %s', 'bob', { password: 'x' })
    console.error('failed', boom)
    console.warn('two\nlines')
    console.debug('d')
    console.trace('here')
    console.table([{ a: 1 }])
    console.assert(false, 'assertion')
    console.dir({ token: 'x' })
    console.log()
  })
  const got = lines()
  logging.close()
  for (const method of Object.keys(before)) assert.equal(console[method], before[method], method)
  assert.deepEqual(
    got.map((line) => [line.level, line.logger, line.request_id]),
    ['info', 'error', 'warn', 'debug', 'info', 'info', 'warn', 'info', 'info'].map((level) => [
      level,
      'console',
      'request-0001',
    ]),
  )
  assert.equal(got[0].event, 'hello bob {"password":"[REDACTED]"}')
  assert.deepEqual([got[1].event, got[1].error.message], ['failed', 'boom'])
  assert.match(got[4].stack, /logger\.test\.js/)
  assert.equal(got[7].event, '{"token":"[REDACTED]"}')
})

test('36: a Node warning becomes one line, and Node prints it itself again after close', async (t) => {
  const listeners = process.listeners('warning')
  const { lines } = configure(t, { log: { captureConsole: true } })
  process.emitWarning('careful', 'DeprecationWarning', 'DEP0')
  await new Promise((resolve) => setImmediate(resolve))
  const [line] = lines().filter((each) => each.event === 'node_warning')
  logging.close()
  assert.deepEqual(
    [line.level, line.error.type, line.error.message, line.error.code],
    ['warn', 'DeprecationWarning', 'careful', 'DEP0'],
  )
  assert.deepEqual(process.listeners('warning'), listeners)
})

test('pino: an existing logger gains the ids through its own mixin', () => {
  const rows = []
  const logger = pino({ mixin: pinoMixin() }, { write: (row) => rows.push(JSON.parse(row)) })
  inUnit(makeUnit(), () => logger.info({ a: 1 }, 'inside'))
  logger.info('outside')
  assert.deepEqual(
    [rows[0].request_id, rows[0].trace_id, rows[0].span_id, rows[0].a],
    ['request-0001', 'a'.repeat(32), 'b'.repeat(16), 1],
  )
  assert.equal(rows[1].request_id, undefined)
})

test('winston: an existing logger gains the ids through a format', async () => {
  const stream = new PassThrough()
  const logger = winston.createLogger({
    format: winston.format.combine(winstonFormat(), winston.format.json()),
    transports: [new winston.transports.Stream({ stream })],
  })
  inUnit(makeUnit(), () => logger.info('inside', { a: 1 }))
  logger.info('outside')
  const rows = String(stream.read())
    .trim()
    .split('\n')
    .map((row) => JSON.parse(row))
  assert.deepEqual(
    [rows[0].request_id, rows[0].span_id, rows[0].a],
    ['request-0001', 'b'.repeat(16), 1],
  )
  assert.equal(rows[1].request_id, undefined)
})

test('fastify: the logger serves as loggerInstance: children, serializers, levels of routes', async (t) => {
  const { log, lines } = configure(t)
  const app = Fastify({ loggerInstance: log })
  t.after(() => app.close())
  app.get('/orders/:id', async (request) => {
    request.log.info({ orderId: request.params.id }, 'order read')
    request.log.debug('hidden')
    return { ok: true }
  })
  app.get('/debug', { logLevel: 'debug' }, async (request) => {
    request.log.debug('shown')
    return {}
  })
  app.get('/fail', async () => {
    throw new Error('route failed')
  })
  const address = await app.listen({ port: 0, host: '127.0.0.1' })
  for (const path of ['/orders/7?token=SECRET', '/debug', '/fail'])
    await (await fetch(address + path)).text()
  const all = lines()
  const read = all.find((line) => line.event === 'order read')
  assert.deepEqual([read.orderId, read.reqId], ['7', 'req-1'])
  const incoming = all.find((line) => line.event === 'incoming request')
  assert.deepEqual([incoming.req.method, incoming.req.url], ['GET', '/orders/7?token=[REDACTED]'])
  const completed = all.find((line) => line.event === 'request completed')
  assert.equal(completed.res.statusCode, 200)
  assert.ok(all.some((line) => line.event === 'shown'))
  assert.ok(!all.some((line) => line.event === 'hidden'))
  const failed = all.find((line) => line.event === 'route failed')
  assert.deepEqual([failed.level, failed.error.message], ['error', 'route failed'])
  assert.ok(all.every((line) => line.truncated === undefined))
})

test('logging: the ESM and the CJS copy share one', () => {
  const require = createRequire(import.meta.url)
  assert.equal(require('../../dist/cjs/log/logger.js').logging, logging)
})

test('logging: works before init, plain', (t) => {
  const rows = []
  const stop = logging.capture((line) => rows.push(JSON.parse(line)))
  t.after(stop)
  logging.log.info('early', { a: 1 })
  logging.log.debug('hidden')
  assert.deepEqual(Object.keys(rows[0]), ['timestamp', 'level', 'event', 'a'])
  assert.equal(rows.length, 1)
})

test('logging: a late line of an ended unit keeps its ids and leaves no trace in it', (t) => {
  const { log, lines } = configure(t)
  const unit = makeUnit()
  unit.ended = true
  inUnit(unit, () => log.info('late'))
  assert.equal(lines()[0].request_id, 'request-0001')
  assert.equal(unit.breadcrumbs, undefined)
  assert.equal(storage.getStore(), undefined)
})

test('pretty: one record reads well, its stack is indented, control characters are shown', () => {
  const plain = createPretty(false)
  const text = plain(
    `${JSON.stringify({
      timestamp: '2026-11-24T08:33:24.123Z',
      level: 'error',
      event: 'order \u001b[31mfailed',
      service: 'shop',
      request_id: 'request-0001',
      note: 'two words',
      bad: 'a\u001b]0;title\u0007b',
      error: {
        type: 'Error',
        message: 'boom',
        stack: 'Error: boom\n    at f (x.js:1:1)',
        cause: { type: 'TypeError', message: 'root' },
      },
    })}\n`,
  )
  assert.equal(
    text,
    [
      '08:33:24.123 ERROR order \\u001b[31mfailed note="two words" bad=a\\u001b]0;title\\u0007b request-',
      '    Error: boom',
      '      at f (x.js:1:1)',
      '    caused by',
      '      TypeError: root',
      '',
    ].join('\n'),
  )
  assert.ok(
    createPretty(true)('{"timestamp":"","level":"info","event":"x"}').includes('\u001b[32m'),
  )
})

test('pretty: NO_COLOR and FORCE_COLOR decide, else the terminal', () => {
  assert.equal(wantsColour({}, true), true)
  assert.equal(wantsColour({}, false), false)
  assert.equal(wantsColour({ NO_COLOR: '1', FORCE_COLOR: '1' }, true), false)
  assert.equal(wantsColour({ FORCE_COLOR: '1' }, false), true)
  assert.equal(wantsColour({ FORCE_COLOR: '0' }, true), false)
  assert.equal(wantsColour({ TERM: 'dumb' }, true), false)
})
