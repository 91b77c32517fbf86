// One kit in a process, whoever loads it how often; none when it is off; nothing half-made after a
// bad start; and nothing that holds the process.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { describe, test } from 'node:test'
import { request } from '../contract/harness.js'
import { receiverOf, run, runSource, startService } from './process.js'

const event = (name) => (line) => line.event === name

/** Serves one request to itself at `path`, then closes the server: a program that can end by itself. */
const SERVE_ONE = `
async function serveOne(path, handle = (_req, res) => res.end('ok')) {
  const http = await import('node:http')
  const server = http.createServer(handle)
  await new Promise((done) => server.listen(0, '127.0.0.1', done))
  const response = await fetch('http://127.0.0.1:' + server.address().port + path)
  const answer = { status: response.status, id: response.headers.get('x-request-id'), body: await response.text() }
  await new Promise((done) => { server.close(done); server.closeAllConnections() })
  return answer
}
`

describe('one kit', { concurrency: 6 }, () => {
  test('17, M20: init twice, and by the ESM and the CJS copy: one of everything, one warning', async (t) => {
    const receiver = await receiverOf(t)
    const result = await runSource(
      `
      import { createRequire } from 'node:module'
      import * as esm from '@telltale/node'
      ${SERVE_ONE}
      const cjs = createRequire(process.cwd() + '/x.js')('@telltale/node')
      const kit = esm.init({ service: 'one' })
      const again = [esm.init({ service: 'two' }), cjs.init({ service: 'three' })]
      const listeners = ['SIGTERM', 'SIGINT', 'uncaughtExceptionMonitor'].map((name) => process.listenerCount(name))
      esm.counter({ name: 'jobs_total', help: 'Jobs.' }).inc()
      cjs.counter({ name: 'jobs_total', help: 'Jobs.' }).inc()
      const error = new Error('once')
      const answer = await serveOne('/x', (_req, res) => {
        esm.bind({ a: 1 })
        cjs.bind({ b: 2 })
        esm.log.info('by_esm')
        cjs.log.info('by_cjs')
        esm.captureException(error)
        cjs.captureException(error)
        res.end('ok')
      })
      esm.setLevel('error')
      cjs.log.warn('quiet')
      cjs.setLevel('debug')
      esm.log.debug('loud')
      const metrics = await serveOne('/metrics')
      // On stderr: a log line of this length would be cut.
      process.stderr.write('RESULT ' + JSON.stringify({
        same: again.map((other) => other === kit), sameLog: esm.log === cjs.log, listeners, answer, metrics: metrics.body,
      }) + '\\n')
      await kit.close()
      `,
      { env: { SENTRY_DSN: receiver.dsn }, options: {} },
    )
    assert.equal(result.code, 0, result.stderr)
    const seen = JSON.parse(/^RESULT (.*)$/m.exec(result.stderr)[1])
    assert.deepEqual(seen.same, [true, true])
    assert.equal(seen.sameLog, true)
    assert.deepEqual(seen.listeners, [2, 1, 1])
    assert.equal(result.lines.filter(event('telltale_started')).length, 1)
    const [finished, ...more] = result.lines.filter(event('request_finished'))
    assert.deepEqual(more, [])
    assert.deepEqual([finished.a, finished.b, finished.service], [1, 2, 'one'])
    for (const name of ['by_esm', 'by_cjs']) {
      assert.equal(result.lines.find(event(name)).request_id, seen.answer.id)
    }
    assert.equal(result.lines.filter(event('quiet')).length, 0)
    assert.equal(result.lines.filter(event('loud')).length, 1)
    assert.match(seen.metrics, /^jobs_total 2$/m)
    assert.equal(
      seen.metrics.match(/^http_server_request_duration_seconds_count.* (\d+)$/gm).length,
      1,
    )
    assert.match(seen.metrics, /^http_server_request_duration_seconds_count.* 1$/m)
    assert.equal(result.stderr.match(/^telltale: TELLTALE_E_INIT_TWICE/gm).length, 1)
    assert.equal(receiver.events().length, 1)
  })

  for (const [name, options, env] of [
    ['enabled: false', '{ service: "off", enabled: false }', {}],
    ['TELLTALE_ENABLED=0', '{ service: "off" }', { TELLTALE_ENABLED: '0' }],
  ]) {
    test(`H18: ${name}: no routes, no header, no lines but the application's, no listener`, async (t) => {
      const receiver = await receiverOf(t)
      const result = await runSource(
        `
        import * as kit from '@telltale/node'
        ${SERVE_ONE}
        const before = process.eventNames().length
        const telltale = kit.init(${options})
        const answers = []
        for (const path of ['/x', '/api/v1/health/live/', '/metrics', '/sentry-debug/']) {
          answers.push(await serveOne(path, (req, res) => {
            kit.bind({ a: 1 })
            kit.setUser({ id: 1 })
            kit.captureException(new Error('nobody hears'))
            if (req.url === '/x') kit.log.info('mine', { n: 1 })
            res.end('app')
          }))
        }
        console.log(JSON.stringify({ answers, started: telltale.started(), flushed: await telltale.flush() }))
        `,
        { env: { SENTRY_DSN: receiver.dsn, ...env } },
      )
      assert.equal(result.code, 0, result.stderr)
      assert.equal(result.stderr, '')
      assert.equal(result.lines.length, 2, result.raw.join('\n'))
      assert.deepEqual([result.lines[0].event, result.lines[0].n], ['mine', 1])
      for (const answer of result.lines[1].answers) {
        assert.deepEqual(answer, { status: 200, id: null, body: 'app' })
      }
      assert.equal(receiver.requests.length, 0)
    })

    test(`H18: ${name}: signals and crashes are as Node has them`, async () => {
      const head = `import { init, log } from '@telltale/node'\ninit(${options})\n`
      const killed = await runSource(
        `${head}log.info('last'); setInterval(() => {}, 1000); process.kill(process.pid, 'SIGTERM')`,
        { env },
      )
      assert.deepEqual([killed.signal, killed.raw.length], ['SIGTERM', 1])
      const crashed = await runSource(`${head}setTimeout(() => { throw new Error('bare') }, 1)`, {
        env,
      })
      assert.deepEqual([crashed.code, crashed.raw], [1, []])
      assert.match(crashed.stderr, /Error: bare/)
    })
  }

  test('close, then init again: the second kit is whole, the first left nothing', async (t) => {
    const receiver = await receiverOf(t)
    const result = await runSource(
      `
      import dc from 'node:diagnostics_channel'
      import * as kit from '@telltale/node'
      ${SERVE_ONE}
      const CHANNELS = ['http.server.request.start', 'net.server.socket', 'undici:request:create', 'http.client.request.start']
      const listened = () => ({
        channels: CHANNELS.map((name) => dc.hasSubscribers(name)),
        listeners: Object.fromEntries(process.eventNames().filter((name) => name !== 'exit').map((name) => [String(name), process.listenerCount(name)])),
        console: console.log.name + console.warn.name,
      })
      const rounds = []
      for (let i = 0; i < 3; i++) {
        const before = listened()
        const telltale = kit.init({ service: 'round' + i })
        const during = listened()
        const error = new Error('round ' + i)
        const answer = await serveOne('/r' + i, (_req, res) => {
          kit.captureException(error)
          kit.log.info('in_round')
          res.statusCode = 201
          res.end('ok')
        })
        await telltale.close()
        await telltale.close()
        const bare = await serveOne('/bare')
        rounds.push({ before, during, after: listened(), answer, bare })
      }
      console.log(JSON.stringify({ rounds }))
      `,
      { env: { SENTRY_DSN: receiver.dsn } },
    )
    assert.equal(result.code, 0, result.stderr)
    const { rounds } = result.lines.at(-1)
    for (const [i, { before, during, after, answer, bare }] of rounds.entries()) {
      assert.deepEqual(after, rounds[0].before, `round ${i}`)
      assert.deepEqual(before, rounds[0].before)
      assert.deepEqual(during.channels.slice(0, 2), [true, true])
      assert.equal(answer.status, 201)
      assert.equal(bare.id, null)
      const [finished, ...more] = result.lines.filter(
        (line) => line.event === 'request_finished' && line.service === `round${i}`,
      )
      assert.deepEqual([more.length, finished.request_id, finished.path], [0, answer.id, `/r${i}`])
    }
    assert.deepEqual(
      receiver.events().map((seen) => seen.exception.values[0].value),
      ['round 0', 'round 1', 'round 2'],
    )
  })

  test('F42: import, init, one request, server closed: the process ends by itself', async (t) => {
    const receiver = await receiverOf(t)
    const programs = [
      `import { init } from '@telltale/node'\ninit({ service: 'x' })`,
      `import { init } from '@telltale/node'
      ${SERVE_ONE}
      init({ service: 'x', health: { checks: { a: () => true } }, management: { port: 0 } })
      await serveOne('/x')`,
      `import { captureException, init } from '@telltale/node'
      init({ service: 'x' })
      captureException(new Error('seen'))`,
    ]
    const results = await Promise.all(
      programs.map((program) => {
        const started = run(['--input-type=module', '-e', program], {
          env: { SENTRY_DSN: receiver.dsn },
        })
        const timer = setTimeout(() => started.child.kill('SIGKILL'), 20_000)
        return started.ended.finally(() => clearTimeout(timer))
      }),
    )
    assert.deepEqual(
      results.map(({ code, signal }) => [code, signal]),
      [
        [0, null],
        [0, null],
        [0, null],
      ],
    )
  })

  test('a bad start names every fault at once, each with value and remedy, and leaves nothing', async () => {
    const result = await runSource(
      `
      import dc from 'node:diagnostics_channel'
      import { init, log } from '@telltale/node'
      ${SERVE_ONE}
      const listened = () => JSON.stringify([
        ['http.server.request.start', 'net.server.socket', 'undici:request:create'].map((name) => dc.hasSubscribers(name)),
        process.eventNames().map((name) => [String(name), process.listenerCount(name)]),
        console.log.toString(), console.error.toString(),
      ])
      const before = listened()
      let fault
      try {
        init({
          sevrice: 'shop',
          errors: { dsn: 'http://nowhere', sampleRate: '10%' },
          trace: { sampleRate: 2 },
          health: { checks: { database: 7 } },
          shutdown: { timeoutMs: -1, closers: [1] },
          management: { port: 70000 },
        })
      } catch (error) {
        fault = error
      }
      const clean = listened() === before
      const { id } = await serveOne('/x')
      process.stdout.write(JSON.stringify({
        name: fault.name, code: fault.code, message: fault.message, faults: fault.faults, clean, id,
      }) + '\\n')
      for (const name of ['LOG_LEVEL', 'TELLTALE_SHUTDOWN']) delete process.env[name]
      init({ service: 'second' })
      log.info('well', {})
      `,
      { env: { LOG_LEVEL: 'loud', TELLTALE_SHUTDOWN: 'perhaps' } },
    )
    assert.equal(result.code, 0, result.stderr)
    const [fault, started, well] = result.lines
    assert.deepEqual([fault.name, fault.code], ['TelltaleError', 'TELLTALE_E_OPTION'])
    for (const [name, value] of [
      ['options.sevrice', ''],
      ['options.errors.dsn', 'http://nowhere'],
      ['options.errors.sampleRate', '"10%"'],
      ['options.trace.sampleRate', '2'],
      ['options.health.checks', '7'],
      ['options.shutdown.timeoutMs', '-1'],
      ['options.shutdown.closers', '1'],
      ['options.management.port', '70000'],
      ['LOG_LEVEL', '"loud"'],
      ['TELLTALE_SHUTDOWN', '"perhaps"'],
    ]) {
      const one = fault.faults.find(({ message }) => message.startsWith(name))
      assert.ok(one?.message.includes(value), `${name} in ${fault.message}`)
      assert.ok(one.remedy.length > 10 && fault.message.includes(one.remedy), name)
    }
    assert.equal(fault.faults.length, 10)
    assert.match(fault.message, /Pass 0\.1 for 10%\./)
    assert.equal(fault.clean, true)
    assert.equal(fault.id, null)
    assert.deepEqual([started.event, well.event], ['telltale_started', 'well'])
    assert.equal(result.stderr.includes('TELLTALE_E_INIT_TWICE'), false)
  })

  test('F40: a management port that is taken is a clear fault, and the application starts', async (t) => {
    const taken = createServer().listen(0, '127.0.0.1')
    await once(taken, 'listening')
    t.after(() => taken.close())
    const { port } = taken.address()
    const service = await startService({ options: { management: { port } } })
    assert.equal((await request(service.port, '/ok')).status, 200)
    service.kill()
    const { code, stderr } = await service.ended
    assert.equal(code, 0)
    assert.match(stderr, new RegExp(`TELLTALE_E_PORT: .*127.0.0.1:${port}: .*EADDRINUSE`))
  })
})
