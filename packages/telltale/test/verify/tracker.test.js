import assert from 'node:assert/strict'
import { request } from 'node:http'
import { after, before, test } from 'node:test'
import * as zlib from 'node:zlib'
import { createPulse } from '../../dist/verify/pulse.js'
import { parseEnvelope, startTracker } from '../../dist/verify/tracker.js'

let tracker
let key
before(async () => {
  tracker = await startTracker(createPulse(), () => performance.now())
  key = new URL(tracker.dsn).username
})
after(() => tracker.close())

function post(path, body, headers = {}) {
  return new Promise((resolve, reject) => {
    const sent = request(
      { host: '127.0.0.1', port: tracker.port, path, method: 'POST', headers },
      (response) => {
        let text = ''
        response.on('data', (part) => {
          text += part
        })
        response.on('end', () =>
          resolve({ status: response.statusCode, headers: response.headers, text }),
        )
      },
    )
    sent.on('error', reject)
    sent.end(body)
  })
}
const event = (message) => JSON.stringify({ event_id: 'e'.repeat(32), message })
const envelope = (message) =>
  `{"event_id":"${'e'.repeat(32)}"}\n{"type":"event"}\n${event(message)}\n`
const messages = () => tracker.events().map(({ payload }) => payload.message)

test('tracker: an envelope with lengths, newlines in a payload and several items', () => {
  const payload = '{"a":\n1}'
  const { header, items } = parseEnvelope(
    Buffer.from(
      `{"event_id":"x"}\n{"type":"event","length":${payload.length}}\n${payload}\n{"type":"session"}\n{}\n`,
    ),
  )
  assert.equal(header.event_id, 'x')
  assert.deepEqual(
    items.map((item) => [item.header.type, item.payload.toString()]),
    [
      ['event', payload],
      ['session', '{}'],
    ],
  )
  assert.throws(() => parseEnvelope(Buffer.from('{}\n{"type":"event","length":99}\n{}')), /shorter/)
})

for (const [encoding, compress] of Object.entries({
  gzip: zlib.gzipSync,
  deflate: zlib.deflateSync,
  br: zlib.brotliCompressSync,
  ...(zlib.zstdCompressSync && { zstd: zlib.zstdCompressSync }),
})) {
  test(`tracker: takes ${encoding}`, async () => {
    const answer = await post(`/api/1/envelope/?sentry_key=${key}`, compress(envelope(encoding)), {
      'content-encoding': encoding,
    })
    assert.equal(answer.status, 200)
    assert.ok(messages().includes(encoding))
  })
}

test('tracker: takes the store endpoint, plain and as base64 of zlib', async () => {
  const headers = { 'x-sentry-auth': `Sentry sentry_key=${key}` }
  assert.equal((await post('/api/1/store/', event('plain'), headers)).status, 200)
  const packed = zlib.deflateSync(event('packed')).toString('base64')
  assert.equal((await post('/api/1/store', packed, headers)).status, 200)
  assert.ok(messages().includes('plain') && messages().includes('packed'))
})

test('tracker: refuses what is malformed or without key, and keeps the reason', async () => {
  assert.equal((await post(`/api/1/envelope/?sentry_key=${key}`, 'nonsense')).status, 400)
  assert.equal((await post('/api/1/envelope/', envelope('no key'))).status, 400)
  const broken = await post(`/api/1/envelope/?sentry_key=${key}`, 'x', {
    'content-encoding': 'gzip',
  })
  assert.equal(broken.status, 400)
  assert.ok(tracker.refused.some((reason) => reason.includes('key')))
  assert.equal((await post('/other', '')).status, 404)
})

test('tracker: its moods are those of real trackers', async () => {
  const path = `/api/1/envelope/?sentry_key=${key}`
  tracker.mood = '429'
  const limited = await post(path, envelope('limited'))
  assert.equal(limited.status, 429)
  assert.equal(limited.headers['retry-after'], '1')
  tracker.mood = '500'
  assert.equal((await post(path, envelope('failing'))).status, 500)
  tracker.mood = 'reset'
  await assert.rejects(post(path, envelope('reset')), { code: 'ECONNRESET' })
  tracker.mood = 'ok'
  assert.equal(messages().includes('limited'), false)
})
