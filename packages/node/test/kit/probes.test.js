// Probes and scrapes in front of real applications, and readiness of a real database through init.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { afterEach, test } from 'node:test'
import express5 from 'express'
import express4 from 'express4'
import Fastify from 'fastify'
import pg from 'pg'
import { postgres } from '../../dist/esm/health/checks.js'
import { startPostgres } from '../services/postgres.js'
import { startProxy } from '../services/proxy.js'
import { serve, startKit } from './kit.js'

let running
afterEach(async () => {
  await running?.close()
  running = undefined
})

const LIVE = '/api/v1/health/live/'
const READY = '/api/v1/health/ready/'

/** Applications that refuse everything before any route: a guard, a hook, a limiter. */
const GUARDED = {
  'node:http': async () => serve((_req, res) => res.writeHead(401).end('no')),
  'Express 4': async () => guardedExpress(express4),
  'Express 5': async () => guardedExpress(express5),
  async 'Fastify 5'() {
    const app = Fastify()
    app.addHook('onRequest', (_request, reply) => reply.code(401).send('no'))
    await app.listen({ port: 0, host: '127.0.0.1' })
    return { port: app.server.address().port, close: () => app.close() }
  },
}

async function guardedExpress(express) {
  const app = express()
  app.use('/prefix', (_req, res) => res.status(429).send('slow down'))
  app.use((_req, res) => res.status(401).send('no'))
  return serve(app)
}

test('H6, H16: behind every guard and framework the probes answer, with the same bodies', async () => {
  const checks = {
    database: () => true,
    cache: { check: () => Promise.reject(new Error('x')), critical: false },
  }
  running = startKit({ health: { checks } })
  const bodies = new Map()
  for (const [name, start] of Object.entries(GUARDED)) {
    const app = await start()
    const url = `http://127.0.0.1:${app.port}`
    assert.equal((await fetch(`${url}/anything`)).status, 401, name)
    for (const path of [LIVE, READY]) {
      // A forwarding header makes it a foreigner's probe: the public body, without durations.
      const answer = await fetch(url + path, { headers: { 'x-forwarded-for': '203.0.113.9' } })
      assert.equal(answer.status, 200, name)
      const body = await answer.text()
      assert.equal(body, bodies.get(path) ?? body, name)
      bodies.set(path, body)
    }
    await app.close()
  }
  assert.equal(JSON.parse(bodies.get(READY)).status, 'degraded')
})

test('H11: a hundred probes leave no line, no trace and no sample', async () => {
  running = startKit()
  const app = await serve((_req, res) => res.end('ok'))
  for (let i = 0; i < 100; i++) await (await fetch(`http://127.0.0.1:${app.port}${READY}`)).text()
  await (await fetch(`http://127.0.0.1:${app.port}/metrics`)).text()
  assert.equal(running.logs.of('request_finished').length, 0)
  assert.equal(running.tracker.transactions.length, 0)
  const { text } = await running.kit.metrics.renderText()
  assert.equal(text.includes('http_server_request_duration_seconds_count'), false)
  await app.close()
})

test('a management port serves probes and metrics, and the service’s own port keeps /metrics', async () => {
  running = startKit({ management: { port: 0 } })
  const app = await serve((_req, res) => res.writeHead(418).end('mine'))
  const port = await running.kit.managementPort()
  const at = (own, path) => fetch(`http://127.0.0.1:${own}${path}`)
  assert.equal((await at(port, LIVE)).status, 200)
  assert.match(await (await at(port, '/metrics')).text(), /http_server_active_requests/)
  assert.equal((await at(port, '/else')).status, 404)
  assert.equal((await at(app.port, '/metrics')).status, 418)
  assert.equal((await at(app.port, LIVE)).status, 200)
  assert.equal(
    running.logs.of('request_finished').some((line) => line.path === '/else'),
    false,
  )
  await app.close()
})

test('metrics.path false keeps /metrics off the service’s own port and on the management port', async () => {
  running = startKit({ metrics: { path: false }, management: { port: 0 } })
  const app = await serve((_req, res) => res.writeHead(418).end('mine'))
  const at = (port) => fetch(`http://127.0.0.1:${port}/metrics`)
  const managed = await at(await running.kit.managementPort())
  assert.equal(managed.status, 200)
  assert.match(await managed.text(), /http_server_active_requests/)
  assert.equal((await at(app.port)).status, 418)
  await running.close()

  running = startKit({ metrics: { path: false } })
  assert.equal((await at(app.port)).status, 418)
  await app.close()
})

test('M5: without a tracker an exemplar leads to the log line of its request', async () => {
  // No SENTRY_DSN, no tracker: nothing is sampled.
  running = startKit({ errors: { tracker: undefined } })
  const app = await serve((_req, res) => res.end('ok'))
  await (await fetch(`http://127.0.0.1:${app.port}/x`)).text()
  await app.close()
  const [line] = running.logs.of('request_finished')
  const { text } = await running.kit.metrics.renderText('application/openmetrics-text')
  assert.match(text, new RegExp(`# \\{trace_id="${line.trace_id}",span_id="${line.span_id}"\\}`))
})

test('F1, F2, F4, M29: readiness follows a real database: stopped, back, hanging, back; told once each way', async (t) => {
  const database = await startPostgres()
  t.after(() => database.stop())
  const proxy = await startProxy(database.port)
  t.after(() => proxy.close())
  const url = new URL(database.url)
  url.port = String(proxy.port)
  const pool = new pg.Pool({ connectionString: url.href })
  pool.on('error', () => {})
  t.after(() => pool.end())
  running = startKit({ health: { checks: { database: postgres(pool) } } })
  const app = await serve((_req, res) => res.end('ok'))
  t.after(() => app.close())

  async function turns(status) {
    const start = performance.now()
    for (;;) {
      const answer = await fetch(`http://127.0.0.1:${app.port}${READY}`)
      const text = await answer.text()
      assert.equal(text.includes(url.password || '\u0000'), false)
      if (answer.status === status) return performance.now() - start
      assert.ok(performance.now() - start < 3000, `still ${answer.status} after 3 s: ${text}`)
      await new Promise((resolve) => setTimeout(resolve, 25))
    }
  }
  const status = async () =>
    /^health_check_status\{check="database"\} (\S+)$/m.exec(
      (await running.kit.metrics.renderText()).text,
    )[1]

  await turns(200)
  assert.equal(await status(), '1')
  await database.stop()
  await turns(503)
  assert.equal(await status(), '0')
  assert.equal((await fetch(`http://127.0.0.1:${app.port}${LIVE}`)).status, 200)
  await database.start()
  await turns(200)
  proxy.mode('stall')
  proxy.cut?.()
  await turns(503)
  proxy.mode('pass')
  await turns(200)
  const told = running.logs.of('readiness_changed').map((line) => line.to)
  assert.deepEqual(
    told.filter((to) => to !== 'degraded'),
    ['fail', 'ok', 'fail', 'ok'],
  )
})

test('a server that was made before init is watched from its next connection on', async () => {
  const server = createServer((_req, res) => res.end('ok')).listen(0, '127.0.0.1')
  await once(server, 'listening')
  running = startKit()
  const url = `http://127.0.0.1:${server.address().port}`
  assert.match((await fetch(url)).headers.get('x-request-id'), /^[0-9a-f-]{36}$/)
  assert.equal((await fetch(url + LIVE)).status, 200)
  server.closeAllConnections()
  server.close()
})
