// What the metrics say of real requests: the same as their lines, on a kit of this process.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { serve, startKit, until } from '../kit/kit.js'

const NAME = 'http_server_request_duration_seconds'
let kit
let server
let handle
before(async () => {
  kit = startKit()
  server = await serve((req, res) => handle(req, res))
})
after(async () => {
  await server.close()
  await kit.close()
})

const finished = () => kit.logs.of('request_finished')

/** Sends one request after the other; resolves with their lines. */
async function send(paths, method = 'GET') {
  const count = finished().length
  for (const path of paths) {
    await (await fetch(`http://127.0.0.1:${server.port}${path}`, { method })).arrayBuffer()
  }
  await until(() => finished().length === count + paths.length)
  return finished().slice(count)
}

async function scrape() {
  const answer = await fetch(`http://127.0.0.1:${server.port}/metrics`, {
    headers: { accept: 'application/openmetrics-text' },
  })
  assert.equal(answer.status, 200)
  return answer.text()
}

test('M5: each exemplar is a request of its bucket: the trace, the span, the duration of its line', async () => {
  handle = (req, res) => {
    const [, statusCode, ms] = req.url.split('/').map(Number)
    setTimeout(() => res.writeHead(statusCode).end(), ms)
  }
  const lines = await send([
    '/200/0',
    '/200/7',
    '/200/30',
    '/404/0',
    '/200/60',
    '/404/120',
    '/200/300',
  ])
  const rows = [
    ...(await scrape()).matchAll(
      new RegExp(
        `^${NAME}_bucket\\{http_request_method="(\\w+)",http_route="unmatched",http_response_status_code="(\\d+)",le="([^"]+)"\\} \\d+(?: # \\{trace_id="(\\w+)",span_id="(\\w+)"\\} (\\S+) (\\S+))?$`,
        'gm',
      ),
    ),
  ]
  assert.equal(rows.length, 2 * 15)
  const shown = new Set()
  let below = -1
  for (const [, method, status, le, traceId, spanId, value, seconds] of rows) {
    const bound = Number(le.replace('+Inf', 'Infinity'))
    if (traceId !== undefined) {
      const line = lines.find((one) => one.trace_id === traceId)
      assert.notEqual(line, undefined, traceId)
      assert.equal(spanId, line.span_id)
      assert.deepEqual([method, Number(status)], [line.method, line.status_code])
      assert.ok(Math.abs(Number(value) * 1000 - line.latency_ms) < 1e-6)
      assert.ok(value > below && value <= bound, `${value} in ]${below}, ${le}]`)
      assert.ok(Math.abs(seconds * 1000 - Date.parse(line.timestamp)) < 1000)
      shown.add(traceId)
    }
    below = bound === Number.POSITIVE_INFINITY ? -1 : bound
  }
  // The slowest of each status stands alone in its bucket.
  for (const path of ['/200/300', '/404/120']) {
    assert.ok(shown.has(lines.find((line) => line.path === path).trace_id), path)
  }
  const traced = kit.tracker.transactions.map(({ contexts }) => contexts.trace.trace_id)
  for (const traceId of shown) assert.ok(traced.includes(traceId))
})

test('M31: the wall clock is set back during a request, and duration and sum stay those of the line', async (t) => {
  const { now } = Date
  t.after(() => {
    Date.now = now
  })
  handle = (_req, res) => {
    Date.now = () => now() - 3_600_000
    setTimeout(() => res.end(), 20)
  }
  const lines = await send(['/a', '/b', '/c'], 'PUT')
  Date.now = now
  const text = await scrape()
  const read = (kind) =>
    Number(
      new RegExp(`^${NAME}_${kind}\\{http_request_method="PUT",[^}]*\\} (\\S+)$`, 'm').exec(
        text,
      )[1],
    )
  const total = lines.reduce((sum, line) => sum + line.latency_ms, 0)
  for (const line of lines) {
    assert.ok(line.latency_ms >= 18 && line.latency_ms < 10_000, `${line.latency_ms} ms`)
  }
  assert.equal(read('count'), 3)
  assert.ok(Math.abs(read('sum') * 1000 - total) < 0.01, `${read('sum')} s, ${total} ms`)
})

test('M17: scraping adds nothing to the request metrics and shows no request in flight', async () => {
  const request = /^http_server_(request_duration_seconds|active_requests).*$/gm
  const first = (await scrape()).match(request)
  await scrape()
  assert.deepEqual((await scrape()).match(request), first)
  assert.ok(first.includes('http_server_active_requests 0'))
})
