import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { after, before, describe, test } from 'node:test'
import Redis from 'ioredis'
import { createClient } from 'redis'
import { redis } from '../../dist/esm/health/checks.js'
import { startRedis } from '../services/redis.js'
import { serve } from './fixture.js'

describe('health: Redis', () => {
  let server
  before(async () => {
    server = await startRedis(['--requirepass', 'hunter2-secret'])
  })
  // A test that fails before its end must not leave clients that connect anew for ever.
  const clients = []
  after(async () => {
    for (const client of clients) client.disconnect()
    await server.kill()
  })

  const options = () => ({ host: '127.0.0.1', port: server.port, password: 'hunter2-secret' })
  function ioredis(more = {}) {
    const client = new Redis({ ...options(), ...more })
    client.on('error', () => {})
    clients.push(client)
    return client
  }

  test('F14: stopped is 503 refused within 1 s of asking, whatever the client does; nothing is queued', async () => {
    const three = {
      plain: ioredis(),
      patient: ioredis({ maxRetriesPerRequest: null }),
      lazy: ioredis({ lazyConnect: true }),
    }
    const node = createClient({
      password: 'hunter2-secret',
      socket: { host: '127.0.0.1', port: server.port },
    })
    node.on('error', () => {})
    await node.connect()
    const checks = Object.fromEntries(
      Object.entries(three).map(([name, client]) => [name, redis(client)]),
    )
    const app = await serve({
      checks: {
        ...checks,
        node: redis(node),
        url: redis(`redis://:hunter2-secret@127.0.0.1:${server.port}`),
      },
    })
    await app.until(200)
    await server.stop()
    await app.until(503, {
      plain: 'refused',
      patient: 'refused',
      lazy: 'refused',
      node: 'refused',
      url: 'refused',
    })
    assert.ok((await app.ready()).ms < 1000)
    for (const client of Object.values(three)) assert.equal(client.offlineQueue.length, 0)
    await server.start()
    assert.ok((await app.until(200)) < 3000)
    for (const client of Object.values(three)) client.disconnect()
    node.destroy()
    await app.until(503, { plain: 'closed', node: 'closed' })
    await app.close()
  })

  test('F16 F17: frozen is timeout within 1 s, a wrong password auth, a replica readonly', async () => {
    const wrong = ioredis({ password: 'no', lazyConnect: true })
    const right = ioredis({ lazyConnect: true })
    const app = await serve({
      checks: {
        right: redis(right, { writable: true }),
        wrong: { check: redis(wrong), critical: false },
      },
    })
    const { json } = await app.ready()
    assert.deepEqual(json.checks.right, { status: 'ok' })
    assert.deepEqual(json.checks.wrong, { status: 'fail', reason: 'auth' })
    server.freeze()
    await app.until(503)
    const frozen = await app.ready()
    assert.equal(frozen.json.checks.right.reason, 'timeout')
    assert.ok(frozen.ms < 1000)
    server.thaw()
    await app.until(200)
    const admin = ioredis()
    await admin.call('REPLICAOF', '127.0.0.1', '1')
    await app.until(503)
    assert.equal((await app.ready()).json.checks.right.reason, 'readonly')
    await admin.call('REPLICAOF', 'NO', 'ONE')
    await app.until(200)
    admin.disconnect()
    await app.close()
  })

  test('F15 F16: what a server answers to PING is told apart, and its end is seen', async () => {
    let answer = ''
    const fake = createServer((socket) => {
      socket.on('error', () => {})
      socket.on('data', (chunk) => {
        const commands = String(chunk).match(/\*\d/g)?.length ?? 0
        socket.write(`${answer}\r\n`.repeat(commands))
      })
    }).listen(0, '127.0.0.1')
    fake.unref()
    await once(fake, 'listening')
    const app = await serve({
      checks: { cache: redis(`redis://127.0.0.1:${fake.address().port}`) },
    })
    const cases = [
      ['-LOADING Redis is loading the dataset in memory', 'loading'],
      ['-NOAUTH Authentication required.', 'auth'],
      ["-READONLY You can't write against a read only replica.", 'readonly'],
      ['-MISCONF Redis is configured to save RDB snapshots', 'readonly'],
      ['-MOVED 1 127.0.0.1:1', 'error'],
      ['-ERR max number of clients reached', 'refused_capacity'],
      ['HTTP/1.1 400 Bad Request', 'error'],
    ]
    for (const [text, reason] of cases) {
      answer = text
      const other = await serve({
        checks: { cache: redis(`redis://127.0.0.1:${fake.address().port}`) },
      })
      const { status, json } = await other.ready()
      assert.equal(status, 503)
      assert.equal(json.checks.cache.reason, reason, text)
      await other.close()
    }
    answer = '-LOADING'
    await app.until(503)
    answer = '+PONG'
    assert.ok((await app.until(200)) < 3000)
    await app.close()
    fake.close()
  })
})
