// What the kit leaves behind: memory after many requests, and time while its tracker hangs.
import assert from 'node:assert/strict'
import http from 'node:http'
import { describe, test } from 'node:test'
import { request } from '../contract/harness.js'
import { receiverOf, run, SOAK_REQUESTS, startService } from './process.js'

/** Latencies of `count` requests on 4 kept connections, sorted, in milliseconds. */
async function latencies(port, path, count) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 4 })
  const all = []
  await Promise.all(
    Array.from({ length: 4 }, async () => {
      for (let i = 0; i < count / 4; i++) {
        const startMs = performance.now()
        const { status } = await request(port, path, { agent })
        assert.equal(status, 200)
        all.push(performance.now() - startMs)
      }
    }),
  )
  agent.destroy()
  return all.sort((a, b) => a - b)
}

const p99 = (sorted) => sorted[Math.floor(sorted.length * 0.99)]

describe('memory and time', () => {
  test('F33: with the heap nearly full live stays 200; only a check that was asked for sheds load', async () => {
    for (const [shed, status] of [
      ['0', 200],
      ['1', 503],
    ]) {
      const program = run(['--max-old-space-size=200', 'fixtures/full-heap.mjs'], {
        env: { SHED: shed },
      })
      const { port } = await program.lines.wait((line) => line.event === 'listening')
      const live = await request(port, '/api/v1/health/live/')
      const ready = await request(port, '/api/v1/health/ready/')
      assert.deepEqual([live.status, ready.status], [200, status])
      program.child.stdin.end()
      assert.equal((await program.ended).code, 0)
    }
  })

  test('37, K21: many requests on kept connections: the heap stays, ended units are collected', async (t) => {
    const receiver = await receiverOf(t)
    const { code, lines, stderr } = await run(['--expose-gc', 'fixtures/memory.cjs'], {
      env: { SENTRY_DSN: receiver.dsn, REQUESTS: String(SOAK_REQUESTS) },
      maxLifeMs: 3 * SOAK_REQUESTS,
    }).ended
    assert.equal(code, 0, stderr)
    const { made, registered, collected, connections, heaps } = lines.at(-1)
    assert.equal(made, SOAK_REQUESTS)
    assert.ok(connections > 0, 'the connections are still open')
    // Each open connection may hold the store of its last request, never more.
    assert.ok(collected >= registered - 20, `${collected} of ${registered}`)
    const grownBytes = heaps.at(-1) - heaps[1]
    assert.ok(grownBytes < 4_000_000, `${heaps}`)
    t.diagnostic(`heap after each of four rounds: ${heaps}`)
  })

  test('K14: a tracker that hangs does not slow the application down', async (t) => {
    const receiver = await receiverOf(t)
    receiver.answer(() => ({ hang: true }))
    const options = { log: { level: 'fatal' }, trace: { sampleRate: 1 } }
    const hanging = await startService({ env: { SENTRY_DSN: receiver.dsn }, options })
    const none = await startService({ options })
    for (const { port } of [hanging, none]) await latencies(port, '/report', 400)
    const seen = { hanging: [], none: [] }
    // In turn, so that the machine's noise meets both.
    for (let i = 0; i < 4; i++) {
      seen.none.push(p99(await latencies(none.port, '/report', 400)))
      seen.hanging.push(p99(await latencies(hanging.port, '/report', 400)))
    }
    const [own, bare] = [Math.min(...seen.hanging), Math.min(...seen.none)]
    assert.ok(own < bare * 3 + 20, `${own} ms against ${bare} ms`)
    t.diagnostic(`p99 ${own.toFixed(1)} ms with a hanging tracker, ${bare.toFixed(1)} ms without`)
    for (const service of [hanging, none]) service.kill()
    assert.deepEqual([(await hanging.ended).code, (await none.ended).code], [0, 0])
  })
})
