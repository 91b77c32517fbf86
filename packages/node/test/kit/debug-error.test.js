import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { after, afterEach, test } from 'node:test'
import express from 'express'
import Fastify from 'fastify'
import { request } from '../contract/harness.js'
import { startKit, until } from './kit.js'

let running
let servers = []

async function listen(handle, options) {
  running = startKit(options)
  const server = createServer(handle).listen(0, '127.0.0.1')
  servers.push(server)
  await once(server, 'listening')
  return server.address().port
}

afterEach(async () => {
  for (const server of servers) {
    server.closeAllConnections()
    server.close()
  }
  servers = []
  await running?.close()
  running = undefined
})
after(() => delete process.env.TELLTALE_DEBUG_ERROR)

async function assertTakenOver(port) {
  const answer = await request(port, '/sentry-debug/')
  assert.equal(answer.status, 500, answer.body)
  assert.equal(JSON.parse(answer.body).status ?? 500, 500)
  assert.ok(answer.headers['x-request-id'])
  await until(() => running.logs.of('request_finished').length === 1)
  const [line] = running.logs.of('request_finished')
  assert.equal(line.status_code, 500)
  assert.equal(line.route, '/sentry-debug/')
  await running.tracker.next()
  assert.equal(running.tracker.events.length, 1)
  assert.equal(running.tracker.events[0].exception.values.at(-1).type, 'RangeError')
}

test('/sentry-debug/ takes over the 404 of Express', async () => {
  await assertTakenOver(await listen(express()))
})

test('/sentry-debug/ takes over the 404 of Fastify', async () => {
  let handle
  const port = await listen((req, res) => handle(req, res))
  const app = Fastify({
    serverFactory: (handler) => {
      handle = handler
      return createServer()
    },
  })
  await app.ready()
  await assertTakenOver(port)
})

test('/sentry-debug/ takes over writeHead with headers and end with a body', async () => {
  await assertTakenOver(
    await listen((_req, res) =>
      res.writeHead(404, 'Nope', { 'content-length': 3, 'content-encoding': 'x' }).end('abc'),
    ),
  )
})

test('/sentry-debug/ takes over a streaming answer, and its callbacks still run', async () => {
  const called = []
  const port = await listen((_req, res) => {
    res.writeHead(200, { 'content-type': 'text/plain' })
    res.flushHeaders()
    res.write('one', () => called.push('write'))
    res.end('two', () => called.push('end'))
  })
  await assertTakenOver(port)
  await until(() => called.length === 2)
})

test('a refusal of the application at /sentry-debug/ stays whole, with its headers', async () => {
  const port = await listen((_req, res) => {
    res.writeHead(401, { 'www-authenticate': 'Bearer', 'content-type': 'text/plain' })
    res.write('who ')
    res.end('are you')
  })
  const answer = await request(port, '/sentry-debug/')
  assert.equal(answer.status, 401)
  assert.equal(answer.headers['www-authenticate'], 'Bearer')
  assert.equal(answer.body, 'who are you')
})

test("the application's own /sentry-debug/ route that throws is one event, of its error", async () => {
  const app = express()
  app.get('/sentry-debug/', () => {
    throw new TypeError('mine')
  })
  app.use((error, _req, res, _next) => res.status(500).json({ message: error.message }))
  const port = await listen(app)
  const answer = await request(port, '/sentry-debug/')
  assert.equal(answer.status, 500)
  assert.equal(answer.body, '{"message":"mine"}')
  await until(() => running.logs.of('request_finished').length === 1)
  await running.tracker.next()
  assert.equal(running.tracker.events.length, 1)
  assert.equal(running.tracker.events[0].exception.values.at(-1).value, 'mine')
})

test('production leaves /sentry-debug/ to the application, TELLTALE_DEBUG_ERROR=1 does not', async () => {
  const answer404 = (_req, res) => res.writeHead(404).end('mine')
  const port = await listen(answer404, { environment: 'production' })
  const answer = await request(port, '/sentry-debug/')
  assert.equal(answer.status, 404)
  assert.equal(answer.body, 'mine')
  await running.close()
  process.env.TELLTALE_DEBUG_ERROR = '1'
  await assertTakenOver(await listen(answer404, { environment: 'production' }))
  delete process.env.TELLTALE_DEBUG_ERROR
})
