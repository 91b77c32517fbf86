import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import mysql2 from 'mysql2'
import promised from 'mysql2/promise'
import { mysql } from '../../dist/esm/health/checks.js'
import { startMariadb } from '../services/mariadb.js'
import { startProxy } from '../services/proxy.js'
import { serve } from './fixture.js'

describe('health: MariaDB', () => {
  let server
  let proxy
  before(async () => {
    server = await startMariadb()
    proxy = await startProxy(server.port)
  })
  after(async () => {
    proxy.close()
    await server.kill()
  })
  const options = (port) => ({
    host: '127.0.0.1',
    port,
    user: 'telltale',
    password: 'hunter2-secret',
    database: 'shop',
  })

  test('F1 F2 F4: stopped is refused, stalled is timeout, and back is 200 within 3 s', async () => {
    const pool = mysql2.createPool(options(proxy.port))
    const app = await serve({
      checks: {
        database: mysql(pool),
        url: mysql(server.url),
        wrong: { check: mysql(`${server.url.replace('hunter2-secret', 'no')}`), critical: false },
      },
    })
    await app.until(200)
    assert.equal((await app.ready()).json.checks.wrong.reason, 'auth')
    assert.equal(pool._allConnections.length, 0, 'the pool was not touched')
    await proxy.mode('stall')
    await app.until(503)
    const { json, ms } = await app.ready()
    assert.equal(json.checks.database.reason, 'timeout')
    assert.ok(ms < 1000)
    assert.ok(proxy.connections <= 1)
    await proxy.mode('pass')
    assert.ok((await app.until(200)) < 3000)
    await server.stop()
    await app.until(503)
    // Results younger than a second are not asked for again.
    await sleep(1100)
    const stopped = (await app.ready()).json.checks
    assert.equal(stopped.database.reason, 'refused')
    assert.equal(stopped.url.reason, 'refused')
    await server.start()
    assert.ok((await app.until(200)) < 3000)
    await app.close()
    pool.end()
  })

  test('F10 F11 F12: busy is 200, stuck and closed are 503', async () => {
    const pool = promised.createPool({ ...options(server.port), connectionLimit: 2 })
    const app = await serve({
      intervalMs: 200,
      checks: { database: mysql(pool, { stuckAfterMs: 2500 }) },
    })
    await app.until(200)
    const connections = [await pool.getConnection(), await pool.getConnection()]
    while ((await app.ready()).json.status === 'ok') await sleep(50)
    assert.equal((await app.ready()).json.checks.database.reason, 'pool_busy')
    assert.equal((await app.ready()).status, 200)
    await app.until(503)
    assert.equal((await app.ready()).json.checks.database.reason, 'pool_stuck')
    for (const connection of connections) connection.release()
    await app.until(200)
    await pool.end()
    await app.until(503)
    assert.equal((await app.ready()).json.checks.database.reason, 'closed')
    await app.close()
  })

  test('F13: a server in read-only mode is readonly where writing is asked for', async () => {
    const pool = promised.createPool(options(server.port))
    await pool.query('SET GLOBAL read_only = 1')
    const app = await serve({ checks: { database: mysql(pool, { writable: true }) } })
    assert.equal((await app.ready()).json.checks.database.reason, 'readonly')
    await pool.query('SET GLOBAL read_only = 0')
    await app.until(200)
    await app.close()
    await pool.end()
  })
})
