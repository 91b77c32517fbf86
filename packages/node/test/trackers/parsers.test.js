import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { parseDsn } from '../../dist/esm/errors/trackers/dsn.js'
import { createLine } from '../../dist/esm/errors/trackers/line.js'
import {
  createRateLimits,
  parseRateLimits,
  parseRetryAfter,
  readLimits,
} from '../../dist/esm/errors/trackers/rate-limits.js'
import { createAnswerReader } from '../../dist/esm/errors/trackers/response.js'
import { decode } from '../../dist/esm/errors/trackers/spool.js'

test('dsn: takes apart hosts, ports, prefixes and IPv6 addresses', () => {
  const parts = (text) => {
    const { secure, host, port, authority, path, publicKey } = parseDsn(text)
    return [secure, host, port, authority, path, publicKey]
  }
  assert.deepEqual(parts('https://abc@o1.ingest.sentry.io/42'), [
    true,
    'o1.ingest.sentry.io',
    443,
    'o1.ingest.sentry.io',
    '/api/42/envelope/',
    'abc',
  ])
  assert.deepEqual(parts('http://abc:secret@[::1]:4318/a/b/7/'), [
    false,
    '::1',
    4318,
    '[::1]:4318',
    '/a/b/api/7/envelope/',
    'abc',
  ])
  for (const bad of ['', 'x', 'https://host/1', 'https://k@host/', 'https://k@host:99999/1']) {
    assert.equal(parseDsn(bad), undefined, bad)
  }
  assert.notEqual(parseDsn('http://a@h/1').hash, parseDsn('http://b@h/1').hash)
})

test('rate limits: reads the documented header', () => {
  assert.deepEqual(parseRateLimits('60:transaction;span:key, 2700:default;error:organization:x'), [
    { seconds: 60, categories: ['transaction', 'span'] },
    { seconds: 2700, categories: ['default', 'error'] },
  ])
  assert.deepEqual(parseRateLimits('5::organization'), [{ seconds: 5, categories: [] }])
  assert.deepEqual(parseRateLimits('soon:error'), [{ seconds: 60, categories: ['error'] }])
})

test('rate limits: a bare 429 stops everything for 60 s, Retry-After may be a date', () => {
  const none = { rateLimits: undefined, retryAfter: undefined }
  assert.deepEqual(readLimits(429, none), [{ seconds: 60, categories: [] }])
  assert.deepEqual(readLimits(200, none), [])
  assert.deepEqual(readLimits(503, { ...none, retryAfter: '9' }), [])
  assert.equal(parseRetryAfter('Thu, 01 Jan 1970 00:01:00 GMT', 30_000), 30)
  assert.equal(parseRetryAfter('120', 0), 120)
  assert.equal(parseRetryAfter('yes', 0), undefined)
})

test('K13: a shorter later limit does not shorten the longer, nor hide the limit of all', () => {
  const limits = createRateLimits()
  const header = (rateLimits) => ({ rateLimits, retryAfter: undefined })
  limits.apply(429, header('60:error:key'), 0)
  limits.apply(200, header('5:error:key'), 0)
  assert.equal(limits.isLimited('error', 59_000), true)
  assert.equal(limits.isLimited('error', 61_000), false)
  limits.apply(200, header('100::key'), 0)
  assert.equal(limits.isLimited('error', 61_000), true)
  assert.equal(limits.isLimited('transaction', 99_000), true)
})

test('rate limits: any header gives bounded limits and never throws', () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), fc.integer({ min: 100, max: 599 }), (a, b, status) => {
      for (const limit of readLimits(status, { rateLimits: a, retryAfter: b })) {
        assert.ok(limit.seconds >= 0 && limit.seconds <= 86_400)
      }
    }),
  )
})

/** A connection reads everything into the same memory. */
const memory = Buffer.alloc(1 << 20)
const read = (chunks) => {
  const answers = []
  const reader = createAnswerReader((answer) => answers.push(answer))
  let isUsable = true
  for (const chunk of chunks) {
    const size = memory.write(chunk, 'latin1')
    isUsable = reader.push(memory.subarray(0, size)) && isUsable
  }
  return { answers, isUsable, reader }
}

test('answers: the same however the bytes are cut', () => {
  const wire =
    'HTTP/1.1 100 Continue\r\n\r\n' +
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/' +
    'HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\nTransfer-Encoding: chunked\r\n\r\n3;x=1\r\nabc\r\n0\r\nT: 1\r\n\r\n' +
    'HTTP/1.1 204\r\nX-Sentry-Rate-Limits: 1:a\r\nx-sentry-rate-limits: 2:b\r\n\r\n' +
    'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n'
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: wire.length }), { maxLength: 12 }), (cuts) => {
      const edges = [0, ...cuts.sort((a, b) => a - b), wire.length]
      const chunks = edges.slice(1).map((end, i) => wire.slice(edges[i], end))
      const { answers } = read(chunks)
      assert.deepEqual(
        answers.map(({ status, rateLimits, retryAfter, keepAlive }) => [
          status,
          rateLimits,
          retryAfter,
          keepAlive,
        ]),
        [
          [200, undefined, undefined, true],
          [429, undefined, '7', true],
          [204, '1:a,2:b', undefined, true],
          [200, undefined, undefined, false],
        ],
      )
    }),
  )
})

test('answers: garbage never throws, never loops, and is refused', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 300 })), (chunks) => {
      const { answers } = read(chunks.map((chunk) => Buffer.from(chunk).toString('latin1')))
      assert.ok(answers.length <= 1)
    }),
  )
  for (const wire of [
    'SSH-2.0-x\r\n',
    'HTTP/2 200\r\n\r\n',
    'HTTP/1.1 abc\r\n\r\n',
    'HTTP/1.1 101 Switch\r\n\r\n',
    'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n',
    'HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n',
    `HTTP/1.1 200 OK\r\n${'x: y\r\n'.repeat(5000)}`,
  ]) {
    const { answers, isUsable } = read([wire])
    assert.equal(isUsable, false, wire.slice(0, 40))
    assert.equal(answers.length, 0)
  }
})

test('answers: a body without end keeps its status and ends the connection', () => {
  for (const head of ['Content-Length: 999999999', 'Transfer-Encoding: chunked', 'A: b']) {
    const body = head.startsWith('T') ? `fffff\r\n${'x'.repeat(300_000)}` : 'x'.repeat(300_000)
    const { answers, isUsable } = read([`HTTP/1.1 200 OK\r\n${head}\r\n\r\n${body}`])
    assert.equal(isUsable, false)
    assert.deepEqual(
      answers.map(({ status, keepAlive }) => [status, keepAlive]),
      [[200, false]],
    )
  }
})

test('spool: any bytes decode without a throw', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      decode(Buffer.from(text))
      decode(Buffer.from(`{"telltale_spool":1}\n${text}`))
    }),
  )
})

test('line: first in, first out, whatever its size', () => {
  const steps = fc.array(fc.integer({ min: -600, max: 600 }), { maxLength: 30 })
  fc.assert(
    fc.property(steps, (all) => {
      const line = createLine()
      const expected = []
      let next = 0
      for (const step of all) {
        for (let i = 0; i < step; i++) {
          line.push(next)
          expected.push(next++)
        }
        for (let i = 0; i > step; i--) assert.equal(line.shift(), expected.shift())
        assert.equal(line.length, expected.length)
        assert.deepEqual(line.list(), expected)
      }
      line.clear()
      assert.equal(line.shift(), undefined)
    }),
  )
})

test('answers: the same head again is read as before, another one is not', () => {
  const wire = (limits) =>
    `HTTP/1.1 200 OK\r\nX-Sentry-Rate-Limits: ${limits}\r\nContent-Length: 2\r\n\r\n{}`
  const { answers } = read([
    wire('60:error'),
    wire('60:error') + wire('90:error'),
    wire('60:error'),
  ])
  assert.deepEqual(
    answers.map(({ rateLimits }) => rateLimits),
    ['60:error', '60:error', '90:error', '60:error'],
  )
})
