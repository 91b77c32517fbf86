// What the bench says of its figures, without measuring anything; it needs none of the rivals.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { judge } from '../budgets.mjs'
import { drawBars, drawSvg } from '../chart.mjs'
import { against, median, spread } from '../figures.mjs'
import { HERE, startServer, startSink } from '../process.mjs'
import { proveErrors, proveRequests } from '../proof.mjs'
import { fillPage } from '../report.mjs'

const row = (variant, round, rps, more = {}) => ({
  framework: 'express',
  workload: 'json',
  variant,
  round,
  rps,
  p50_ms: 1,
  p99_ms: 2,
  cpu_us_per_request: 100,
  rss_mb: 60,
  ...more,
})
// The rows of a round come in another order each time.
const results = {
  when: '2026-01-02T03:04:05.000Z',
  machine: '2 × a machine',
  node: 'v20.19.0',
  isPinned: true,
  loader: 'wrk',
  plan: { rounds: 3, seconds: 1, connections: 50, warm: { json: 4, work: 1 } },
  versions: { pino: '1.0.0' },
  rows: [
    row('telltale', 1, 900),
    row('bare', 1, 1000),
    row('bare', 2, 2000),
    row('telltale', 2, 1700, { cpu_us_per_request: 120 }),
    row('bare', 3, 500),
    row('telltale', 3, 300),
  ],
  paced: [],
  deliveries: [
    { framework: 'express', workload: 'json', variant: 'telltale', lines: 1.002, traces: 0.97 },
  ],
  micro: [
    { what: 'a disabled log call', who: 'telltale', unit: 'ns', values: [20, 14, 17] },
    { what: 'a disabled log call', who: 'pino', unit: 'ns', values: [8, 9, 10] },
  ],
  growth: [
    {
      curve: 'tracker',
      x: 'answers',
      variant: 'telltale',
      round: 1,
      p99_ms: 10,
      rps: 1,
      rss_mb: 1,
    },
    { curve: 'tracker', x: 'hangs', variant: 'telltale', round: 1, p99_ms: 10, rps: 1, rss_mb: 1 },
  ],
}
const budget = (what) => judge(results).find((entry) => entry.what === what)

test('bench: a ratio is taken to bare of the same round, whatever the order of the rows', () => {
  const [telltale, bare] = [{ variant: 'telltale' }, { variant: 'bare' }]
  assert.deepEqual(against(results.rows, telltale, bare, 'rps'), [0.9, 0.85, 0.6])
  assert.deepEqual(against(results.rows, telltale, bare, 'cpu_us_per_request', true), [0, 20, 0])
  const unknown = [
    row('bare', 1, null),
    row('bare', 2, 10),
    row('telltale', 1, 5),
    row('telltale', 2, 5),
  ]
  assert.deepEqual(against(unknown, telltale, bare, 'rps'), [0.5])
  assert.equal(median([4, 1, 3, 2]), 2.5)
  assert.equal(spread([0.9, 0.85, 0.6]), '0.85 (0.60–0.90)')
  assert.equal(spread([20_000, 20_000]), '20,000')
  assert.equal(spread([]), '–')
})

test('bench: a budget is judged by the median, and what was not measured is not met', () => {
  assert.equal(budget('Express 5, JSON answer: of bare').verdict, 'met')
  assert.equal(budget('Express 5, JSON answer: of bare').measured, '0.85 (0.60–0.90)')
  assert.equal(budget('a disabled log call').verdict, 'missed')
  assert.equal(budget('tracker hangs: p99 of the application').verdict, 'met, and the aim')
  assert.equal(budget('Fastify 5, JSON answer: of bare').verdict, 'not measured')
})

test('bench: a budget in time grows with the peer it was set against, and never shrinks', () => {
  const judged = (ms, sentryMs) => {
    const entry = (who, value) => ({ what: 'import + init', who, unit: 'ms', values: [value] })
    const micro = [entry('telltale', ms), entry('@sentry/node', sentryMs)]
    return judge({ ...results, micro }).find(({ what }) => what === 'import + init')
  }
  assert.equal(judged(26, 907).verdict, 'missed')
  assert.equal(judged(24, 450).verdict, 'met')
  assert.equal(judged(49, 1814).verdict, 'met')
  assert.equal(judged(51, 1814).verdict, 'missed')
  assert.equal(judged(49, 1814).budget, '≤ 25 ms × 2.00')
})

test('bench: docs/performance.md keeps its prose when the tables are written', () => {
  const page = readFileSync(join(HERE, '../docs/performance.md'), 'utf8').replace(
    '## What mattered\n',
    '## What mattered\nWritten by hand.\n',
  )
  const filled = fillPage(page, results)
  assert.match(filled, /\| telltale \| .*0\.85 \(0\.60–0\.90\)/)
  assert.match(filled, /\| Express 5, JSON answer: of bare \|.*\| met \|/)
  assert.equal(fillPage(filled, results), filled)
  const prose = (text) =>
    text.replace(/(<!-- bench:\w+ -->)[\s\S]*?(<!-- \/bench:\w+ -->)/g, '$1$2')
  assert.equal(prose(filled), prose(page))
  assert.match(filled, /Written by hand\./)
  const cut = page.replace('<!-- /bench:work -->', '')
  assert.throws(() => fillPage(cut, results), /lacks <!-- bench:work -->/)
})

test('bench: the charts show each variant once, bare first', () => {
  assert.match(
    drawBars(results, false),
    /express, json\n {2}bare +█{40} 1\.00\n {2}telltale +█{34} 0\.85$/,
  )
  const svg = drawSvg(results, 'a < b')
  assert.match(svg, /a &lt; b/)
  assert.equal(svg.match(/<rect x=/g).length, 2)
  assert.match(svg, />0\.85</)
  const rows = [...results.rows, row('bare', 4, 100), row('telltale', 4, 300)]
  const wide = drawSvg({ ...results, rows }, '')
  assert.match(wide, />0\.88 \(highest 3\.00\)</, 'what the picture has no room for is said')
})

test('bench: the sink counts what is in envelopes and in OTLP requests', async () => {
  const sink = await startSink()
  try {
    const post = (path, body) => fetch(sink.url + path, { method: 'POST', body })
    const lines = [
      {},
      { type: 'event' },
      { message: 'x' },
      { type: 'transaction' },
      { spans: [{}, {}] },
      { type: 'span' },
      { items: [{ is_segment: true }, {}] },
    ]
    const envelope = `${lines.map((line) => JSON.stringify(line)).join('\n')}\n`
    await fetch(`${sink.url}/api/7/envelope/`, {
      method: 'POST',
      headers: { 'Content-Encoding': 'gzip' },
      body: gzipSync(envelope),
    })
    const seven = await sink.counts('7')
    assert.deepEqual([seven.events, seven.traces, seven.spans], [1, 2, 5])

    const field = (number, bytes) => [(number << 3) | 2, bytes.length, ...bytes]
    const root = field(2, [...field(1, [1, 2]), (7 << 3) | 1, 0, 0, 0, 0, 0, 0, 0, 0])
    const child = field(2, [...field(4, [9, 9]), (6 << 3) | 0, 0x80, 1])
    await post('/8/v1/traces', Buffer.from(field(1, field(2, [...root, ...child, ...child]))))
    const eight = await sink.counts('8')
    assert.deepEqual([eight.traces, eight.spans], [1, 3])
  } finally {
    await sink.end()
  }
})

test('bench: a variant that does not do what it says is not measured', async () => {
  const bare = { name: 'bare', stack: 'bare', lines: { json: 0, work: 0 }, sends: [] }
  const sink = await startSink()
  const server = Object.assign(await startServer('node-http', bare, sink), {
    framework: 'node:http',
  })
  try {
    server.go()
    assert.equal(await proveRequests(server, 'json'), 3)
    assert.equal(await proveRequests(server, 'work'), 3)
    await proveErrors(server, sink)
    server.variant.header = true
    await assert.rejects(proveRequests(server, 'json'), /node:http bare: it lost the request id/)
    server.variant.header = false
    server.variant.lines.json = 1
    await assert.rejects(proveRequests(server, 'json', 200), /it printed 0 lines, not 1/)
  } finally {
    await server.end()
    await sink.end()
  }
})
