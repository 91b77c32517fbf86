import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { EventEmitter } from 'node:events'
import { statfsSync } from 'node:fs'
import { createServer } from 'node:http'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { disk, eventLoop, http, memory } from '../../dist/esm/health/checks.js'
import { deferred, serve } from './fixture.js'

/** Probes once with one check; returns the answer. */
async function once(check, options = {}) {
  const app = await serve({ checks: { it: check, other: () => 'ok' }, ...options })
  const answer = await app.ready()
  await app.close()
  assert.equal(answer.json.checks.other.status, 'ok', 'the other check is still reported')
  return answer
}

describe('health: verdict', () => {
  test('F18: below the limit is up, above it is timeout', async () => {
    assert.equal((await once(() => sleep(300))).status, 200)
    const { status, json, ms } = await once(() => sleep(1500))
    assert.equal(status, 503)
    assert.equal(json.checks.it.reason, 'timeout')
    assert.ok(ms < 1000, `${ms} ms`)
  })

  test('F19 F20: whatever a check throws or rejects with is 503 error', async () => {
    const hostile = {
      get code() {
        throw new Error('no')
      },
      get message() {
        throw new Error('no')
      },
    }
    const proxy = new Proxy(
      {},
      {
        get() {
          throw new Error('no')
        },
      },
    )
    for (const thrown of [undefined, null, 'text', 7, hostile, proxy, Symbol('x')]) {
      const rejected = await once(() => Promise.reject(thrown))
      assert.deepEqual(rejected.json.checks.it, { status: 'fail', reason: 'error' })
      const sync = await once(() => {
        throw thrown
      })
      assert.deepEqual(sync.json.checks.it, { status: 'fail', reason: 'error' })
    }
  })

  test('F21: what is not known to mean ok is a failure', async () => {
    const throwing = {
      get status() {
        throw new Error('no')
      },
    }
    const cases = [
      [undefined, 'ok'],
      [true, 'ok'],
      ['ok', 'ok'],
      [{ status: 'ok' }, 'ok'],
      [{ status: 'degraded' }, 'degraded'],
      [false, 'fail'],
      [{ status: 'banana' }, 'fail'],
      [{ status: 'fail', reason: 'db-1.internal is down' }, 'fail'],
      ['up', 'fail'],
      [null, 'fail'],
      [{}, 'fail'],
      [1, 'fail'],
      [throwing, 'fail'],
    ]
    for (const [outcome, status] of cases) {
      const { json, body } = await once(() => outcome)
      assert.equal(json.checks.it.status, status)
      assert.ok(!body.includes('internal'))
    }
  })

  test('F22: a check that never settles is asked once, for ever, and is 503 each time', async () => {
    let runs = 0
    const check = () => {
      runs++
      return new Promise(() => {})
    }
    // Its verdict does not expire as one does whose polls were lost.
    const app = await serve({ intervalMs: 100, checks: { it: { check, timeoutMs: 100 } } })
    for (let round = 0; round < 4; round++) {
      const { status, json } = await app.ready()
      assert.equal(status, 503)
      assert.equal(json.checks.it.reason, 'timeout')
      await sleep(300)
    }
    assert.equal(runs, 1)
    await app.close()
  })

  test('F22: a check that never settles holds up no other', async () => {
    let works = true
    const app = await serve({
      intervalMs: 100,
      checks: {
        hangs: { check: () => new Promise(() => {}), timeoutMs: 100, critical: false },
        other: () => works,
      },
    })
    await app.until(200)
    for (const status of [503, 200, 503]) {
      works = status === 200
      assert.ok((await app.until(status)) < 10_000)
    }
    assert.equal((await app.ready()).json.checks.other.reason, 'error')
    await app.close()
  })

  test('a check that begins to hang fails at its threshold of timeouts, and the first one is not seen', async () => {
    for (const failureThreshold of [1, 2, 4]) {
      let hangs = false
      const check = () => (hangs ? new Promise(() => {}) : true)
      const app = await serve({
        intervalMs: 10_000,
        checks: { it: { check, timeoutMs: 150, failureThreshold } },
      })
      await app.until(200)
      hangs = true
      const startMs = performance.now()
      const tookMs = await app.until(503)
      assert.ok(tookMs >= failureThreshold * 150 - 20, `${failureThreshold}: ${tookMs} ms`)
      assert.equal(app.lines.at(-1).reason, 'timeout')
      assert.ok(performance.now() - startMs < 10_000)
      await app.close()
    }
  })

  test('a timeout is not tolerated when the last success is older than one interval', async () => {
    let hangs = false
    const check = () => (hangs ? new Promise(() => {}) : true)
    const app = await serve({
      intervalMs: 200,
      checks: { it: { check, timeoutMs: 150, failureThreshold: 10 } },
    })
    await app.until(200)
    hangs = true
    // Long enough for the success to be old when the next run begins.
    const end = performance.now() + 1000
    while (performance.now() < end);
    const { status, json } = await app.ready()
    assert.equal(status, 503)
    assert.equal(json.checks.it.reason, 'timeout')
    await app.close()
  })

  test('before its first run a check that must work says starting, one that need not says nothing', async () => {
    const app = await serve({ checks: { it: { check: () => true, critical: false } } })
    assert.equal(app.health.verdict().readiness, 'ok')
    app.health.add('other', () => true)
    assert.equal(app.health.verdict().readiness, 'starting')
    assert.equal(app.health.verdict().status, 'fail')
    await app.close()
  })

  test('a run belongs to no request, though a probe starts it', async () => {
    const storage = new AsyncLocalStorage()
    const stores = []
    const app = await serve({ checks: { it: () => void stores.push(storage.getStore()) } })
    const server = createServer((req, res) =>
      storage.run('of the probe', () => app.health.handle(req, res, req.url)),
    )
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
    const url = `http://127.0.0.1:${server.address().port}/api/v1/health/ready`
    assert.equal((await fetch(url)).status, 200)
    assert.deepEqual(stores, [undefined])
    server.closeAllConnections()
    server.close()
    await app.close()
  })

  test('F23: a late result counts for the next answer', async () => {
    const late = deferred()
    const app = await serve({ checks: { it: { check: () => late.promise, timeoutMs: 50 } } })
    assert.equal((await app.ready()).status, 503)
    await sleep(20)
    late.resolve()
    await late.promise
    assert.equal((await app.ready()).status, 200)
    await app.close()
  })

  test('F24: a check that calls back twice, or whose source fails later, harms nobody', async () => {
    const emitter = new EventEmitter()
    const settled = []
    const twice = () =>
      new Promise((resolve, reject) => {
        const callback = (error) => (error ? reject(error) : resolve())
        callback()
        setImmediate(() => settled.push(callback(new Error('a second time'))))
      })
    // As a client does that has an error listener only while it is asked.
    const laterError = () =>
      new Promise((resolve, reject) => {
        emitter.once('error', reject)
        setImmediate(() => {
          resolve('ok')
          settled.push(emitter.emit('error', new Error('after the answer')))
        })
      })
    // A thenable of the check's own, which keeps no promise's rules.
    const wild = () => ({
      // biome-ignore lint/suspicious/noThenProperty: a thenable is what is tested
      then(resolve, reject) {
        resolve()
        reject(new Error('both'))
        setImmediate(() => settled.push(resolve('fail'), reject(new Error('again'))))
        throw new Error('and thrown')
      },
    })
    const unhandled = []
    const note = (error) => unhandled.push(error)
    process.on('unhandledRejection', note)
    process.on('uncaughtException', note)
    const app = await serve({ checks: { twice, laterError, wild } })
    for (let round = 0; round < 3; round++) {
      const { status, json } = await app.ready()
      assert.equal(status, 200)
      for (const check of Object.values(json.checks)) assert.deepEqual(check, { status: 'ok' })
      await sleep(600)
    }
    await app.close()
    process.off('unhandledRejection', note)
    process.off('uncaughtException', note)
    assert.ok(settled.length >= 8)
    assert.deepEqual(unhandled, [])
  })

  test('a check that ends without a word when it is aborted has timed out all the same', async () => {
    const check = (signal) => new Promise((resolve) => signal.addEventListener('abort', resolve))
    const app = await serve({
      checks: { it: { check: (s) => check(s).then(() => {}), timeoutMs: 50 } },
    })
    for (let round = 0; round < 2; round++) {
      assert.equal((await app.ready()).json.checks.it.reason, 'timeout')
      await sleep(30)
    }
    await app.close()
  })

  test('F27: fifty checks of 300 ms run side by side', async () => {
    const names = Array.from({ length: 50 }, (_, index) => [`check${index}`, () => sleep(300)])
    const app = await serve({ checks: Object.fromEntries(names) })
    const { status, ms } = await app.ready()
    assert.equal(status, 200)
    assert.ok(ms < 1500, `${ms} ms`)
    await app.close()
  })

  test('F28: a lost poll makes the verdict stale, and a probe revives it', async (t) => {
    const app = await serve({ intervalMs: 100, checks: { it: () => 'ok' } })
    const { setTimeout: original } = globalThis
    await app.until(200)
    t.after(() => {
      globalThis.setTimeout = original
    })
    globalThis.setTimeout = () => ({ unref() {} })
    await new Promise((resolve) => original(resolve, 500))
    assert.equal(app.health.verdict().reason, 'stale')
    globalThis.setTimeout = original
    await sleep(600)
    assert.equal((await app.ready()).status, 200)
    assert.equal(app.health.verdict().status, 'ok')
    await app.close()
  })

  test('F29: a wall clock that jumps has no effect', async (t) => {
    const app = await serve({ intervalMs: 100, checks: { it: () => 'ok' } })
    await app.until(200)
    const now = Date.now
    t.after(() => {
      Date.now = now
    })
    for (const jump of [-3_600_000, 3_600_000]) {
      Date.now = () => now() + jump
      await sleep(150)
      assert.equal((await app.ready()).status, 200)
      assert.equal(app.health.verdict().status, 'ok')
    }
    await app.close()
  })

  test('F30: one timeout in ten is never seen', async () => {
    let runs = 0
    const check = (signal) =>
      ++runs % 10 === 0
        ? new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
        : 'ok'
    const app = await serve({ intervalMs: 100, checks: { it: { check, timeoutMs: 60 } } })
    await app.until(200)
    while (runs < 25) {
      assert.equal((await app.ready()).status, 200)
      await sleep(20)
    }
    assert.deepEqual(app.lines, [])
    await app.close()
  })

  test('F31: one line at the change, reminders with a count, one line on return', async () => {
    let error = new Error('connect refused')
    const app = await serve(
      {
        intervalMs: 100,
        checks: {
          fine: () => true,
          it: async () => {
            if (error) throw error
          },
        },
      },
      { reminderMs: 300 },
    )
    await app.until(503)
    await sleep(1000)
    error = undefined
    await app.until(200)
    const changes = app.lines.filter(({ event }) => event === 'readiness_changed')
    assert.deepEqual(
      changes.map(({ level, from, to }) => [level, from, to]),
      [
        ['error', 'starting', 'fail'],
        ['info', 'fail', 'ok'],
      ],
    )
    assert.equal(changes[0].error.message, 'connect refused')
    assert.deepEqual(changes[0].checks, { it: 'error' })
    assert.ok(changes[1].down_ms >= 900)
    const reminders = app.lines.filter(({ event }) => event === 'readiness_unchanged')
    assert.ok(reminders.length >= 2 && reminders.length <= 4)
    assert.ok(reminders[0].failed_runs > 1)
    await app.close()
  })

  test('F32: a blocked event loop is not the dependency’s timeout', async () => {
    const app = await serve({ checks: { it: () => sleep(200), quick: () => sleep(10) } })
    const answer = app.ready()
    await sleep(50)
    const until = performance.now() + 1500
    while (performance.now() < until);
    assert.equal((await app.live()).status, 200)
    assert.equal((await answer).status, 200)
    await app.close()
  })

  test('while a check fails, it is asked about every second, also when nobody probes', async () => {
    let works = false
    const app = await serve({ intervalMs: 60_000, checks: { it: () => works } })
    await app.until(503)
    works = true
    const startMs = performance.now()
    while (app.health.verdict().status !== 'ok') {
      assert.ok(performance.now() - startMs < 20_000)
      await sleep(20)
    }
    await app.close()
  })

  test('F31: a reminder counts the failed runs since the line before it, of each time down', async () => {
    let works = true
    let failures = 0
    const lines = []
    const note = (event, fields) => {
      lines.push({ event, expected: failures, ...fields })
      failures = 0
    }
    const app = await serve(
      {
        intervalMs: 100,
        checks: {
          it: () => {
            if (!works) failures++
            return works
          },
        },
      },
      { reminderMs: 250, log: { info: note, warn: note, error: note } },
    )
    for (let round = 0; round < 2; round++) {
      works = true
      await app.until(200)
      works = false
      await app.until(503)
      const count = lines.length
      while (lines.length < count + 3) await sleep(20)
    }
    await app.close()
    const reminders = lines.filter(({ event }) => event === 'readiness_unchanged')
    assert.ok(reminders.length >= 6)
    for (const { failed_runs, expected } of reminders) {
      assert.ok(expected > 0)
      assert.equal(failed_runs, expected)
    }
  })

  test('F32: what a blocked event loop took is given back to the check', async () => {
    const block = (ms) => {
      const until = performance.now() + ms
      while (performance.now() < until);
    }
    // Half of its time is still left after the block.
    const steps = async (count) => {
      for (let step = 0; step < count; step++) await sleep(50)
    }
    const long = await serve({ checks: { it: () => steps(8) } })
    const first = long.ready()
    await sleep(100)
    block(1200)
    assert.equal((await first).status, 200)
    await long.close()
    // The block covers all of its time, and the answer needs a few more turns.
    const turns = async () => {
      await sleep(30)
      for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate)
    }
    let begun
    const hasBegun = new Promise((resolve) => {
      begun = resolve
    })
    const short = await serve({
      checks: {
        it: {
          check() {
            begun()
            return turns()
          },
          timeoutMs: 100,
        },
      },
    })
    const second = short.ready()
    await hasBegun
    block(600)
    assert.equal((await second).status, 200)
    await short.close()
  })

  test('F38 F42: close ends a hanging check at once and leaves nothing behind', async () => {
    let aborted = false
    const check = (signal) =>
      new Promise(() => signal.addEventListener('abort', () => (aborted = true)))
    const app = await serve({ checks: { it: check } })
    const pending = app.ready()
    await sleep(50)
    const startMs = performance.now()
    await app.health.close()
    await app.health.close()
    assert.ok(performance.now() - startMs < 500)
    assert.ok(aborted)
    assert.equal((await pending).status, 503)
    await app.close()
  })

  test('metrics agree with the verdict', async () => {
    const collected = new Map()
    const app = await serve(
      { checks: { it: () => sleep(60), extra: { check: () => false, critical: false } } },
      { metrics: { collect: (metric) => collected.set(metric.name, metric) } },
    )
    await app.ready()
    const read = (name) => {
      const values = []
      collected.get(name).read((value, labels) => values.push([value, labels?.check]))
      return values
    }
    assert.deepEqual(read('health_status'), [[0.5, undefined]])
    assert.deepEqual(read('health_check_status'), [
      [1, 'it'],
      [0, 'extra'],
    ])
    const durations = read('health_check_duration_seconds')
    assert.deepEqual(
      durations.map(([, check]) => check),
      ['it', 'extra'],
    )
    assert.ok(durations[0][0] >= 0.055 && durations[0][0] < 5, `${durations[0][0]} s`)
    assert.ok(durations[1][0] < durations[0][0])
    assert.deepEqual(read('health_transitions_total'), [[1, undefined]])
    await app.close()
  })

  test('disk, memory and event loop judge what they measure', async () => {
    assert.equal((await once(disk('/', { minFreeBytes: 1 }))).status, 200)
    assert.equal(
      (await once(disk('/', { minFreeBytes: 2 ** 60 }))).json.checks.it.reason,
      'disk_full',
    )
    assert.equal((await once(disk('/', { minFreeRatio: 1.01 }))).json.checks.it.reason, 'disk_full')
    assert.equal((await once(disk('/', { minFreeRatio: 0 }))).status, 200)
    const { bavail, blocks } = statfsSync('/')
    assert.equal((await once(disk('/'))).status, bavail < blocks * 0.05 ? 503 : 200)
    assert.equal((await once(disk('/no/such/folder'))).json.checks.it.reason, 'error')
    assert.equal((await once(memory())).status, 200)
    assert.equal((await once(memory({ maxRssBytes: 1 }))).json.checks.it.reason, 'memory')
    assert.equal((await once(memory({ maxHeapRatio: 0.0001 }))).json.checks.it.reason, 'memory')
    assert.equal((await once(memory({ maxRssBytes: 2 ** 50 }))).status, 200)
    assert.equal((await once(eventLoop({ maxDelayMs: 5000 }))).status, 200)
    assert.equal((await once(eventLoop({ maxDelayMs: -10 }))).json.checks.it.reason, 'event_loop')
  })

  test('http wants its status, follows no redirect and tells a closed port', async () => {
    const target = await serve({ checks: { it: () => 'ok' } })
    const url = `http://127.0.0.1:${target.port}`
    assert.equal((await once(http(`${url}/api/v1/health/live/`))).status, 200)
    assert.equal((await once(http(`${url}/none`))).json.checks.it.reason, 'error')
    assert.equal((await once(http(`${url}/none`, { status: 404 }))).status, 200)
    const answers = createServer((req, res) =>
      res.writeHead(Number(req.url.slice(1)), { location: '/200' }).end(),
    )
    await new Promise((resolve) => answers.listen(0, '127.0.0.1', resolve))
    for (const [code, reason] of [
      [204, undefined],
      [302, 'error'],
      [401, 'auth'],
      [403, 'auth'],
      [500, 'error'],
    ]) {
      const { json } = await once(http(`http://127.0.0.1:${answers.address().port}/${code}`))
      assert.equal(json.checks.it.reason, reason, String(code))
    }
    answers.closeAllConnections()
    answers.close()
    await target.close()
    assert.equal((await once(http(url))).json.checks.it.reason, 'refused')
  })
})
