// F6: packets to the dependency are dropped, so that nothing says that it is away.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import Redis from 'ioredis'
import mysql2 from 'mysql2/promise'
import pg from 'pg'
import { http, mysql, postgres, redis } from '../../dist/esm/health/checks.js'
import { startBlackhole } from '../services/blackhole.js'
import { serve } from './fixture.js'

describe('health: packets dropped', () => {
  let hole
  before(async () => {
    hole = await startBlackhole()
  })
  after(() => hole?.close())

  /** How many connections to the hole wait for an answer now (Linux: SYN_SENT is 02). */
  function waiting() {
    const port = hole.port.toString(16).toUpperCase().padStart(4, '0')
    return readFileSync('/proc/self/net/tcp', 'utf8')
      .split('\n')
      .map((row) => row.trim().split(/\s+/))
      .filter(([, , remote, state]) => remote?.endsWith(`:${port}`) && state === '02').length
  }

  const TARGETS = {
    'pg Pool': () => {
      const pool = new pg.Pool({ host: '127.0.0.1', port: hole.port, user: 'x', password: 'x' })
      pool.on('error', () => {})
      return { check: postgres(pool), queued: () => pool.waitingCount, end: () => pool.end() }
    },
    'mysql2 pool': () => {
      const pool = mysql2.createPool({ host: '127.0.0.1', port: hole.port, user: 'x' })
      return { check: mysql(pool), end: () => pool.end() }
    },
    // Its own connection waits too: one at most.
    ioredis: () => {
      const client = new Redis({ host: '127.0.0.1', port: hole.port, retryStrategy: () => 100 })
      client.on('error', () => {})
      return {
        check: redis(client),
        own: 1,
        queued: () => client.offlineQueue.length,
        end() {
          client.disconnect()
          // ioredis waits for the connection before it ends it.
          client.stream?.destroy()
        },
      }
    },
    'a URL': () => ({ check: http(`http://127.0.0.1:${hole.port}/`) }),
  }

  for (const [name, make] of Object.entries(TARGETS)) {
    test(`F6: ${name}: every probe is 503 timeout within 1 s, and one connection waits at most`, async () => {
      const before = waiting()
      const { check, own = 0, queued = () => 0, end = () => {} } = make()
      const app = await serve({ checks: { database: check } })
      for (let round = 0; round < 3; round++) {
        const { status, json, ms } = await app.ready()
        assert.equal(status, 503)
        assert.deepEqual(json.checks.database, { status: 'fail', reason: 'timeout' })
        assert.ok(ms < 1500, `${ms} ms`)
        assert.equal((await app.live()).status, 200)
        await sleep(300)
      }
      const probes = await Promise.all(Array.from({ length: 100 }, () => app.ready()))
      assert.ok(probes.every(({ status }) => status === 503))
      assert.ok(waiting() - before <= 1 + own, `${waiting() - before} connections wait`)
      assert.equal(queued(), 0)
      await app.close()
      await end()
      assert.equal(waiting(), before, 'nothing is left waiting')
    })
  }
})
