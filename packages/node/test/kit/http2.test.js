// HTTP/2 in Node's compatibility mode, in clear text and by TLS with HTTP/1.1 beside it: the same one
// line and the same numbers as over HTTP/1.1.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import http2 from 'node:http2'
import https from 'node:https'
import { after, afterEach, before, beforeEach, describe, test } from 'node:test'
import { observe } from '../../dist/esm/adapters/node.js'
import { log, setRoute } from '../../dist/esm/index.js'
import { makeCertificate } from '../services/certificate.js'
import { startKit, until } from './kit.js'

const certificate = makeCertificate()
const READY = '/api/v1/health/ready/'

/** Called with the response when a handler that never answers has a request. */
let waits

const handle = observe(async (req, res) => {
  const path = req.url.split('?')[0]
  setRoute(path)
  log.info('in_handler')
  if (path === '/ok') return res.end('ok')
  if (path === '/own-500') return res.writeHead(500).end('no')
  if (path === '/throws') throw new Error('thrown')
  if (path === '/destroys') return res.stream.destroy(new Error('destroyed'))
  if (path === '/late') {
    res.writeHead(200)
    res.write('part')
    return setImmediate(() => res.stream.destroy(new Error('destroyed late')))
  }
  if (path === '/stream') {
    res.writeHead(200)
    res.write('part')
  }
  waits?.()
})

const SERVERS = {
  'clear text': {
    create: () => http2.createServer(handle),
    client: (port) => http2.connect(`http://127.0.0.1:${port}`),
  },
  'TLS with allowHTTP1': {
    create: () => http2.createSecureServer({ ...certificate, allowHTTP1: true }, handle),
    client: (port) => http2.connect(`https://localhost:${port}`, { ca: certificate.cert }),
  },
}

for (const [name, { create, client: connect }] of Object.entries(SERVERS)) {
  describe(`HTTP/2, ${name}`, () => {
    let running
    let server
    let client

    before(async () => {
      running = startKit({ health: { checks: { database: () => true } } })
      server = create().listen(0, '127.0.0.1')
      await once(server, 'listening')
    })
    beforeEach(async () => {
      running.logs.clear()
      running.tracker.clear()
      client = connect(server.address().port)
      client.on('error', () => {})
      await once(client, 'connect')
    })
    afterEach(() => client.destroy())
    after(async () => {
      server.close()
      await running.close()
    })

    /** One request by HTTP/2; resolves when its stream has closed. */
    async function ask(path, { method = 'GET', when, headers } = {}) {
      const stream = client.request({ ':path': path, ':method': method, ...headers })
      let answer
      let body = ''
      stream.on('response', (got) => {
        answer = got
      })
      stream.setEncoding('utf8').on('data', (part) => {
        body += part
      })
      stream.on('error', () => {})
      const closed = new Promise((resolve) => stream.once('close', resolve))
      when?.(stream)
      await closed
      return { status: answer?.[':status'], headers: answer, body }
    }

    async function theLine() {
      await until(() => running.logs.of('request_finished').length > 0)
      await new Promise((resolve) => setImmediate(resolve))
      const lines = running.logs.of('request_finished')
      assert.equal(lines.length, 1)
      return lines[0]
    }

    async function counted(path, status, method = 'GET') {
      const { text } = await running.kit.metrics.renderText()
      const row = `_count{http_request_method="${method}",http_route="${path}",http_response_status_code="${status}"} 1\n`
      assert.ok(text.includes(row), `${row} in\n${text.match(/^http_server.*_count.*$/gm)}`)
      assert.match(text, /^http_server_active_requests 0$/m)
    }

    for (const [path, status, level, message] of [
      ['/ok', 200, 'info', undefined],
      ['/own-500', 500, 'error', undefined],
      ['/throws', 500, 'error', 'thrown'],
    ]) {
      test(`M12: ${path} is one line with ${status}, counted once, none in flight`, async () => {
        const answer = await ask(path)
        assert.equal(answer.status, status)
        const line = await theLine()
        assert.equal(answer.headers['x-request-id'], line.request_id)
        assert.equal(running.logs.of('in_handler')[0].request_id, line.request_id)
        assert.deepEqual(
          [line.status_code, line.level, line.error?.message, line.aborted, line.route],
          [status, level, message, undefined, path],
        )
        if (message !== undefined) await running.tracker.next()
        assert.equal(running.tracker.events.length, message === undefined ? 0 : 1)
        await counted(path, status)
      })
    }

    test('M12: HEAD and a body that nobody reads are whole answers', async () => {
      await ask('/ok', { method: 'HEAD' })
      assert.equal((await theLine()).aborted, undefined)
      await counted('/ok', 200, 'HEAD')
      running.logs.clear()
      await ask('/ok', {
        method: 'POST',
        when: (stream) => stream.end('x'.repeat(100_000)),
      })
      const line = await theLine()
      assert.deepEqual([line.status_code, line.aborted], [200, undefined])
      await counted('/ok', 200, 'POST')
    })

    for (const [path, status] of [
      ['/destroys', 500],
      ['/late', 200],
    ]) {
      test(`M11: ${path}, a stream that the application destroys, is its error, once`, async () => {
        await ask(path)
        const line = await theLine()
        assert.deepEqual([line.status_code, line.level, line.reason], [status, 'error', 'error'])
        assert.match(line.error.message, /^destroyed/)
        assert.equal(running.tracker.events.length, 1)
        await counted(path, status)
      })
    }

    const CODES = http2.constants
    for (const [how, leave] of [
      ['RST_STREAM cancel', (stream) => stream.close(CODES.NGHTTP2_CANCEL)],
      ['RST_STREAM internal error', (stream) => stream.close(CODES.NGHTTP2_INTERNAL_ERROR)],
      ['the end of the session', () => client.destroy()],
    ]) {
      for (const [path, status] of [
        ['/hang', 499],
        ['/stream', 200],
      ]) {
        test(`M10, M12: a client that leaves ${path} by ${how} is one line with ${status}`, async () => {
          const before = running.kit
          await ask(`${path}?${how.length}`, {
            when: (stream) => {
              const go = () => setImmediate(() => leave(stream))
              if (path === '/hang') waits = go
              else stream.once('data', go)
            },
          })
          waits = undefined
          const line = await theLine()
          assert.deepEqual(
            [line.status_code, line.aborted, line.reason, line.level],
            [status, true, 'client_closed', 'warn'],
          )
          assert.equal(running.tracker.events.length, 0)
          const { text } = await before.metrics.renderText()
          assert.match(text, /^http_server_active_requests 0$/m)
        })
      }
    }

    test('H16: the probes answer with the bodies of HTTP/1.1 and leave no line', async () => {
      const answer = await ask(READY, { headers: { 'x-forwarded-for': '203.0.113.9' } })
      assert.equal(answer.status, 200)
      assert.equal(answer.body, '{"status":"ok","checks":{"database":{"status":"ok"}}}')
      const head = await ask(READY, { method: 'HEAD' })
      assert.deepEqual([head.status, head.body], [200, ''])
      assert.match((await ask('/metrics')).body, /http_server_active_requests 0/)
      // :authority stands for Host: its name is not one of this machine.
      const rebound = await ask(READY, { headers: { ':authority': 'rebound.example' } })
      assert.equal(rebound.body, answer.body)
      assert.equal(running.logs.of('request_finished').length, 0)
    })

    if (name !== 'clear text') {
      test('M12: HTTP/1.1 on the same port is one line a request', async () => {
        for (const [path, status] of [
          ['/ok', 200],
          ['/throws', 500],
        ]) {
          running.logs.clear()
          const agent = new https.Agent({ ca: certificate.cert })
          const response = await new Promise((resolve, reject) => {
            https
              .get({ host: 'localhost', port: server.address().port, path, agent }, resolve)
              .on('error', reject)
          })
          response.resume()
          await once(response, 'end')
          const line = await theLine()
          assert.equal(response.statusCode, status)
          assert.equal(line.status_code, status)
          assert.equal(response.headers['x-request-id'], line.request_id)
          agent.destroy()
        }
        const { text } = await running.kit.metrics.renderText()
        assert.match(text, /^http_server_active_requests 0$/m)
      })
    }
  })
}
