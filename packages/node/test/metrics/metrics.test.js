// The metrics room before its judges. Numbers are those of the checks for metrics.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'
import client from 'prom-client'
import { Context, Unit } from '../../dist/esm/context.js'
import { faultCounts } from '../../dist/esm/faults.js'
import { createMetrics } from '../../dist/esm/metrics/metrics.js'
import { resolveOptions } from '../../dist/esm/options.js'
import {
  checkExposition,
  promtool,
  promtoolRun,
  referenceParser,
  startPrometheus,
} from './judges.js'

const OPENMETRICS = 'application/openmetrics-text;version=1.0.0'
const PROMETHEUS_ACCEPT =
  'application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.9,application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1'
const TRACE = '0af7651916cd43dd8448eb211c80319c'

function setUp(t, options = {}, isTraced = true) {
  const settings = resolveOptions({ service: 't', metrics: { runtime: false, ...options } }, {})
  const metrics = createMetrics(settings, isTraced)
  t.after(() => metrics.close())
  return metrics
}

function record({
  method = 'GET',
  route = '/users/:id',
  statusCode = 200,
  latencyMs = 12,
  sampled = false,
} = {}) {
  const unit = new Unit('request', 'r', TRACE, 'b7ad6b7169203331', '', sampled, Date.now(), 0)
  return {
    context: new Context(unit, unit.spanId, undefined),
    unit,
    method,
    path: '/x',
    route,
    statusCode,
    aborted: false,
    reason: '',
    latencyMs,
    quiet: false,
    upgraded: false,
  }
}

/** A text and an OpenMetrics rendering that every judge has accepted. */
async function judged(metrics, { lints = true } = {}) {
  const { text } = await metrics.renderText('text/plain')
  promtool(text, { lints })
  checkExposition(text)
  const open = (await metrics.renderText(OPENMETRICS)).text
  checkExposition(open, { openMetrics: true })
  assert.ok(referenceParser(open) > 0)
  return { text, open }
}

async function serve(t, metrics) {
  const server = createServer((req, res) => {
    if (!metrics.handle(req, res, req.url.split('?')[0])) res.writeHead(404).end('app')
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  const { port } = server.address()
  return (path = '/metrics', init = {}) => fetch(`http://127.0.0.1:${port}${path}`, init)
}

test('the checker refuses what it is there for', () => {
  const head = '# HELP a A.\n# TYPE a counter\n'
  for (const [bad, why] of [
    [`${head}a 1\na 2\n`, /twice/],
    [`${head}a 1\n# HELP b B.\n# TYPE b gauge\nb 1\n# HELP a A.\na 2\n`, /twice/],
    ['# TYPE h histogram\nh_bucket{le="1"} 3\nh_bucket{le="+Inf"} 2\nh_sum 1\nh_count 2\n', /fall/],
    ['# TYPE h histogram\nh_bucket{le="+Inf"} 2\nh_sum 1\nh_count 3\n', /count/],
    ['# TYPE h histogram\nh_bucket{le="1"} 2\nh_sum 1\nh_count 2\n', /no \+Inf/],
    [
      '# TYPE h histogram\nh_bucket{le="+Inf",a="x"} 2\nh_sum{a="x"} 1\nh_count{a="x"} 3\n',
      /count/,
    ],
    [
      '# TYPE h histogram\nh_bucket{role="x",le="1"} 3\nh_bucket{role="x",le="+Inf"} 2\nh_count{role="x"} 2\n',
      /fall/,
    ],
    [
      '# TYPE h histogram\nh_bucket{le="2"} 1\nh_bucket{le="1"} 1\nh_bucket{le="+Inf"} 1\nh_count 1\n',
      /order/,
    ],
    [`${head}abc 1\n`, /outside/],
    [`${head}a 1`, /does not end/],
    [`${head}a x\n`, /number/],
    [`${head}other 1\n`, /outside/],
  ])
    assert.throws(() => checkExposition(bad), why)
})

test('M1, M2, M14: both formats of all kinds of metrics please every judge', async (t) => {
  const metrics = setUp(t, { runtime: true })
  metrics
    .counter({ name: 'orders', help: 'Orders.', labelNames: ['country'] })
    .inc({ country: 'NL' }, 2)
  metrics.gauge({ name: 'queue_length', help: 'Jobs waiting.' }).set(-3.5)
  metrics.histogram({ name: 'payment_seconds', help: 'Payments.', buckets: [0.1, 1] }).observe(0.5)
  for (let i = 0; i < 100; i++)
    metrics.requestFinished(record({ latencyMs: i * 40, sampled: i % 5 === 0 }))
  const { text, open } = await judged(metrics)
  assert.match(text, /^orders_total\{country="NL"\} 2$/m)
  assert.match(text, /^queue_length -3.5$/m)
  assert.match(open, /^# TYPE orders counter$/m)
  assert.match(text, /^http_server_request_duration_seconds_count\{[^}]*\} 100$/m)
})

test('M3: text unless OpenMetrics is asked for and not refused', async (t) => {
  const get = await serve(t, setUp(t))
  for (const [accept, type] of [
    ['*/*', 'text/plain; version=0.0.4; charset=utf-8'],
    ['text/html', 'text/plain; version=0.0.4; charset=utf-8'],
    [`${OPENMETRICS};q=0`, 'text/plain; version=0.0.4; charset=utf-8'],
    [PROMETHEUS_ACCEPT, 'application/openmetrics-text; version=1.0.0; charset=utf-8'],
  ]) {
    const answer = await get('/metrics', { headers: { accept } })
    assert.equal(answer.headers.get('content-type'), type, accept)
    await answer.text()
  }
})

test('M4: gzip only when asked, and Vary says so', async (t) => {
  const { request } = await import('node:http')
  const metrics = setUp(t)
  const server = createServer((req, res) => metrics.handle(req, res, '/metrics'))
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  const get = (headers) =>
    new Promise((resolve) => {
      request(
        { port: server.address().port, host: '127.0.0.1', path: '/metrics', headers },
        async (res) => {
          const chunks = []
          for await (const chunk of res) chunks.push(chunk)
          resolve({ headers: res.headers, body: Buffer.concat(chunks) })
        },
      ).end()
    })
  const plain = await get({})
  assert.equal(plain.headers['content-encoding'], undefined)
  assert.match(plain.headers.vary, /accept-encoding/i)
  const zipped = await get({ 'accept-encoding': 'gzip' })
  assert.equal(zipped.headers['content-encoding'], 'gzip')
  assert.match(gunzipSync(zipped.body).toString(), /# TYPE http_server_active_requests gauge/)
})

test('M5: exemplars stand in OpenMetrics alone and carry the trace id', async (t) => {
  const metrics = setUp(t)
  metrics.requestFinished(record({ sampled: true }))
  const { text, open } = await judged(metrics)
  assert.equal(text.includes(' # {'), false)
  assert.match(open, new RegExp(`# \\{trace_id="${TRACE}"`))
})

test('M5: where traces are sent only sampled requests are exemplars, else every request is', async (t) => {
  for (const isTraced of [true, false]) {
    const metrics = setUp(t, {}, isTraced)
    metrics.requestFinished(record({ sampled: false }))
    const { text } = await metrics.renderText(OPENMETRICS)
    assert.equal(text.includes(`# {trace_id="${TRACE}"`), !isTraced)
  }
})

test('M6–M8: one set per route, unmatched and unknown methods stay bounded', async (t) => {
  const metrics = setUp(t)
  for (let i = 0; i < 1000; i++) metrics.requestFinished(record())
  for (let i = 0; i < 1000; i++) metrics.requestFinished(record({ route: null, statusCode: 404 }))
  for (const method of ['PROPFIND', 'FOO', 'X'.repeat(100)])
    metrics.requestFinished(record({ method }))
  const { text } = await judged(metrics)
  const counts = text.match(/^http_server_request_duration_seconds_count.*$/gm)
  assert.deepEqual(counts.sort(), [
    'http_server_request_duration_seconds_count{http_request_method="GET",http_route="/users/:id",http_response_status_code="200"} 1000',
    'http_server_request_duration_seconds_count{http_request_method="GET",http_route="unmatched",http_response_status_code="404"} 1000',
    'http_server_request_duration_seconds_count{http_request_method="_OTHER",http_route="/users/:id",http_response_status_code="200"} 3',
  ])
})

test('M9: a label with 100,000 values stops at the cap, and totals stay exact', async (t) => {
  const metrics = setUp(t, { maxSeries: 50 })
  const before = faultCounts().get('TELLTALE_E_SERIES_LIMIT') ?? 0
  const logins = metrics.counter({ name: 'logins_total', help: 'Logins.', labelNames: ['user'] })
  for (let i = 0; i < 100_000; i++) logins.inc({ user: `u${i}` })
  const { text } = await judged(metrics)
  const rows = [...text.matchAll(/^logins_total\{user="([^"]+)"\} (\d+)$/gm)]
  assert.ok(rows.length <= 51)
  assert.equal(
    rows.reduce((sum, [, , count]) => sum + Number(count), 0),
    100_000,
  )
  assert.ok(rows.some(([, user]) => user === '_overflow'))
  assert.ok((faultCounts().get('TELLTALE_E_SERIES_LIMIT') ?? 0) > before)
  assert.match(
    text,
    /^telltale_metrics_dropped_series_total\{metric="logins_total"\} \d+$|^telltale_metrics_dropped_series_total\{[^}]*logins[^}]*\} \d+$/m,
  )
})

test('M13: label values with quotes, control characters and surrogates please every judge', async (t) => {
  const metrics = setUp(t)
  const odd = metrics.counter({
    name: 'odd_total',
    help: 'A "quoted" \\ help\nof two lines.',
    labelNames: ['value'],
  })
  for (const value of ['"', '\\', 'a\nb', 'a\u0000b', '\ud800', 'x'.repeat(10_000), 'é☃', '', '}'])
    odd.inc({ value })
  const { text } = await judged(metrics)
  assert.ok(text.length < 20_000)
})

test('M14: a scrape under load never tears a row', async (t) => {
  const metrics = setUp(t)
  let isRunning = true
  const load = (async () => {
    while (isRunning) {
      for (let i = 0; i < 200; i++)
        metrics.requestFinished(record({ route: `/r${i % 50}`, latencyMs: Math.random() * 9000 }))
      await new Promise(setImmediate)
    }
  })()
  for (let i = 0; i < 20; i++) {
    checkExposition((await metrics.renderText('text/plain')).text)
    checkExposition((await metrics.renderText(OPENMETRICS)).text, { openMetrics: true })
  }
  isRunning = false
  await load
})

test('M15: a scrape of 5,000 label sets lets the event loop breathe', async (t) => {
  const metrics = setUp(t, { maxSeries: 10_000 })
  for (let i = 0; i < 5000; i++) metrics.requestFinished(record({ route: `/r${i}` }))
  const get = await serve(t, metrics)
  await (await get()).text()
  let turns = 0
  let isRunning = true
  const count = () => {
    turns++
    if (isRunning) setImmediate(count)
  }
  setImmediate(count)
  const body = await (await get()).text()
  isRunning = false
  assert.equal(body.match(/_count\{/g).length, 5000)
  // One piece would leave a handful of turns; the writer yields about each millisecond.
  assert.ok(turns > 10, String(turns))
})

test('M16: concurrent scrapes all get the whole text', async (t) => {
  const metrics = setUp(t)
  metrics.requestFinished(record())
  const get = await serve(t, metrics)
  const texts = await Promise.all(Array.from({ length: 20 }, async () => (await get()).text()))
  for (const text of texts) checkExposition(text)
})

test('M17, M18: a block right after a scrape is seen by the next one, and a second scraper sees the same', async (t) => {
  const metrics = setUp(t, { runtime: true })
  const slow = (text) => {
    const rows = [
      ...text.matchAll(/^nodejs_eventloop_delay_seconds_bucket\{le="([^"]+)"\} (\S+)$/gm),
    ]
    const below = Number(rows.find(([, le]) => le === '0.5')[2])
    return Number(rows.at(-1)[2]) - below
  }
  const { text: first } = await metrics.renderText()
  const end = performance.now() + 900
  while (performance.now() < end);
  const { text: next } = await metrics.renderText()
  const { text: other } = await metrics.renderText()
  assert.ok(slow(next) > slow(first), `${slow(first)} ${slow(next)}`)
  assert.equal(slow(other), slow(next))
})

test('M19: a throwing, rejecting or hanging reader costs its own metric only', async (t) => {
  const metrics = setUp(t)
  metrics.collect({ name: 'good', help: 'Good.', type: 'gauge', read: (add) => add(1) })
  metrics.collect({
    name: 'bad',
    help: 'Bad.',
    type: 'gauge',
    read() {
      throw new Error('no')
    },
  })
  metrics.collect({
    name: 'rejecting',
    help: 'Bad.',
    type: 'gauge',
    read: () => Promise.reject(new Error('no')),
  })
  metrics.collect({
    name: 'hanging',
    help: 'Bad.',
    type: 'gauge',
    read: () => new Promise(() => {}),
  })
  const get = await serve(t, metrics)
  const body = await (
    await get('/metrics', { headers: { 'x-prometheus-scrape-timeout-seconds': '1' } })
  ).text()
  assert.match(body, /^good 1$/m)
  assert.match(body, /^telltale_metrics_collect_errors_total(\{[^}]*\})? [1-9]/m)
  promtool(body)
})

test('M20: a metric is registered once; another type or other labels are refused with both named', (t) => {
  const metrics = setUp(t)
  const a = metrics.counter({ name: 'twice_total', help: 'T.', labelNames: ['x'] })
  const b = metrics.counter({ name: 'twice_total', help: 'T.', labelNames: ['x'] })
  a.inc({ x: '1' })
  b.inc({ x: '1' })
  for (const again of [
    () => metrics.gauge({ name: 'twice_total', help: 'T.' }),
    () => metrics.counter({ name: 'twice_total', help: 'T.', labelNames: ['y'] }),
    () => metrics.counter({ name: 'bad name', help: 'T.' }),
    () => metrics.histogram({ name: 'h_seconds', help: 'T.', buckets: [2, 1] }),
    () => metrics.counter({ name: 'reserved_total', help: 'T.', labelNames: ['le'] }),
  ]) {
    assert.throws(
      again,
      (error) => error.code === 'TELLTALE_E_METRIC' && error.faults[0].remedy.length > 0,
    )
  }
})

test('M25: foreigners need the token; loopback behind a proxy is a foreigner', async (t) => {
  const open = await serve(t, setUp(t))
  assert.equal((await open()).status, 200)
  assert.equal(
    (await open('/metrics', { headers: { 'x-forwarded-for': '203.0.113.9' } })).status,
    404,
  )
  assert.equal((await open('/metrics', { method: 'POST' })).status, 405)
  const guarded = await serve(t, setUp(t, { token: 'sesame' }))
  const foreign = { 'x-forwarded-for': '203.0.113.9' }
  assert.equal(
    (await guarded('/metrics', { headers: { ...foreign, authorization: 'Bearer wrong' } })).status,
    401,
  )
  assert.equal(
    (await guarded('/metrics', { headers: { ...foreign, authorization: 'Bearer sesame' } })).status,
    200,
  )
})

test('metrics.enabled false serves nothing', async (t) => {
  const get = await serve(t, setUp(t, { enabled: false }))
  const answer = await get()
  assert.equal(answer.status, 404)
  assert.equal(await answer.text(), 'app')
})

test('M28: the process metrics agree with /proc', async (t) => {
  const metrics = setUp(t, { runtime: true })
  const { text } = await judged(metrics)
  const value = (name) => Number(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, 'm').exec(text)[1])
  const rss = Number(/VmRSS:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) * 1024
  assert.ok(Math.abs(value('process_resident_memory_bytes') / rss - 1) < 0.2)
  assert.ok(
    Math.abs(value('process_start_time_seconds') - (Date.now() / 1000 - process.uptime())) < 2,
  )
  assert.match(text, new RegExp(`nodejs_version_info\\{[^}]*version="${process.version}"`))
  for (const name of [
    'nodejs_eventloop_active_seconds_total',
    'nodejs_eventloop_idle_seconds_total',
    'process_open_fds',
  ]) {
    assert.ok(value(name) >= 0, name)
  }
})

test('M30, M31: what a metric cannot take is ignored and counted, and the output stays valid', async (t) => {
  const metrics = setUp(t)
  const counter = metrics.counter({ name: 'steps_total', help: 'S.' })
  counter.inc(-1)
  counter.inc(Number.NaN)
  counter.inc(2 ** 53)
  counter.inc(1)
  const histogram = metrics.histogram({ name: 'wait_seconds', help: 'W.' })
  histogram.observe(Number.NaN)
  histogram.observe(-5)
  metrics.requestFinished(record({ latencyMs: -3 }))
  const { text } = await judged(metrics)
  assert.match(text, /^telltale_metrics_ignored_values_total(\{[^}]*\})? [1-9]/m)
  assert.match(text, /^wait_seconds_count 0$/m)
})

test('a prom-client registry is appended in both formats, colliding names are dropped', async (t) => {
  const registry = new client.Registry()
  client.collectDefaultMetrics({ register: registry })
  new client.Counter({
    name: 'theirs_total',
    help: 'Theirs.',
    labelNames: ['a'],
    registers: [registry],
  }).inc({ a: 'x"\\\n' })
  new client.Histogram({ name: 'their_seconds', help: 'Theirs.', registers: [registry] }).observe(
    0.2,
  )
  new client.Summary({
    name: 'their_quantiles_seconds',
    help: 'Theirs.',
    registers: [registry],
  }).observe(0.2)
  new client.Gauge({ name: 'shared_level', help: 'Theirs.', registers: [registry] }).set(2)
  const metrics = setUp(t, { runtime: true, registries: [registry] })
  metrics.gauge({ name: 'shared_level', help: 'Ours.' }).set(1)
  // prom-client's own names do not please promtool's linter.
  const { text, open } = await judged(metrics, { lints: false })
  for (const rendering of [text, open]) {
    assert.match(rendering, /^theirs_total\{a="x/m)
    assert.match(rendering, /^their_seconds_count 1/m)
    assert.match(rendering, /^shared_level 1/m)
  }
  registry.metrics = () => Promise.reject(new Error('broken'))
  assert.match((await metrics.renderText()).text, /^shared_level 1$/m)
})

test('M2, M5: a real Prometheus scrapes it and finds the exemplar’s trace', async (t) => {
  const metrics = setUp(t, { runtime: true })
  const server = createServer((req, res) => metrics.handle(req, res, req.url))
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  const prometheus = await startPrometheus(`127.0.0.1:${server.address().port}`)
  t.after(() => prometheus.stop())
  metrics.requestFinished(record({ sampled: true }))
  const { data } = await prometheus.until(
    'targets',
    (answer) => answer.data.activeTargets[0]?.health === 'up',
  )
  assert.equal(data.activeTargets[0].lastError, '')
  const now = Math.floor(Date.now() / 1000)
  const query = `query_exemplars?query=http_server_request_duration_seconds_bucket&start=${now - 60}&end=${now + 60}`
  const found = await prometheus.until(query, (answer) => answer.data?.length > 0)
  assert.equal(found.data[0].exemplars[0].labels.trace_id, TRACE)
})

test('M27: the rules we ship are sound, and fire when they should', () => {
  const folder = fileURLToPath(new URL('.', import.meta.url))
  promtoolRun(['check', 'rules', '../../../../docs/prometheus/rules.yml'], folder)
  promtoolRun(['test', 'rules', 'rules.test.yml'], folder)
})
