// From SIGTERM to the end of the process, through init, with real processes and clients.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import http2 from 'node:http2'
import { connect } from 'node:net'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import WebSocket from 'ws'
import { request } from '../contract/harness.js'
import { receiverOf, run, startService } from './process.js'

const READY = '/api/v1/health/ready/'
const LIVE = '/api/v1/health/live/'
const event = (name) => (line) => line.event === name

/** Asks again and again over one kept connection until the answer says that it closes. */
async function hammer(port, results, client) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  try {
    for (;;) {
      const { status, headers } = await request(port, '/ok', { agent })
      results.push({ client, status, close: headers.connection === 'close' })
      if (headers.connection === 'close') return
    }
  } finally {
    agent.destroy()
  }
}

/** Opens a connection, sends a request and reads nothing of the answer until told. */
function silentClient(port, path) {
  const socket = connect(port, '127.0.0.1')
  socket.pause()
  socket.on('error', () => {})
  socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`)
  return socket
}

describe('shutdown', { concurrency: 8 }, () => {
  test('F34: SIGTERM while idle: ready 503 at the next request, live 200, then exit 0', async () => {
    const service = await startService({ options: { shutdown: { drainDelayMs: 700 } } })
    assert.equal((await request(service.port, READY)).status, 200)
    service.kill()
    await service.lines.wait(event('shutdown_started'))
    const ready = await request(service.port, READY)
    assert.equal(ready.status, 503)
    assert.equal(JSON.parse(ready.body).status, 'draining')
    assert.equal((await request(service.port, LIVE)).status, 200)
    assert.equal((await request(service.port, '/ok')).headers.connection, 'close')
    const { code, signal, lines, afterMs } = await service.ended
    assert.deepEqual([code, signal], [0, null])
    assert.ok(afterMs >= 690, `${afterMs}`)
    const last = lines.at(-1)
    assert.deepEqual([last.event, last.level, last.forced], ['shutdown_finished', 'info', false])
  })

  test('F34: a server that never had a connection drains and ends as well', async () => {
    const service = await startService({ options: { shutdown: { drainDelayMs: 500 } } })
    service.kill()
    await service.lines.wait(event('shutdown_started'))
    assert.equal((await request(service.port, READY)).status, 503)
    const idle = await startService()
    idle.kill()
    assert.deepEqual([(await service.ended).code, (await idle.ended).code], [0, 0])
  })

  for (const drainDelayMs of [0, 500]) {
    test(`F35: under load nothing fails while the port is open (drain delay ${drainDelayMs} ms)`, async () => {
      const service = await startService({ options: { shutdown: { drainDelayMs } } })
      const results = []
      const slow = request(service.port, '/wait?ms=1500', {
        agent: new http.Agent({ keepAlive: true }),
      })
      const clients = Array.from({ length: 10 }, (_, i) => hammer(service.port, results, i))
      await service.lines.wait(event('waiting'))
      // A connection that nobody has accepted yet is reset with the port.
      while (new Set(results.map(({ client }) => client)).size < 10) await sleep(10)
      await sleep(100)
      service.kill()
      await Promise.all(clients)
      assert.equal(results.filter(({ status }) => status !== 200).length, 0)
      assert.ok(results.length > 20, `${results.length}`)
      assert.equal(results.filter(({ close }) => close).length, 10)
      const { status, body, headers } = await slow
      assert.deepEqual([status, body, headers.connection], [200, 'done', 'close'])
      const { code, lines } = await service.ended
      assert.equal(code, 0)
      assert.equal(lines.filter(event('request_finished')).length, results.length + 1)
      assert.equal(lines.at(-1).event, 'shutdown_finished')
      assert.equal(lines.filter(event('request_interrupted')).length, 0)
    })
  }

  test('F35: a large answer that is still being read is not cut off', async () => {
    const service = await startService()
    const bytes = 32_000_000
    const socket = silentClient(service.port, `/big?bytes=${bytes}`)
    await once(socket, 'connect')
    await sleep(200)
    service.kill()
    await service.lines.wait(event('shutdown_started'))
    await sleep(300)
    let read = 0
    socket.on('data', (part) => {
      read += part.length
    })
    socket.resume()
    await once(socket, 'close')
    assert.ok(read > bytes, `${read}`)
    assert.equal((await service.ended).code, 0)
  })

  test('F36: a client that never reads is cut off at the deadline; exit code and log say so', async () => {
    const service = await startService({ options: { shutdown: { timeoutMs: 1200 } } })
    const socket = silentClient(service.port, '/big?bytes=64000000')
    await once(socket, 'connect')
    await sleep(200)
    service.kill()
    const { code, lines, afterMs } = await service.ended
    socket.destroy()
    assert.equal(code, 143)
    assert.ok(afterMs >= 600 && afterMs < 4000, `${afterMs}`)
    const [interrupted] = lines.filter(event('request_interrupted'))
    assert.deepEqual(
      [interrupted.path, interrupted.reason, interrupted.level],
      ['/big', 'shutdown', 'warn'],
    )
    assert.match(interrupted.request_id, /^[0-9a-f-]{36}$/)
    assert.equal(lines.filter(event('request_finished')).length, 0)
    const last = lines.at(-1)
    assert.deepEqual([last.event, last.level, last.forced], ['shutdown_finished', 'warn', true])
  })

  test('F36: a stream without end is cut off at the deadline', async () => {
    const service = await startService({ options: { shutdown: { timeoutMs: 800 } } })
    const stream = http.get({ port: service.port, host: '127.0.0.1', path: '/stream' })
    stream.on('error', () => {})
    const [response] = await once(stream, 'response')
    response.on('error', () => {}).resume()
    service.kill()
    const { code, lines } = await service.ended
    assert.equal(code, 143)
    assert.equal(lines.filter(event('request_interrupted')).length, 1)
  })

  for (const signal of ['SIGTERM', 'SIGINT']) {
    test(`F37: a second ${signal} ends it at once, with all lines`, async () => {
      const service = await startService()
      request(service.port, '/wait?ms=20000').catch(() => {})
      await service.lines.wait(event('waiting'))
      service.kill('SIGTERM')
      await service.lines.wait(event('shutdown_started'))
      await sleep(400)
      service.kill(signal)
      const { code, lines, afterMs } = await service.ended
      assert.equal(code, signal === 'SIGTERM' ? 143 : 130)
      assert.ok(afterMs < 2000, `${afterMs}`)
      assert.equal(lines.filter(event('request_interrupted')).length, 1)
      const last = lines.at(-1)
      assert.deepEqual([last.event, last.forced], ['shutdown_finished', true])
    })
  }

  test('F37: a second signal ends it at once also beside a listener that does nothing', async () => {
    const service = await startService({ env: { LIFE_LISTENER: 'passive' } })
    request(service.port, '/wait?ms=20000').catch(() => {})
    await service.lines.wait(event('waiting'))
    service.kill('SIGTERM')
    await service.lines.wait(event('shutdown_started'))
    await sleep(400)
    service.kill('SIGTERM')
    const { code, afterMs } = await service.ended
    assert.equal(code, 143)
    assert.ok(afterMs < 2000, `${afterMs}`)
  })

  test('a signal to the primary of a cluster drains the workers, and no request is lost', async () => {
    const program = run(['fixtures/cluster.mjs'])
    const port = await new Promise((resolve) => {
      program.child.stderr.on('data', () => {
        const match = /listening (\d+)/.exec(program.stderr())
        if (match) resolve(Number(match[1]))
      })
    })
    const answer = request(port, '/')
    await program.lines.wait(event('waiting'))
    program.kill('SIGTERM')
    assert.equal((await answer).body, 'done')
    const { code, lines } = await program.ended
    assert.equal(code, 0)
    assert.equal(lines.filter(event('request_finished')).length, 1)
    assert.equal(lines.filter(event('shutdown_finished')).length, 2)
  })

  test('F37: Ctrl-C that comes twice at once, by the terminal and by npm, is one signal', async () => {
    const service = await startService()
    const slow = request(service.port, '/wait?ms=800')
    await service.lines.wait(event('waiting'))
    service.kill('SIGINT')
    await sleep(20)
    service.child.kill('SIGINT')
    assert.equal((await slow).status, 200)
    assert.equal((await service.ended).code, 0)
  })

  test('SIGINT shuts down as SIGTERM does', async () => {
    const service = await startService()
    service.kill('SIGINT')
    const { code, lines } = await service.ended
    assert.equal(code, 0)
    assert.equal(lines.find(event('shutdown_started')).signal, 'SIGINT')
  })

  test('closers run in order, each after the one before; a failing one does not stop the rest', async () => {
    const service = await startService({
      env: { LIFE_CLOSERS: 'first,throwing,rejecting,second' },
    })
    service.kill()
    const { code, lines, stderr } = await service.ended
    assert.equal(code, 0)
    assert.deepEqual(
      lines.map((line) => line.event).filter((name) => /closed|closer/.test(name)),
      ['closed_first', 'shutdown_closer_failed', 'shutdown_closer_failed', 'closed_second'],
    )
    const failed = lines.filter(event('shutdown_closer_failed'))
    assert.deepEqual(
      failed.map((line) => [line.closer, line.error.message]),
      [
        ['throwing', 'no closing today'],
        ['rejecting', 'refused to close'],
      ],
    )
    const last = lines.at(-1)
    assert.deepEqual([last.level, last.closers_failed, last.forced], ['warn', 2, false])
    assert.match(stderr, /TELLTALE_E_SHUTDOWN/)
  })

  test('F38: a closer that hangs ends with the deadline, and those after it still run', async () => {
    const service = await startService({
      options: { shutdown: { timeoutMs: 900 } },
      env: { LIFE_CLOSERS: 'hanging,hanging,second' },
    })
    service.kill()
    const { code, lines, afterMs } = await service.ended
    assert.equal(code, 0)
    assert.ok(afterMs < 3000, `${afterMs}`)
    assert.equal(lines.filter(event('closed_second')).length, 1)
    assert.equal(lines.at(-1).closers_failed, 2)
    assert.match(lines.find(event('shutdown_closer_failed')).error.message, /did not finish within/)
  })

  test('F38: a health check that hangs does not delay the exit', async () => {
    const service = await startService({
      args: ['--import', './fixtures/hanging-check.mjs'],
    })
    request(service.port, READY).catch(() => {})
    await sleep(100)
    service.kill()
    const { code, afterMs } = await service.ended
    assert.equal(code, 0)
    assert.ok(afterMs < 700, `${afterMs}`)
  })

  test('the exit code that the application set is kept', async () => {
    const service = await startService({ env: { LIFE_EXIT_CODE: '3' } })
    service.kill()
    assert.equal((await service.ended).code, 3)
  })

  test("an application's own listener has the last word; closers and lines still run", async () => {
    const service = await startService({
      env: { LIFE_LISTENER: 'exits', LIFE_CLOSERS: 'second' },
    })
    service.kill()
    const { code, lines } = await service.ended
    assert.equal(code, 7)
    const names = lines.map((line) => line.event)
    for (const name of ['shutdown_started', 'own_listener', 'closed_second', 'shutdown_finished']) {
      assert.ok(names.includes(name), name)
    }
  })

  test("an application's own server.close() gets no error from the kit's shutdown", async () => {
    const service = await startService({ env: { LIFE_LISTENER: 'closes' } })
    await request(service.port, '/ok', { agent: new http.Agent({ keepAlive: true }) })
    service.kill()
    assert.equal((await service.ended).code, 8)
  })

  test('a listener that never ends the process holds it until the deadline, no longer', async () => {
    const service = await startService({
      options: { shutdown: { timeoutMs: 900 } },
      env: { LIFE_LISTENER: 'stays' },
    })
    service.kill()
    const { code, lines, afterMs } = await service.ended
    assert.equal(code, 143)
    assert.ok(afterMs >= 850 && afterMs < 4000, `${afterMs}`)
    assert.equal(lines.at(-1).event, 'shutdown_overdue')
  })

  test('with shutdown.enabled false SIGTERM is as Node has it, and the lines are out', async () => {
    const service = await startService({ options: { shutdown: { enabled: false } } })
    await request(service.port, '/ok')
    service.kill()
    const { code, signal, lines } = await service.ended
    assert.deepEqual([code, signal], [null, 'SIGTERM'])
    assert.equal(lines.filter(event('request_finished')).length, 1)
    assert.equal(lines.filter(event('shutdown_started')).length, 0)
  })

  test('K14: a tracker that hangs delays the exit by no more than the flush; K5: what is unsent goes to disk', async (t) => {
    const receiver = await receiverOf(t)
    receiver.answer(() => ({ hang: true }))
    const service = await startService({ env: { SENTRY_DSN: receiver.dsn } })
    await request(service.port, '/report')
    service.kill()
    const { code, afterMs } = await service.ended
    assert.equal(code, 0)
    assert.ok(afterMs < 4500, `${afterMs}`)
    receiver.answer(() => undefined)
    const next = await startService({ env: { SENTRY_DSN: receiver.dsn } })
    const item = await receiver.next(({ type }) => type === 'event')
    assert.equal(item.payload.exception.values[0].value, 'reported')
    next.kill()
    await next.ended
  })

  test('K5: a tracker that is up has everything before the process ends', async (t) => {
    const receiver = await receiverOf(t)
    const service = await startService({ env: { SENTRY_DSN: receiver.dsn } })
    for (let i = 0; i < 5; i++) await request(service.port, '/report')
    service.kill()
    assert.equal((await service.ended).code, 0)
    assert.ok(receiver.events().length >= 1)
  })

  test('a tracker that is down does not hold the process', async (t) => {
    const receiver = await receiverOf(t)
    await receiver.close()
    const service = await startService({
      env: { SENTRY_DSN: receiver.dsn },
      options: { errors: { spoolDir: false } },
    })
    await request(service.port, '/report')
    service.kill()
    const { code, afterMs } = await service.ended
    assert.equal(code, 0)
    assert.ok(afterMs < 4500, `${afterMs}`)
  })

  test('open WebSockets do not hold the shutdown; a closer can say goodbye to them', async () => {
    for (const [LIFE_CLOSERS, expected] of [
      ['', 1006],
      ['sockets', 1001],
    ]) {
      const service = await startService({ env: { LIFE_SERVER: 'ws', LIFE_CLOSERS } })
      const socket = new WebSocket(`ws://127.0.0.1:${service.port}/`)
      await once(socket, 'open')
      const closed = once(socket, 'close')
      service.kill()
      assert.equal((await closed)[0], expected)
      const { code, lines, afterMs } = await service.ended
      assert.equal(code, 0)
      assert.ok(afterMs < 3000, `${afterMs}`)
      assert.equal(lines.at(-1).forced, false)
    }
  })

  test('HTTP/2: the stream in flight completes and the session is told to go away', async () => {
    const service = await startService({ env: { LIFE_SERVER: 'http2' } })
    const session = http2.connect(`http://127.0.0.1:${service.port}`)
    session.on('error', () => {})
    const goaway = once(session, 'goaway')
    const stream = session.request({ ':path': '/wait?ms=600' })
    await service.lines.wait(event('waiting'))
    service.kill()
    let body = ''
    stream.setEncoding('utf8').on('data', (part) => {
      body += part
    })
    await once(stream, 'end')
    assert.equal(body, 'done')
    await goaway
    const { code, lines, afterMs } = await service.ended
    assert.equal(code, 0)
    assert.ok(afterMs < 3000, `${afterMs}`)
    assert.equal(lines.filter(event('request_finished')).length, 1)
    assert.equal(lines.at(-1).forced, false)
  })

  test('two hundred idle connections are closed without a wait', async () => {
    const service = await startService()
    const sockets = Array.from({ length: 200 }, () => connect(service.port, '127.0.0.1'))
    for (const socket of sockets) socket.write('GET /ok HTTP/1.1\r\nHost: x\r\n\r\n')
    await Promise.all(sockets.map((socket) => once(socket, 'data')))
    const closed = Promise.all(sockets.map((socket) => once(socket.resume(), 'close')))
    service.kill()
    await closed
    const { code, afterMs } = await service.ended
    assert.equal(code, 0)
    assert.ok(afterMs < 2000, `${afterMs}`)
  })
})
