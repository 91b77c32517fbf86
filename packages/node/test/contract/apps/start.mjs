// What every contract application shares: init from the environment, the routes' work, one line
// on stderr when it listens (`listening <port>`), commands on stdin.
import { createInterface } from 'node:readline'
import { setImmediate as immediate, setTimeout as sleep } from 'node:timers/promises'
import { bind, init, log, setTag, setUser } from '@telltale/node'

export { bind, log }

export const telltale = init({
  service: 'contract',
  release: '1.0.0',
  trace: { sampleRate: 1 },
  ...JSON.parse(process.env.CONTRACT_OPTIONS ?? '{}'),
})

export const ROOT = new Error('root cause')

/** Throws an error that has a cause. */
export function boom() {
  throw new Error('boom', { cause: ROOT })
}

/** Logs one line from each kind of asynchronous callback; resolves when all have run. */
export async function logEverywhere(worker) {
  const { readFile } = await import('node:fs')
  const { randomBytes } = await import('node:crypto')
  const { lookup } = await import('node:dns')
  const { pipeline } = await import('node:stream/promises')
  const { Readable, Writable } = await import('node:stream')
  log.info('handler')
  await null
  log.info('after_await')
  const waits = [
    new Promise((done) => setTimeout(() => done(log.info('set_timeout')), 1)),
    new Promise((done) => setImmediate(() => done(log.info('set_immediate')))),
    new Promise((done) => process.nextTick(() => done(log.info('next_tick')))),
    new Promise((done) => queueMicrotask(() => done(log.info('microtask')))),
    Promise.resolve().then(() => log.info('promise_then')),
    new Promise((done) =>
      readFile(import.meta.filename ?? process.argv[1], () => done(log.info('fs_callback'))),
    ),
    new Promise((done) => randomBytes(16, () => done(log.info('crypto_callback')))),
    new Promise((done) => lookup('localhost', () => done(log.info('dns_callback')))),
    (async () => {
      async function* numbers() {
        yield 1
        await immediate()
        log.info('async_generator')
        yield 2
      }
      for await (const _ of numbers());
    })(),
    pipeline(
      Readable.from(['a', 'b']),
      new Writable({
        objectMode: true,
        write(chunk, _encoding, done) {
          if (chunk === 'b') log.info('stream_pipeline')
          done()
        },
      }),
    ),
    // A listener runs in its emitter's context; what awaits the reply is in the request's.
    new Promise((done) => {
      worker.once('message', done)
      worker.postMessage('ping')
    }).then(() => log.info('worker_reply')),
  ]
  await Promise.all(waits)
}

/** Logs `lines` lines with the request's own mark, sleeping in between. */
export async function chatter(mark, lines) {
  setUser({ id: mark })
  setTag('mark', mark)
  for (let i = 0; i < lines; i++) {
    await sleep(Math.random() * 3)
    log.info('chatter', { mark })
  }
}

/** Prints the port and obeys `close` on stdin. */
export function announce(server, stop) {
  process.stderr.write(`listening ${server.address().port}\n`)
  createInterface({ input: process.stdin }).on('line', async (line) => {
    if (line === 'close') {
      await telltale.close()
      stop()
      process.exit(0)
    }
  })
}
