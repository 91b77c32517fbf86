// The kit's own storage beside Node's AsyncLocalStorage: whatever carries one carries the other.
import assert from 'node:assert/strict'
import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks'
import { execFile } from 'node:child_process'
import { EventEmitter, EventEmitterAsyncResource, once } from 'node:events'
import { readFile } from 'node:fs'
import { createServer, get } from 'node:http'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { createStorage } from '../dist/esm/storage.js'

const ours = createStorage()
const nodes = new AsyncLocalStorage()
const inBoth = (value, work) => ours.run(value, () => nodes.run(value, work))
const seen = () => {
  assert.equal(ours.getStore(), nodes.getStore())
  return ours.getStore()
}

/** Each calls `done` once from what it is named after. */
const WAYS = {
  nextTick: (done) => process.nextTick(done),
  microtask: (done) => queueMicrotask(done),
  immediate: (done) => setImmediate(done),
  timeout: (done) => setTimeout(done, 1),
  'an interval’s second turn': (done) => {
    let turns = 0
    const timer = setInterval(() => {
      if (++turns < 2) return
      clearInterval(timer)
      done()
    }, 1)
  },
  promise: (done) => Promise.resolve().then(done),
  'a promise that was made outside': (done) => OUTSIDE.then(done),
  await: async (done) => {
    await null
    await sleep(1)
    done()
  },
  thenable: async (done) => {
    // biome-ignore lint/suspicious/noThenProperty: a thenable is what is tested
    await { then: (resolve) => setTimeout(resolve, 1) }
    done()
  },
  'async iteration': async (done) => {
    for await (const _chunk of Readable.from(['a', 'b'])) await null
    done()
  },
  finally: (done) =>
    Promise.reject(new Error('no'))
      .finally(done)
      .catch(() => {}),
  'fs callback': (done) => readFile('/dev/null', done),
  zlib: (done) => gzip('text', done),
  'child process': (done) => execFile(process.execPath, ['--version'], done),
  'bound callback': (done) => OUTSIDE_EMITTER.once('go', AsyncResource.bind(done)).emit('go'),
  'emitter of its own resource': (done) => {
    const emitter = new EventEmitterAsyncResource({ name: 'test' })
    emitter.once('go', done)
    sleep(1).then(() => emitter.emit('go'))
  },
  snapshot: (done) => {
    const restore = AsyncLocalStorage.snapshot()
    OUTSIDE.then(() => inBoth('another', () => restore(done)))
  },
  'http request and answer': (done) => {
    const server = createServer((_req, res) => res.end('ok')).listen(0, '127.0.0.1', () => {
      get({ port: server.address().port, host: '127.0.0.1', agent: false }, (res) => {
        res.resume().on('end', () => {
          server.close()
          done()
        })
      })
    })
  },
}
const OUTSIDE = sleep(5)
const OUTSIDE_EMITTER = new EventEmitter()

for (const [name, way] of Object.entries(WAYS)) {
  test(`carried by ${name}`, async () => {
    const values = await Promise.all(
      ['one', 'two'].map((value) =>
        inBoth(value, () => new Promise((resolve) => way(() => resolve(seen())))),
      ),
    )
    assert.deepEqual(values, ['one', 'two'])
    assert.equal(seen(), undefined)
  })
}

test('run hands on arguments and the result, and undoes itself also after a throw', () => {
  assert.equal(
    ours.run('outer', (a, b) => a + b, 1, 2),
    3,
  )
  ours.run('outer', () => {
    assert.throws(
      () =>
        ours.run('inner', () => {
          throw new Error(ours.getStore())
        }),
      /inner/,
    )
    assert.equal(ours.getStore(), 'outer')
    assert.equal(
      ours.run(undefined, () => ours.getStore()),
      undefined,
    )
  })
  assert.equal(ours.getStore(), undefined)
})

test('enterWith holds for the rest of a callback and what follows from it', async () => {
  const found = await inBoth('outer', async () => {
    await null
    ours.enterWith('entered')
    nodes.enterWith('entered')
    await promisify(gzip)('text')
    return seen()
  })
  assert.equal(found, 'entered')
  assert.equal(seen(), undefined)
  const server = new EventEmitter()
  setImmediate(() => {
    ours.enterWith('callback')
    nodes.enterWith('callback')
    setImmediate(() => server.emit('later', seen()))
  })
  assert.deepEqual(await once(server, 'later'), ['callback'])
  assert.equal(seen(), undefined)
})
