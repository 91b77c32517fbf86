// Route templates of Fastify, read from where it keeps them and from its public getter.
import assert from 'node:assert/strict'
import { afterEach, beforeEach, test } from 'node:test'
import Fastify from 'fastify'
import { observe } from '../../dist/esm/adapters/fastify.js'
import { contextOfResponse } from '../../dist/esm/request/entrance.js'
import { startKit } from '../kit/kit.js'

let running
beforeEach(() => {
  running = startKit()
})
afterEach(() => running.close())

const ROUTES = [
  ['GET', '/nothing/here', null],
  ['GET', '/users/42', '/users/:id'],
  ['GET', '/tenants/acme/orders/7', '/tenants/:tenant/orders/:order'],
  ['HEAD', '/users/42', '/users/:id'],
  ['GET', '/files/a/b', '/files/*'],
  ['GET', '/refused', '/refused'],
  ['GET', '/nothing/here', null],
  ['GET', '/users/43', '/users/:id'],
]

async function check(app) {
  app.addHook('onRequest', async (request, reply) => {
    if (request.url === '/refused') return reply.code(401).send('who?')
  })
  const answer = async () => 'ok'
  app.get('/users/:id', answer)
  app.get('/files/*', answer)
  app.get('/refused', answer)
  app.register(async (inner) => inner.get('/orders/:order', answer), { prefix: '/tenants/:tenant' })
  const origin = await app.listen({ port: 0, host: '127.0.0.1' })
  for (const [method, path, route] of ROUTES) {
    running.logs.clear()
    await (await fetch(origin + path, { method })).text()
    await new Promise(setImmediate)
    const [line] = running.logs.of('request_finished')
    assert.deepEqual([line.method, line.path, line.route], [method, path, route])
  }
  await app.close()
}

test('Fastify: templates of plugins, wildcards, refused and unknown requests', () =>
  check(Fastify()))

test('Fastify: the same where a request keeps its route out of sight', async () => {
  const app = Fastify()
  const seen = {
    addHook: (name, hook) =>
      app.addHook(name, ({ routeOptions }, ...rest) => hook({ routeOptions }, ...rest)),
  }
  // The hooks of the kit's own channel ran first; what they found is gone.
  app.addHook('onRequest', async (_request, reply) => {
    contextOfResponse(reply.raw).unit.route = 'forgotten'
  })
  observe(seen)
  await check(app)
})
