import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { execFile, fork } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer as createHttpServer, get } from 'node:http'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { createSentryTracker } from '../../dist/esm/errors/trackers/sentry.js'
import { startSentryReceiver } from '../receivers/sentry.js'
import { makeCertificate } from '../services/certificate.js'

const run = promisify(execFile)
const fixture = (name) => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url))
const folders = []
function folder() {
  const path = mkdtempSync(join(tmpdir(), 'telltale-test-'))
  folders.push(path)
  return path
}
after(() => {
  for (const path of folders) rmSync(path, { recursive: true, force: true })
})

const FAST = { retryMinMs: 20, retryMaxMs: 100, answerMs: 400, resendMs: 10 }
const create = (dsn, more = {}) =>
  createSentryTracker({
    dsn,
    maxQueueBytes: 4_194_304,
    spoolDir: false,
    sdkVersion: '0.1.0',
    ...more,
    timing: { ...FAST, ...more.timing },
  })
const id = (n) => String(n).padStart(32, '0')
const errorEvent = (n, value = `failure ${n}`) => ({
  event_id: id(n),
  timestamp: Date.now() / 1000,
  platform: 'node',
  level: 'error',
  exception: { values: [{ type: 'Error', value }] },
})
const transaction = (n, fill = '') => JSON.stringify({ event_id: id(n), type: 'transaction', fill })
const hint = { originalException: undefined }

/** A receiver and a tracker on it, ended with the test. */
async function pair(t, more) {
  const receiver = await startSentryReceiver()
  const tracker = create(receiver.dsn, more)
  t.after(async () => {
    await tracker.close(0)
    await receiver.close()
  })
  return { receiver, tracker }
}

test('an event, a transaction, spans and a check-in arrive as the protocol asks', async (t) => {
  const { receiver, tracker } = await pair(t)
  tracker.capture(errorEvent(1, 'ü'.repeat(2000)), hint)
  tracker.transaction(transaction(2, 'é'))
  tracker.span('{"name":"a"}')
  tracker.span('{"name":"b"}')
  tracker.checkIn('{"check_in_id":"x"}')
  assert.equal(await tracker.flush(5000), true)
  assert.equal(receiver.events()[0].exception.values[0].value, 'ü'.repeat(2000))
  assert.equal(receiver.transactions()[0].fill, 'é')
  const span = receiver.items.find(({ type }) => type === 'span')
  assert.equal(span.header.item_count, 2)
  assert.equal(span.header.content_type, 'application/vnd.sentry.items.span.v2+json')
  assert.deepEqual(span.payload, { version: 2, items: [{ name: 'a' }, { name: 'b' }] })
  const { request, envelope } = receiver.items.find(({ type }) => type === 'event')
  assert.equal(request.headers['content-encoding'], 'gzip')
  assert.equal(request.headers['content-type'], 'application/x-sentry-envelope')
  assert.match(request.headers['x-sentry-auth'], /^Sentry sentry_version=7, .*sentry_key=abcdef/)
  assert.ok(request.headers['content-length'] > 0)
  assert.equal(envelope.event_id, id(1))
  assert.ok(Math.abs(Date.parse(envelope.sent_at) - Date.now()) < 60_000)
})

test('K11: 500 different errors at once are all delivered', async (t) => {
  const { receiver, tracker } = await pair(t)
  for (let n = 0; n < 500; n++) tracker.capture(errorEvent(n, 'x'.repeat(n * 8)), hint)
  assert.equal(await tracker.flush(15_000), true)
  assert.equal(new Set(receiver.events().map((event) => event.event_id)).size, 500)
  assert.deepEqual(tracker.losses(), {})
})

test('K11: with a small queue, delivered and reported are 500 exactly', async (t) => {
  const { receiver, tracker } = await pair(t, { maxQueueBytes: 65_536 })
  for (let n = 0; n < 500; n++) tracker.capture(errorEvent(n, 'x'.repeat(900)), hint)
  assert.equal(await tracker.flush(15_000), true)
  const reported = receiver.reported()['queue_overflow,error']
  assert.ok(reported > 0)
  assert.equal(receiver.events().length + reported, 500)
})

test('a full queue drops transactions before errors', async (t) => {
  const { receiver, tracker } = await pair(t, { maxQueueBytes: 65_536 })
  for (let n = 0; n < 40; n++) tracker.transaction(transaction(n, 'x'.repeat(2000)))
  for (let n = 0; n < 40; n++) tracker.capture(errorEvent(n, 'x'.repeat(1000)), hint)
  assert.equal(await tracker.flush(15_000), true)
  assert.equal(receiver.events().length, 40)
  assert.equal(receiver.transactions().length + tracker.losses().queue_overflow, 40)
})

test('K12: a limit on errors stops errors only, and is reported once', async (t) => {
  const { receiver, tracker } = await pair(t)
  receiver.answer(({ index }) =>
    index === 0 ? { status: 429, headers: { 'x-sentry-rate-limits': '60:error:key' } } : undefined,
  )
  tracker.capture(errorEvent(1), hint)
  await tracker.flush(5000)
  for (let n = 2; n < 12; n++) tracker.capture(errorEvent(n), hint)
  tracker.transaction(transaction(1))
  assert.equal(await tracker.close(5000), true)
  assert.equal(receiver.events().length, 0)
  assert.equal(receiver.transactions().length, 1)
  assert.equal(receiver.clientReports().length, 1)
  assert.deepEqual(receiver.reported(), { 'ratelimit_backoff,error': 10 })
  assert.equal(tracker.losses().ratelimit_backoff, 11)
})

test('a limit that rides on a 200 counts, and a bare 429 stops every category', async (t) => {
  const { receiver, tracker } = await pair(t)
  receiver.answer(({ index }) =>
    index === 0 ? { headers: { 'x-sentry-rate-limits': '60:transaction:key' } } : { status: 429 },
  )
  tracker.capture(errorEvent(1), hint)
  await tracker.flush(5000)
  tracker.transaction(transaction(1))
  tracker.capture(errorEvent(2), hint)
  await tracker.flush(5000)
  tracker.capture(errorEvent(3), hint)
  tracker.checkIn('{}')
  await tracker.flush(5000)
  assert.equal(receiver.requests.filter(({ envelope }) => envelope.header.event_id).length, 2)
  assert.equal(tracker.losses().ratelimit_backoff, 4)
})

test('K16: 503 is retried, 400 is not, 413 is counted as send_error', async (t) => {
  const { receiver, tracker } = await pair(t)
  const tries = {}
  receiver.answer(({ envelope }) => {
    const event = envelope.header.event_id
    if (event === undefined) return undefined
    tries[event] = (tries[event] ?? 0) + 1
    if (event === id(1)) return tries[event] < 4 ? { status: 503 } : undefined
    if (event === id(2)) return { status: 400 }
    if (event === id(3)) return { status: 413 }
    if (event === id(4)) return { status: 301, headers: { location: 'http://127.0.0.1:1/' } }
    if (event === id(5)) return { status: 403 }
    return { status: 500 }
  })
  for (let n = 1; n <= 6; n++) tracker.capture(errorEvent(n), hint)
  assert.equal(await tracker.flush(10_000), true)
  assert.deepEqual(tries, {
    [id(1)]: 4,
    [id(2)]: 1,
    [id(3)]: 1,
    [id(4)]: 1,
    [id(5)]: 1,
    [id(6)]: 3,
  })
  assert.deepEqual(receiver.reported(), { 'send_error,error': 5 })
})

test('K15: events captured while the server is down arrive when it is up, in bounded memory', async (t) => {
  const first = await startSentryReceiver()
  await first.close()
  const tracker = create(first.dsn, { maxQueueBytes: 1_000_000 })
  for (let n = 0; n < 2000; n++) tracker.capture(errorEvent(n, 'x'.repeat(1000)), hint)
  await tracker.flush(200)
  const lost = tracker.losses().queue_overflow
  assert.ok(lost > 1000 && lost < 2000)
  const second = await startSentryReceiver({ port: first.port })
  t.after(() => second.close())
  assert.equal(await tracker.close(15_000), true)
  assert.equal(second.events().length + lost, 2000)
  assert.equal(second.reported()['queue_overflow,error'], lost)
})

test('K14: a server that hangs does not hold close, and the events are on disk', async (t) => {
  const spoolDir = folder()
  const { receiver, tracker } = await pair(t, { spoolDir, timing: { answerMs: 10_000 } })
  receiver.answer(() => ({ hang: true }))
  for (let n = 0; n < 20; n++) tracker.capture(errorEvent(n), hint)
  const startMs = performance.now()
  const both = await Promise.all([tracker.flush(300), tracker.close(2000)])
  assert.ok(performance.now() - startMs < 2600)
  assert.deepEqual(both, [false, false])
  const [name] = readdirSync(spoolDir)
  assert.match(name, /\.spool$/)
  assert.ok(!name.includes('abcdef0123456789'))
  assert.equal(statSync(join(spoolDir, name)).mode & 0o777, 0o600)
  const heir = await startSentryReceiver({ port: 0 })
  t.after(() => heir.close())
  await receiver.close()
  const again = await startSentryReceiver({ port: receiver.port })
  t.after(() => again.close())
  const next = create(receiver.dsn, { spoolDir })
  await again.next(({ payload }) => payload.event_id === id(19))
  assert.equal(await next.close(5000), true)
  assert.equal(again.events().length, 20)
  assert.deepEqual(readdirSync(spoolDir), [])
})

test('a hostile server costs a bounded time and every event is accounted for', async (t) => {
  for (const raw of [
    'garbage\r\n\r\n',
    `HTTP/1.1 200 OK\r\n${'a: b\r\n'.repeat(10_000)}`,
    `HTTP/1.1 400 No\r\nContent-Length: 99999999\r\n\r\n${'x'.repeat(400_000)}`,
  ]) {
    const { receiver, tracker } = await pair(t)
    receiver.answer(({ index }) => (index < 2 ? { raw } : undefined))
    for (let n = 0; n < 6; n++) tracker.capture(errorEvent(n), hint)
    assert.equal(await tracker.flush(10_000), true, raw.slice(0, 20))
    const ids = new Set(receiver.events().map((event) => event.event_id))
    assert.equal(ids.size + (tracker.losses().send_error ?? 0), 6)
  }
})

test('a connection dropped before or amid the answer is retried', async (t) => {
  const { receiver, tracker } = await pair(t)
  receiver.answer(({ index }) => (index % 3 === 1 ? { drop: true } : undefined))
  for (let n = 0; n < 30; n++) tracker.transaction(transaction(n))
  assert.equal(await tracker.flush(15_000), true)
  assert.equal(new Set(receiver.transactions().map((one) => one.event_id)).size, 30)
})

test('a server that closes after each answer gets everything once', async (t) => {
  const { receiver, tracker } = await pair(t)
  receiver.answer(() => ({ headers: { connection: 'close' } }))
  for (let n = 0; n < 50; n++) tracker.transaction(transaction(n))
  assert.equal(await tracker.flush(15_000), true)
  assert.equal(receiver.transactions().length, 50)
})

test('no more than four connections, and concurrent flushes all resolve', async (t) => {
  const { receiver, tracker } = await pair(t)
  let most = 0
  receiver.answer(() => {
    most = Math.max(most, receiver.sockets.size)
    return { delayMs: 5 }
  })
  for (let n = 0; n < 200; n++) tracker.capture(errorEvent(n), hint)
  const done = await Promise.all([1, 2, 3].map(() => tracker.flush(15_000)))
  assert.deepEqual(done, [true, true, true])
  assert.equal(receiver.events().length, 200)
  assert.ok(most <= 4 && most > 0)
})

test('transactions take another connection when many wait, not when few do', async (t) => {
  for (const [count, isMore] of [
    [900, false],
    [2000, true],
  ]) {
    const { receiver, tracker } = await pair(t)
    tracker.transaction(transaction(0))
    assert.equal(await tracker.flush(15_000), true)
    let most = 0
    receiver.answer(() => {
      most = Math.max(most, receiver.sockets.size)
      return { delayMs: 20 }
    })
    for (let n = 1; n <= count; n++) tracker.transaction(transaction(n))
    assert.equal(await tracker.flush(15_000), true)
    assert.equal(receiver.transactions().length, count + 1)
    assert.equal(most > 1, isMore, `${count} transactions took ${most} connections`)
  }
})

test('K4: what is captured before process.exit arrives at the next start', async (t) => {
  const spoolDir = folder()
  const receiver = await startSentryReceiver()
  t.after(() => receiver.close())
  await run(process.execPath, [fixture('capture-and-exit.js'), receiver.dsn, spoolDir])
  assert.equal(receiver.items.length, 0)
  const two = [create(receiver.dsn, { spoolDir }), create(receiver.dsn, { spoolDir })]
  await receiver.next(({ type }) => type === 'event')
  await receiver.next(({ type }) => type === 'transaction')
  for (const tracker of two) assert.equal(await tracker.close(5000), true)
  assert.equal(receiver.events().length, 1)
  assert.equal(receiver.transactions().length, 1)
  assert.deepEqual(readdirSync(spoolDir), [])
})

test('spool: damaged files are removed and counted, foreign ones are left alone', async (t) => {
  const spoolDir = folder()
  const receiver = await startSentryReceiver()
  t.after(() => receiver.close())
  await run(process.execPath, [fixture('capture-and-exit.js'), receiver.dsn, spoolDir])
  const [name] = readdirSync(spoolDir)
  writeFileSync(join(spoolDir, `${name.slice(0, 16)}-1-1-00000000.spool`), 'rubbish')
  writeFileSync(join(spoolDir, `${'0'.repeat(16)}-1-1-00000000.spool`), 'another project')
  writeFileSync(join(spoolDir, 'notes.txt'), 'mine')
  const tracker = create(receiver.dsn, { spoolDir })
  await receiver.next(({ type }) => type === 'event')
  assert.equal(await tracker.close(5000), true)
  assert.equal(tracker.losses().internal_sdk_error, 1)
  assert.deepEqual(readdirSync(spoolDir).sort(), [
    `${'0'.repeat(16)}-1-1-00000000.spool`,
    'notes.txt',
  ])
})

test('spool: a folder that cannot be made or is full loses nothing silently', async () => {
  const parent = folder()
  writeFileSync(join(parent, 'file'), '')
  const full = folder()
  writeFileSync(join(full, `${'0'.repeat(16)}-1-1-00000000.spool`), Buffer.alloc(4 * 16_777_216))
  for (const spoolDir of [join(parent, 'file', 'below'), full]) {
    const tracker = create('http://abc@127.0.0.1:1/1', { spoolDir })
    tracker.capture(errorEvent(1), hint)
    assert.equal(await tracker.close(50), false)
    assert.equal(tracker.losses().cache_overflow, 1)
  }
  chmodSync(parent, 0o700)
})

test('TLS: a trusted certificate is used, an unknown one is refused', async (t) => {
  const certificate = makeCertificate()
  const receiver = await startSentryReceiver({ tls: certificate })
  t.after(() => receiver.close())
  const env = { ...process.env, NODE_EXTRA_CA_CERTS: certificate.file }
  const trusting = await run(process.execPath, [fixture('secure.js'), receiver.dsn], { env })
  assert.equal(trusting.stdout, 'true')
  const strict = await run(process.execPath, [fixture('secure.js'), receiver.dsn])
  assert.equal(strict.stdout, 'false')
  assert.match(strict.stderr, /TELLTALE_E_TRACKER/)
  assert.equal(receiver.events().length, 1)
})

test('K7, K8: an error goes once through the official SDK that the application started', async (t) => {
  const receiver = await startSentryReceiver()
  t.after(() => receiver.close())
  const { stdout } = await run(process.execPath, [fixture('official-sdk.js'), receiver.dsn])
  assert.deepEqual(JSON.parse(stdout), { before: false, after: true, crashes: true, flushed: true })
  assert.equal(receiver.events().length, 1)
  const [event] = receiver.events()
  assert.equal(event.event_id, 'e'.repeat(32))
  assert.equal(event.exception.values[0].value, 'card [REDACTED]')
  assert.equal(event.user.id, '7')
  assert.equal(event.tags.request_id, 'r-12345678')
  assert.equal(event.request.url, 'http://shop/x')
})

test('an idle tracker does not keep the process alive, nor does a hanging server', async (t) => {
  const server = createServer(() => {})
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const sockets = new Set()
  server.on('connection', (socket) => sockets.add(socket.on('error', () => {})))
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const dsn = `http://abc@127.0.0.1:${server.address().port}/1`
  const code = `
    const { createSentryTracker } = require(${JSON.stringify(
      fileURLToPath(new URL('../../dist/cjs/errors/trackers/sentry.js', import.meta.url)),
    )})
    const t = createSentryTracker({ dsn: '${dsn}', spoolDir: false, maxQueueBytes: 1e6, sdkVersion: '1' })
    t.capture({ event_id: '${id(1)}', exception: {} }, {})`
  const startMs = performance.now()
  await run(process.execPath, ['-e', code], { timeout: 9000 })
  assert.ok(performance.now() - startMs < 9000)
})

test('K5: what is buffered at SIGTERM arrives, and the signal ends the process', async (t) => {
  const receiver = await startSentryReceiver()
  t.after(() => receiver.close())
  const child = fork(fixture('terminated.js'), [receiver.dsn])
  await once(child, 'message')
  child.kill('SIGTERM')
  const [, signal] = await once(child, 'exit')
  assert.equal(signal, 'SIGTERM')
  assert.equal(receiver.events().length, 100)
  assert.equal(receiver.transactions().length, 100)
  const spans = receiver.items.filter(({ type }) => type === 'span')
  assert.equal(
    spans.reduce((sum, { payload }) => sum + payload.items.length, 0),
    100,
  )
})

test('K14: a hanging tracker leaves the latency of the application as it is', async (t) => {
  const receiver = await startSentryReceiver()
  receiver.answer(() => ({ hang: true }))
  const tracker = create(receiver.dsn, { maxQueueBytes: 1_000_000 })
  let isCapturing = false
  let n = 0
  const app = createHttpServer((_request, response) => {
    if (isCapturing) {
      tracker.capture(errorEvent(n++, 'x'.repeat(500)), hint)
      tracker.transaction(transaction(n++))
    }
    response.end('ok')
  })
  app.listen(0, '127.0.0.1')
  await once(app, 'listening')
  t.after(async () => {
    await tracker.close(0)
    await receiver.close()
    app.closeAllConnections()
    app.close()
  })
  const ask = () =>
    new Promise((resolve, reject) => {
      const startMs = performance.now()
      get({ port: app.address().port, host: '127.0.0.1' }, (response) => {
        response.resume().on('end', () => resolve(performance.now() - startMs))
      }).on('error', reject)
    })
  const median = async () => {
    const times = []
    for (let i = 0; i < 300; i++) times.push(await ask())
    return times.sort((a, b) => a - b)[150]
  }
  await median()
  const bare = await median()
  isCapturing = true
  const hanging = await median()
  assert.ok(hanging < bare * 3 + 5, `${hanging} ms against ${bare} ms`)
})

test('sending carries no context of the request that captured', async (t) => {
  const storage = new AsyncLocalStorage()
  const { receiver, tracker } = await pair(t)
  const seen = []
  const stringify = JSON.stringify
  t.after(() => {
    JSON.stringify = stringify
  })
  storage.run('request', () => tracker.transaction(transaction(1)))
  storage.run('request', () => tracker.capture(errorEvent(2), hint))
  await receiver.next(({ type }) => type === 'event')
  // A report is written by the pump, inside its own context.
  JSON.stringify = (value, ...rest) => {
    if (value?.discarded_events !== undefined) seen.push(storage.getStore())
    return stringify(value, ...rest)
  }
  receiver.answer(({ envelope }) => (envelope.header.event_id ? { status: 400 } : undefined))
  storage.run('request', () => tracker.capture(errorEvent(3), hint))
  await storage.run('request', () => tracker.flush(5000))
  assert.deepEqual(seen, [undefined])
})

test('spool: a full queue comes back whole, and its events before its transactions', async (t) => {
  const spoolDir = folder()
  const receiver = await startSentryReceiver()
  await receiver.close()
  const tracker = create(receiver.dsn, { spoolDir, maxQueueBytes: 400_000 })
  for (let n = 0; n < 200; n++) tracker.capture(errorEvent(n, 'x'.repeat(1000)), hint)
  for (let n = 0; n < 200; n++) tracker.transaction(transaction(n, 'x'.repeat(1000)))
  assert.equal(await tracker.close(50), false)
  const lost = tracker.losses().queue_overflow
  assert.ok(lost > 0)
  const again = await startSentryReceiver({ port: receiver.port })
  t.after(() => again.close())
  const next = create(receiver.dsn, { spoolDir, maxQueueBytes: 400_000, timing: { reportMs: 100 } })
  await again.next(() => again.events().length + again.transactions().length === 400 - lost, 15_000)
  assert.equal(await next.close(5000), true)
  assert.equal(again.events().length, 200)
  assert.equal(again.reported()['queue_overflow,transaction'], lost)
  assert.deepEqual(next.losses(), {})
  assert.deepEqual(readdirSync(spoolDir), [])
})
