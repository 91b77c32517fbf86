import assert from 'node:assert/strict'
import { EventEmitter, once } from 'node:events'
import http2, { createServer } from 'node:http2'
import { after, before, beforeEach, test } from 'node:test'
import { keepContext, log, runWith, startSpan } from '../../dist/esm/index.js'
import { request } from '../contract/harness.js'
import { serve, startKit, until } from './kit.js'

let running
let app
let handle

before(async () => {
  running = startKit()
  app = await serve((req, res) => handle(req, res))
})
beforeEach(() => {
  running.logs.clear()
  running.tracker.clear()
})
after(async () => {
  await app.close()
  await running.close()
})

const ask = (id) => request(app.port, '/x', { headers: { 'x-request-id': id } })

test("31: a shared emitter's listener is the registrant's with keepContext, the emitter's without", async () => {
  const emitter = new EventEmitter()
  handle = (_req, res) => {
    emitter.on(
      'it',
      keepContext(() => log.info('kept')),
    )
    emitter.on('it', () => log.info('unkept'))
    res.end()
  }
  await ask('registrant-1')
  handle = (_req, res) => {
    emitter.emit('it')
    res.end()
  }
  await ask('emitter-0001')
  assert.equal(running.logs.of('kept')[0].request_id, 'registrant-1')
  assert.equal(running.logs.of('unkept')[0].request_id, 'emitter-0001')
})

test('32: a lazy thenable made in one request and awaited in another logs with the awaiting id', async () => {
  let lazy
  handle = (_req, res) => {
    // biome-ignore lint/suspicious/noThenProperty: a thenable is what is tested
    lazy = { then: (resolve) => resolve(log.info('lazy')) }
    res.end()
  }
  await ask('maker-000001')
  handle = async (_req, res) => {
    await lazy
    res.end()
  }
  await ask('awaiter-0001')
  assert.equal(running.logs.of('lazy')[0].request_id, 'awaiter-0001')
})

test('spans nest, run side by side and fail, and errors come out unchanged', async () => {
  const failure = new Error('inner')
  handle = async (_req, res) => {
    await startSpan({ name: 'outer' }, () =>
      Promise.all([
        startSpan({ name: 'left' }, async () => {}),
        startSpan({ name: 'right' }, () => new Promise(setImmediate)),
      ]),
    )
    assert.throws(
      () =>
        startSpan({ name: 'bad' }, () => {
          throw failure
        }),
      (error) => error === failure,
    )
    res.end()
  }
  await ask('spans-000001')
  await until(() => running.tracker.transactions.length === 1)
  const { spans, contexts } = running.tracker.transactions[0]
  const of = (name) => spans.find((span) => span.description === name)
  assert.equal(of('outer').parent_span_id, contexts.trace.span_id)
  assert.equal(of('left').parent_span_id, of('outer').span_id)
  assert.equal(of('right').parent_span_id, of('outer').span_id)
  assert.notEqual(of('bad').status, 'ok')
})

test('work outside HTTP has ids on its lines and a transaction of its own', async () => {
  const result = await runWith({ name: 'nightly', kind: 'cron' }, async () => {
    log.info('working')
    return 7
  })
  assert.equal(result, 7)
  assert.equal(running.tracker.transactions.length, 1)
  const [line] = running.logs.of('working')
  assert.equal(line.trace_id, running.tracker.transactions[0].contexts.trace.trace_id)
  assert.equal(running.tracker.transactions[0].transaction, 'nightly')
})

test('a call from one request into another links the spans of both transactions', async () => {
  handle = async (req, res) => {
    if (req.url === '/x') await fetch(`http://127.0.0.1:${app.port}/inner`)
    res.end()
  }
  await ask('linked-00001')
  await until(() => running.tracker.transactions.length === 2)
  const [inner, outer] = running.tracker.transactions
  const call = outer.spans.find((span) => span.op === 'http.client')
  assert.equal(inner.contexts.trace.trace_id, outer.contexts.trace.trace_id)
  assert.equal(inner.contexts.trace.parent_span_id, call.span_id)
  for (const line of running.logs.of('request_finished'))
    assert.equal(line.request_id, 'linked-00001')
})

test('42: another host gets no request id by default', async () => {
  let seen
  const foreign = await serve((req, res) => {
    seen = req.headers
    res.end()
  }, '127.0.0.2')
  handle = async (_req, res) => {
    await fetch(`http://127.0.0.2:${foreign.port}/`)
    res.end()
  }
  await ask('foreign-0001')
  assert.equal(seen['x-request-id'], undefined)
  assert.ok(seen.traceparent)
  await foreign.close()
})

test('an HTTP/2 compat server writes one end line and sends the id', async () => {
  const server = createServer((_req, res) => {
    log.info('in_h2')
    res.statusCode = 404
    res.end('no')
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = http2.connect(`http://127.0.0.1:${server.address().port}`)
  const stream = client.request({ ':path': '/h2' })
  const [headers] = await once(stream, 'response')
  stream.resume()
  await once(stream, 'close')
  client.close()
  server.close()
  assert.equal(headers[':status'], 404)
  await until(() => running.logs.of('request_finished').length === 1, 2000)
  assert.ok(headers['x-request-id'])
})
