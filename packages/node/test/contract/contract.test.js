// One suite for every framework, on real servers in processes of their own. Numbers are those of
// the checks in the project's fact sheets: 1–36 the request and its context, M10–M12 and M26 the
// metrics that are written from the same record, K1 errors, H the health endpoints.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import WebSocket from 'ws'
import { startSentryReceiver } from '../receivers/sentry.js'
import { APPS, raw, request, startApp } from './harness.js'

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
const finished = (id) => (line) => line.event === 'request_finished' && line.request_id === id
const onPath = (path) => (line) => line.event === 'request_finished' && line.path === path

/** A port that nothing listens on. */
async function closedPort() {
  const server = http.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return port
}

const only = process.env.CONTRACT_APP
for (const app of APPS.filter(({ name }) => only === undefined || name === only)) {
  describe(app.name, () => {
    let kit
    let receiver
    before(async () => {
      receiver = await startSentryReceiver()
      kit = await startApp({ args: app.args, env: { SENTRY_DSN: receiver.dsn } })
    })
    after(async () => {
      await kit?.stop()
      await receiver?.close()
    })

    async function get(path, options) {
      const response = await request(kit.port, path, options)
      const id = response.headers['x-request-id']
      const line = await kit.lines.wait(finished(id))
      return { ...response, id, line }
    }

    it('1: a request writes exactly one request_finished with the agreed fields', async () => {
      const { id, line } = await get('/ok')
      assert.equal(kit.lines.ofRequest(id).length, 1)
      assert.match(id, UUID)
      assert.equal(line.method, 'GET')
      assert.equal(line.path, '/ok')
      assert.equal(line.route, '/ok')
      assert.equal(line.status_code, 200)
      assert.equal(typeof line.latency_ms, 'number')
      assert.ok(line.latency_ms >= 0)
      assert.match(line.timestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
      assert.equal(line.level, 'info')
      assert.equal(line.service, 'contract')
      assert.equal(line.release, '1.0.0')
      assert.match(line.trace_id, /^[0-9a-f]{32}$/)
      assert.match(line.span_id, /^[0-9a-f]{16}$/)
      assert.equal('aborted' in line, false)
    })

    it('1: a line of the handler carries the same id, before the end line', async () => {
      const { id } = await get('/log')
      const lines = kit.lines.ofRequest(id)
      assert.deepEqual(
        lines.map((line) => line.event),
        ['in_handler', 'request_finished'],
      )
      assert.equal(lines[0].trace_id, lines[1].trace_id)
      assert.equal(lines[0].n, 1)
    })

    it('2: the header equals the id of the line for every kind of answer', async () => {
      for (const [path, options, status] of [
        ['/ok', {}, 200],
        ['/missing', {}, 404],
        ['/boom', {}, 500],
        ['/not-modified', {}, 304],
        ['/ok', { method: 'HEAD' }, 200],
        ['/stream', {}, 200],
      ]) {
        const { status: got, line } = await get(path, options)
        assert.equal(got, status, path)
        assert.equal(line.status_code, status, path)
        assert.equal(line.method, options.method ?? 'GET')
      }
    })

    it('3, 4: thrown, rejected and forwarded errors come with their cause, once, on the end line', async () => {
      for (const path of ['/boom', '/reject', '/fail']) {
        const { id, line, status } = await get(path)
        assert.equal(status, 500, path)
        assert.equal(line.level, 'error', path)
        assert.equal(line.error.message, 'boom', path)
        assert.match(line.error.stack, /routes\.mjs|start\.mjs/, path)
        assert.equal(line.error.cause.message, 'root cause', path)
        assert.equal(
          kit.lines.ofRequest(id).filter((l) => JSON.stringify(l).includes('boom (')).length <= 1,
          true,
        )
        assert.equal(kit.lines.ofRequest(id).filter((l) => l.error?.stack).length, 1, path)
      }
    })

    it('3: an error that the application answers itself is still the real one', async () => {
      const { line, status } = await get('/handled')
      assert.equal(status, 500)
      assert.equal(line.error.message, 'handled by the application')
    })

    it('4: an error thrown by the error handler keeps the first one on the line', async () => {
      const { line, status } = await get('/error-in-handler')
      assert.equal(status, 500)
      assert.equal(line.error.message, 'first')
    })

    it('K1: each route error is one event with METHOD /route/:id, headers and tags', async () => {
      for (const [path, route] of [
        ['/users/7/boom', '/users/:id/boom'],
        ['/api/users/7/boom', '/api/users/:id/boom'],
        ['/tenants/acme/users/7/boom', '/tenants/:tenant/users/:id/boom'],
        ['/api/reject', '/api/reject'],
      ]) {
        const { id, line } = await get(`${path}?token=SECRET`, {
          headers: { 'user-agent': 'probe/1', cookie: 'a=SECRET', authorization: 'Bearer SECRET' },
        })
        assert.equal(line.route, route)
        const mine = (item) => item.type === 'event' && item.payload.tags?.request_id === id
        const { payload } = await receiver.next(mine)
        assert.equal(payload.transaction, `GET ${route}`)
        assert.equal(payload.exception.values.at(-1).value, 'boom')
        assert.equal(payload.exception.values.length, 2)
        assert.equal(payload.request.method, 'GET')
        assert.equal(
          payload.request.headers['user-agent'] ?? payload.request.headers['User-Agent'],
          'probe/1',
        )
        assert.equal(payload.contexts.trace.trace_id, line.trace_id)
        assert.equal(JSON.stringify(payload).includes('SECRET'), false)
        assert.equal(receiver.items.filter(mine).length, 1)
      }
    })

    it('a client error is told on the line but is not an event of the tracker', async () => {
      const { id, line } = await get('/teapot')
      assert.equal(line.status_code, 418)
      assert.equal(
        receiver.items.some(
          (item) => item.type === 'event' && item.payload.tags?.request_id === id,
        ),
        false,
      )
    })

    it('a sampled request sends one transaction with the numbers of its line', async () => {
      const { id, line } = await get('/users/42')
      assert.equal(line.route, '/users/:id')
      const { payload } = await receiver.next(
        (item) => item.type === 'transaction' && item.payload.tags.request_id === id,
      )
      assert.equal(payload.transaction, 'GET /users/:id')
      assert.equal(payload.contexts.trace.trace_id, line.trace_id)
      assert.equal(payload.contexts.trace.span_id, line.span_id)
      assert.ok(
        Math.abs((payload.timestamp - payload.start_timestamp) * 1000 - line.latency_ms) < 0.01,
      )
    })

    it('5: an unknown route has its path and no route', async () => {
      const { line, status } = await get('/no/such/thing')
      assert.equal(status, 404)
      assert.equal(line.route, null)
      assert.ok(['info', 'warn'].includes(line.level))
    })

    it('a mounted route has the template of its mount path, never the value', async () => {
      assert.equal((await get('/api/users/1')).line.route, '/api/users/:id')
      assert.equal((await get('/tenants/acme/users/1')).line.route, '/tenants/:tenant/users/:id')
    })

    it('6, M10: a client that leaves before the answer is one line with 499', async () => {
      await raw(kit.port, 'GET /hang?6 HTTP/1.1\r\nHost: x\r\n\r\n', { closeAfterMs: 60 })
      const line = await kit.lines.wait((l) => onPath('/hang')(l) && l.reason === 'client_closed')
      assert.equal(line.status_code, 499)
      assert.equal(line.aborted, true)
      assert.equal(line.level, 'warn')
      assert.ok(line.latency_ms > 20 && line.latency_ms < 2500)
      await sleep(100)
      assert.equal(
        kit.lines.ofRequest(line.request_id).filter((l) => l.event === 'request_finished').length,
        1,
      )
    })

    it('7: a client that leaves in mid-stream keeps the status that it got', async () => {
      await raw(kit.port, 'GET /endless HTTP/1.1\r\nHost: x\r\n\r\n', { closeAfterMs: 80 })
      const line = await kit.lines.wait(onPath('/endless'))
      assert.equal(line.status_code, 200)
      assert.equal(line.aborted, true)
      assert.equal(line.reason, 'client_closed')
      assert.equal(line.level, 'warn')
    })

    it('3, 7, M11: an answer that the application destroys with an error is that error, once', async () => {
      for (const [how, status, message] of [
        ['response', 500, 'cut by response'],
        ['request', 500, 'cut by request'],
        ['socket', 500, 'cut by socket'],
        ['upstream', 500, 'read ECONNRESET'],
        ['late', 200, 'cut by late'],
      ]) {
        await raw(kit.port, `GET /cut/${how} HTTP/1.1\r\nHost: x\r\n\r\n`)
        const line = await kit.lines.wait(onPath(`/cut/${how}`))
        assert.equal(line.status_code, status, how)
        assert.equal(line.reason, 'error', how)
        assert.equal(line.aborted, true, how)
        assert.equal(line.level, 'error', how)
        assert.equal(line.route, `/cut/${how}`)
        assert.equal(line.error.message, message, how)
        const mine = (item) =>
          item.type === 'event' && item.payload.tags?.request_id === line.request_id
        const { payload } = await receiver.next(mine)
        assert.equal(payload.exception.values.at(-1).value, message, how)
        await receiver.next(
          (item) => item.type === 'transaction' && item.payload.tags.request_id === line.request_id,
        )
        assert.equal(receiver.items.filter(mine).length, 1, how)
        assert.equal(kit.lines.all.filter(onPath(`/cut/${how}`)).length, 1, how)
      }
      await raw(kit.port, 'GET /cut/silent HTTP/1.1\r\nHost: x\r\n\r\n')
      const silent = await kit.lines.wait(onPath('/cut/silent'))
      assert.equal(silent.status_code, 499)
      assert.equal(silent.reason, 'server_closed')
      const { body } = await request(kit.port, '/metrics')
      for (const [how, status] of [
        ['response', 500],
        ['late', 200],
        ['silent', 499],
      ])
        assert.ok(
          body.includes(
            `_count{http_request_method="GET",http_route="/cut/${how}",http_response_status_code="${status}"} 1\n`,
          ),
          how,
        )
    })

    it('8: a client that leaves in mid-upload is one line with 499', async () => {
      await raw(
        kit.port,
        'POST /upload?8 HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabcd',
        { closeAfterMs: 60 },
      )
      const line = await kit.lines.wait((l) => onPath('/upload')(l) && l.reason === 'client_closed')
      assert.equal(line.status_code, 499)
      assert.equal(
        kit.lines.ofRequest(line.request_id).filter((l) => l.event === 'request_finished').length,
        1,
      )
    })

    it("9: a request that outlasts the server's limit says timeout", async () => {
      await raw(kit.port, 'POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabcd')
      const line = await kit.lines.wait((l) => onPath('/upload')(l) && l.reason === 'timeout')
      assert.equal(line.aborted, true)
      assert.equal(
        kit.lines.ofRequest(line.request_id).filter((l) => l.event === 'request_finished').length,
        1,
      )
    })

    it('10, 23: what the parser refuses is one request_rejected; the answer stays Node’s', async () => {
      const seen = kit.lines.all.filter((l) => l.event === 'request_rejected').length
      const garbage = await raw(kit.port, 'NOT HTTP\r\n\r\n')
      assert.match(garbage, /^HTTP\/1\.1 400 Bad Request/)
      await kit.lines.wait((l) => l.event === 'request_rejected' && l.code === 'HPE_INVALID_METHOD')
      const huge = await raw(
        kit.port,
        `GET / HTTP/1.1\r\nHost: x\r\nX-Big: ${'a'.repeat(20_000)}\r\n\r\n`,
      )
      assert.match(huge, /^HTTP\/1\.1 431/)
      await kit.lines.wait(
        (l) => l.event === 'request_rejected' && l.code === 'HPE_HEADER_OVERFLOW',
      )
      for (const bad of ['\x00', '\x1b', '\x7f']) {
        const answer = await raw(
          kit.port,
          `GET /ok HTTP/1.1\r\nHost: x\r\nX-Request-ID: abcdefgh${bad}\r\n\r\n`,
        )
        assert.match(answer, /^HTTP\/1\.1 400/)
      }
      await kit.lines.wait((l) => l.event === 'request_rejected', seen + 5)
      assert.equal(kit.lines.all.filter((l) => l.event === 'request_rejected').length, seen + 5)
    })

    it('11: two pipelined requests are two lines with two ids', async () => {
      const answer = await raw(
        kit.port,
        'GET /users/p1 HTTP/1.1\r\nHost: x\r\n\r\nGET /users/p2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
      )
      const ids = [...answer.matchAll(/x-request-id: (\S+)/gi)].map((match) => match[1])
      assert.equal(new Set(ids).size, 2)
      for (const id of ids) await kit.lines.wait(finished(id))
    })

    it('11: a client that leaves with a pipelined request unanswered gets both lines', async () => {
      await raw(
        kit.port,
        'GET /hang?a HTTP/1.1\r\nHost: x\r\n\r\nGET /users/piped HTTP/1.1\r\nHost: x\r\n\r\n',
        { closeAfterMs: 60 },
      )
      await kit.lines.wait(onPath('/users/piped'))
      await sleep(30)
      assert.equal(kit.lines.all.filter(onPath('/users/piped')).length, 1)
    })

    it('11: a hundred requests on one connection have a hundred ids', async () => {
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
      const ids = new Set()
      for (let i = 0; i < 100; i++)
        ids.add((await request(kit.port, '/ok', { agent })).headers['x-request-id'])
      agent.destroy()
      assert.equal(ids.size, 100)
    })

    it('12: a server-sent stream is one line at its end with its whole latency', async () => {
      const { line } = await get('/sse')
      assert.ok(line.latency_ms >= 290, String(line.latency_ms))
    })

    it('12: a WebSocket upgrade is one line with 101, and its messages keep the context', async () => {
      const socket = new WebSocket(`ws://127.0.0.1:${kit.port}/ws/chat`)
      await once(socket, 'open')
      const line = await kit.lines.wait(onPath('/ws/chat'))
      assert.equal(line.status_code, 101)
      socket.send('hello')
      await once(socket, 'message')
      const message = await kit.lines.wait((l) => l.event === 'ws_message' && l.text === 'hello')
      assert.equal(message.request_id, line.request_id)
      socket.close()
      await once(socket, 'close')
      assert.equal(kit.lines.all.filter(onPath('/ws/chat')).length, 1)
    })

    it('12: a refused upgrade is one line with the status it got', async () => {
      const answer = await raw(
        kit.port,
        'GET /other HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
      )
      assert.match(answer, /^HTTP\/1\.1 401/)
      const line = await kit.lines.wait(onPath('/other'))
      assert.equal(line.status_code, 401)
    })

    it('13: HEAD, OPTIONS * and CONNECT do no harm', async () => {
      await raw(kit.port, 'OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
      const line = await kit.lines.wait(
        (l) => l.event === 'request_finished' && l.method === 'OPTIONS',
      )
      assert.equal(line.path, '*')
      await raw(kit.port, 'CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n', {
        closeAfterMs: 100,
      })
      assert.equal((await get('/ok')).status, 200)
    })

    it('14: odd request targets neither throw nor leak', async () => {
      await raw(kit.port, 'GET //evil.com/a?b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
      await kit.lines.wait(onPath('//evil.com/a'))
      await raw(
        kit.port,
        'GET http://user:pass@h/p?q HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
      )
      await kit.lines.wait(onPath('/p'))
      await raw(kit.port, 'GET /%ZZ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
      await kit.lines.wait(onPath('/%ZZ'))
      await raw(
        kit.port,
        `GET /${'a'.repeat(5000)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
      )
      const long = await kit.lines.wait((l) => l.path_truncated === true)
      assert.equal(long.path.length, 2048)
      assert.equal(
        kit.raw.some((text) => text.includes('pass@') || text.includes('user:')),
        false,
      )
    })

    it('15: a secret in the query is in no line, not even those of an error', async () => {
      await get('/boom?token=QUERYSECRET&q=1', {
        headers: { referer: 'http://h/?token=QUERYSECRET' },
      })
      assert.equal(
        kit.raw.some((text) => text.includes('QUERYSECRET')),
        false,
      )
    })

    it('16: successful probes are quiet, failing ones are not', async () => {
      for (let i = 0; i < 200; i++) await request(kit.port, '/healthz')
      const bad = await request(kit.port, '/healthz?bad')
      const line = await kit.lines.wait(finished(bad.headers['x-request-id']))
      assert.equal(line.status_code, 503)
      assert.equal(kit.lines.all.filter(onPath('/healthz')).length, 1)
    })

    it('18–24: an incoming id is kept when it is sound, else replaced without harm', async () => {
      const good = '3f2b8c1e-7a54-4f3e-9d10-0123456789ab'
      assert.equal((await get('/ok', { headers: { 'X-Request-ID': good } })).id, good)
      for (const bad of [
        '',
        'short',
        'a'.repeat(12_000),
        'a\tb"\\cdefgh',
        '__proto__',
        'constructor',
        `$${'{'}jndi:ldap://x}`,
        '<script>alert(1)</script>',
        '../../etc/passwd',
      ]) {
        const { id, line } = await get('/ok', { headers: { 'X-Request-ID': bad } })
        assert.match(id, UUID, bad.slice(0, 20))
        assert.ok(JSON.stringify(line).length < 2048)
        assert.ok(bad === '' || line.request_id_in === bad.slice(0, 64), bad.slice(0, 20))
      }
      const twice = await raw(
        kit.port,
        'GET /ok HTTP/1.1\r\nHost: x\r\nX-Request-ID: abcdefgh1\r\nX-Request-ID: abcdefgh2\r\nConnection: close\r\n\r\n',
      )
      assert.match(/x-request-id: (\S+)/i.exec(twice)[1], UUID)
      const obs = await raw(
        kit.port,
        'GET /ok HTTP/1.1\r\nHost: x\r\nX-Request-ID: abcdefgh\x80\xff\r\nConnection: close\r\n\r\n',
      )
      assert.match(/x-request-id: (\S+)/i.exec(obs)[1], UUID)
    })

    it('26: a broken traceparent is ignored, a sound one continued with a new span', async () => {
      const trace = '0af7651916cd43dd8448eb211c80319c'
      const span = 'b7ad6b7169203331'
      for (const bad of [
        `00-${'0'.repeat(32)}-${span}-01`,
        `00-${trace}-${'0'.repeat(16)}-01`,
        `00-${trace.toUpperCase()}-${span}-01`,
        `ff-${trace}-${span}-01`,
        `00-${trace}-${span}`,
        `00-${trace}-${span}-01-extra`,
        'x'.repeat(500),
      ]) {
        const { line } = await get('/ok', { headers: { traceparent: bad } })
        assert.notEqual(line.trace_id, trace, bad)
      }
      const { line } = await get('/ok', { headers: { traceparent: `00-${trace}-${span}-01` } })
      assert.equal(line.trace_id, trace)
      assert.notEqual(line.span_id, span)
      const sentry = await get('/ok', { headers: { 'sentry-trace': `${trace}-${span}-1` } })
      assert.equal(sentry.line.trace_id, trace)
    })

    it('27: every kind of asynchronous callback has the id', async () => {
      const { id } = await get('/context')
      const events = new Set(kit.lines.ofRequest(id).map((line) => line.event))
      for (const event of [
        'handler',
        'after_await',
        'set_timeout',
        'set_immediate',
        'next_tick',
        'microtask',
        'promise_then',
        'fs_callback',
        'crypto_callback',
        'dns_callback',
        'async_generator',
        'stream_pipeline',
        'worker_reply',
      ]) {
        assert.ok(events.has(event), event)
      }
    })

    it('28: after a large body, in end and close of the request, the id is there', async () => {
      const { id, body } = await get('/echo', { method: 'POST', body: 'x'.repeat(200_000) })
      assert.equal(body, '{"bytes":200000}')
      await kit.lines.wait((l) => l.event === 'request_close' && l.request_id === id)
      const end = await kit.lines.wait(
        (l) => l.event === 'request_end' && l.bytes === 200_000 && l.request_id === id,
      )
      assert.ok(end)
    })

    it('28: the events of the response have the id too', async () => {
      const { id } = await get('/response-events')
      for (const event of ['response_finish', 'response_close']) {
        await kit.lines.wait((l) => l.event === event && l.request_id === id)
      }
    })

    it('29: five hundred concurrent requests never mix their lines', async () => {
      const marks = Array.from({ length: 500 }, (_, i) => `m${i}`)
      const answers = await Promise.all(marks.map((mark) => request(kit.port, `/chatter/${mark}`)))
      for (const { status } of answers) assert.equal(status, 200)
      const byId = new Map(answers.map((answer, i) => [answer.headers['x-request-id'], marks[i]]))
      await kit.lines.wait((l) => l.event === 'chatter', 10_000, 30_000)
      for (const line of kit.lines.all) {
        if (line.event === 'chatter') assert.equal(byId.get(line.request_id), line.mark)
      }
    })

    it('30: a timer started in a request keeps its id', async () => {
      const { id } = await get('/interval')
      const tick = await kit.lines.wait((l) => l.event === 'interval_tick' && l.request_id === id)
      assert.ok(tick)
    })

    it('34: fields bound in a nested function are on later lines and the end line, nowhere else', async () => {
      const { id, line } = await get('/bind')
      assert.equal(line.user_id, 'u1')
      assert.equal(kit.lines.ofRequest(id).find((l) => l.event === 'after_bind').user_id, 'u1')
      assert.equal('user_id' in (await get('/ok')).line, false)
    })

    it('35: bind after the end is kept off the sent line and harms nothing', async () => {
      const { id, line } = await get('/late')
      assert.equal('too' in line, false)
      const late = await kit.lines.wait((l) => l.event === 'late_line' && l.request_id === id)
      assert.ok(late)
      assert.match(kit.stderr(), /TELLTALE_E_BIND_AFTER_END/)
    })

    it('H1–H6, H11: health answers before the application, and leaves no trace', async () => {
      for (const path of [
        '/api/v1/health/live/',
        '/api/v1/health/live',
        '/api/v1/health/live?x=1',
      ]) {
        const answer = await request(kit.port, path)
        assert.equal(answer.status, 200, path)
        assert.equal(JSON.parse(answer.body).status, 'ok')
        assert.equal(answer.headers['cache-control'], 'no-store')
      }
      const head = await request(kit.port, '/api/v1/health/ready/', { method: 'HEAD' })
      assert.equal(head.status, 200)
      assert.equal(head.body, '')
      const post = await request(kit.port, '/api/v1/health/ready/', { method: 'POST' })
      assert.equal(post.status, 405)
      assert.match(post.headers.allow, /GET/)
      for (const path of [
        '/api/v1/health/live/extra',
        '/API/V1/health/live/',
        '//api/v1/health/live/',
      ]) {
        assert.equal((await request(kit.port, path)).status, 404, path)
      }
      assert.equal(
        kit.lines.all.some(
          (l) =>
            l.event === 'request_finished' && /^\/api\/v1\/health\/(live|ready)\/?$/.test(l.path),
        ),
        false,
      )
    })

    it('M5–M7, M11, M26: the histogram holds the numbers of the lines, bounded by routes', async () => {
      await sleep(50)
      for (let i = 0; i < 50; i++) await request(kit.port, `/nowhere/${i}`)
      await sleep(50)
      const scrape = await request(kit.port, '/metrics')
      assert.equal(scrape.status, 200)
      const rows = [
        ...scrape.body.matchAll(
          /^http_server_request_duration_seconds_(count|sum)\{([^}]*)\} (\S+)$/gm,
        ),
      ]
      const counted = new Map()
      const summed = new Map()
      for (const [, kind, labels, value] of rows)
        (kind === 'count' ? counted : summed).set(labels, Number(value))
      const expected = new Map()
      const lines = kit.lines.all.filter(
        (l) => l.event === 'request_finished' && l.path !== '/healthz',
      )
      for (const line of lines) {
        const key = `${line.method} ${line.route ?? 'unmatched'} ${line.status_code}`
        const entry = expected.get(key) ?? { count: 0, ms: 0 }
        entry.count++
        entry.ms += line.latency_ms
        expected.set(key, entry)
      }
      for (const [labels, count] of counted) {
        const read = (name) => new RegExp(`${name}="([^"]*)"`).exec(labels)[1]
        const key = `${read('http_request_method')} ${read('http_route')} ${read('http_response_status_code')}`
        assert.equal(count, expected.get(key)?.count, key)
        assert.ok(
          Math.abs(summed.get(labels) * 1000 - expected.get(key).ms) < 0.01 * count + 0.01,
          key,
        )
        expected.delete(key)
      }
      assert.deepEqual([...expected.keys()], [])
      assert.match(scrape.body, /^http_server_active_requests(\{[^}]*\})? 0$/m)
      assert.equal(/nowhere|acme|\/users\/\d/.test(scrape.body), false)
    })

    it('42, K20: outgoing calls carry the ids once, by every client', async () => {
      const seen = []
      const peer = http.createServer((req, res) => {
        seen.push(req.rawHeaders)
        res.setHeader('content-type', 'application/json')
        res.end('{"peer":true}')
      })
      await new Promise((done) => peer.listen(0, '127.0.0.1', done))
      const url = `http://127.0.0.1:${peer.address().port}/?secret=1`
      for (const library of ['fetch', 'undici', 'http', 'axios', 'got']) {
        seen.length = 0
        const { id, line } = await get(`/out/${library}?url=${encodeURIComponent(url)}`)
        assert.equal(line.status_code, 200, library)
        assert.equal(seen.length, 1, library)
        const names = seen[0].filter((_, i) => i % 2 === 0).map((name) => name.toLowerCase())
        const value = (name) => seen[0][names.indexOf(name) * 2 + 1]
        for (const name of ['traceparent', 'sentry-trace', 'x-request-id']) {
          assert.equal(names.filter((n) => n === name).length, 1, `${library} ${name}`)
        }
        assert.equal(value('x-request-id'), id, library)
        assert.equal(value('traceparent').split('-')[1], line.trace_id, library)
        assert.equal(line.http_out_count, 1, library)
        assert.ok(line.http_out_ms > 0, library)
      }
      peer.close()
    })

    it('43: a failing outgoing call is the application’s own error, on one line', async () => {
      const { line, status } = await get(
        `/out/fetch?url=${encodeURIComponent(`http://127.0.0.1:${await closedPort()}/`)}`,
      )
      assert.equal(status, 500)
      assert.equal(line.error.message, 'fetch failed')
      assert.equal(line.http_out_count, 1)
    })

    it('no line of the run is anything but one JSON object', () => {
      assert.deepEqual(
        kit.lines.all.filter((line) => 'unparsable' in line),
        [],
      )
      for (const line of kit.lines.all) assert.equal(typeof line.event, 'string')
    })

    it('/sentry-debug/ is a real division by zero that reaches the tracker', async () => {
      const { id, status, line, body } = await get('/sentry-debug/')
      assert.equal(status, 500)
      assert.match(JSON.parse(body).request_id, UUID)
      assert.equal(line.error.type, 'RangeError')
      const { payload } = await receiver.next(
        (item) => item.type === 'event' && item.payload.tags?.request_id === id,
      )
      assert.equal(payload.exception.values.at(-1).value, 'Division by zero')
      assert.equal(payload.transaction, 'GET /sentry-debug/')
    })
  })
}
