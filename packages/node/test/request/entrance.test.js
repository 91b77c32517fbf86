// The entrance in one process: servers that come and go, requests that something else emits.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { connect } from 'node:net'
import { afterEach, beforeEach, test } from 'node:test'
import { close, init } from '@telltale/node'
import { observe } from '@telltale/node/http'
import { captureLogs, createMemoryTracker } from '@telltale/node/testing'

let tracker
let logs
beforeEach(() => {
  tracker = createMemoryTracker()
  init({ service: 't', errors: { tracker, captureCrashes: false }, shutdown: { enabled: false } })
  logs = captureLogs()
})
afterEach(async () => {
  logs.stop()
  await close()
})

async function listen(server) {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return `http://127.0.0.1:${server.address().port}`
}

async function end(server) {
  server.closeAllConnections()
  server.close()
  await once(server, 'close')
}

test('a request to a path of the kit that it does not answer is an ordinary request', async () => {
  const server = createServer((_req, res) => res.writeHead(404).end())
  const url = await listen(server)
  const answer = await fetch(`${url}/metrics`, { headers: { 'x-forwarded-for': '203.0.113.9' } })
  assert.equal(answer.status, 404)
  assert.match(answer.headers.get('x-request-id'), /^[0-9a-f-]{36}$/)
  await end(server)
})

test('a server that closes and listens again is observed again, once', async () => {
  const server = createServer((_req, res) => res.end('ok'))
  const original = server.emit
  for (let round = 1; round <= 2; round++) {
    const url = await listen(server)
    await (await fetch(url)).text()
    assert.equal((await fetch(`${url}/api/v1/health/live/`)).status, 200)
    await end(server)
    assert.equal(logs.of('request_finished').length, round)
    assert.equal(server.emit, original)
  }
})

test('close leaves an emit alone that somebody else put over ours', async () => {
  const server = createServer((_req, res) => res.end('ok'))
  const url = await listen(server)
  await (await fetch(url)).text()
  const ours = server.emit
  let seen = 0
  const theirs = function (...args) {
    seen++
    return Reflect.apply(ours, this, args)
  }
  server.emit = theirs
  await close()
  assert.equal(server.emit, theirs)
  const answer = await fetch(url)
  assert.equal(await answer.text(), 'ok')
  assert.equal(answer.headers.get('x-request-id'), null)
  assert.ok(seen > 0)
  await end(server)
})

test('a request that something else emits on the server has its id and its line', async () => {
  const inner = createServer((_req, res) => res.end('ok'))
  const innerUrl = await listen(inner)
  await (await fetch(innerUrl)).text()
  const outer = createServer((req, res) => {
    // As an adapter does that hands requests on from somewhere else.
    inner.emit('request', req, res)
  })
  const answer = await fetch(await listen(outer))
  assert.equal(await answer.text(), 'ok')
  assert.equal(logs.of('request_finished').length, 2)
  await end(outer)
  await end(inner)
})

test('a 500 is reported even when its error bears an upstream’s 404', async () => {
  const server = createServer(
    observe((_req, res) => {
      res.statusCode = 500
      res.flushHeaders()
      throw Object.assign(new Error('upstream says no'), { status: 404 })
    }),
  )
  const url = await listen(server)
  await fetch(url)
    .then((answer) => answer.text())
    .catch(() => {})
  assert.equal((await tracker.next()).exception.values.at(-1).value, 'upstream says no')
  await end(server)
})

test('7: an error thrown after the head was sent is the server’s, not the client’s', async () => {
  const server = createServer(
    observe((_req, res) => {
      res.writeHead(200)
      res.write('part', () => {})
      throw new Error('too late for a 500')
    }),
  )
  const url = await listen(server)
  await fetch(url)
    .then((answer) => answer.text())
    .catch(() => {})
  assert.equal((await tracker.next()).exception.values.at(-1).value, 'too late for a 500')
  const [line] = logs.of('request_finished')
  assert.deepEqual([line.status_code, line.reason, line.level], [200, 'error', 'error'])
  await end(server)
})

test('6: an application that destroys what the client has left already blames the client', async () => {
  const leave = new AbortController()
  let closed
  const server = createServer((req, res) => {
    req.on('aborted', () => res.destroy(new Error('the client has gone')))
    closed = once(res, 'close')
    leave.abort()
  })
  const url = await listen(server)
  await assert.rejects(fetch(url, { signal: leave.signal }))
  await closed
  await end(server)
  const [line] = logs.of('request_finished')
  assert.deepEqual([line.status_code, line.reason, line.level], [499, 'client_closed', 'warn'])
  assert.equal(tracker.events.length, 0)
})

/** How many requests the gauge says are in flight. */
async function inFlight(kit) {
  const { text } = await kit.metrics.renderText()
  return Number(/^http_server_active_requests (\d+)$/m.exec(text)[1])
}

const ANSWER = 'HTTP/1.1 202 Accepted\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok'
const DETACHED = {
  'answers by itself': [(socket) => socket.end(ANSWER), 202, undefined],
  'answers by itself in pieces': [
    (socket) => socket.write(ANSWER.slice(0, 20), () => socket.end(ANSWER.slice(20))),
    202,
    undefined,
  ],
  'speaks a protocol of its own': [(socket) => socket.end('hello'), 200, undefined],
  'destroys it with an error': [(socket) => socket.destroy(new Error('own')), 500, 'error'],
  'destroys it': [(socket) => socket.destroy(), 499, 'server_closed'],
  'leaves it to the client, who leaves': [(_socket, client) => client.end(), 499, 'client_closed'],
  'answers in part, then the client leaves': [
    (socket, client) => socket.write(ANSWER.slice(0, -1), () => client.end()),
    202,
    'client_closed',
  ],
}
for (const [what, [act, status, reason]] of Object.entries(DETACHED)) {
  test(`M11: a handler that detaches the socket and ${what} has one line, and the gauge falls`, async () => {
    const kit = init()
    let client
    let closed
    const server = createServer((_req, res) => {
      const { socket } = res
      res.detachSocket(socket)
      closed = new Promise((resolve) => socket.once('close', resolve))
      act(socket, client)
    })
    const { port } = new URL(await listen(server))
    client = connect(Number(port), '127.0.0.1')
    client.on('error', () => {}).resume()
    client.write('GET /detached HTTP/1.1\r\nHost: x\r\n\r\n')
    await once(client, 'close')
    await closed
    await end(server)
    const lines = logs.of('request_finished')
    assert.equal(lines.length, 1)
    assert.deepEqual([lines[0].status_code, lines[0].reason], [status, reason])
    assert.equal(lines[0].error?.message, reason === 'error' ? 'own' : undefined)
    assert.equal(await inFlight(kit), 0)
    if (reason === 'error') await tracker.next()
    assert.equal(tracker.events.length, reason === 'error' ? 1 : 0)
  })
}

test('M11: a response that is detached when its head is out keeps its status', async () => {
  let closed
  const server = createServer((_req, res) => {
    const { socket } = res
    closed = once(socket, 'close')
    res.writeHead(203, { connection: 'close' }).write('a', () => {
      res.detachSocket(socket)
      socket.end('0\r\n\r\n')
    })
  })
  const url = await listen(server)
  await fetch(url).then((answer) => answer.text(), String)
  await closed
  await new Promise(setImmediate)
  await end(server)
  const [line] = logs.of('request_finished')
  assert.deepEqual([line.status_code, line.reason], [203, undefined])
})
