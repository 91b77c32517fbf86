import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { http, postgres } from '../../dist/esm/health/checks.js'
import { startPostgres } from '../services/postgres.js'
import { startProxy } from '../services/proxy.js'
import { serve } from './fixture.js'

const SECRET = 'hunter2-secret'

describe('health: PostgreSQL', () => {
  let server
  let proxy
  let admin
  before(async () => {
    server = await startPostgres()
    proxy = await startProxy(server.port)
    admin = await connectAdmin()
  })
  after(async () => {
    await admin.end().catch(() => {})
    proxy.close()
    await server.kill()
  })

  async function connectAdmin() {
    const client = new pg.Client({ connectionString: server.url })
    client.on('error', () => {})
    await client.connect()
    return client
  }

  /** A pool that reaches the server directly or through the proxy. */
  function newPool({ port = server.port, ...options } = {}) {
    const pool = new pg.Pool({
      host: '127.0.0.1',
      port,
      user: 'telltale',
      password: SECRET,
      database: 'postgres',
      ...options,
    })
    pool.on('error', () => {})
    return pool
  }

  async function ownConnections() {
    const { rows } = await admin.query(
      "SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name = 'shop-health'",
    )
    return rows[0].n
  }

  test('asks over one own connection, kept between polls and named after the service', async () => {
    const pool = newPool()
    const app = await serve({ intervalMs: 100, checks: { database: postgres(pool) } })
    await app.until(200)
    const pid = "SELECT pid FROM pg_stat_activity WHERE application_name = 'shop-health'"
    const { rows: first } = await admin.query(pid)
    await sleep(500)
    const { rows: later } = await admin.query(pid)
    assert.equal(first.length, 1)
    assert.deepEqual(later, first)
    assert.equal(pool.totalCount, 0, 'the pool was not touched')
    await app.close()
    while ((await ownConnections()) > 0) await sleep(20)
    await pool.end()
  })

  test('F1 F2 F3: stopped is refused within 3 s, started again 200 within 3 s, eight times', async () => {
    const pool = newPool()
    const app = await serve({ intervalMs: 300, checks: { database: postgres(pool) } })
    await app.until(200)
    const sockets = () =>
      process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length
    const counts = []
    for (let round = 0; round < 8; round++) {
      await admin.end().catch(() => {})
      await server.stop()
      // A server that is about to end can be met saying so, which is `loading`.
      assert.ok((await app.until(503, { database: 'refused' })) < 3000)
      assert.equal((await app.live()).status, 200)
      await server.start()
      assert.ok((await app.until(200)) < 3000)
      admin = await connectAdmin()
      assert.equal(await ownConnections(), 1)
      counts.push(sockets())
    }
    assert.equal(counts.at(-1), counts[0], `sockets: ${counts}`)
    const changes = app.lines.map(({ level, event, from, to }) =>
      [level, event, from, to].join(' '),
    )
    assert.deepEqual(
      changes,
      Array(8).fill(['error readiness_changed ok fail', 'info readiness_changed fail ok']).flat(),
    )
    const refused = app.lines.find(({ reason }) => reason === 'refused')
    assert.equal(refused.error.code, 'ECONNREFUSED')
    assert.ok(app.lines[1].down_ms > 0)
    await app.close()
    await pool.end()
  })

  test('F4: accepts and never answers, from the start: each probe 503 timeout within 1 s', async () => {
    await proxy.mode('stall')
    const pool = newPool({ port: proxy.port })
    const app = await serve({ checks: { database: postgres(pool) } })
    const before = proxy.accepted
    for (let round = 0; round < 3; round++) {
      const { status, json, ms } = await app.ready()
      assert.equal(status, 503)
      assert.deepEqual(json.checks.database, { status: 'fail', reason: 'timeout' })
      assert.ok(ms < 1000, `${ms} ms`)
      await sleep(300)
    }
    const probes = await Promise.all(Array.from({ length: 100 }, () => app.ready()))
    assert.ok(probes.every(({ status, ms }) => status === 503 && ms < 1000))
    assert.ok(proxy.connections <= 1, `${proxy.connections} connections`)
    assert.ok(proxy.accepted - before <= 5)
    assert.equal(pool.waitingCount, 0)
    assert.equal(pool.totalCount, 0)
    await proxy.mode('pass')
    assert.ok((await app.until(200)) < 3000)
    await app.close()
    await pool.end()
  })

  test('F5: frozen with warm connections is 503 timeout, thawed is 200 within 3 s', async () => {
    const pool = newPool()
    await pool.query('SELECT 1')
    const app = await serve({ checks: { database: postgres(pool) } })
    await app.until(200)
    server.freeze()
    try {
      assert.ok((await app.until(503)) < 3000)
      const { json, ms } = await app.ready()
      assert.deepEqual(json.checks.database, { status: 'fail', reason: 'timeout' })
      assert.ok(ms < 1000)
      assert.equal(pool.waitingCount, 0)
    } finally {
      server.thaw()
    }
    assert.ok((await app.until(200)) < 3000)
    await app.close()
    await pool.end()
  })

  test('a kept connection that is cut says nothing about the database', async () => {
    const pool = newPool({ port: proxy.port })
    const app = await serve({ intervalMs: 100, checks: { database: postgres(pool) } })
    await app.until(200)
    // Kept is what has answered once: a connection in the making that is cut is a failed check.
    const idle = `SELECT pid FROM pg_stat_activity
      WHERE application_name = 'shop-health' AND state = 'idle' AND query <> ''`
    const seen = new Set()
    for (let round = 0; round < 3; ) {
      const kept = (await admin.query(idle)).rows.find(({ pid }) => !seen.has(pid))
      if (kept === undefined) await sleep(10)
      else {
        seen.add(kept.pid)
        proxy.cut()
        round++
      }
    }
    await app.until(200)
    assert.deepEqual(app.lines, [])
    await app.close()
    await pool.end()
  })

  test('refused and reset at the port are both refused', async () => {
    const pool = newPool({ port: proxy.port })
    const app = await serve({ checks: { database: postgres(pool) } })
    for (const mode of ['refuse', 'reset']) {
      await proxy.mode(mode)
      await app.until(503, { database: 'refused' })
      await proxy.mode('pass')
      await app.until(200)
    }
    await app.close()
    await pool.end()
  })

  test('F8: a wrong password is auth, and the password is in no output', async () => {
    const secret = 'wrong-p4ssw0rd'
    const pool = newPool({ password: secret })
    const app = await serve({ checks: { database: postgres(pool) } })
    const { status, body, json } = await app.ready({ peer: 'loopback' })
    assert.equal(status, 503)
    assert.equal(json.checks.database.reason, 'auth')
    const { error, ...line } = app.lines[0]
    assert.equal(line.reason, 'auth')
    assert.equal(error.code, '28P01')
    const said = `${body}${JSON.stringify(line)}${JSON.stringify(error)}${error.stack}`
    assert.ok(!said.includes(secret) && !said.includes('127.0.0.1'), said)
    await app.close()
    await pool.end()
  })

  test('F9: too many connections is refused_capacity, and the application’s queries go on', async () => {
    const pool = newPool()
    await pool.query('SELECT 1')
    await admin.query("CREATE ROLE few LOGIN PASSWORD 'few' CONNECTION LIMIT 1")
    const few = newPool({ user: 'few', password: 'few' })
    const client = await few.connect()
    const app = await serve({ checks: { database: postgres(few) } })
    const { status, json } = await app.ready()
    assert.equal(status, 503)
    assert.equal(json.checks.database.reason, 'refused_capacity')
    assert.equal((await client.query('SELECT 2 AS two')).rows[0].two, 2)
    assert.equal((await pool.query('SELECT 2 AS two')).rows[0].two, 2)
    client.release()
    await app.close()
    await few.end()
    await pool.end()
  })

  test('F10 F11: a pool with all clients out is pool_busy, 200, and pool_stuck, 503, in the end', async () => {
    const pool = newPool({ max: 3 })
    const check = postgres(pool, { stuckAfterMs: 2500 })
    const app = await serve({ intervalMs: 200, checks: { database: check } })
    await app.until(200)
    const clients = await Promise.all([pool.connect(), pool.connect(), pool.connect()])
    const waiting = pool.query('SELECT 1')
    while ((await app.ready()).json.status === 'ok') await sleep(50)
    const busy = await app.ready()
    assert.equal(busy.status, 200)
    assert.equal(busy.json.status, 'degraded')
    assert.deepEqual(busy.json.checks.database, { status: 'degraded', reason: 'pool_busy' })
    assert.equal(pool.waitingCount, 1, 'only the application waits')
    await app.until(503)
    assert.equal((await app.ready()).json.checks.database.reason, 'pool_stuck')
    for (const client of clients) client.release()
    await waiting
    assert.ok((await app.until(200)) < 3000)
    await app.close()
    assert.equal(pool.listenerCount('release'), 0, 'no listener is left')
    await pool.end()
  })

  test('a full pool that moves all the time is neither busy nor stuck', async () => {
    const pool = newPool({ max: 2 })
    const app = await serve({
      intervalMs: 100,
      checks: { database: postgres(pool, { stuckAfterMs: 500 }) },
    })
    await app.until(200)
    let isRunning = true
    const load = Array.from({ length: 6 }, async () => {
      while (isRunning) await pool.query('SELECT pg_sleep(0.02)')
    })
    await sleep(1200)
    assert.equal((await app.ready()).json.status, 'ok')
    isRunning = false
    await Promise.all(load)
    assert.deepEqual(app.lines, [])
    await app.close()
    await pool.end()
  })

  test('F12: an ended pool is closed, though the database works', async () => {
    const pool = newPool()
    const app = await serve({ checks: { database: postgres(pool) } })
    await app.until(200)
    await pool.end()
    await app.until(503)
    assert.equal((await app.ready()).json.checks.database.reason, 'closed')
    await app.close()
  })

  test('F13: a database that only reads is readonly where writing is asked for', async () => {
    const pool = newPool({ options: '-c default_transaction_read_only=on' })
    const app = await serve({
      checks: { primary: postgres(pool, { writable: true }), any: postgres(pool) },
    })
    const { status, json } = await app.ready()
    assert.equal(status, 503)
    assert.deepEqual(json.checks, {
      primary: { status: 'fail', reason: 'readonly' },
      any: { status: 'ok' },
    })
    await app.close()
    await pool.end()
  })

  test('F7: a name without an address is dns, for a database and for a URL', async () => {
    const pool = newPool({ host: 'database.invalid' })
    const app = await serve({
      checks: { database: postgres(pool), partner: http('http://partner.invalid/') },
    })
    const { status, json, ms } = await app.ready()
    assert.equal(status, 503)
    assert.ok(ms < 1000)
    for (const { reason } of Object.values(json.checks)) {
      assert.ok(reason === 'dns' || reason === 'timeout', reason)
    }
    await app.close()
    await pool.end()
  })

  test('takes a Client and a URL as well, and renames a URL that names the application', async () => {
    const client = new pg.Client({ connectionString: server.url })
    const app = await serve({
      checks: {
        client: postgres(client),
        url: postgres(server.url),
        pool: postgres(newPool({ connectionString: `${server.url}?application_name=web` })),
      },
    })
    const { status, json } = await app.ready()
    assert.equal(status, 200, JSON.stringify(json))
    assert.equal(await ownConnections(), 3)
    await app.close()
    assert.throws(
      () => postgres(`mysql://u:${SECRET}@h/d`),
      (error) => !error.message.includes(SECRET),
    )
  })

  test('F25 F26: 1,000 probes at once ask the database twice a second at most, also while it hangs', async () => {
    const pool = newPool({ port: proxy.port })
    const check = postgres(pool)
    let asked = 0
    const counted = (...args) => {
      asked++
      return check(...args)
    }
    counted.close = check.close
    const app = await serve({ checks: { database: counted } })
    const startMs = performance.now()
    const well = await Promise.all(Array.from({ length: 1000 }, () => app.ready()))
    assert.ok(well.every(({ status }) => status === 200))
    // A slow machine spreads them over seconds; what is asked is bounded by time, not by probes.
    const tookMs = performance.now() - startMs
    assert.ok(asked <= 2 + tookMs / 500, `asked ${asked} times in ${tookMs} ms`)
    await proxy.mode('stall')
    await app.until(503)
    const accepted = proxy.accepted
    const ill = await Promise.all(Array.from({ length: 1000 }, () => app.ready()))
    assert.ok(ill.every(({ status }) => status === 503))
    assert.ok(proxy.connections <= 1)
    assert.ok(proxy.accepted - accepted <= 2)
    await proxy.mode('pass')
    await app.close()
    await pool.end()
  })
})
