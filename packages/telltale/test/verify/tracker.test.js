import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { request } from 'node:http'
import { after, before, test } from 'node:test'
import * as zlib from 'node:zlib'
import { createPulse } from '../../dist/verify/pulse.js'
import { parseEnvelope, startTracker } from '../../dist/verify/tracker.js'
import { installPeers, PEERS } from '../peers.js'
import { zstdFrame } from '../zstd.js'

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

test('tracker: zstd is taken where Node can undo it, else 415 and counted as unread', async () => {
  const path = `/api/1/envelope/?sentry_key=${key}`
  const headers = { 'content-encoding': 'ZSTD' }
  const { status } = await post(path, zstdFrame(envelope('by hand')), headers)
  const isReadable = 'zstdDecompress' in zlib
  assert.equal(status, isReadable ? 200 : 415)
  assert.equal(messages().includes('by hand'), isReadable)
  assert.equal(tracker.unread, isReadable ? 0 : 1)
  // What no tracker takes is refused, and no reason to doubt.
  assert.equal((await post(path, 'x', { 'content-encoding': 'lz4' })).status, 415)
  assert.equal(tracker.unread, isReadable ? 0 : 1)
})

test('tracker: takes an item without length in the middle, and a key in the envelope alone', async () => {
  const body = [
    JSON.stringify({ event_id: 'e'.repeat(32), dsn: tracker.dsn }),
    '{"type":"event"}',
    event('first'),
    '{"type":"attachment","length":7,"filename":"a.txt"}',
    'a\nb\n\n{}',
    '{"type":"event"}',
    event('last'),
  ].join('\n')
  assert.equal((await post('/api/1/envelope/', body)).status, 200)
  assert.ok(messages().includes('first') && messages().includes('last'))
  assert.equal(tracker.items.find(({ type }) => type === 'attachment').bytes.length, 7)
})

test('33: tracker: takes what the official SDK of each major sends', {
  concurrency: 2,
}, async (t) => {
  await installPeers()
  await Promise.all(
    [8, 9, 10, 11].map((major) =>
      t.test(
        `@sentry/node ${major}: small, above its limit for gzip, with an attachment`,
        async () => {
          const seen = tracker.items.length
          const child = spawn(process.execPath, ['sdk.js', String(major)], {
            cwd: PEERS,
            env: { ...process.env, SENTRY_DSN: tracker.dsn },
            stdio: ['ignore', 'inherit', 'inherit'],
          })
          assert.deepEqual(await once(child, 'exit'), [0, null])
          const own = tracker.items
            .slice(seen)
            .filter(({ payload }) => payload?.tags?.major === major)
          const types = own.map(
            ({ payload }) => payload.exception?.values[0].type ?? payload.message,
          )
          assert.deepEqual(types.sort(), ['TypeError', 'large', 'with an attachment'])
          const large = own.find(({ payload }) => payload.message === 'large')
          assert.ok(large.bytes.length > 64 * 1024)
          assert.equal(own[0].payload.sdk.version.split('.')[0], String(major))
          const attachment = tracker.items.find(
            ({ type, bytes }) =>
              type === 'attachment' && bytes.toString() === `line\nof ${major}\n`,
          )
          assert.ok(attachment)
        },
      ),
    ),
  )
  assert.deepEqual(
    tracker.refused.filter((reason) => !/zstd|lz4/.test(reason)),
    [],
  )
})

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
