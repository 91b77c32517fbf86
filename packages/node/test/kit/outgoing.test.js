// Outgoing calls and traces as a peer and a tracker see them.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import https from 'node:https'
import { afterEach, test } from 'node:test'
import tls from 'node:tls'
import undici from 'undici'
import { continueTrace, startSpan } from '../../dist/esm/index.js'
import { makeCertificate } from '../services/certificate.js'
import { serve, startKit, until } from './kit.js'

let running
afterEach(async () => {
  await running?.close()
  running = undefined
})

const TRACE = '0af7651916cd43dd8448eb211c80319c'
const SPAN = 'b7ad6b7169203331'

/** A peer that remembers the headers it got. */
async function peer(answer = (_req, res) => res.end('ok'), host = '127.0.0.1') {
  const seen = []
  const app = await serve((req, res) => {
    seen.push(req.headers)
    answer(req, res)
  }, host)
  return { ...app, seen, url: `http://${host}:${app.port}/` }
}

test('42: a header that the caller set wins, baggage is handed on, and K20: the trace goes on', async () => {
  running = startKit()
  const target = await peer()
  const app = await serve(async (_req, res) => {
    await fetch(target.url, {
      headers: {
        'X-Request-ID': 'mine-12345678',
        traceparent: `00-${'1'.repeat(32)}-${'2'.repeat(16)}-01`,
      },
    })
    await fetch(target.url)
    res.end()
  })
  const headers = {
    traceparent: `00-${TRACE}-${SPAN}-01`,
    'sentry-trace': `${TRACE}-${SPAN}-1`,
    baggage: 'tenant=acme',
  }
  await fetch(`http://127.0.0.1:${app.port}/`, { headers })
  const [own, ours] = target.seen
  assert.equal(own['x-request-id'], 'mine-12345678')
  assert.equal(own.traceparent.split('-')[1], '1'.repeat(32))
  assert.equal(ours.traceparent.split('-')[1], TRACE)
  assert.equal(ours['sentry-trace'].split('-')[0], TRACE)
  assert.equal(ours.baggage, 'tenant=acme')
  await app.close()
  await target.close()
})

test('42: a redirect to another host leaves the request id behind', async () => {
  running = startKit()
  const foreign = await peer(undefined, '127.0.0.2')
  const target = await peer((_req, res) => res.writeHead(302, { location: foreign.url }).end())
  const app = await serve(async (_req, res) => {
    await fetch(target.url)
    res.end()
  })
  const answer = await fetch(`http://127.0.0.1:${app.port}/`)
  assert.equal(target.seen[0]['x-request-id'], answer.headers.get('x-request-id'))
  assert.equal(foreign.seen[0]['x-request-id'], undefined)
  assert.ok(foreign.seen[0].traceparent)
  await app.close()
  await foreign.close()
  await target.close()
})

test('43: an aborted call rejects with its own reason and counts once', async () => {
  running = startKit()
  const target = await peer(() => {})
  const reason = new Error('too slow')
  let caught
  const app = await serve(async (_req, res) => {
    const abort = new AbortController()
    setTimeout(() => abort.abort(reason), 30)
    await fetch(target.url, { signal: abort.signal }).catch((error) => {
      caught = error
    })
    res.end()
  })
  await (await fetch(`http://127.0.0.1:${app.port}/`)).text()
  await new Promise(setImmediate)
  assert.equal(caught, reason)
  assert.equal(running.logs.of('request_finished')[0].http_out_count, 1)
  await app.close()
  await target.close()
})

test('continueTrace goes on with the trace of a message', async () => {
  running = startKit()
  continueTrace({ sentryTrace: `${TRACE}-${SPAN}-1`, name: 'message' }, () =>
    startSpan({ name: 'step' }, () => {}),
  )
  const { trace } = running.tracker.transactions[0].contexts
  assert.equal(trace.trace_id, TRACE)
  assert.equal(trace.parent_span_id, SPAN)
})

test('the sampler decides per request; a rate of 0 sends nothing', async () => {
  running = startKit({ trace: { sampler: ({ path }) => path === '/yes' } })
  const app = await serve((_req, res) => res.end())
  for (const path of ['/yes', '/no', '/yes'])
    await (await fetch(`http://127.0.0.1:${app.port}${path}`)).text()
  await new Promise(setImmediate)
  assert.equal(running.tracker.transactions.length, 2)
  await running.close()
  running = startKit({ trace: { sampleRate: 0 } })
  await (await fetch(`http://127.0.0.1:${app.port}/yes`)).text()
  await new Promise(setImmediate)
  assert.equal(running.tracker.transactions.length, 0)
  await app.close()
})

test('the stream format sends each span by itself, the segment last', async () => {
  const spans = []
  const tracker = {
    name: 'spans',
    capture() {},
    span: (json) => spans.push(JSON.parse(json)),
    flush: async () => true,
    close: async () => true,
  }
  running = startKit({ trace: { sampleRate: 1, format: 'stream' }, errors: { tracker } })
  const app = await serve((_req, res) =>
    startSpan({ name: 'inner', op: 'function', attributes: { n: 1 } }, () => res.end()),
  )
  await (await fetch(`http://127.0.0.1:${app.port}/a?token=SECRET`)).text()
  await new Promise(setImmediate)
  const [inner, segment] = spans
  assert.equal(inner.is_segment, false)
  assert.equal(inner.parent_span_id, segment.span_id)
  assert.equal(inner.attributes.n.value, 1)
  assert.equal(inner.attributes.n.type, 'integer')
  assert.equal(segment.is_segment, true)
  assert.equal(segment.attributes['sentry.op'].value, 'http.server')
  assert.equal(segment.attributes['http.response.status_code'].value, 200)
  assert.ok(segment.end_timestamp >= segment.start_timestamp)
  assert.equal(JSON.stringify(spans).includes('SECRET'), false)
  await app.close()
})

test('42: calls by TLS carry the ids too, by fetch, undici and https with either agent', async (t) => {
  const certificate = makeCertificate()
  const seen = []
  const target = https
    .createServer(certificate, (req, res) => {
      seen.push(req.headers)
      res.end('ok')
    })
    .listen(0, '127.0.0.1')
  t.after(() => target.close())
  await once(target, 'listening')
  const url = `https://localhost:${target.address().port}/x`
  running = startKit({ request: { propagateRequestIdTo: ['localhost'] } })
  const ca = certificate.cert
  const dispatcher = new undici.Agent({ connect: { ca } })
  const agent = new https.Agent({ ca })
  const foreign = {
    protocol: 'https:',
    defaultPort: 443,
    addRequest: (request, options) => {
      request.onSocket(tls.connect({ host: options.host, port: options.port, ca }))
    },
  }
  const get = (options) =>
    new Promise((resolve, reject) => {
      const call = https.get(url, options, (res) => res.resume().on('end', resolve))
      call.on('error', reject)
    })
  const CALLS = {
    fetch: async () => (await fetch(url, { dispatcher })).text(),
    undici: async () => (await undici.request(url, { dispatcher })).body.text(),
    'https.get': () => get({ ca }),
    'https.get with an agent of its own': () => get({ agent }),
    'https.get without an agent': () => get({ ca, agent: false }),
    'https.get with an agent that is no http.Agent': () => get({ agent: foreign, ca }),
  }
  // Before Node 22.13 an agent that is no http.Agent is known from its first call on.
  await get({ agent: foreign, ca })
  const app = await serve(async (req, res) => {
    try {
      await CALLS[decodeURIComponent(req.url.slice(1))]()
      res.end()
    } catch (error) {
      res.writeHead(500).end(String(error))
    }
  })
  const lacking = []
  for (const name of Object.keys(CALLS)) {
    running.logs.clear()
    const answer = await fetch(`http://127.0.0.1:${app.port}/${encodeURIComponent(name)}`)
    assert.equal(answer.status, 200, `${name}: ${await answer.text()}`)
    const headers = seen.at(-1)
    // The peer is watched as well: it is in this process.
    const own = () => running.logs.of('request_finished').find(({ path }) => path !== '/x')
    await until(() => own() !== undefined)
    const line = own()
    const carries =
      headers['x-request-id'] === line.request_id &&
      headers.traceparent?.split('-')[1] === line.trace_id
    if (!carries) lacking.push(name)
    assert.equal(line.http_out_count, carries ? 1 : undefined, name)
  }
  assert.deepEqual(lacking, [])
  await app.close()
  await dispatcher.close()
  agent.destroy()
})

test('42: after close http.Agent is as it was', async () => {
  const { addRequest } = http.Agent.prototype
  running = startKit()
  await running.close()
  running = undefined
  assert.equal(http.Agent.prototype.addRequest, addRequest)
})
