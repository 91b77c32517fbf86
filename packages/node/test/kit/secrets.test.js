import assert from 'node:assert/strict'
import { test } from 'node:test'
import express from 'express'
import { addBreadcrumb, log, setExtra } from '../../dist/esm/index.js'
import { request } from '../contract/harness.js'
import { serve, startKit, until } from './kit.js'

test('K2: no secret of body, query, headers, cause, breadcrumbs or extra is sent or logged', async () => {
  const running = startKit()
  const app = express()
  app.use(express.json())
  app.post('/pay', (req) => {
    addBreadcrumb({ message: 'pay', data: req.body })
    setExtra('payment', req.body)
    log.info('paying', { body: req.body })
    throw new Error('declined', {
      cause: Object.assign(new Error(`card ${req.body.card}`), { password: req.body.password }),
    })
  })
  app.use((_error, _req, res, _next) => res.status(500).end())
  const server = await serve(app)
  const answer = await request(server.port, '/pay?token=hunter2', {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      authorization: 'Bearer hunter2',
      cookie: 'session=hunter2',
    },
    body: JSON.stringify({ password: 'hunter2', card: '4111111111111111' }),
  })
  assert.equal(answer.status, 500)
  await running.tracker.next()
  await until(() => running.logs.of('request_finished').length === 1)
  const sent = JSON.stringify([
    running.tracker.events,
    running.tracker.transactions,
    running.logs.lines,
  ])
  assert.ok(running.logs.of('paying').length === 1)
  assert.ok(
    !sent.includes('hunter2'),
    sent.slice(Math.max(0, sent.indexOf('hunter2') - 200)).slice(0, 300),
  )
  assert.ok(
    !sent.includes('4111111111111111'),
    sent.slice(Math.max(0, sent.indexOf('41111111') - 200)).slice(0, 300),
  )
  await server.close()
  await running.close()
})
