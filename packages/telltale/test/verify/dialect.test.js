import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  detectUnit,
  instantOf,
  isFatalLevel,
  isLevel,
  latencyMs,
  readRecord,
} from '../../dist/verify/dialect.js'

const read = (raw) => readRecord(raw, 0, JSON.stringify(raw))

for (const [name, raw] of Object.entries({
  'the kit': {
    event: 'request_finished',
    request_id: 'a-1',
    method: 'GET',
    path: '/x',
    status_code: 200,
    latency_ms: 12,
  },
  pino: {
    msg: 'request completed',
    req: { id: 'a-1', method: 'GET', url: '/x' },
    res: { statusCode: 200 },
    responseTime: 12,
  },
  structlog: {
    event: 'done',
    correlation_id: 'a-1',
    method: 'GET',
    path: '/x',
    status: 200,
    duration: 0.012,
  },
  ECS: {
    message: 'done',
    'http.request.method': 'GET',
    'http.request.id': 'a-1',
    url: { path: '/x' },
    http: { response: { status_code: 200 } },
    event: { duration: 12_000_000 },
  },
  GCP: {
    message: 'done',
    requestId: 'a-1',
    httpRequest: { requestMethod: 'GET', requestUrl: '/x', status: 200, latency: '0.012s' },
  },
  OpenTelemetry: {
    body: 'done',
    trace_id: 'a-1',
    'http.request.method': 'GET',
    'url.path': '/x',
    'http.response.status_code': 200,
    'http.server.request.duration': 0.012,
  },
})) {
  test(`dialect: the end of a request as ${name} writes it`, () => {
    const record = read(raw)
    assert.equal(record.isFinished, true)
    assert.deepEqual(
      [record.requestId, record.method, record.path, record.status],
      ['a-1', 'GET', '/x', 200],
    )
    assert.equal(latencyMs(record.latency, detectUnit(record.latency, 12)).toFixed(3), '12.000')
    assert.ok(record.message)
  })
}

test('dialect: a unit in the name is believed, even when it is wrong', () => {
  const { latency } = read({ status: 200, latency_ms: 0.3 })
  assert.equal(detectUnit(latency, 300), 'ms')
  assert.equal(latencyMs(latency), 0.3)
})

test('dialect: a name without unit means what the clock says', () => {
  for (const [value, unit] of [
    [0.3, 's'],
    [300, 'ms'],
    [300_000, 'us'],
    [300_000_000, 'ns'],
  ]) {
    assert.equal(detectUnit(read({ status: 200, duration: value }).latency, 290), unit)
  }
})

test('dialect: a timestamp needs a zone, an epoch needs none', () => {
  const at = Date.parse('2026-01-02T03:04:05.678Z')
  assert.equal(instantOf('2026-01-02T03:04:05.678Z'), at)
  assert.equal(instantOf('2026-01-02T05:04:05.678+02:00'), at)
  assert.equal(instantOf(at), at)
  assert.equal(instantOf(at / 1000), at)
  assert.ok(Number.isNaN(instantOf('2026-01-02T03:04:05.678')))
  assert.ok(Number.isNaN(instantOf('yesterday')))
})

test('dialect: levels by name and by number', () => {
  for (const level of ['info', 'WARNING', 'Error', 30, 9]) assert.ok(isLevel(level), level)
  for (const level of [undefined, '', 'loud', 0, 99]) assert.equal(isLevel(level), false)
  for (const level of ['fatal', 'CRITICAL', 60, 21]) assert.ok(isFatalLevel(level), level)
  for (const level of ['error', 50, 17]) assert.equal(isFatalLevel(level), false)
})
