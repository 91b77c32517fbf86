import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { faultCounts, TelltaleError } from '../../dist/esm/faults.js'
import { BASE, deferred, serve } from './fixture.js'

describe('health endpoints', () => {
  let app
  let runs = 0
  before(async () => {
    app = await serve({
      token: 'the-right-token',
      checks: {
        database: () => {
          runs++
        },
      },
    })
  })
  after(() => app.close())

  test('H1: live answers 200 with status ok, as JSON, never cached, fast', async () => {
    await app.live()
    const times = []
    for (let round = 0; round < 20; round++) {
      const { status, json, headers, ms } = await app.live()
      assert.equal(status, 200)
      assert.deepEqual(json, { status: 'ok' })
      assert.equal(headers['content-type'], 'application/json')
      assert.equal(headers['cache-control'], 'no-store')
      times.push(ms)
    }
    assert.ok(times.sort((a, b) => a - b)[10] < 20, `median ${times[10]} ms`)
  })

  test('H2: with and without slash, with a query: 200 and never a redirect', async () => {
    for (const name of ['live', 'ready', 'startup']) {
      for (const tail of ['', '/', '?x=1', '/?x=1']) {
        const { status, json } = await app.get(`${BASE}/${name}${tail}`)
        assert.equal(status, 200, `${name}${tail}`)
        assert.equal(json.status, 'ok')
      }
    }
  })

  test('H3: HEAD answers the status and headers of GET without a body', async () => {
    for (const name of ['live', 'ready', 'startup']) {
      const full = await app.get(`${BASE}/${name}/`)
      const head = await app.get(`${BASE}/${name}/`, { method: 'HEAD' })
      assert.equal(head.status, full.status)
      assert.equal(head.body, '')
      assert.equal(head.headers['content-length'], String(Buffer.byteLength(full.body)))
      assert.equal(head.headers['content-type'], full.headers['content-type'])
      assert.equal(head.headers['cache-control'], 'no-store')
    }
  })

  test('H4: other methods get 405 with Allow, and no check is run', async () => {
    const before = runs
    for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']) {
      for (const name of ['live', 'ready', 'startup']) {
        const { status, headers } = await app.get(`${BASE}/${name}`, { method })
        assert.equal(status, 405)
        assert.equal(headers.allow, 'GET, HEAD')
      }
    }
    assert.equal(runs, before)
  })

  test('H5: any other path is the application’s', async () => {
    const paths = ['/live/extra', '/liv', '/live//', '', '/', '/LIVE', '/%6Cive/']
    for (const path of paths.map((tail) => BASE + tail)) {
      assert.equal((await app.get(path)).body, 'the application', path)
    }
    for (const path of [
      '/API/V1/health/live/',
      '//api/v1/health/live/',
      '/',
      '/x?/api/v1/health/live',
    ]) {
      assert.equal((await app.get(path)).body, 'the application', path)
    }
  })

  test('H7: ready shows names and statuses to a foreign peer, nothing else', async () => {
    const { status, json } = await app.ready()
    assert.equal(status, 200)
    assert.deepEqual(json, { status: 'ok', checks: { database: { status: 'ok' } } })
  })

  test('H8: the token shows duration, age and last change', async () => {
    const { json } = await app.ready({ headers: { authorization: 'Bearer the-right-token' } })
    const { duration_ms, age_ms, last_change, critical } = json.checks.database
    assert.equal(critical, true)
    assert.equal(typeof duration_ms, 'number')
    assert.ok(age_ms >= 0)
    assert.ok(Math.abs(Date.parse(last_change) - Date.now()) < 60_000)
  })

  test('H8: last_change stays while the status does, age does not', async () => {
    const detailed = async () =>
      (await app.ready({ headers: { authorization: 'Bearer the-right-token' } })).json.checks
        .database
    const first = await detailed()
    const before = runs
    await sleep(700)
    const later = await detailed()
    assert.ok(runs > before, 'it was asked again')
    assert.ok(later.age_ms < 600, `${later.age_ms} ms`)
    const moved = Date.parse(later.last_change) - Date.parse(first.last_change)
    assert.ok(Math.abs(moved) < 100, `moved by ${moved} ms`)
  })

  test('H8: loopback sees details, unless a proxy speaks through it', async () => {
    const own = await app.ready({ peer: 'loopback' })
    assert.equal(typeof own.json.checks.database.duration_ms, 'number')
    for (const name of ['forwarded', 'x-forwarded-for', 'x-real-ip', 'via']) {
      const proxied = await app.ready({ peer: 'loopback', headers: { [name]: '127.0.0.1' } })
      assert.deepEqual(proxied.json.checks.database, { status: 'ok' }, name)
    }
  })

  test('H8: details are not for a page in a browser that was led to this machine by its name', async () => {
    const shown = async (host) => {
      const { json } = await app.ready({ peer: 'loopback', headers: { host } })
      return Object.keys(json.checks.database)
    }
    for (const host of ['rebound.example:80', 'rebound.example', '127.0.0.1.example']) {
      assert.deepEqual(await shown(host), ['status'], host)
    }
    for (const host of ['localhost:3000', '127.0.0.1', '[::1]:3000', 'shop.localhost']) {
      assert.ok((await shown(host)).includes('duration_ms'), host)
    }
  })

  test('H9: a wrong token gets the public body, not 401, also from loopback', async () => {
    for (const authorization of [
      'Bearer wrong',
      'Bearer ',
      'Basic dGhlOnRva2Vu',
      'the-right-token',
    ]) {
      const { status, json } = await app.ready({ peer: 'loopback', headers: { authorization } })
      assert.equal(status, 200)
      assert.deepEqual(json.checks.database, { status: 'ok' }, authorization)
    }
  })

  test('H10: Accept: application/health+json gets the draft’s shape', async () => {
    const accept = 'application/health+json, application/json;q=0.5'
    const { headers, json } = await app.ready({ headers: { accept } })
    assert.equal(headers['content-type'], 'application/health+json')
    assert.deepEqual(json, { status: 'pass', checks: { database: [{ status: 'pass' }] } })
    const detailed = await app.ready({ peer: 'loopback', headers: { accept } })
    const [check] = detailed.json.checks.database
    assert.equal(check.observedUnit, 'ms')
    assert.ok(Number.isFinite(Date.parse(check.time)))
    const live = await app.get(`${BASE}/live/`, { headers: { accept } })
    assert.deepEqual(live.json, { status: 'pass' })
  })

  test('H10: plain JSON where it is preferred or nothing is asked for', async () => {
    for (const accept of [
      '*/*',
      'text/html',
      'application/json',
      'application/json, application/health+json;q=0.2',
      'application/health+json;q=0',
      ',;,=;q',
    ]) {
      const { headers } = await app.ready({ headers: { accept } })
      assert.equal(headers['content-type'], 'application/json', accept)
    }
  })

  test('H17: an HTTP/1.0 request without Host is answered', async () => {
    const socket = connect(app.port, '127.0.0.1')
    socket.write(`GET ${BASE}/ready HTTP/1.0\r\n\r\n`)
    let text = ''
    socket.on('data', (chunk) => {
      text += chunk
    })
    await once(socket, 'end')
    assert.match(text, /^HTTP\/1\.1 200 OK\r\n/)
    assert.match(text, /\r\n\r\n\{"status":"ok"/)
  })

  test('a client that leaves before the answer harms nobody', async () => {
    const slow = deferred()
    const asked = deferred()
    const check = () => {
      asked.resolve()
      return slow.promise
    }
    const other = await serve({ checks: { slow: check } })
    const socket = connect(other.port, '127.0.0.1')
    socket.write(`GET ${BASE}/ready HTTP/1.1\r\nHost: x\r\n\r\n`)
    await asked.promise
    const pending = other.ready()
    socket.resetAndDestroy()
    slow.resolve()
    assert.equal((await pending).status, 200)
    await other.close()
  })
})

describe('health life cycle', () => {
  test('H12: before started(), ready is 503 starting, startup 503 and live 200', async () => {
    const app = await serve({ waitForStarted: true, checks: { database: () => 'ok' } })
    const before = await app.ready()
    assert.equal(before.status, 503)
    assert.equal(before.json.status, 'starting')
    assert.equal((await app.get(`${BASE}/startup/`)).status, 503)
    assert.equal((await app.live()).status, 200)
    app.health.started()
    assert.equal((await app.ready()).json.status, 'ok')
    assert.equal((await app.get(`${BASE}/startup/`)).status, 200)
    assert.deepEqual(
      app.lines.map(({ event, from, to }) => [event, from, to]),
      [['readiness_changed', 'starting', 'ok']],
    )
    await app.close()
  })

  test('H12: without waitForStarted, startup is 200 from the first ready on, for good', async () => {
    let works = false
    const app = await serve({ checks: { database: () => works } })
    assert.equal((await app.get(`${BASE}/startup`)).status, 503)
    works = true
    await app.until(200)
    assert.equal((await app.get(`${BASE}/startup`)).status, 200)
    works = false
    await app.until(503)
    assert.equal((await app.get(`${BASE}/startup`)).status, 200)
    await app.close()
  })

  test('draining: ready is 503 for good, live and startup stay 200', async () => {
    const app = await serve({ checks: { database: () => 'ok' } })
    await app.until(200)
    app.health.drain()
    assert.equal(app.lines.length, 1, 'told at once, whether or not anybody probes')
    app.health.setReady(true)
    const { status, json } = await app.ready()
    assert.equal(status, 503)
    assert.equal(json.status, 'draining')
    const draft = await app.ready({ headers: { accept: 'application/health+json' } })
    assert.deepEqual([draft.status, draft.json.status], [503, 'fail'])
    assert.equal(draft.json.output, 'draining')
    assert.equal((await app.live()).status, 200)
    assert.equal((await app.get(`${BASE}/startup/`)).status, 200)
    const [line] = app.lines
    assert.deepEqual([line.level, line.from, line.to], ['info', 'ok', 'draining'])
    await app.close()
  })

  test('while readiness is held back, a probe asks nobody', async () => {
    let runs = 0
    const app = await serve({ checks: { database: () => void runs++ } })
    await app.until(200)
    app.health.setReady(false, 'maintenance')
    await sleep(700)
    const before = runs
    assert.equal((await app.ready()).status, 503)
    app.health.setReady(true)
    app.health.drain()
    assert.equal((await app.ready()).status, 503)
    assert.equal(runs, before)
    await app.close()
  })

  test('started() is told at once, whether or not anybody probes', async () => {
    const app = await serve({ waitForStarted: true })
    assert.deepEqual(app.lines, [])
    app.health.started()
    assert.deepEqual(
      app.lines.map(({ level, event, from, to }) => [level, event, from, to]),
      [['info', 'readiness_changed', 'starting', 'ok']],
    )
    await app.close()
  })

  test('setReady(false) wins over checks that are well, and shows only a plain word', async () => {
    const app = await serve({ checks: { database: () => 'ok' } })
    app.health.setReady(false, 'maintenance')
    assert.deepEqual((await app.ready()).json.reason, 'maintenance')
    app.health.setReady(false, 'db-1.internal:5432 is down')
    assert.deepEqual((await app.ready()).json.reason, 'not_ready')
    app.health.setReady(true)
    assert.equal((await app.ready()).status, 200)
    await app.close()
  })

  test('H13: without checks ready is 200, and one warning is written at the start', async () => {
    const told = () => faultCounts().get('TELLTALE_E_HEALTH_NONE') ?? 0
    const before = told()
    const app = await serve({})
    assert.equal(told(), before + 1)
    assert.deepEqual((await app.ready()).json, { status: 'ok', checks: {} })
    await app.close()
  })

  test('a failing check tells its reason once, at the check', async () => {
    const app = await serve({ checks: { cache: () => 'ok', database: () => false } })
    const { status, json } = await app.ready()
    assert.equal(status, 503)
    assert.deepEqual(json, {
      status: 'fail',
      checks: { cache: { status: 'ok' }, database: { status: 'fail', reason: 'error' } },
    })
    await app.close()
  })

  test('H14: a failing optional check makes ready degraded, 200', async () => {
    const app = await serve({
      checks: { database: () => 'ok', cache: { check: () => false, critical: false } },
    })
    const { status, json } = await app.ready()
    assert.equal(status, 200)
    assert.deepEqual(json, {
      status: 'degraded',
      checks: { database: { status: 'ok' }, cache: { status: 'fail', reason: 'error' } },
    })
    const { json: draft } = await app.ready({ headers: { accept: 'application/health+json' } })
    assert.equal(draft.status, 'warn')
    await app.close()
  })

  test('H15: a second check of one name is refused, and so is what is no check', async () => {
    const app = await serve({ checks: { database: () => 'ok' } })
    const refused = (name, check) =>
      assert.throws(
        () => app.health.add(name, check),
        (error) => error instanceof TelltaleError && error.code === 'TELLTALE_E_OPTION',
      )
    refused('database', () => 'ok')
    refused('a name', () => 'ok')
    refused('cache', 'redis://127.0.0.1')
    app.health.add('cache', { check: () => false, critical: false })
    assert.equal((await app.ready()).json.checks.cache.status, 'fail')
    await app.close()
  })

  test('H18: disabled, nothing is handled and nothing is run', async () => {
    let runs = 0
    const app = await serve({ enabled: false, checks: { database: () => void runs++ } })
    assert.equal((await app.live()).body, 'the application')
    assert.equal(runs, 0)
    await app.close()
  })
})
