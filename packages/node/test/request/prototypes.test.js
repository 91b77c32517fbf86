// Which prototypes the requests and responses of an Express server have, and who sees them.
import assert from 'node:assert/strict'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { get, IncomingMessage, ServerResponse } from 'node:http'
import { afterEach, beforeEach, test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import express5 from 'express'
import express4 from 'express4'
import { serve, startKit } from '../kit/kit.js'

const IS_NEEDED = Number.parseInt(process.versions.node, 10) < 24
const CHANNEL = 'http.server.request.start'

let kit
let started
const onStart = ({ request, response }) => started.push([request, response].map(prototypeOf))
const prototypeOf = Object.getPrototypeOf
const NODES = [IncomingMessage.prototype, ServerResponse.prototype]

beforeEach(() => {
  started = []
  kit = startKit()
  subscribe(CHANNEL, onStart)
})
afterEach(async () => {
  unsubscribe(CHANNEL, onStart)
  await kit.close()
})

/** Asks for a path over a connection of its own. */
async function ask(port, path = '/orders/1', headers = {}) {
  const options = { port, host: '127.0.0.1', path, headers, agent: false }
  const response = await new Promise((resolve, reject) => {
    get(options, resolve).on('error', reject)
  })
  let body = ''
  for await (const part of response.setEncoding('utf8')) body += part
  return { status: response.statusCode, headers: response.headers, body }
}

for (const [name, express] of [
  ['Express 4', express4],
  ['Express 5', express5],
]) {
  const createApp = () => {
    const app = express()
    app.get('/orders/:id', (req, res) => {
      assert.deepEqual([req, res].map(prototypeOf), [app.request, app.response])
      assert.equal(res instanceof ServerResponse && res.constructor, ServerResponse)
      res.json({ id: req.params.id, ip: req.ip, query: req.query })
    })
    return app
  }

  test(`${name}: from the second request on, requests are made with the application's prototypes`, async () => {
    const app = createApp()
    const { port, close } = await serve(app)
    const answers = [await ask(port, '/orders/1?a=b'), await ask(port, '/orders/1?a=b')]
    assert.equal(answers[0].body, '{"id":"1","ip":"127.0.0.1","query":{"a":"b"}}')
    assert.equal(answers[1].body, answers[0].body)
    for (const { headers } of answers) assert.match(headers['x-request-id'], /^[\w-]{32,36}$/)
    const later = IS_NEEDED ? [app.request, app.response] : NODES
    assert.deepEqual(started, [NODES, later])
    await kit.close()
    await ask(port)
    assert.deepEqual(started[2], NODES, 'after close')
    await close()
  })

  test(`${name}: another listener, an upgrade and an expectation find Node's prototypes`, async () => {
    const { server, port, close } = await serve(createApp())
    await ask(port)
    await ask(port)
    const seen = []
    const look = (req, res) => seen.push([req, res].map(prototypeOf))
    server.on('upgrade', (req, socket) => {
      req.query = 'ours'
      look(req, ServerResponse)
      socket.end('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
    })
    server.on('checkContinue', (req, res) => {
      look(req, res)
      res.end('continued')
    })
    await ask(port, '/', { Connection: 'Upgrade', Upgrade: 'test' })
    assert.equal(seen[0][0], IncomingMessage.prototype)
    await ask(port, '/', { Expect: '100-continue' })
    assert.deepEqual(seen[1], NODES)
    server.prependListener('request', look)
    assert.equal((await ask(port)).status, 200)
    assert.deepEqual(seen[2], NODES)
    await ask(port)
    assert.deepEqual(started.at(-1), NODES)
    await close()
  })
}

test('a server whose listener is not the application, or that makes requests of its own, is left alone', async () => {
  const app = express5()
  app.get('/orders/:id', (_req, res) => res.send('ok'))
  class Own extends IncomingMessage {}
  for (const [listener, options] of [
    [(req, res) => app(req, res)],
    [app, { IncomingMessage: Own }],
    [(_req, res) => res.end('ok')],
  ]) {
    const { port, close } = await serve(listener, undefined, options)
    assert.equal((await ask(port)).body, 'ok')
    assert.equal((await ask(port)).body, 'ok')
    await close()
  }
  const own = [Own.prototype, ServerResponse.prototype]
  assert.deepEqual(started, [NODES, NODES, own, own, NODES, NODES])
})

test('requests and responses of Express share their shapes, whatever middleware adds to them', async () => {
  setFlagsFromString('--allow-natives-syntax')
  const haveSameShape = new Function('a', 'b', 'return %HaveSameMap(a, b)')
  const app = express5()
  const held = []
  app.use((req, res, next) => {
    req.user = 'ada'
    res.startedAt = 1
    next()
  })
  app.get('/held', (req, res) => held.push([req, res]))
  app.get('/orders/:id', (_req, res) => res.send('ok'))
  /**
   * Whether two requests, and two responses, share their shapes once some have been answered. Two of
   * four in a row: on a busy machine two alone differed now and then, for a reason not found yet.
   */
  async function compare(listener) {
    const { port, close } = await serve(listener)
    for (let i = 0; i < 5; i++) await ask(port)
    held.length = 0
    const asked = []
    for (let i = 1; i <= 4; i++) {
      asked.push(ask(port, '/held'))
      while (held.length < i) await new Promise(setImmediate)
    }
    const shared = [0, 1].map((i) =>
      [1, 2, 3].some((at) => haveSameShape(held[at - 1][i], held[at][i])),
    )
    await close()
    await Promise.allSettled(asked)
    return shared
  }
  assert.deepEqual(await compare(app), [true, true])
  // The reason for all of this: without it, no two of them do.
  const unaided = await compare((req, res) => app(req, res))
  assert.deepEqual(unaided, [!IS_NEEDED, !IS_NEEDED])
})
