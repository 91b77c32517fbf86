// The metrics room before its judges. Numbers are those of the checks for metrics.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs'
import { createServer, request, ServerResponse } from 'node:http'
import { networkInterfaces } from 'node:os'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { getHeapStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { gunzipSync } from 'node:zlib'
import client from 'prom-client'
import { Context, Unit } from '../../dist/esm/context.js'
import { faultCounts } from '../../dist/esm/faults.js'
import { createMetrics } from '../../dist/esm/metrics/metrics.js'
import { createRegistry } from '../../dist/esm/metrics/registry.js'
import { createRuntimeMetrics } from '../../dist/esm/metrics/runtime.js'
import { createScraper } from '../../dist/esm/metrics/scrape.js'
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
const DURATION = 'http_server_request_duration_seconds'
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
  traceId = TRACE,
} = {}) {
  const unit = new Unit('request', 'r', traceId, 'b7ad6b7169203331', '', sampled, Date.now(), 0)
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

async function listen(t, metrics, host = '127.0.0.1') {
  const server = createServer((req, res) => {
    if (!metrics.handle(req, res, req.url.split('?')[0])) res.writeHead(404).end('app')
  })
  await new Promise((resolve) => server.listen(0, host, resolve))
  t.after(() => server.close())
  return server
}

async function serve(t, metrics) {
  const { port } = (await listen(t, metrics)).address()
  return (path = '/metrics', init = {}) => fetch(`http://127.0.0.1:${port}${path}`, init)
}

/** A request that adds no headers of its own. */
function plainGet(server, { headers = {}, method = 'GET' } = {}) {
  const { address, port } = server.address()
  return new Promise((resolve, reject) => {
    const req = request(
      { host: address, port, path: '/metrics', method, headers, agent: false },
      async (res) => {
        const chunks = []
        for await (const chunk of res) chunks.push(chunk)
        resolve({ status: res.statusCode, headers: res.headers, body: Buffer.concat(chunks) })
      },
    )
    req.on('error', reject)
    req.end()
  })
}

/** The value of a sample without labels, or with these. */
function sampleOf(text, name, labels = '') {
  const line = text.split('\n').find((one) => one.startsWith(`${name}${labels} `))
  return line === undefined ? undefined : Number(line.slice(name.length + labels.length + 1))
}

const ERRORS = 'telltale_metrics_collect_errors_total'
const errorsOf = (text, metric, reason) =>
  sampleOf(text, ERRORS, `{metric="${metric}",reason="${reason}"}`)

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
  // Bounds in OpenMetrics' canonical form in both, so that the series are the same.
  for (const rendering of [text, open]) {
    const bounds = [...rendering.matchAll(/^payment_seconds_bucket\{le="(.*)"\} (\d)/gm)]
    assert.deepEqual(
      bounds.map(([, le, count]) => [le, count]),
      [
        ['0.1', '0'],
        ['1.0', '1'],
        ['+Inf', '1'],
      ],
    )
  }
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
    [
      'application/openmetrics-text; version="1.0.0", text/plain',
      'application/openmetrics-text; version=1.0.0; charset=utf-8',
    ],
    [
      'application/openmetrics-text;q=0.4,text/plain;q=0.5',
      'text/plain; version=0.0.4; charset=utf-8',
    ],
    ['application/openmetrics-text;q=0.4,*/*;q=0.5', 'text/plain; version=0.0.4; charset=utf-8'],
    ['application/openmetrics-text;version=2.0.0', 'text/plain; version=0.0.4; charset=utf-8'],
    ['application/openmetrics-text;version=0.0.1', 'text/plain; version=0.0.4; charset=utf-8'],
  ]) {
    const answer = await get('/metrics', { headers: { accept } })
    assert.equal(answer.headers.get('content-type'), type, accept)
    checkExposition(await answer.text(), { openMetrics: type.includes('openmetrics') })
  }
})

test('M4: gzip only when asked for and not refused by a weight of 0, and Vary says so', async (t) => {
  const server = await listen(t, setUp(t))
  const identity = await plainGet(server)
  assert.equal(identity.headers['content-encoding'], undefined)
  for (const [accept, isZipped] of [
    ['gzip', true],
    ['GZIP', true],
    ['x-gzip', true],
    ['deflate, gzip;q=1.0, *;q=0.5', true],
    ['gzip;q=0.001', true],
    ['gzip;q=0', false],
    ['gzip; q=0.000', false],
    ['br, gzip;q=0, identity', false],
    ['gzip;q=banana', false],
    ['deflate', false],
    ['*', false],
    ['gzipped', false],
  ]) {
    for (const method of ['GET', 'HEAD']) {
      const answer = await plainGet(server, { method, headers: { 'accept-encoding': accept } })
      assert.equal(answer.status, 200)
      assert.equal(answer.headers['content-encoding'], isZipped ? 'gzip' : undefined, accept)
      assert.match(answer.headers.vary, /^Accept, Accept-Encoding$/)
      assert.equal(answer.headers['cache-control'], 'no-store')
      if (method === 'HEAD') {
        assert.equal(answer.body.length, 0)
        assert.ok(Number(answer.headers['content-length']) > 0)
        continue
      }
      assert.equal(Number(answer.headers['content-length']), answer.body.length, accept)
      const text = (isZipped ? gunzipSync(answer.body) : answer.body).toString()
      checkExposition(text)
      assert.match(text, /# TYPE http_server_active_requests gauge/)
    }
  }
})

test('M5: an exemplar stands in the bucket of its request’s duration, in OpenMetrics alone', async (t) => {
  const metrics = setUp(t)
  // One in each bucket, on the bound and just above it, the last two beyond all bounds.
  const bounds = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
  const durations = [0, ...bounds.flatMap((bound) => [bound, bound * 1.01])]
  const byTrace = new Map(
    durations.map((seconds, i) => [i.toString(16).padStart(32, '0'), seconds]),
  )
  const before = Date.now() / 1000
  for (const [traceId, seconds] of byTrace) {
    metrics.requestFinished(record({ sampled: true, traceId, latencyMs: seconds * 1000 }))
    metrics.requestFinished(record({ sampled: false, latencyMs: seconds * 1000 }))
  }
  const { text, open } = await judged(metrics)
  assert.equal(text.includes(' # {'), false)
  const buckets = [
    ...open.matchAll(new RegExp(`^${DURATION}_bucket\\{.*le="([^"]+)"\\} \\d+(.*)$`, 'gm')),
  ]
  assert.equal(buckets.length, bounds.length + 1)
  let below = -1
  const shown = []
  for (const [, le, rest] of buckets) {
    const bound = le === '+Inf' ? Number.POSITIVE_INFINITY : Number(le)
    const [, traceId, spanId, value, seconds] =
      /^ # \{trace_id="([0-9a-f]{32})",span_id="([0-9a-f]{16})"\} (\S+) (\d+\.\d{3})$/.exec(rest)
    assert.ok(value > below && value <= bound, `${value} in ]${below}, ${bound}]`)
    assert.ok(Math.abs(byTrace.get(traceId) - value) < 1e-9, 'the value is that of this trace')
    assert.equal(spanId, 'b7ad6b7169203331')
    assert.ok(Math.abs(seconds - Number(value) - before) < 60, 'at the end of the request')
    shown.push(traceId)
    below = bound
  }
  // The last sampled request of each bucket: 0 and the first bound share one, then two each.
  assert.deepEqual(
    shown.map((traceId) => Number.parseInt(traceId, 16)),
    [...bounds.map((_, i) => 2 * i + 1), 2 * bounds.length],
  )
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

test('M9: a label with 100,000 values stops at the cap: exact totals, exact losses, one warning', async (t) => {
  const metrics = setUp(t, { maxSeries: 50 })
  const before = faultCounts().get('TELLTALE_E_SERIES_LIMIT') ?? 0
  const logins = metrics.counter({ name: 'logins_total', help: 'Logins.', labelNames: ['user'] })
  const waits = metrics.histogram({ name: 'wait_seconds', help: 'W.', labelNames: ['user'] })
  const series = waits.labels({ user: 'kept' })
  for (let i = 0; i < 100_000; i++) logins.inc({ user: `u${i}` }, 2)
  for (let i = 0; i < 100; i++) waits.observe({ user: `u${i}` }, 0.25)
  series.observe(0.25)
  metrics.collect({
    name: 'read_level',
    help: 'R.',
    type: 'gauge',
    labelNames: ['user'],
    read(add) {
      for (let i = 0; i < 70; i++) add(1, { user: `u${i % 60}` })
    },
  })
  const { text } = await judged(metrics)
  const rows = [...text.matchAll(/^logins_total\{user="([^"]+)"\} (\d+)$/gm)]
  assert.deepEqual(
    rows.map(([, user, count]) => [user, Number(count)]),
    [...Array.from({ length: 50 }, (_, i) => [`u${i}`, 2]), ['_overflow', 2 * 99_950]],
  )
  const dropped = (metric) =>
    sampleOf(text, 'telltale_metrics_dropped_series_total', `{metric="${metric}"}`)
  assert.equal(dropped('logins_total'), 99_950)
  assert.equal(dropped('wait_seconds'), 51)
  assert.equal(sampleOf(text, 'wait_seconds_count', '{user="_overflow"}'), 51)
  assert.equal(sampleOf(text, 'wait_seconds_sum', '{user="_overflow"}'), 51 / 4)
  assert.equal(sampleOf(text, 'wait_seconds_count', '{user="kept"}'), 1)
  assert.equal(text.match(/^read_level\{/gm).length, 51)
  assert.equal(sampleOf(text, 'read_level', '{user="u9"}'), 2, 'reported twice is summed')
  assert.equal(sampleOf(text, 'read_level', '{user="_overflow"}'), 10)
  assert.equal(dropped('read_level'), 10)
  assert.equal(sampleOf(text, 'telltale_metrics_series', '{metric="logins_total"}'), 51)
  assert.equal(faultCounts().get('TELLTALE_E_SERIES_LIMIT'), before + 2, 'one for each metric')
})

test('M9: the warning is one line that names the metric, the label and the remedy', () => {
  const program = `
    import { createMetrics } from '${new URL('../../dist/esm/metrics/metrics.js', import.meta.url)}'
    import { resolveOptions } from '${new URL('../../dist/esm/options.js', import.meta.url)}'
    const metrics = createMetrics(resolveOptions({ service: 't', metrics: { maxSeries: 50 } }, {}))
    const logins = metrics.counter({ name: 'logins_total', help: 'L.', labelNames: ['country', 'user', 'plan'] })
    for (let i = 0; i < 100_000; i++) logins.inc({ country: i % 3, user: 'u' + i, plan: i % 7 })`
  const { status, stderr, stdout } = spawnSync(
    process.execPath,
    ['--input-type=module', '-e', program],
    { encoding: 'utf8' },
  )
  assert.deepEqual([status, stdout], [0, ''])
  const lines = stderr.trimEnd().split('\n')
  assert.equal(lines.length, 1, stderr)
  assert.match(
    lines[0],
    /TELLTALE_E_SERIES_LIMIT: .*logins_total has 50 label sets; label "user" has 50 values/,
  )
  assert.match(lines[0], /raise metrics\.maxSeries/)
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
  const { text, open } = await judged(metrics)
  assert.ok(text.length < 4000, `${text.length} characters`)
  // Only OpenMetrics escapes quotes in a help text.
  assert.ok(text.includes('# HELP odd_total A "quoted" \\\\ help\\nof two lines.\n'), text)
  assert.ok(open.includes('# HELP odd A \\"quoted\\" \\\\ help\\nof two lines.\n'), open)
  const labels = [...text.matchAll(/^odd_total\{value="(.*)"\} 1$/gm)].map(([, value]) => value)
  assert.deepEqual(labels, [
    '\\"',
    '\\\\',
    'a\\nb',
    'a\ufffdb',
    '\ufffd',
    `${'x'.repeat(1023)}…`,
    'é☃',
    '',
    '}',
  ])
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

/** A scraper over one histogram of 5,000 label sets. */
function largeScraper() {
  const registry = createRegistry(10_000)
  const family = registry.histogram({ name: 'wait_seconds', help: 'W.', labelNames: ['route'] })
  for (let i = 0; i < 5000; i++) family.observe({ route: `/r${i}` }, i / 1000)
  return createScraper(
    registry,
    [],
    () => {},
    () => undefined,
  )
}

/** Turns of the event loop while `work` goes on: how long each took, and the whole. */
async function turnsDuring(work) {
  const startMs = performance.now()
  let lastMs = startMs
  const gaps = []
  const turn = () => {
    const nowMs = performance.now()
    gaps.push(nowMs - lastMs)
    lastMs = nowMs
    next = setImmediate(turn)
  }
  let next = setImmediate(turn)
  const result = await work()
  clearImmediate(next)
  return { result, gaps, totalMs: lastMs - startMs }
}

test('M15: a rendering of 5,000 label sets gives way each millisecond, by a clock of the test’s own', async (t) => {
  const scraper = largeScraper()
  const { now } = performance
  t.after(() => {
    performance.now = now
  })
  // The writer looks at the clock every 8 rows: at 0.3 ms a look it is due every fourth time.
  let ms = 0
  performance.now = () => {
    ms += 0.3
    return ms
  }
  let turns = 0
  const turn = () => {
    turns++
    next = setImmediate(turn)
  }
  let next = setImmediate(turn)
  const { chunks, bytes } = await scraper.render('text')
  clearImmediate(next)
  performance.now = now
  assert.ok(turns >= 150 && turns <= 165, `${turns} turns`)
  const text = Buffer.concat(chunks).toString()
  assert.equal(text.match(/_count\{/g).length, 5000)
  assert.equal(bytes, Buffer.byteLength(text))
  // Text that waits to be encoded is work that no look at the clock has seen.
  const largest = Math.max(...chunks.map((chunk) => chunk.length))
  assert.ok(largest < 65_536, `${largest} bytes in one piece`)
})

test('M15: the longest stretch of a large rendering is a small part of the whole', async () => {
  const scraper = largeScraper()
  // The best of some: another process may take the processor at any time.
  let best = Number.POSITIVE_INFINITY
  for (let round = 0; round < 8 && best > 0.2; round++) {
    const { gaps, totalMs } = await turnsDuring(() => scraper.render('openmetrics'))
    best = Math.min(best, Math.max(...gaps) / totalMs)
  }
  assert.ok(best < 1 / 3, String(best))
})

test('M15: a large answer gives way while it is sent, also when its socket takes all at once', async (t) => {
  const metrics = setUp(t, { maxSeries: 10_000 })
  const family = metrics.histogram({ name: 'wait_seconds', help: 'W.', labelNames: ['route'] })
  for (let i = 0; i < 5000; i++) family.observe({ route: `/r${i}` }, i / 1000)
  let turn = 0
  const next = () => {
    turn++
    immediate = setImmediate(next)
  }
  let immediate = setImmediate(next)
  const { now } = performance
  t.after(() => {
    clearImmediate(immediate)
    performance.now = now
  })
  // The sender looks at the clock after each piece: at 0.3 ms a look it is due every fourth time.
  let ms = 0
  performance.now = () => {
    ms += 0.3
    return ms
  }
  const writes = new Map()
  const server = createServer((req, res) => {
    res.write = function (...args) {
      writes.set(turn, (writes.get(turn) ?? 0) + 1)
      return ServerResponse.prototype.write.apply(this, args)
    }
    metrics.handle(req, res, req.url)
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  const { body } = await plainGet(server)
  assert.equal(body.toString().match(/_count\{/g).length, 5000)
  const most = Math.max(...writes.values())
  assert.ok(most <= 4, `${most} pieces in one turn`)
})

test('M15: reading and writing a large prom-client registry gives way as well', async (t) => {
  const rows = Array.from({ length: 50_000 }, (_, i) => `theirs_total{user="u${i}"} ${i}`)
  const registry = {
    metrics: () => `# HELP theirs_total T.\n# TYPE theirs_total counter\n${rows.join('\n')}\n`,
  }
  const metrics = setUp(t, { registries: [registry] })
  metrics.collect({
    name: 'read_level',
    help: 'R.',
    type: 'gauge',
    labelNames: ['i'],
    read(add) {
      for (let i = 0; i < 2000; i++) add(1, { i })
    },
  })
  const { result, gaps } = await turnsDuring(() => metrics.renderText())
  assert.match(result.text, /^theirs_total\{user="u49999"\} 49999$/m)
  assert.ok(gaps.length > 10, String(gaps.length))
})

test('M16: 20 scrapes at once, in both formats, read a source once and all get its value', async (t) => {
  const registry = new client.Registry()
  const metrics = setUp(t, { registries: [registry] })
  metrics.requestFinished(record())
  const server = await listen(t, metrics)
  let arrived = 0
  const all = new Promise((resolve) => {
    server.on('request', () => {
      if (++arrived === 20) resolve()
    })
  })
  let reads = 0
  metrics.collect({
    name: 'jobs_waiting',
    help: 'J.',
    type: 'gauge',
    async read(add) {
      reads++
      // The scrape stays open until every other one has come.
      await all
      add(reads)
    },
  })
  let texts = 0
  registry.metrics = async () => {
    texts++
    await all
    return `# TYPE theirs_level gauge\ntheirs_level ${texts}\n`
  }
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, i) =>
      plainGet(server, { headers: i % 2 === 0 ? {} : { accept: OPENMETRICS } }),
    ),
  )
  assert.deepEqual([reads, texts], [1, 1])
  for (const { headers, body } of answers) {
    const text = body.toString()
    checkExposition(text, { openMetrics: headers['content-type'].startsWith('application/open') })
    assert.equal(sampleOf(text, 'jobs_waiting'), 1)
    assert.equal(sampleOf(text, 'theirs_level'), 1)
    assert.equal(text.includes(`${ERRORS}{`), false)
  }
  assert.match((await plainGet(server)).body.toString(), /^jobs_waiting 2$/m)
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

test('M18: a delay that still goes on is recorded by the scrape itself', async (t) => {
  const registry = createRegistry(100)
  const runtime = createRuntimeMetrics(registry)
  t.after(() => runtime.close())
  const { rows, bounds } = registry.families.get('nodejs_eventloop_delay_seconds')
  const { cells, at } = rows[0]
  const end = performance.now() + 700
  while (performance.now() < end);
  // No timer has had a turn.
  assert.deepEqual([...cells.subarray(at, at + bounds.length + 2)].filter(Boolean), [])
  runtime.sample()
  const sum = cells[at + bounds.length + 1]
  assert.ok(sum > 0.6 && sum < 60, `${sum} s`)
  assert.equal(cells[at + bounds.indexOf(1)] + cells[at + bounds.indexOf(2.5)] > 0, true)
  let calls = 0
  const scraper = createScraper(
    createRegistry(100),
    [],
    () => calls++,
    () => undefined,
  )
  await scraper.render('text')
  await scraper.render('openmetrics')
  assert.equal(calls, 2)
})

test('pauses for garbage collection are counted in seconds, by kind', async (t) => {
  const metrics = setUp(t, { runtime: true })
  await metrics.renderText()
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc')
  setFlagsFromString('--no-expose-gc')
  const name = 'nodejs_gc_duration_seconds'
  let text = ''
  const startMs = performance.now()
  // The observer is told a turn or more later.
  while (!(sampleOf(text, `${name}_count`, '{kind="major"}') > 0)) {
    assert.ok(performance.now() - startMs < 20_000, text)
    collect()
    await new Promise(setImmediate)
    text = (await metrics.renderText()).text
  }
  const passed = (performance.now() - startMs) / 1000
  metrics.close()
  const counts = () => [
    ...text.matchAll(/^nodejs_(?:gc_duration|eventloop_delay)_seconds_count.*$/gm),
  ]
  text = (await metrics.renderText()).text
  const closed = counts().map(String)
  assert.ok(closed.length > 1)
  collect()
  await new Promise((resolve) => setTimeout(resolve, 60))
  text = (await metrics.renderText()).text
  assert.deepEqual(counts().map(String), closed, 'closed observers see nothing')
  const sum = sampleOf(text, `${name}_sum`, '{kind="major"}')
  assert.ok(sum > 0 && sum <= passed, `${sum} of ${passed} s`)
})

test('of collections that come often one slice in eight is watched, and each counts eightfold', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] })
  const registry = createRegistry(100)
  const runtime = createRuntimeMetrics(registry)
  t.after(() => runtime.close())
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc')
  setFlagsFromString('--no-expose-gc')
  const { rows, bounds } = registry.families.get('nodejs_gc_duration_seconds')
  const told = () => {
    let sum = 0
    for (const { cells, at } of rows) {
      for (let i = 0; i <= bounds.length; i++) sum += cells[at + i]
    }
    return sum
  }
  const turns = async () => {
    for (let i = 0; i < 5; i++) await new Promise(setImmediate)
  }
  /** What is told of so many collections, at least as many as they are: V8 has some of its own. */
  async function collections(count) {
    await turns()
    const before = told()
    for (let i = 0; i < count; i++) collect()
    await turns()
    return told() - before
  }
  const slices = (count) => {
    for (let i = 0; i < count; i++) t.mock.timers.tick(250)
  }
  const exact = await collections(10)
  assert.ok(exact >= 10 && exact < 40, `${exact}`)
  slices(1)
  assert.equal(await collections(10), 0, 'seven slices of rest')
  slices(6)
  assert.equal(await collections(10), 0)
  slices(1)
  const eightfold = await collections(5)
  assert.ok(eightfold >= 40 && eightfold % 8 === 0, `${eightfold}`)
  slices(8)
  const last = await collections(1)
  assert.ok(last === 8 || last === 16, `${last}`)
  slices(1)
  const again = await collections(1)
  assert.ok(again === 1 || again === 2, `${again}: they are few again, and each is told`)
})

test('M19: a throwing, rejecting or hanging reader costs its own metric only', async (t) => {
  const metrics = setUp(t)
  const collect = (name, read) => metrics.collect({ name, help: 'R.', type: 'gauge', read })
  collect('good', (add) => add(1))
  collect('bad', (add) => {
    add(1)
    throw new Error('no')
  })
  collect('rejecting', (add) => {
    add(1)
    return Promise.reject(new Error('no'))
  })
  collect('odd', () => ({
    // biome-ignore lint/suspicious/noThenProperty: a hostile answer
    get then() {
      throw new Error('no')
    },
  }))
  let answer
  collect('hanging', (add) => {
    add(1)
    return new Promise((resolve) => {
      answer = () => {
        add(5)
        resolve()
      }
    })
  })
  const get = await serve(t, metrics)
  const scrape = async () =>
    (await get('/metrics', { headers: { 'x-prometheus-scrape-timeout-seconds': '0.1' } })).text()
  const first = await scrape()
  promtool(first)
  assert.equal(sampleOf(first, 'good'), 1)
  for (const name of ['bad', 'rejecting', 'odd', 'hanging']) {
    assert.equal(sampleOf(first, name), undefined, name)
    assert.equal(errorsOf(first, name, name === 'hanging' ? 'timeout' : 'error'), 1, name)
  }
  // It is not asked a second time while it hangs, and not waited for.
  const release = answer
  const second = await scrape()
  assert.equal(answer, release)
  assert.equal(errorsOf(second, 'hanging', 'busy'), 1)
  assert.equal(errorsOf(second, 'hanging', 'timeout'), 1)
  assert.equal(errorsOf(second, 'bad', 'error'), 2)
  assert.equal(errorsOf(second, 'rejecting', 'error'), 2, 'asked again')
  release()
  await new Promise(setImmediate)
  // What came too late is in no scrape; the next run is a new one.
  const third = scrape()
  while (answer === release) await new Promise(setImmediate)
  answer()
  assert.equal(sampleOf(await third, 'hanging'), 6)
})

test('M19: what a reader adds after it has ended is not taken', async (t) => {
  const metrics = setUp(t)
  let kept
  const collect = (name, read) => metrics.collect({ name, help: 'R.', type: 'gauge', read })
  collect('ended', (add) => {
    kept = add
    add(1)
  })
  collect('slow', async (add) => {
    kept(10)
    await new Promise(setImmediate)
    kept(10)
    add(1)
  })
  const { text } = await metrics.renderText()
  assert.equal(sampleOf(text, 'ended'), 1)
  assert.equal(sampleOf(text, 'slow'), 1)
})

test('a reader that is taken away is asked no more, and those of one metric are added up', async (t) => {
  const metrics = setUp(t)
  const metric = { name: 'connections', help: 'C.', type: 'gauge', labelNames: ['pool'] }
  const remove = metrics.collect({ ...metric, read: (add) => add(3, { pool: 'a' }) })
  metrics.collect({
    ...metric,
    async read(add) {
      add(4, { pool: 'a' })
      add(5, { pool: 'b' })
    },
  })
  const first = (await judged(metrics)).text
  assert.equal(sampleOf(first, 'connections', '{pool="a"}'), 7)
  assert.equal(sampleOf(first, 'connections', '{pool="b"}'), 5)
  remove()
  remove()
  const { text } = await metrics.renderText()
  assert.equal(sampleOf(text, 'connections', '{pool="a"}'), 4)
})

test('M19: X-Prometheus-Scrape-Timeout-Seconds shortens the time a reader gets, and never lengthens it', async (t) => {
  const waited = async (seconds) => {
    const metrics = setUp(t)
    const read = () => new Promise(() => {})
    metrics.collect({ name: 'hanging', help: 'H.', type: 'gauge', read })
    const get = await serve(t, metrics)
    const startMs = performance.now()
    const headers = seconds === undefined ? {} : { 'x-prometheus-scrape-timeout-seconds': seconds }
    const answer = await get('/metrics', { headers })
    assert.equal(answer.status, 200)
    assert.match(await answer.text(), /^http_server_active_requests 0$/m)
    return performance.now() - startMs
  }
  const names = [undefined, '0.2', '0.8', '1e9', '0', '-1', 'soon', 'Infinity']
  const [plain, short, longer, ...others] = await Promise.all(names.map(waited))
  // A reader gets half of what the scraper has, at most a second.
  for (const ms of [plain, ...others]) assert.ok(ms >= 990 && ms < 10_000, `${ms} ms`)
  assert.ok(short >= 95 && short < plain - 400, `${short} and ${plain} ms`)
  assert.ok(longer >= 390 && longer < plain - 200, `${longer} and ${plain} ms`)
})

test('M20: a metric is registered once; another shape of it is refused with both named', async (t) => {
  const metrics = setUp(t)
  const both = { name: 'twice_total', help: 'T.', labelNames: ['x', 'y'] }
  metrics.counter(both).inc({ x: '1', y: '2' })
  metrics.counter({ ...both, labelNames: ['y', 'x', 'y'] }).inc({ x: '1', y: '2' })
  // Without the ending that exposition adds it is the same name.
  metrics.counter({ ...both, name: 'twice' }).inc({ x: '1', y: '2' })
  const timing = { name: 'timing_seconds', help: 'T.', buckets: [1, 2] }
  metrics.histogram(timing).observe(1)
  metrics.histogram({ ...timing, buckets: [1, 2] }).observe(2)
  const level = { name: 'level', help: 'L.' }
  metrics.gauge(level).set(4)
  const read = () => {}
  for (const [again, words] of [
    [() => metrics.gauge({ ...both }), /\(gauge\).*belongs to metric "twice_total"/],
    [() => metrics.counter({ ...both, labelNames: ['y'] }), /counter \{y\}.*counter \{x, y\}/],
    [() => metrics.counter({ ...both, labelNames: ['x', 'z'] }), /\{x, z\}.*\{x, y\}/],
    [() => metrics.histogram({ ...timing, buckets: [1, 3] }), /buckets 1 3 .*buckets 1 2/],
    [() => metrics.histogram({ ...timing, buckets: [1] }), /buckets 1 .*buckets 1 2/],
    [() => metrics.collect({ ...level, type: 'gauge', read }), /a collected gauge.*a gauge/],
    // A name that another metric already writes.
    [() => metrics.gauge({ name: 'twice', help: 'T.' }), /twice/],
    [() => metrics.gauge({ name: 'timing_seconds_count', help: 'T.' }), /timing_seconds/],
    [() => metrics.histogram({ name: 'twice', help: 'T.' }), /twice/],
    [() => metrics.counter({ name: 'bad name', help: 'T.' }), /"bad name"/],
    [() => metrics.counter({ name: '1st', help: 'T.' }), /"1st"/],
    [() => metrics.counter({ name: 'no_help' }), /no_help/],
    [() => metrics.counter({ ...both, name: 'a_total', labelNames: ['le'] }), /"le"/],
    [() => metrics.counter({ ...both, name: 'a_total', labelNames: ['quantile'] }), /"quantile"/],
    [() => metrics.counter({ ...both, name: 'a_total', labelNames: ['__a'] }), /"__a"/],
    [() => metrics.counter({ ...both, name: 'a_total', labelNames: ['a-b'] }), /"a-b"/],
    [() => metrics.histogram({ ...timing, name: 'h', buckets: [2, 1] }), /\[2,1\]/],
    [() => metrics.histogram({ ...timing, name: 'h', buckets: [1, 1] }), /\[1,1\]/],
    [() => metrics.histogram({ ...timing, name: 'h', buckets: [-1, 1] }), /\[-1,1\]/],
    [() => metrics.histogram({ ...timing, name: 'h', buckets: [1, Infinity] }), /buckets/],
    [() => metrics.histogram({ ...timing, name: 'h', buckets: [...Array(201).keys()] }), /buckets/],
  ]) {
    assert.throws(again, (error) => {
      assert.equal(error.code, 'TELLTALE_E_METRIC')
      assert.match(error.faults[0].message, words)
      assert.ok(error.faults[0].remedy.length > 0)
      return true
    })
  }
  const { text } = await judged(metrics)
  assert.equal(sampleOf(text, 'twice_total', '{x="1",y="2"}'), 3)
  assert.equal(sampleOf(text, 'timing_seconds_count'), 2)
  assert.equal(sampleOf(text, 'level'), 4)
})

test('names made from data stop at a thousand metrics; what comes beyond is harmless and told', async (t) => {
  const metrics = setUp(t)
  const told = () => faultCounts().get('TELLTALE_E_METRIC') ?? 0
  for (let i = 0; i < 990; i++) metrics.gauge({ name: `level_${i}`, help: 'L.' }).set(i)
  const before = told()
  for (let i = 990; i < 1100; i++) {
    metrics.gauge({ name: `level_${i}`, help: 'L.' }).set(i)
    metrics.gauge({ name: `level_${i}`, help: 'L.' }).inc(1)
  }
  const { text } = await metrics.renderText()
  const names = text.match(/^level_\d+ /gm)
  assert.ok(names.length >= 990 && names.length < 1000, String(names.length))
  assert.equal(told() - before, 2 * (1100 - names.length))
})

test('a label that the metric does not have is told, and the recording counts', async (t) => {
  const metrics = setUp(t)
  const told = () => faultCounts().get('TELLTALE_E_METRIC') ?? 0
  const before = told()
  const orders = metrics.counter({ name: 'orders_total', help: 'O.', labelNames: ['country'] })
  orders.inc({ country: 'NL' })
  assert.equal(told(), before)
  orders.inc({ country: 'BE', city: 'Gent' })
  assert.equal(told(), before + 1)
  orders.inc({})
  orders.inc({ country: 7 })
  orders.inc({ country: true })
  const { text } = await judged(metrics)
  assert.deepEqual(text.match(/^orders_total.*$/gm), [
    'orders_total{country="NL"} 1',
    'orders_total{country="BE"} 1',
    'orders_total{country=""} 1',
    'orders_total{country="7"} 1',
    'orders_total{country="true"} 1',
  ])
})

test('a timer records the seconds that it returns, once for each call', async (t) => {
  const metrics = setUp(t)
  const wait = metrics.histogram({ name: 'wait_seconds', help: 'W.', labelNames: ['a'] })
  const startMs = performance.now()
  const stop = wait.startTimer({ a: 'x' })
  await new Promise((resolve) => setTimeout(resolve, 60))
  const seconds = stop()
  assert.ok(seconds >= 0.055 && seconds <= (performance.now() - startMs) / 1000, `${seconds} s`)
  const { text } = await metrics.renderText()
  assert.equal(sampleOf(text, 'wait_seconds_sum', '{a="x"}'), seconds)
  assert.equal(sampleOf(text, 'wait_seconds_count', '{a="x"}'), 1)
})

test('rows of many label sets keep to their own cells', async (t) => {
  const metrics = setUp(t)
  const wait = metrics.histogram({
    name: 'wait_seconds',
    help: 'W.',
    labelNames: ['i'],
    buckets: [1],
  })
  for (let i = 0; i < 300; i++) wait.observe({ i }, i)
  const { text } = await judged(metrics)
  for (let i = 0; i < 300; i++) {
    assert.equal(sampleOf(text, 'wait_seconds_sum', `{i="${i}"}`), i)
    assert.equal(sampleOf(text, 'wait_seconds_count', `{i="${i}"}`), 1)
    assert.equal(sampleOf(text, 'wait_seconds_bucket', `{i="${i}",le="1.0"}`), i <= 1 ? 1 : 0)
  }
})

test('M25: a loopback peer needs no token, unless a proxy speaks through it', async (t) => {
  const open = await serve(t, setUp(t))
  assert.equal((await open()).status, 200)
  assert.equal((await open('/metrics/')).status, 200)
  assert.equal((await open('/metrics/more')).status, 404)
  const foreign = { 'x-forwarded-for': '203.0.113.9' }
  assert.equal((await open('/metrics', { headers: foreign })).status, 404)
  assert.equal((await open('/metrics', { method: 'POST' })).status, 405)
  assert.equal((await open('/metrics', { method: 'POST' })).headers.get('allow'), 'GET, HEAD')
  const guarded = await serve(t, setUp(t, { token: 'sesame' }))
  assert.equal((await guarded()).status, 200)
  for (const [authorization, status] of [
    ['Bearer wrong', 401],
    ['Bearer sesame', 200],
  ]) {
    const answer = await guarded('/metrics', { headers: { ...foreign, authorization } })
    assert.equal(answer.status, status)
  }
})

test('M25: a page in a browser that was led to loopback by another name gets nothing', async (t) => {
  const server = await listen(t, setUp(t))
  for (const [host, status] of [
    ['localhost:3000', 200],
    ['[::1]:3000', 200],
    ['127.0.0.1', 200],
    ['evil.example', 404],
    ['localhost.evil.example', 404],
    ['127.0.0.1.evil.example:80', 404],
  ]) {
    assert.equal((await plainGet(server, { headers: { host } })).status, status, host)
  }
})

const outside = Object.values(networkInterfaces())
  .flat()
  .find(({ internal, family }) => !internal && family === 'IPv4')?.address

test(
  outside === undefined
    ? 'M25: a foreign peer, by a remoteAddress set by hand since this machine has only loopback, needs the token'
    : 'M25: a real peer that is not loopback gets 404 without a token configured, 401 without showing it',
  async (t) => {
    const foreigner = (server) => {
      if (outside === undefined) {
        server.prependListener('connection', (socket) =>
          Object.defineProperty(socket, 'remoteAddress', { value: '203.0.113.9' }),
        )
      }
      return server
    }
    const open = foreigner(await listen(t, setUp(t), outside ?? '127.0.0.1'))
    const seen = new Set()
    open.on('request', (req) => seen.add(req.socket.remoteAddress))
    for (const headers of [
      {},
      { host: 'localhost' },
      { authorization: 'Bearer ' },
      { authorization: 'Bearer undefined' },
    ]) {
      const answer = await plainGet(open, { headers })
      assert.equal(answer.status, 404)
      assert.equal(answer.body.toString(), 'app', 'the application’s own')
      assert.equal((await plainGet(open, { headers, method: 'POST' })).status, 404)
    }
    assert.deepEqual([...seen], [outside ?? '203.0.113.9'])
    const guarded = foreigner(
      await listen(t, setUp(t, { token: 'sesame' }), outside ?? '127.0.0.1'),
    )
    for (const [authorization, status] of [
      [undefined, 401],
      ['', 401],
      ['sesame', 401],
      ['Basic sesame', 401],
      ['Bearer sesam', 401],
      ['Bearer sesame2', 401],
      ['Bearer sesame', 200],
      ['bearer sesame', 200],
    ]) {
      const headers = authorization === undefined ? {} : { authorization }
      const answer = await plainGet(guarded, { headers })
      assert.equal(answer.status, status, authorization)
      const isShown = answer.body.includes('http_server_active_requests')
      assert.equal(isShown, status === 200)
      if (status === 401) {
        assert.match(answer.headers['www-authenticate'], /^Bearer/)
        assert.equal(answer.headers['content-type'], 'application/problem+json')
        assert.equal(JSON.parse(answer.body).status, 401)
      }
    }
  },
)

test('metrics.enabled false serves nothing', async (t) => {
  const get = await serve(t, setUp(t, { enabled: false }))
  const answer = await get()
  assert.equal(answer.status, 404)
  assert.equal(await answer.text(), 'app')
})

test('M28: the process metrics agree with /proc within 5 %, descriptors exactly', async (t) => {
  const metrics = setUp(t, { runtime: true })
  await judged(metrics)
  const spinEnd = process.cpuUsage().user + 1e6
  while (process.cpuUsage().user < spinEnd);
  const held = Array.from({ length: 25 }, () => openSync('/dev/null'))
  t.after(() => held.forEach(closeSync))
  const tick = Number(spawnSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }).stdout)
  const proc = () => {
    const stat = readFileSync('/proc/self/stat', 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const status = readFileSync('/proc/self/status', 'utf8')
    return {
      // The folder itself is open while it is read.
      process_open_fds: readdirSync('/proc/self/fd').length - 1,
      process_resident_memory_bytes: Number(/VmRSS:\s+(\d+)/.exec(status)[1]) * 1024,
      process_cpu_user_seconds_total: Number(fields[11]) / tick,
      process_cpu_system_seconds_total: Number(fields[12]) / tick,
      process_cpu_seconds_total: (Number(fields[11]) + Number(fields[12])) / tick,
      nodejs_heap_size_total_bytes: process.memoryUsage().heapTotal,
      nodejs_heap_size_used_bytes: process.memoryUsage().heapUsed,
      nodejs_external_memory_bytes: process.memoryUsage().external,
    }
  }
  // Collections, sockets of earlier tests and other processes move the numbers between two looks:
  // each must agree in one of ten rounds, and a wrong one does so in none.
  const told = new Map(Object.keys(proc()).map((name) => [name, 'never looked at']))
  let text = ''
  const value = (name) => sampleOf(text, name)
  for (let round = 0; round < 10 && told.size > 0; round++) {
    const before = proc()
    text = (await metrics.renderText()).text
    const after = proc()
    for (const name of told.keys()) {
      const [low, high] = [before[name], after[name]].sort((a, b) => a - b)
      const share = name === 'process_open_fds' ? 0 : 0.05
      // A reading of /proc is true to one tick of its clock.
      const slack = name.includes('cpu') ? 1 / tick : 0
      const read = value(name)
      if (read >= low * (1 - share) - slack && read <= high * (1 + share) + slack) told.delete(name)
      else told.set(name, `${read} is not from ${low} to ${high}`)
    }
  }
  assert.deepEqual([...told], [])
  assert.ok(
    Math.abs(value('process_start_time_seconds') - (Date.now() / 1000 - process.uptime())) < 2,
  )
  const limits = readFileSync('/proc/self/limits', 'utf8')
  assert.equal(value('process_max_fds'), Number(/^Max open files\s+(\d+)/m.exec(limits)[1]))
  assert.equal(value('nodejs_heap_size_limit_bytes'), getHeapStatistics().heap_size_limit)
  const [major, minor, patch] = process.versions.node.split('.')
  assert.equal(
    sampleOf(
      text,
      'nodejs_version_info',
      `{version="${process.version}",major="${major}",minor="${minor}",patch="${patch}"}`,
    ),
    1,
  )
  // The spaces are the parts of the heap.
  for (const kind of ['total', 'used']) {
    const rows = [
      ...text.matchAll(new RegExp(`^nodejs_heap_space_size_${kind}_bytes\\{.*\\} (\\d+)$`, 'gm')),
    ]
    assert.ok(rows.length > 3)
    const sum = rows.reduce((total, [, bytes]) => total + Number(bytes), 0)
    const whole = value(`nodejs_heap_size_${kind}_bytes`)
    assert.ok(Math.abs(sum / whole - 1) < 0.1, `${kind}: ${sum} of ${whole}`)
  }
})

test('M28: active and idle time of the event loop add up to the time that passed', async (t) => {
  const metrics = setUp(t, { runtime: true })
  const read = async () => {
    const from = performance.now() / 1000
    const { text } = await metrics.renderText()
    const [active, idle] = ['active', 'idle'].map((kind) =>
      sampleOf(text, `nodejs_eventloop_${kind}_seconds_total`),
    )
    return { active, idle, from, to: performance.now() / 1000 }
  }
  const first = await read()
  const spinEnd = performance.now() + 400
  while (performance.now() < spinEnd);
  await new Promise((resolve) => setTimeout(resolve, 400))
  const last = await read()
  const active = last.active - first.active
  const idle = last.idle - first.idle
  assert.ok(active >= 0.39, `active ${active}`)
  assert.ok(idle >= 0.1, `idle ${idle}`)
  const [least, most] = [last.from - first.to, last.to - first.from]
  const sum = active + idle
  assert.ok(sum >= least * 0.95 && sum <= most * 1.05, `${sum} is not from ${least} to ${most}`)
})

test('M30: every value that a metric cannot take is ignored and counted once', async (t) => {
  const metrics = setUp(t)
  const steps = metrics.counter({ name: 'steps_total', help: 'S.' })
  for (const value of [-1, Number.NaN, Number.POSITIVE_INFINITY, 'x', {}, null]) steps.inc(value)
  steps.inc(0)
  steps.inc(2 ** 53)
  // Beyond 2^53 one more cannot be seen in a double.
  steps.inc(1)
  steps.inc()
  const level = metrics.gauge({ name: 'level', help: 'L.', labelNames: ['a'] })
  level.set({ a: 'x' }, -2.5)
  for (const value of ['x', undefined, null]) level.set({ a: 'x' }, value)
  for (const value of [Number.NaN, Number.NEGATIVE_INFINITY]) level.inc({ a: 'x' }, value)
  level.dec({ a: 'x' }, Number.POSITIVE_INFINITY)
  level.inc({ a: 'x' }, 1)
  level.dec({ a: 'x' })
  const wait = metrics.histogram({ name: 'wait_seconds', help: 'W.' })
  for (const value of [Number.NaN, -5, Number.POSITIVE_INFINITY, 'x', undefined])
    wait.observe(value)
  const read = { name: 'read_total', help: 'R.', type: 'counter', labelNames: ['a'] }
  metrics.collect({
    ...read,
    read(add) {
      for (const value of [2, -1, Number.NaN, 'x']) add(value, { a: 'y' })
    },
  })
  const hostile = {
    get a() {
      throw new Error('no')
    },
  }
  const hard = metrics.counter({ name: 'hard_total', help: 'H.', labelNames: ['a'] })
  hard.inc(hostile)
  hard.labels(hostile).inc()
  hard.inc(undefined)
  hard.inc({ a: 'x' })
  const { text } = await metrics.renderText()
  promtool(text)
  checkExposition(text)
  const ignored = [
    ...text.matchAll(/^telltale_metrics_ignored_values_total\{metric="(\w+)"\} (\d+)$/gm),
  ].map(([, metric, count]) => [metric, Number(count)])
  assert.deepEqual(ignored, [
    ['steps_total', 8],
    ['level', 6],
    ['wait_seconds', 5],
    ['read_total', 3],
    ['hard_total', 3],
  ])
  assert.equal(sampleOf(text, 'steps_total'), 2 ** 53)
  assert.equal(sampleOf(text, 'level', '{a="x"}'), -2.5)
  assert.equal(sampleOf(text, 'wait_seconds_count'), 0)
  assert.equal(sampleOf(text, 'wait_seconds_sum'), 0)
  assert.equal(sampleOf(text, 'read_total', '{a="y"}'), 2)
  assert.equal(sampleOf(text, 'hard_total', '{a="x"}'), 1)
  await judged(metrics)
})

test('M31: a request whose clock ran backwards counts with a duration of 0', async (t) => {
  const metrics = setUp(t)
  const labels =
    '{http_request_method="GET",http_route="/users/:id",http_response_status_code="200"}'
  for (const latencyMs of [-3, -3_600_000, -0.001]) {
    metrics.requestFinished(record({ latencyMs, sampled: true }))
  }
  const first = await judged(metrics)
  assert.equal(sampleOf(first.text, `${DURATION}_count`, labels), 3)
  assert.equal(sampleOf(first.text, `${DURATION}_sum`, labels), 0)
  assert.equal(sampleOf(first.text, `${DURATION}_bucket`, `${labels.slice(0, -1)},le="0.005"}`), 3)
  assert.match(first.open, /le="0\.005"\} 3 # \{trace_id="[^}]*\} 0 /)
  metrics.requestFinished(record({ latencyMs: 2000 }))
  metrics.requestFinished(record({ latencyMs: -500 }))
  const { text } = await judged(metrics)
  assert.equal(sampleOf(text, `${DURATION}_sum`, labels), 2)
  assert.equal(sampleOf(text, `${DURATION}_count`, labels), 5)
  assert.equal(text.includes('telltale_metrics_ignored_values_total{'), false)
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

test('of two registries that know the same metric the first one is written', async (t) => {
  const registries = [1, 2].map((value) => {
    const registry = new client.Registry()
    new client.Gauge({ name: 'level', help: 'L.', registers: [registry] }).set(value)
    new client.Gauge({ name: `own_${value}`, help: 'O.', registers: [registry] }).set(value)
    return registry
  })
  const { text } = await judged(setUp(t, { registries }))
  assert.deepEqual(text.match(/^(level|own_\d) .*$/gm), ['level 1', 'own_1 1', 'own_2 2'])
})

test('a registry’s own format is brought into that of the scrape: names, help, times, NaN', async (t) => {
  const text = {
    contentType: 'text/plain; version=0.0.4; charset=utf-8',
    metrics: () =>
      '# HELP jobs_total A "quoted" help.\n# TYPE jobs_total counter\njobs_total{a="}\\"x"} 3 1700000000123\n' +
      '# HELP odd_level O.\n# TYPE odd_level gauge\nodd_level Nan\n# TYPE plain untyped\nplain 1\n',
  }
  const open = {
    contentType: 'application/openmetrics-text; version=1.0.0; charset=utf-8',
    metrics: () =>
      '# HELP sales A \\"quoted\\" help.\n# TYPE sales counter\nsales_total{a="x"} 3 1700000000.123 # {trace_id="a"} 1\nsales_created{a="x"} 1700000000 1700000000.123\n' +
      '# TYPE build info\nbuild_info{version="1"} 1\n# EOF\n',
  }
  const rendered = await judged(setUp(t, { registries: [text, open] }), { lints: false })
  const theirs = (all) =>
    all.split('\n').filter((line) => /\b(jobs|odd_level|plain|sales|build)/.test(line))
  assert.deepEqual(theirs(rendered.text), [
    '# HELP jobs_total A "quoted" help.',
    '# TYPE jobs_total counter',
    'jobs_total{a="}\\"x"} 3 1700000000123',
    '# HELP odd_level O.',
    '# TYPE odd_level gauge',
    'odd_level NaN',
    '# TYPE plain untyped',
    'plain 1',
    '# HELP sales_total A "quoted" help.',
    '# TYPE sales_total counter',
    'sales_total{a="x"} 3 1700000000123',
    '# TYPE build_info gauge',
    'build_info{version="1"} 1',
  ])
  assert.deepEqual(theirs(rendered.open), [
    '# HELP jobs A \\"quoted\\" help.',
    '# TYPE jobs counter',
    'jobs_total{a="}\\"x"} 3 1700000000.123',
    '# HELP odd_level O.',
    '# TYPE odd_level gauge',
    'odd_level NaN',
    '# TYPE plain unknown',
    'plain 1',
    '# HELP sales A \\"quoted\\" help.',
    '# TYPE sales counter',
    'sales_total{a="x"} 3 1700000000.123 # {trace_id="a"} 1',
    'sales_created{a="x"} 1700000000 1700000000.123',
    '# TYPE build info',
    'build_info{version="1"} 1',
  ])
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

test('scrapes in two formats at once do not find a reader busy with the other', async (t) => {
  const metrics = setUp(t)
  metrics.collect({
    name: 'slow',
    help: 'Slow.',
    type: 'gauge',
    async read(add) {
      await new Promise((resolve) => setTimeout(resolve, 5))
      add(1)
    },
  })
  const texts = await Promise.all([metrics.renderText(), metrics.renderText(OPENMETRICS)])
  for (const { text } of texts) {
    assert.match(text, /^slow 1$/m)
    assert.ok(!text.includes('reason="busy"'))
  }
})
