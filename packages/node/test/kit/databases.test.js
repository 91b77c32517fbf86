import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { createPool as createGenericPool } from 'generic-pool'
import { Redis } from 'ioredis'
import mysql from 'mysql2'
import mysqlPromise from 'mysql2/promise'
import pg from 'pg'
import { createClient } from 'redis'
import { log, observe } from '../../dist/esm/index.js'
import { request } from '../contract/harness.js'
import { startMariadb } from '../services/mariadb.js'
import { startPostgres } from '../services/postgres.js'
import { startRedis } from '../services/redis.js'
import { serve, startKit, until } from './kit.js'

const REQUESTS = 50
let running
let services
let app
const routes = new Map()

before(async () => {
  services = await Promise.all([startPostgres(), startRedis(), startMariadb()])
  running = startKit()
  app = await serve(async (req, res) => {
    const [, name, id] = req.url.split('/')
    try {
      await routes.get(name)(Number(id))
      res.end('{}')
    } catch (error) {
      res.statusCode = 500
      res.end(String(error))
    }
  })
})

after(async () => {
  await app?.close()
  await running?.close()
  await Promise.all((services ?? []).map((service) => service.close?.() ?? service.stop()))
})

/** Sends the requests at once and returns, for each, its lines and its transaction. */
async function requests(name, handle, count = REQUESTS) {
  routes.set(name, handle)
  running.logs.clear()
  running.tracker.clear()
  const answers = await Promise.all(
    Array.from({ length: count }, (_, id) =>
      request(app.port, `/${name}/${id}`, { headers: { 'x-request-id': `${name}-${id}-xxxx` } }),
    ),
  )
  for (const { status, body } of answers) assert.equal(status, 200, body)
  await until(() => running.logs.of('request_finished').length === count)
  const finished = running.logs.of('request_finished')
  return Array.from({ length: count }, (_, id) => {
    const requestId = `${name}-${id}-xxxx`
    const end = finished.find((line) => line.request_id === requestId)
    const transaction = running.tracker.transactions.find(
      (t) => t.contexts.trace.trace_id === end.trace_id,
    )
    return { requestId, end, transaction, lines: running.logs.of('queried') }
  })
}

/** Every `queried` line is of the request that asked for row `id`. */
function assertOwnLines(all) {
  const lines = running.logs.of('queried')
  assert.equal(lines.length, all.length)
  for (const { id, request_id } of lines) assert.match(request_id, new RegExp(`-${id}-xxxx$`))
}

function assertOwnQueries(all, system, count) {
  for (const { end, transaction } of all) {
    if (count > 0) {
      assert.equal(end.db_count, count, JSON.stringify(end))
      assert.ok(end.db_ms > 0)
    }
    const spans = transaction.spans.filter((span) => span.data['db.system'] === system)
    assert.equal(spans.length, Math.max(count, 1), JSON.stringify(transaction.spans))
    for (const span of spans) {
      assert.equal(span.parent_span_id, transaction.contexts.trace.span_id)
      assert.ok(!JSON.stringify(span).includes('hunter2'), JSON.stringify(span))
    }
  }
}

test('33: pg, observed pool of one connection, promises: lines, counters and spans are their own', async (t) => {
  const pool = observe(new pg.Pool({ connectionString: services[0].url, max: 1 }))
  t.after(() => pool.end())
  const all = await requests('pgp', async (id) => {
    const { rows } = await pool.query(`SELECT ${id}::int AS id, 'hunter2' AS p`)
    log.info('queried', { id: rows[0].id })
  })
  assertOwnLines(all)
  assertOwnQueries(all, 'postgresql', 1)
})

test('33: pg, observed pool of one connection, callbacks: lines, counters and spans are their own', async (t) => {
  const pool = observe(new pg.Pool({ connectionString: services[0].url, max: 1 }))
  t.after(() => pool.end())
  const all = await requests(
    'pgc',
    (id) =>
      new Promise((resolve, reject) => {
        pool.query('SELECT $1::int AS id', [id], (error, result) => {
          if (error) return reject(error)
          log.info('queried', { id: result.rows[0].id })
          resolve()
        })
      }),
  )
  assertOwnLines(all)
  assertOwnQueries(all, 'postgresql', 1)
})

test('33: pg without observe, promises: the lines are their own', async (t) => {
  const pool = new pg.Pool({ connectionString: services[0].url, max: 1 })
  t.after(() => pool.end())
  const all = await requests('pgn', async (id) => {
    const { rows } = await pool.query('SELECT $1::int AS id', [id])
    log.info('queried', { id: rows[0].id })
  })
  assertOwnLines(all)
})

test('33: generic-pool of one resource: the lines are their own', async () => {
  const pool = createGenericPool({ create: async () => ({}), destroy: async () => {} }, { max: 1 })
  const all = await requests('generic', (id) =>
    pool.use(async () => {
      await new Promise((resolve) => setImmediate(resolve))
      log.info('queried', { id })
    }),
  )
  assertOwnLines(all)
  await pool.drain()
})

test('33: mysql2, pool of one connection, promises: lines, counters and spans are their own', async (t) => {
  const pool = mysqlPromise.createPool({ uri: services[2].url, connectionLimit: 1 })
  t.after(() => pool.end())
  const all = await requests('myp', async (id) => {
    const [rows] = await pool.query(`SELECT ${id} AS id, "hunter2" AS p, 'it\\'s hunter2' AS q`)
    log.info('queried', { id: rows[0].id })
  })
  assertOwnLines(all)
  assertOwnQueries(all, 'mysql', 1)
})

test('33: mysql2, pool of one connection, callbacks: lines, counters and spans are their own', async (t) => {
  const pool = mysql.createPool({ uri: services[2].url, connectionLimit: 1 })
  t.after(() => pool.end())
  const all = await requests(
    'myc',
    (id) =>
      new Promise((resolve, reject) => {
        pool.execute('SELECT ? AS id', [id], (error, rows) => {
          if (error) return reject(error)
          log.info('queried', { id: Number(rows[0].id) })
          resolve()
        })
      }),
  )
  assertOwnLines(all)
  assertOwnQueries(all, 'mysql', 1)
})

test('33: ioredis: lines and spans are their own', async (t) => {
  const client = new Redis(services[1].url)
  t.after(() => client.disconnect())
  await client.ping()
  const all = await requests('io', async (id) => {
    log.info('queried', { id: Number(await client.echo(String(id))) })
  })
  assertOwnLines(all)
  assertOwnQueries(all, 'redis', 0)
})

test('33: node-redis: lines and spans are their own', async (t) => {
  const client = createClient({ url: services[1].url })
  t.after(() => client.destroy())
  await client.connect()
  const all = await requests('nr', async (id) => {
    log.info('queried', { id: Number(await client.echo(String(id))) })
  })
  assertOwnLines(all)
  assertOwnQueries(all, 'redis', 0)
})
