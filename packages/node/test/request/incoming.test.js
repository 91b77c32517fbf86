import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { createInFlight } from '../../dist/esm/request/in-flight.js'
import { createUnitMaker, isAcceptableId, pathOf } from '../../dist/esm/request/incoming.js'
import { hasPrefix, isProbePath } from '../../dist/esm/request/quiet.js'

const settings = {
  trustRequestId: 'always',
  quietPaths: [],
  sampleRate: 1,
  slowMs: 1000,
  propagateRequestIdTo: [],
  propagateTraceTo: true,
}

function incoming(headers, extra = {}) {
  return { method: 'GET', url: '/x', rawHeaders: Object.entries(headers).flat(), ...extra }
}

test('14: pathOf keeps the path and nothing else of every form of a request target', () => {
  for (const [target, path] of [
    ['/a?b', '/a'],
    ['/a#b', '/a'],
    ['/a#b?c', '/a'],
    ['//evil.com/a?b', '//evil.com/a'],
    ['http://user:pass@h/p?q', '/p'],
    ['http://user:pass@h', '/'],
    ['http://user:pass@h?q', '/'],
    ['*', '*'],
    ['user:pass@example.com:443', 'example.com:443'],
    ['/%ZZ', '/%ZZ'],
    ['', '/'],
  ]) {
    assert.equal(pathOf(target), path, target)
  }
})

test('14: pathOf never throws and never returns a query', () => {
  fc.assert(
    fc.property(fc.string(), (target) => {
      assert.equal(/[?#]/.test(pathOf(`/${target}`)), false)
      pathOf(target)
    }),
  )
})

test('24: names that objects inherit are not acceptable ids', () => {
  for (const id of [
    '__proto__',
    'constructor',
    'hasOwnProperty',
    'toString',
    'x'.repeat(65),
    '1234567',
  ]) {
    assert.equal(isAcceptableId(id), false, id)
  }
  assert.equal(isAcceptableId('abc.DEF_1-2'), true)
})

test('25: trust never makes a new id and keeps the original once, at most 64 characters', () => {
  const make = createUnitMaker({ ...settings, trustRequestId: 'never' }, () => false)
  const unit = make(
    incoming({
      'X-Request-ID': 'a'.repeat(100),
      traceparent: `00-${'1'.repeat(32)}-${'2'.repeat(16)}-01`,
    }),
    '/x',
  )
  assert.notEqual(unit.requestId, 'a'.repeat(100))
  assert.equal(unit.rejectedId.length, 64)
  assert.notEqual(unit.traceId, '1'.repeat(32))
  const plain = make(incoming({ 'X-Request-ID': 'perfectly-fine' }), '/x')
  assert.equal(plain.rejectedId, 'perfectly-fine')
})

test('25: a trust function decides per request, and a throwing one means no', () => {
  const make = createUnitMaker(
    { ...settings, trustRequestId: (request) => request.local === true },
    () => false,
  )
  assert.equal(
    make(incoming({ 'x-request-id': 'from-proxy-1' }, { local: true }), '/x').requestId,
    'from-proxy-1',
  )
  assert.notEqual(
    make(incoming({ 'x-request-id': 'from-proxy-1' }), '/x').requestId,
    'from-proxy-1',
  )
  const throwing = createUnitMaker(
    {
      ...settings,
      trustRequestId() {
        throw new Error('no')
      },
    },
    () => false,
  )
  assert.notEqual(
    throwing(incoming({ 'x-request-id': 'from-proxy-1' }), '/x').requestId,
    'from-proxy-1',
  )
})

test('an incoming decision to sample is handed on, and probes are never sampled', () => {
  const seen = []
  const make = createUnitMaker(settings, (method, path, parent) => {
    seen.push([method, path, parent?.sampled])
    return true
  })
  const parent = { traceparent: `00-${'1'.repeat(32)}-${'2'.repeat(16)}-00` }
  assert.equal(make(incoming(parent), '/x').sampled, true)
  assert.deepEqual(seen, [['GET', '/x', false]])
  assert.equal(make(incoming({}), '/healthz').sampled, false)
  assert.equal(make(incoming({ 'User-Agent': 'kube-probe/1.30' }), '/anything').isProbe, true)
})

test('baggage is kept with a trusted trace only, and only when it is of lawful size', () => {
  const make = createUnitMaker(settings, () => false)
  const traceparent = `00-${'1'.repeat(32)}-${'2'.repeat(16)}-01`
  assert.equal(make(incoming({ traceparent, baggage: 'a=1' }), '/x').baggage, 'a=1')
  assert.equal(make(incoming({ baggage: 'a=1' }), '/x').baggage, '')
  assert.equal(make(incoming({ traceparent, baggage: 'a'.repeat(9000) }), '/x').baggage, '')
})

test('headers of a unit are read by lower-case name, repeated ones joined', () => {
  const make = createUnitMaker(settings, () => false)
  const unit = make(
    { method: 'GET', url: '/', rawHeaders: ['A', '1', 'a', '2', '__proto__', 'x'] },
    '/',
  )
  assert.equal(unit.headers.a, '1, 2')
  assert.equal(Object.entries(unit.headers).at(-1)[1], 'x')
})

test('probe paths are recognised without catching their neighbours', () => {
  for (const path of [
    '/health',
    '/healthz',
    '/health/live',
    '/readyz',
    '/ready/',
    '/livez',
    '/liveness',
    '/metrics',
    '/health-check',
  ]) {
    assert.equal(isProbePath(path), true, path)
  }
  for (const path of [
    '/healthcare',
    '/metrics/daily',
    '/live/stream',
    '/readme',
    '/',
    '/h',
    '/users/health',
  ]) {
    assert.equal(isProbePath(path), false, path)
  }
  assert.equal(hasPrefix('/internal/x', ['/internal/']), true)
})

test('the list of units in flight survives removal in any order', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(9)), (removals) => {
      const list = createInFlight()
      const make = createUnitMaker(settings, () => false)
      const units = Array.from({ length: 10 }, () => make(incoming({}), '/x'))
      for (const unit of units) list.add(unit)
      const left = new Set(units)
      for (const index of removals) {
        list.remove(units[index])
        left.delete(units[index])
      }
      const seen = []
      list.each((unit) => seen.push(unit))
      assert.deepEqual(new Set(seen), left)
      assert.equal(seen.length, list.count)
    }),
  )
})
