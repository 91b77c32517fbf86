import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { newSpanId, newTraceId } from '../../dist/esm/trace/ids.js'
import { isAllowedHost } from '../../dist/esm/trace/outgoing.js'
import {
  formatSentryTrace,
  formatTraceparent,
  parseSentryTrace,
  parseTraceparent,
} from '../../dist/esm/trace/traceparent.js'

const hex = (digits) =>
  fc.string({ unit: fc.constantFrom(...'0123456789abcdef'), minLength: digits, maxLength: digits })
const id = (digits) => hex(digits).filter((text) => !/^0+$/.test(text))

test('26: what is formatted is parsed again', () => {
  fc.assert(
    fc.property(id(32), id(16), fc.boolean(), (traceId, spanId, sampled) => {
      assert.deepEqual(parseTraceparent(formatTraceparent(traceId, spanId, sampled)), {
        traceId,
        spanId,
        sampled,
      })
      assert.deepEqual(parseSentryTrace(formatSentryTrace(traceId, spanId, sampled)), {
        traceId,
        spanId,
        sampled,
      })
    }),
  )
})

test('26: any text is either parsed or ignored, never thrown at', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 600 }), (text) => {
      parseTraceparent(text)
      parseSentryTrace(text)
    }),
  )
})

test('a later version with more parts is read as version 00; 00 itself takes no more', () => {
  const body = `${'a'.repeat(32)}-${'b'.repeat(16)}-01`
  assert.equal(parseTraceparent(`01-${body}-what-ever`)?.traceId, 'a'.repeat(32))
  assert.equal(parseTraceparent(`00-${body}-x`), undefined)
  assert.equal(parseTraceparent(`ff-${body}`), undefined)
})

test('sentry-trace without a flag leaves the decision open', () => {
  assert.equal(parseSentryTrace(`${'a'.repeat(32)}-${'b'.repeat(16)}`)?.sampled, undefined)
})

test('ids are hex of the right length and do not repeat', () => {
  const traces = new Set()
  const spans = new Set()
  for (let i = 0; i < 10_000; i++) {
    const trace = newTraceId()
    const span = newSpanId()
    assert.match(trace, /^[0-9a-f]{32}$/)
    assert.match(span, /^[0-9a-f]{16}$/)
    traces.add(trace)
    spans.add(span)
  }
  assert.equal(traces.size, 10_000)
  assert.equal(spans.size, 10_000)
})

test('a host list matches names exactly and subdomains by a leading dot', () => {
  assert.equal(isAllowedHost('api.example.com', ['.example.com']), true)
  assert.equal(isAllowedHost('example.com', ['.example.com']), true)
  assert.equal(isAllowedHost('badexample.com', ['.example.com']), false)
  assert.equal(isAllowedHost('API.internal', ['api.internal']), true)
  assert.equal(isAllowedHost('anything', true), true)
  assert.equal(isAllowedHost('anything', []), false)
})
