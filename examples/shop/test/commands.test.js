// The two commands of the README, as a newcomer runs them: no DATABASE_URL, nothing prepared.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { test } from 'node:test'
import { freePort } from '../../../packages/node/test/services/server.js'
import { startService } from './service.js'

const ORDER = {
  method: 'POST',
  headers: { authorization: 'Bearer demo-grace', 'content-type': 'application/json' },
  body: '{"product_id":1,"quantity":2}',
}

const refuses = (url) => assert.rejects(fetch(url), (error) => error.cause.code === 'ECONNREFUSED')

test('npm start runs everything and ends everything', async (t) => {
  const service = await startService(t, 'npm', ['start'], { PORT: await freePort() })
  await service.until((line) => line.event === 'shop_ready')
  const response = await fetch(`${service.url}/orders`, ORDER)
  assert.equal(response.status, 201)
  const requestId = response.headers.get('x-request-id')
  const isOfRequest = (name) => (line) =>
    line.event === 'request_finished' && line.request_id === requestId && line.service === name
  const shop = await service.until(isOfRequest('shop'))
  const pricing = await service.until(isOfRequest('pricing'))
  assert.equal(pricing.trace_id, shop.trace_id)
  assert.equal(shop.route, '/orders')

  const { products } = await (await fetch(`${service.url}/products`)).json()
  assert.equal(products[0].stock, 998)
  assert.match(service.errors, /Try, in another terminal/)
  assert.match(service.errors, new RegExp(`curl -i ${service.url}/products/1`))

  const { url: pricingUrl } = await service.until((line) => line.event === 'pricing_listening')
  const gone = once(service.child, 'exit')
  service.child.kill('SIGINT')
  await gone
  await refuses(service.url)
  await refuses(pricingUrl)
})

test('npm start says what to do when the port is taken', async (t) => {
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  t.after(() => other.close())
  const { port } = other.address()
  const service = await startService(t, 'npm', ['start'], { PORT: port }, { ready: false })
  const [code] = await once(service.child, 'close')
  assert.equal(code, 1)
  assert.match(service.errors, new RegExp(`Port ${port} .* taken.*PORT=${port + 1}`))
})

test('npm run --silent shop writes JSON lines and nothing else', async (t) => {
  const PORT = await freePort()
  const service = await startService(t, 'npm', ['run', '--silent', 'shop'], { PORT })
  const response = await fetch(`${service.url}/orders`, ORDER)
  assert.equal(response.status, 201)
  assert.equal((await response.json()).total_cents, 4980)
  const requestId = response.headers.get('x-request-id')
  await service.until((l) => l.event === 'request_finished' && l.request_id === requestId)
  const closed = once(service.child, 'close')
  service.child.kill('SIGTERM')
  await closed
  await refuses(service.url)

  const lines = service.text.trimEnd().split('\n')
  for (const line of lines) {
    const { timestamp, level, event, service: name } = JSON.parse(line)
    assert.match(timestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    assert.ok([level, event, name].every((value) => typeof value === 'string'))
  }
  const ofRequest = service.lines.filter((line) => line.request_id === requestId)
  assert.deepEqual(
    ofRequest.map(({ event }) => event),
    ['order_placed', 'request_finished'],
  )
  assert.equal(new Set(ofRequest.map(({ trace_id }) => trace_id)).size, 1)
})

test('the service alone says on one line why it did not start', async (t) => {
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  t.after(() => other.close())
  const { port } = other.address()
  const env = { PORT: port, DATABASE_URL: 'postgres://postgres@127.0.0.1:1/shop' }
  const service = await startService(t, 'npm', ['run', '--silent', 'shop'], env, {
    ready: false,
  })
  const [code] = await once(service.child, 'close')
  assert.equal(code, 1)
  const fatal = service.lines.find(({ level }) => level === 'fatal')
  assert.equal(fatal.event, 'shop_not_started')
  assert.match(fatal.error.message, /is taken/)
})

test('a database that comes late is waited for', async (t) => {
  const env = { PORT: await freePort(), DATABASE_URL: 'postgres://postgres@127.0.0.1:1/shop' }
  const service = await startService(t, process.execPath, ['examples/shop/dist/main.js'], env, {
    ready: false,
  })
  await service.until((line) => line.event === 'database_not_ready' && line.attempt === 2)
  const answer = (path) => fetch(`${service.url}/api/v1/health/${path}/`)
  assert.equal((await answer('ready')).status, 503)
  assert.equal((await answer('live')).status, 200)
})
