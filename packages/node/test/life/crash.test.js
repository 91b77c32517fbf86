// A crash through init: the fatal line, the requests cut off, the event at a real receiver, the exit.
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { request } from '../contract/harness.js'
import { startSentryReceiver } from '../receivers/sentry.js'
import { receiverOf, run, runSource, startService } from './process.js'

const event = (name) => (line) => line.event === name
const DEATHS = [
  {
    path: '/crash',
    name: 'an uncaught exception',
    line: 'uncaught_exception',
    mechanism: 'onuncaughtexception',
    error: ['TypeError', 'late throw'],
  },
  {
    path: '/reject',
    name: 'an unhandled rejection',
    line: 'unhandled_rejection',
    mechanism: 'onunhandledrejection',
    error: ['RangeError', 'not awaited'],
  },
]

describe('crash', { concurrency: 6 }, () => {
  let receiver
  let spoolDir
  before(async () => {
    receiver = await startSentryReceiver()
    spoolDir = mkdtempSync(join(tmpdir(), 'telltale-life-'))
  })
  after(async () => {
    await receiver.close()
    rmSync(spoolDir, { recursive: true, force: true })
  })

  const eventsOf = (id) => receiver.events().filter(({ tags }) => tags?.request_id === id)

  for (const server of ['express', 'http']) {
    for (const kind of ['esm.mjs', 'cjs.cjs']) {
      for (const { path, name, line, mechanism, error } of DEATHS) {
        test(`36, K6: ${server} ${kind.slice(0, 3)}: ${name} in a request`, async () => {
          const id = `life-${server}-${kind.slice(0, 3)}${path.slice(1)}`
          const other = `${id}-other`
          const service = await startService({
            kind,
            env: { LIFE_SERVER: server, SENTRY_DSN: receiver.dsn },
            options: { trace: { sampleRate: 0 } },
          })
          const waiting = request(service.port, '/wait?ms=20000', {
            headers: { 'x-request-id': other },
          })
          const lost = assert.rejects(waiting, { code: 'ECONNRESET' })
          await service.lines.wait(event('waiting'))
          const crashing = request(service.port, `${path}?user=ada`, {
            headers: { 'x-request-id': id },
          })
          await Promise.all([assert.rejects(crashing), lost])
          const { code, lines, stderr, afterMs } = await service.ended

          assert.equal(code, 1)
          const [fatal, ...more] = lines.filter(event(line))
          assert.deepEqual(more, [])
          assert.deepEqual(
            [fatal.level, fatal.request_id, fatal.tenant, fatal.error.type, fatal.error.message],
            ['fatal', id, 't1', ...error],
          )
          const cutOff = lines.filter(event('request_interrupted'))
          assert.deepEqual(
            cutOff.map((each) => [each.request_id, each.path, each.reason]),
            [
              [other, '/wait', 'crash'],
              [id, path, 'crash'],
            ],
          )
          assert.equal(lines.filter(event('request_finished')).length, 0)

          const [seen, ...others] = eventsOf(id)
          assert.deepEqual(others, [])
          const [value] = seen.exception.values
          assert.deepEqual([value.type, value.value], error)
          assert.deepEqual([value.mechanism.type, value.mechanism.handled], [mechanism, false])
          assert.deepEqual(
            [seen.level, seen.user.id, seen.tags.plan, seen.tags.service],
            ['fatal', 'ada', 'gold', 'life'],
          )
          assert.match(seen.request.url, new RegExp(`${path}`))
          assert.ok(value.stacktrace.frames.at(-1).filename.endsWith('service.cjs'))
          assert.match(value.stacktrace.frames.at(-1).context_line, /throw new|Promise\.reject/)

          const told = stderr.replace(/^listening.*\n/, '')
          assert.match(
            told,
            new RegExp(`service\\.cjs:\\d+\\n.*\\n +\\^\\n\\n${error.join(': ')}\\n {4}at `),
          )
          assert.match(told, /\n\nNode\.js v\d+\.\d+\.\d+\n$/)
          assert.ok(afterMs < 20_000)
        })
      }
    }
  }

  test('K6: stderr of a crash is the same with and without the kit', async () => {
    const own = await run(['fixtures/bare-crash.mjs']).ended
    const plain = await run(['fixtures/bare-crash.mjs'], { env: { LIFE_BARE: '1' } }).ended
    assert.deepEqual([own.code, plain.code], [1, 1])
    assert.equal(own.stderr, plain.stderr)
  })

  test('K9: one error by log.error, captureException and a crash is one event', async () => {
    const id = 'life-three-ways'
    const service = await startService({
      env: { SENTRY_DSN: receiver.dsn },
    })
    await assert.rejects(request(service.port, '/three-ways', { headers: { 'x-request-id': id } }))
    const { code, lines } = await service.ended
    assert.equal(code, 1)
    assert.equal(lines.filter(event('order_failed')).length, 1)
    assert.equal(lines.filter(event('uncaught_exception')).length, 1)
    assert.equal(eventsOf(id).length, 1)
  })

  test('K14: a tracker that hangs holds a crash for two seconds; the event comes at the next start', async (t) => {
    const hanging = await receiverOf(t)
    hanging.answer(() => ({ hang: true }))
    const folder = join(spoolDir, 'hanging')
    const options = { errors: { spoolDir: folder } }
    const service = await startService({ env: { SENTRY_DSN: hanging.dsn }, options })
    const startMs = performance.now()
    await assert.rejects(request(service.port, '/crash'))
    const { code, lines } = await service.ended
    const tookMs = performance.now() - startMs
    assert.equal(code, 1)
    assert.equal(lines.filter(event('uncaught_exception')).length, 1)
    assert.ok(tookMs > 1900 && tookMs < 6000, `${tookMs}`)
    assert.ok(readdirSync(folder, { recursive: true }).length > 0)
    hanging.answer(() => undefined)
    const next = await startService({ env: { SENTRY_DSN: hanging.dsn }, options })
    const item = await hanging.next(({ type }) => type === 'event')
    assert.equal(item.payload.exception.values[0].value, 'late throw')
    assert.equal(item.payload.tags.service, 'life')
    next.kill()
    await next.ended
    assert.equal(hanging.events().length, 1)
  })

  test('K4: process.exit(0) right after a capture: the event is spooled and sent at the next start', async (t) => {
    const tracker = await receiverOf(t)
    const folder = join(spoolDir, 'exit')
    const source = (rest) => `
      import { captureException, init } from '@telltale/node'
      init({ service: 'x', errors: { spoolDir: ${JSON.stringify(folder)} } })
      ${rest}
    `
    const env = { SENTRY_DSN: tracker.dsn }
    const first = await runSource(
      source("captureException(new Error('last words')); process.exit(0)"),
      { env },
    )
    assert.equal(first.code, 0)
    const second = run(['--input-type=module', '-e', source('process.stdin.resume()')], { env })
    const item = await tracker.next(({ type }) => type === 'event')
    assert.equal(item.payload.exception.values[0].value, 'last words')
    second.kill()
    await second.ended
  })

  test("K6: an application's own handlers keep the process alive, and the kit has the events", async (t) => {
    const tracker = await receiverOf(t)
    const result = await runSource(
      `
      import { init, log } from '@telltale/node'
      const kit = init({ service: 'x' })
      process.on('uncaughtException', (error) => log.warn('mine', { message: error.message }))
      process.on('unhandledRejection', (reason) => log.warn('mine', { message: reason.message }))
      setTimeout(() => { throw new Error('one') }, 1)
      setTimeout(() => { Promise.reject(new Error('two')) }, 20)
      setTimeout(async () => { log.info('alive'); await kit.close() }, 60)
      `,
      { env: { SENTRY_DSN: tracker.dsn } },
    )
    assert.equal(result.code, 0)
    assert.deepEqual(
      result.lines.filter(({ event: name }) => name === 'mine').map(({ message }) => message),
      ['one', 'two'],
    )
    assert.ok(result.lines.some(event('alive')))
    assert.equal(result.lines.filter(({ level }) => level === 'fatal').length, 0)
    assert.deepEqual(
      // They are made in their own time, so the order may turn.
      tracker
        .events()
        .map((each) => [each.level, each.exception.values[0].value])
        .sort(),
      [
        ['error', 'one'],
        ['error', 'two'],
      ],
    )
  })

  test('an error in a timer outside any request is fatal and has no request', async (t) => {
    const tracker = await receiverOf(t)
    const result = await runSource(
      `
      import { init } from '@telltale/node'
      init({ service: 'x' })
      setTimeout(() => { throw new Error('nobody asked') }, 5)
      `,
      { env: { SENTRY_DSN: tracker.dsn } },
    )
    assert.equal(result.code, 1)
    const fatal = result.lines.find(event('uncaught_exception'))
    assert.equal('request_id' in fatal, false)
    const [seen] = tracker.events()
    assert.deepEqual(
      [seen.level, seen.request, seen.tags.request_id],
      ['fatal', undefined, undefined],
    )
  })

  test('what is thrown may be anything: text, null, undefined, a symbol', async () => {
    for (const value of ["'just text'", 'null', 'undefined', "Symbol('s')"]) {
      const result = await runSource(
        `import { init } from '@telltale/node'
        init({ service: 'x' })
        setTimeout(() => { throw ${value} }, 5)`,
      )
      assert.equal(result.code, 1, value)
      assert.equal(result.lines.filter(event('uncaught_exception')).length, 1, value)
      assert.match(result.stderr, /Uncaught:\n/, value)
    }
  })

  test('a worker thread that dies takes the main thread with it, as Node has it: one event, exit 1', async (t) => {
    const tracker = await receiverOf(t)
    const result = await runSource(
      `
      import { Worker } from 'node:worker_threads'
      import { init } from '@telltale/node'
      init({ service: 'x' })
      new Worker("setTimeout(() => { throw new RangeError('in the worker') }, 5)", { eval: true })
      `,
      { env: { SENTRY_DSN: tracker.dsn } },
    )
    assert.equal(result.code, 1)
    const fatal = result.lines.find(event('uncaught_exception'))
    assert.deepEqual([fatal.error.type, fatal.error.message], ['RangeError', 'in the worker'])
    assert.equal(tracker.events().length, 1)
  })

  test('a crash in a worker thread that has a kit of its own loses neither line nor event', async (t) => {
    const tracker = await receiverOf(t)
    const program = run(['fixtures/worker.mjs'], {
      env: { SENTRY_DSN: tracker.dsn, LIFE_SPOOL: join(spoolDir, 'worker') },
    })
    const item = await tracker.next(({ type }) => type === 'event')
    assert.equal(item.payload.exception.values[0].value, 'in a worker with a kit')
    program.child.stdin.end()
    const { code, lines } = await program.ended
    assert.equal(code, 0)
    assert.ok(lines.some(event('worker_gone')))
    assert.equal(lines.filter(event('uncaught_exception')).length, 1)
    assert.equal(tracker.events().length, 1)
  })
})
