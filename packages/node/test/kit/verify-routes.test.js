import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { afterEach, test } from 'node:test'
import express from 'express'
import { request } from '../contract/harness.js'
import { startKit, until } from './kit.js'

const TOKEN = '0123456789abcdef0123456789abcdef'
const SHOWN = { 'x-telltale-verify': TOKEN }
let running
let server

async function listen(handle) {
  running = startKit()
  server = createServer(handle).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return server.address().port
}

afterEach(async () => {
  delete process.env.TELLTALE_VERIFY_TOKEN
  server?.closeAllConnections()
  server?.close()
  await running?.close()
})

const whoami = '/__telltale/verify/whoami'

test('verify routes: without the variable they are the 404 of the application', async () => {
  const port = await listen((_req, res) => res.writeHead(404).end('mine'))
  for (const headers of [{}, SHOWN]) {
    const answer = await request(port, whoami, { headers })
    assert.deepEqual([answer.status, answer.body], [404, 'mine'])
  }
})

test('verify routes: a wrong token, none, or a proxy in between see the application', async () => {
  process.env.TELLTALE_VERIFY_TOKEN = TOKEN
  const port = await listen((_req, res) => res.writeHead(404).end('mine'))
  for (const headers of [
    {},
    { 'x-telltale-verify': 'x'.repeat(32) },
    { ...SHOWN, 'x-forwarded-for': '203.0.113.7' },
  ]) {
    assert.equal((await request(port, whoami, { headers })).body, 'mine')
  }
  assert.equal((await request(port, '/__telltale/verify/other', { headers: SHOWN })).body, 'mine')
})

test('verify routes: a token that could be guessed is none', async () => {
  process.env.TELLTALE_VERIFY_TOKEN = 'short'
  const port = await listen((_req, res) => res.writeHead(404).end('mine'))
  const headers = { 'x-telltale-verify': 'short' }
  assert.equal((await request(port, whoami, { headers })).status, 404)
})

test('verify routes: the application runs first, then its answer is taken over', async () => {
  process.env.TELLTALE_VERIFY_TOKEN = TOKEN
  let seen = 0
  const app = express()
  app.use((_req, _res, next) => {
    seen++
    next()
  })
  const port = await listen(app)
  const answer = await request(port, whoami, { headers: SHOWN })
  assert.equal(answer.status, 200)
  assert.match(JSON.parse(answer.body).kit, /^@telltale\/node /)
  assert.equal(seen, 1)
})

test('verify routes: work reads the body and writes its lines in the context', async () => {
  process.env.TELLTALE_VERIFY_TOKEN = TOKEN
  const port = await listen(express())
  const answer = await request(port, '/__telltale/verify/work?mark=m1&ms=5', {
    method: 'POST',
    headers: { ...SHOWN, 'content-type': 'text/plain' },
    body: 'x'.repeat(100_000),
  })
  assert.equal(answer.body, '{"mark":"m1"}')
  const lines = running.logs.of('verify_work')
  assert.deepEqual(
    lines.map(({ mark, step }) => [mark, step]),
    [
      ['m1', 'begin'],
      ['m1', 'body'],
      ['m1', 'end'],
    ],
  )
  for (const line of lines) assert.equal(line.request_id, answer.headers['x-request-id'])
})

test('verify routes: throw is one event with the user, and its line names the event', async () => {
  process.env.TELLTALE_VERIFY_TOKEN = TOKEN
  const port = await listen(express())
  const headers = { ...SHOWN, 'x-telltale-verify-user': 'ada', authorization: 'Bearer canary1234' }
  const answer = await request(port, '/__telltale/verify/throw?quote=1', { headers })
  assert.equal(answer.status, 500)
  await running.tracker.next()
  const [event] = running.tracker.events
  assert.equal(event.user.id, 'ada')
  assert.equal(JSON.stringify(event).includes('canary1234'), false)
  await until(() => running.logs.of('request_finished').length === 1)
  assert.equal(running.logs.of('request_finished')[0].event_id, event.event_id)
})

test('verify routes: burst writes one line for each value, whatever it is', async () => {
  process.env.TELLTALE_VERIFY_TOKEN = TOKEN
  const port = await listen(express())
  const answer = await request(port, '/__telltale/verify/burst?mark=b', { headers: SHOWN })
  assert.equal(running.logs.of('verify_burst').length, JSON.parse(answer.body).lines)
})

test('verify routes: throw is its own error, whatever the application refused before', async () => {
  process.env.TELLTALE_VERIFY_TOKEN = TOKEN
  const app = express()
  app.use((_req, _res, next) => next(Object.assign(new Error('who are you'), { status: 401 })))
  app.use((error, _req, res, _next) => res.status(error.status).end(error.message))
  const port = await listen(app)
  await request(port, '/__telltale/verify/throw?message=asked+for', { headers: SHOWN })
  await running.tracker.next()
  assert.equal(running.tracker.events[0].exception.values.at(-1).value, 'asked for')
})
