// Logging as a service sees it: levels, held lines, sampling, presets and other loggers, over real requests.
import assert from 'node:assert/strict'
import { Writable } from 'node:stream'
import { afterEach, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import pino from 'pino'
import winston from 'winston'
import { close, init, log, setLevel, setRequestLevel } from '../../dist/esm/index.js'
import { pinoMixin } from '../../dist/esm/log/pino.js'
import { winstonFormat } from '../../dist/esm/log/winston.js'
import { captureLogs } from '../../dist/esm/testing.js'
import { serve, startKit } from './kit.js'

let running
afterEach(async () => {
  await running?.close()
  running = undefined
})

async function ask(app, path = '/') {
  const answer = await fetch(`http://127.0.0.1:${app.port}${path}`)
  await answer.text()
  return answer.headers.get('x-request-id')
}

test('58: a level changed at run time holds at once for children made before, and for one request only', async () => {
  running = startKit()
  const child = log.child({ part: 'x' }, { name: 'part' })
  const app = await serve((req, res) => {
    if (req.url === '/debug') setRequestLevel('debug')
    child.debug('detail')
    res.end()
  })
  const quiet = await ask(app)
  const loud = await ask(app, '/debug')
  const details = () => running.logs.of('detail').map((line) => line.request_id)
  assert.deepEqual(details(), [loud])
  setLevel('debug', { logger: 'part' })
  const after = await ask(app)
  assert.deepEqual(details(), [loud, after])
  setLevel('info', { logger: 'part' })
  await ask(app)
  assert.equal(details().length, 2)
  assert.notEqual(quiet, loud)
  await app.close()
})

test('held debug lines appear when the request fails or is slow, before its end line, else never', async () => {
  running = startKit({ log: { holdDebug: { slowMs: 60 } } })
  const app = await serve(async (req, res) => {
    log.debug('step')
    if (req.url === '/slow') await sleep(80)
    res.statusCode = req.url === '/fail' ? 500 : 200
    res.end()
  })
  await ask(app, '/fine')
  const failed = await ask(app, '/fail')
  const slow = await ask(app, '/slow')
  assert.deepEqual(
    running.logs.of('step').map((line) => line.request_id),
    [failed, slow],
  )
  const events = running.logs.lines
    .filter((line) => line.request_id === failed)
    .map((line) => line.event)
  assert.deepEqual(events, ['step', 'request_finished'])
  await app.close()
})

test('59: sampled end lines keep every failure and state a weight that adds up', async () => {
  running = startKit({ request: { sampleRate: 0.1, slowMs: 40 } })
  const app = await serve(async (req, res) => {
    if (req.url === '/slow') await sleep(50)
    res.statusCode = req.url === '/fail' ? 503 : 200
    res.end()
  })
  const total = 1500
  for (let i = 0; i < total; i += 50) await Promise.all(Array.from({ length: 50 }, () => ask(app)))
  for (let i = 0; i < 20; i++) await Promise.all([ask(app, '/fail'), ask(app, '/slow')])
  const lines = running.logs.of('request_finished')
  assert.equal(lines.filter((line) => line.path === '/fail').length, 20)
  assert.equal(lines.filter((line) => line.path === '/slow').length, 20)
  const sampled = lines.filter((line) => line.path === '/' && line.latency_ms < 40)
  const slow = lines.filter((line) => line.path === '/' && line.latency_ms >= 40).length
  for (const line of sampled) assert.equal(line.sample_weight, 10)
  const expected = (total - slow) * 0.1
  const sigma = Math.sqrt((total - slow) * 0.1 * 0.9)
  assert.ok(
    Math.abs(sampled.length - expected) < 5 * sigma,
    `${sampled.length} of about ${expected}`,
  )
  await app.close()
})

test('each preset writes one valid line per event, under its own names', async () => {
  const names = {
    telltale: ['event', 'request_id'],
    ecs: ['message', 'http.request.id'],
    gcp: ['message', 'request_id'],
    datadog: ['message', 'http.request_id'],
    pino: ['msg', 'request_id'],
  }
  for (const [preset, [event, id]] of Object.entries(names)) {
    running = startKit({ log: { preset } })
    const app = await serve((_req, res) => {
      log.warn('noticed', { n: 1 })
      res.end()
    })
    const requestId = await ask(app)
    const line = running.logs.lines.find((each) => each[event] === 'noticed')
    assert.equal(line.n, 1, preset)
    const read = (object, path) =>
      object[path] ?? path.split('.').reduce((at, key) => at?.[key], object)
    assert.equal(read(line, id), requestId, `${preset}: ${JSON.stringify(line)}`)
    assert.ok(
      running.logs.lines.some((each) => each[event] === 'request_finished'),
      preset,
    )
    await app.close()
    await running.close()
    running = undefined
  }
})

test('console and warnings become lines with the id of their request, unless switched off', async () => {
  running = startKit()
  const app = await serve((_req, res) => {
    console.log('printed %s', 'thing')
    console.error(new Error('printed error'))
    process.emitWarning('careful')
    res.end()
  })
  const id = await ask(app)
  await sleep(20)
  const mine = running.logs.lines
    .filter((line) => line.request_id === id)
    .map((line) => [line.level, line.event])
  assert.deepEqual(mine.slice(0, 2), [
    ['info', 'printed thing'],
    ['error', 'printed error'],
  ])
  assert.ok(running.logs.of('node_warning').some((line) => line.error.message === 'careful'))
  await running.close()
  running = startKit({ log: { captureConsole: false } })
  const original = console.log
  let printed = ''
  console.log = (text) => {
    printed += text
  }
  await ask(app)
  console.log = original
  assert.equal(printed, 'printed %s')
  assert.equal(
    running.logs.lines.some((line) => line.event === 'printed thing'),
    false,
  )
  await app.close()
})

test('existing pino and winston loggers gain the ids of the request', async () => {
  running = startKit()
  const lines = []
  const stream = { write: (text) => lines.push(JSON.parse(text)) }
  const theirs = pino({ mixin: pinoMixin() }, stream)
  const sink = new Writable({
    write(chunk, _encoding, done) {
      stream.write(chunk)
      done()
    },
  })
  const other = winston.createLogger({
    format: winston.format.combine(winstonFormat(), winston.format.json()),
    transports: [new winston.transports.Stream({ stream: sink })],
  })
  const app = await serve((_req, res) => {
    theirs.info('pino line')
    other.info('winston line')
    res.end()
  })
  const id = await ask(app)
  await sleep(20)
  const ours = running.logs.of('request_finished')[0]
  for (const line of lines) {
    assert.equal(line.request_id, id)
    assert.equal(line.trace_id, ours.trace_id)
  }
  assert.equal(lines.length, 2)
  await app.close()
})

test('LOG_LEVEL is read from the environment', async () => {
  process.env.LOG_LEVEL = 'error'
  try {
    init({ service: 'kit', shutdown: { enabled: false } })
    const logs = captureLogs()
    log.warn('no')
    log.error('yes')
    assert.deepEqual(
      logs.lines.map((line) => line.event),
      ['yes'],
    )
    logs.stop()
  } finally {
    delete process.env.LOG_LEVEL
    await close()
  }
})
