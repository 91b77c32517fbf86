import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, before, test } from 'node:test'
import { Redis } from 'ioredis'
import pg from 'pg'
import { startPostgres } from '../../../packages/node/test/services/postgres.js'
import { startRedis } from '../../../packages/node/test/services/redis.js'
import { freePort } from '../../../packages/node/test/services/server.js'
import { startTracker } from './receiver.js'
import { startService } from './service.js'

const ADA = { authorization: 'Bearer demo-ada', 'content-type': 'application/json' }

const closers = []
const scope = { after: (close) => closers.unshift(close) }
let database
let redis
let tracker
let pricing
let shop
let pool

before(async () => {
  database = await startPostgres()
  scope.after(() => database.stop())
  redis = await startRedis()
  scope.after(() => redis.stop())
  tracker = await startTracker(scope)
  pricing = await startService(
    scope,
    process.execPath,
    ['examples/shop/dist/pricing.js'],
    { PORT: await freePort() },
    { ready: '/quote?unit_price_cents=1&quantity=1' },
  )
  shop = await startService(scope, process.execPath, ['examples/shop/dist/main.js'], {
    PORT: await freePort(),
    DATABASE_URL: database.url,
    REDIS_URL: redis.url,
    PRICING_URL: pricing.url,
    SENTRY_DSN: tracker.dsn,
    SENTRY_TRACES_SAMPLE_RATE: '1',
    TELLTALE_SPOOL_DIR: tracker.folder,
  })
  pool = new pg.Pool({ connectionString: database.url })
  pool.on('error', () => {})
})

after(async () => {
  await pool?.end()
  for (const close of closers) await close()
})

const get = (path, headers) => fetch(shop.url + path, { headers })
const order = (body, headers = ADA) =>
  fetch(`${shop.url}/orders`, {
    method: 'POST',
    headers,
    body: typeof body === 'string' ? body : JSON.stringify(body),
  })
const rows = async (sql, values) => (await pool.query(sql, values)).rows
const stockOf = async (id) =>
  (await rows('SELECT stock FROM products WHERE id = $1', [id]))[0].stock

async function isProblem(response, status) {
  assert.equal(response.status, status)
  assert.match(response.headers.get('content-type'), /^application\/problem\+json/)
  const problem = await response.json()
  assert.equal(problem.status, status)
  assert.equal(problem.request_id, response.headers.get('x-request-id'))
  assert.ok(problem.detail.length > 10)
  return problem
}

test('an order is stored and its goods leave the stock', async () => {
  const stock = await stockOf(2)
  const response = await order({ product_id: 2, quantity: 12 })
  assert.equal(response.status, 201)
  const { id, total_cents } = await response.json()
  assert.equal(total_cents, Math.round(3900 * 12 * 0.9))
  assert.deepEqual(
    await rows('SELECT user_id, product_id, quantity, total_cents FROM orders WHERE id = $1', [id]),
    [{ user_id: 1, product_id: 2, quantity: 12, total_cents }],
  )
  assert.equal(await stockOf(2), stock - 12)
})

test('an order beyond the stock is a 409 and changes nothing', async () => {
  const [{ count }] = await rows('SELECT count(*)::int FROM orders')
  await isProblem(await order({ product_id: 4, quantity: 1 }), 409)
  assert.deepEqual(await rows('SELECT count(*)::int FROM orders'), [{ count }])
})

test('orders at the same moment never sell more than there is', async () => {
  await pool.query("INSERT INTO products VALUES (100, 'Last lamp', 100, 5, '1')")
  const answers = await Promise.all(
    Array.from({ length: 12 }, () => order({ product_id: 100, quantity: 1 })),
  )
  assert.equal(answers.filter(({ status }) => status === 201).length, 5)
  assert.equal(answers.filter(({ status }) => status === 409).length, 7)
  assert.equal(await stockOf(100), 0)
})

test('a body that is not an order is a 400 that says why', async () => {
  const bodies = [
    ['', /"quantity"/],
    ['{"product_id":', /JSON/],
    ['[]', /JSON object/],
    [{}, /"quantity"/],
    [{ product_id: 1, quantity: 0 }, /"quantity"/],
    [{ product_id: 1, quantity: 101 }, /"quantity"/],
    [{ product_id: 1, quantity: '2' }, /"quantity"/],
    [{ product_id: 1, quantity: 1.5 }, /"quantity"/],
    [{ product_id: 'one', quantity: 1 }, /product id/],
    [{ product_id: -1, quantity: 1 }, /product id/],
    [{ product_id: 1e10, quantity: 1 }, /product id/],
    [{ product_id: "1'; DROP TABLE orders; --", quantity: 1 }, /product id/],
  ]
  for (const [body, detail] of bodies) {
    const problem = await isProblem(await order(body), 400)
    assert.match(problem.detail, detail, JSON.stringify(body))
  }
  await isProblem(await order(`{"x":"${'x'.repeat(20_000)}"}`), 413)
})

test('only a known token may order', async () => {
  for (const authorization of [undefined, 'Bearer nobody', 'Basic YTpi', 'Bearer ']) {
    const headers = { 'content-type': 'application/json', ...(authorization && { authorization }) }
    const response = await order({ product_id: 1, quantity: 1 }, headers)
    await isProblem(response, 401)
    assert.equal(response.headers.get('www-authenticate'), 'Bearer')
  }
})

test('unknown products and paths are 404, odd ids 400', async () => {
  await isProblem(await get('/products/999'), 404)
  await isProblem(await order({ product_id: 999, quantity: 1 }), 404)
  await isProblem(await get('/nowhere'), 404)
  await isProblem(await get('/products/abc'), 400)
  await isProblem(await get('/products/0'), 400)
})

test('the list shows every product', async () => {
  const { products } = await (await get('/products')).json()
  assert.deepEqual(
    products.slice(0, 4).map(({ name }) => name),
    ['Compass', 'Storm lantern', 'Wind vane', 'Brass bell'],
  )
})

test('a product is read from the cache until an order changes it', async () => {
  const client = new Redis(redis.url)
  try {
    await client.del('product:1')
    assert.equal((await get('/products/1')).headers.get('x-cache'), 'miss')
    const ttl = await client.ttl('product:1')
    assert.ok(ttl > 0 && ttl <= 30, `expires in ${ttl} s`)
    await client.set('product:1', JSON.stringify({ id: 1, name: 'from Redis' }), 'EX', 30)
    const cached = await get('/products/1')
    assert.equal(cached.headers.get('x-cache'), 'hit')
    assert.equal((await cached.json()).name, 'from Redis')

    await client.del('product:1')
    await get('/products/1')
    assert.equal((await order({ product_id: 1, quantity: 1 })).status, 201)
    const fresh = await get('/products/1')
    assert.equal(fresh.headers.get('x-cache'), 'miss')
    assert.equal((await fresh.json()).stock, await stockOf(1))
  } finally {
    client.disconnect()
  }
})

test('the slow route is slow and holds up nobody else', async () => {
  const startedAt = performance.now()
  let slowEndedAt
  const slow = get('/slow').then(async (response) => {
    slowEndedAt = performance.now()
    assert.equal(response.status, 200)
    assert.ok((await response.json()).value_cents > 0)
  })
  await (await get('/products')).json()
  assert.equal(slowEndedAt, undefined)
  await slow
  assert.ok(slowEndedAt - startedAt >= 390)
})

test('one order is one trace and one request id, across both processes', async () => {
  const response = await order({ product_id: 2, quantity: 1 })
  const { id } = await response.json()
  const requestId = response.headers.get('x-request-id')
  const finished = await shop.until(
    (line) => line.event === 'request_finished' && line.request_id === requestId,
  )
  assert.equal(finished.route, '/orders')
  assert.equal(finished.status_code, 201)
  assert.equal(finished.order_id, id)
  const placed = await shop.until((line) => line.event === 'order_placed' && line.order_id === id)
  assert.equal(placed.request_id, requestId)
  const quoted = await pricing.until(
    (line) => line.event === 'price_quoted' && line.trace_id === placed.trace_id,
  )
  assert.equal(quoted.service, 'pricing')
  assert.equal(quoted.request_id, requestId)
  assert.notEqual(quoted.span_id, placed.span_id)
})

test('the failing route reports its error, with cause, user and request id', async () => {
  const response = await get('/products/3/label', ADA)
  const { request_id } = await isProblem(response, 500)
  const finished = await shop.until(
    (line) => line.event === 'request_finished' && line.request_id === request_id,
  )
  assert.equal(finished.level, 'error')
  assert.equal(finished.route, '/products/:id/label')
  assert.match(finished.error.message, /label of product 3/)
  assert.equal(finished.error.cause.type, 'TypeError')

  const event = await tracker.event((candidate) => candidate.tags?.request_id === request_id)
  assert.equal(event.transaction, 'GET /products/:id/label')
  assert.deepEqual([event.user.id, event.user.username], [1, 'Ada'])
  assert.equal(event.request.method, 'GET')
  assert.equal(event.tags.service, 'shop')
  assert.equal(event.contexts.trace.trace_id, finished.trace_id)
  assert.deepEqual(
    event.exception.values.map(({ type }) => type),
    ['TypeError', 'Error'],
  )
  const frame = event.exception.values[0].stacktrace.frames.at(-1)
  assert.match(frame.filename, /products\.ts$/)
  assert.match(frame.context_line, /barcode\.match/)
  assert.doesNotMatch(JSON.stringify(event), /demo-ada/)
})

test('client mistakes are not reported as errors', async () => {
  const response = await get('/products/998', ADA)
  const requestId = response.headers.get('x-request-id')
  await shop.until((line) => line.event === 'request_finished' && line.request_id === requestId)
  await isProblem(await get('/products/3/label', ADA), 500)
  await tracker.event((event) => event.request?.url?.includes('/products/3/label'))
  assert.equal(
    tracker.events.some((event) => event.tags?.request_id === requestId),
    false,
  )
})

test('/sentry-debug/ raises an error that arrives at the tracker', async () => {
  const response = await get('/sentry-debug/')
  assert.equal(response.status, 500)
  const requestId = response.headers.get('x-request-id')
  const event = await tracker.event((candidate) => candidate.tags?.request_id === requestId)
  assert.ok(event.exception.values.length > 0)
})

test('without Redis the shop is slower, not broken', async () => {
  await redis.stop()
  await shop.until((line) => line.event === 'cache_lost')
  const response = await get('/products/2')
  assert.equal(response.status, 200)
  assert.equal(response.headers.get('x-cache'), 'miss')
  assert.equal((await order({ product_id: 2, quantity: 1 })).status, 201)
  await shop.answers(200)
})

test('without its database the shop says so, and recovers', async () => {
  await database.stop()
  const response = await get('/products')
  await isProblem(response, 503)
  assert.equal(response.headers.get('retry-after'), '5')
  await shop.answers(503)
  assert.equal((await get('/api/v1/health/live/')).status, 200)
  await database.start()
  await shop.answers(200)
  assert.equal((await get('/products')).status, 200)
})

test('SIGTERM ends it with code 0 and leaves no connection behind', async () => {
  const gone = once(shop.child, 'exit')
  shop.child.kill('SIGTERM')
  assert.deepEqual(await gone, [0, null])
  assert.deepEqual(
    await rows("SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'shop%'"),
    [],
  )
})
