// An application that starts the official Sentry SDK itself, through init.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { request } from '../contract/harness.js'
import { receiverOf, startService } from './process.js'

async function start(t, when, env = {}) {
  const receiver = await receiverOf(t)
  const service = await startService({
    kind: 'official-sdk.mjs',
    env: { LIFE_SDK: when, LIFE_DSN: receiver.dsn, ...env },
    options: { environment: 'test', trace: { sampleRate: 1 }, errors: { spoolDir: false } },
  })
  t.after(() => service.child.kill('SIGKILL'))
  return { ...service, receiver, ask: (path) => request(service.port, path) }
}

const valuesOf = (receiver) =>
  receiver.events().map(({ exception, message }) => exception?.values.at(-1).value ?? message)

describe('the official SDK in the application', { concurrency: 2 }, () => {
  for (const when of ['before', 'after']) {
    test(`K7: Sentry.init ${when} init, no SENTRY_DSN: each error once, with the kit's content`, async (t) => {
      const service = await start(t, when)
      const { receiver } = service
      await service.ask('/start')
      for (const path of ['/boom', '/captured', '/logged', '/message', '/event'])
        await service.ask(path)
      assert.equal((await service.ask('/flush')).body, 'true')
      assert.deepEqual(valuesOf(receiver).sort(), [
        'a message',
        'an event',
        'logged only',
        'seen by both',
        'thrown in a route',
      ])
      const logged = receiver
        .events()
        .find(({ exception }) => exception?.values.at(-1).value === 'logged only')
      assert.equal(logged.transaction, 'GET /logged')
      assert.match(logged.tags.request_id, /./)
      assert.equal(logged.tags.service, 'sdk')
      assert.ok(logged.breadcrumbs.some(({ message }) => message === 'order_failed'))
      // Nothing of the kit's own: no transaction, no sessions, no connection with its name.
      for (const { headers } of receiver.requests)
        assert.doesNotMatch(headers['user-agent'] ?? '', /telltale/)
      service.kill()
      await service.ended
      assert.equal(receiver.events().length, 5)
    })

    test(`K7: Sentry.init ${when} init: a crash is reported once, exit 1`, async (t) => {
      const service = await start(t, when)
      await service.ask('/start')
      await service.ask('/crash').catch(() => undefined)
      assert.equal((await service.ended).code, 1)
      assert.deepEqual(valuesOf(service.receiver), ['late throw'])
    })
  }

  test('K7: with SENTRY_DSN as well, the SDK takes over when it is started later', async (t) => {
    const own = await receiverOf(t)
    const service = await start(t, 'after', { SENTRY_DSN: own.dsn })
    await service.ask('/start')
    await service.ask('/logged')
    assert.equal((await service.ask('/flush')).body, 'true')
    // What was captured before goes to whoever is there when it is written.
    const all = [...valuesOf(own), ...valuesOf(service.receiver)]
    assert.deepEqual(all.sort(), ['logged only', 'too early'])
    assert.ok(valuesOf(service.receiver).includes('logged only'))
    service.kill()
    await service.ended
  })

  test('K7: an SDK that is loaded and never started costs nothing and is told nothing', async (t) => {
    const service = await start(t, 'never')
    for (const path of ['/logged', '/captured', '/boom']) await service.ask(path)
    const started = await service.lines.wait(({ event }) => event === 'telltale_started')
    assert.match(started.parts.errors, /^off: set SENTRY_DSN/)
    assert.equal(started.parts.traces, 'off: no tracker')
    assert.doesNotMatch((await service.ask('/metrics')).body, /^telltale_events_lost_total\{/m)
    service.kill()
    assert.equal((await service.ended).code, 0)
    assert.equal(service.receiver.requests.length, 0)
  })
})
