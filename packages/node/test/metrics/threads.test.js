// Real threads of this process, which runs the kit as an application does.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { close, init } from '@telltale/node'
import { run } from '../life/process.js'
import { checkExposition, promtool } from './judges.js'

const THREAD = new URL('fixtures/thread.mjs', import.meta.url)
let kit

before(() => {
  kit = init({
    service: 'threads',
    log: { level: 'silent', captureConsole: false },
    health: { enabled: false },
    shutdown: { enabled: false },
  })
})
after(() => close())

function start(t, workerData) {
  const worker = new Worker(THREAD, { workerData })
  t.after(() => worker.terminate())
  return worker
}

const value = (text, sample) => {
  const line = text.split('\n').find((one) => one.startsWith(`${sample} `))
  return line === undefined ? undefined : Number(line.slice(sample.length + 1))
}

/** The text of the first scrape in which `sample` has the value. */
async function until(sample, expected) {
  const end = performance.now() + 15_000
  for (;;) {
    const { text } = await kit.metrics.renderText()
    if (value(text, sample) === expected) return text
    if (performance.now() > end) assert.fail(`${sample} is not ${expected}: ${text}`)
    await sleep(50)
  }
}

test('M24: metrics made in threads are in the scrape of the main thread, and stay when the threads end', async (t) => {
  kit.metrics.counter({ name: 'jobs_done_total', help: 'Jobs.' }).inc(1)
  const first = start(t)
  const second = start(t, { jobs: 4 })
  let text = await until('jobs_done_total', 8)
  first.postMessage('work')
  await once(first, 'message')
  text = (await kit.metrics.renderText()).text
  assert.equal(value(text, 'jobs_done_total'), 9)
  for (const label of ['thread-1', 'thread-2']) {
    assert.ok(value(text, `nodejs_heap_size_used_bytes{worker="${label}"}`) > 0, label)
  }
  // The process itself keeps its plain series, and tells of what all its threads share.
  assert.ok(value(text, 'nodejs_heap_size_used_bytes') > 0)
  assert.equal(text.match(/^process_resident_memory_bytes/gm).length, 1)
  promtool(text)
  checkExposition(text)

  second.postMessage('work')
  second.postMessage('end')
  const [code] = await once(second, 'exit')
  assert.equal(code, 0, 'the kit does not hold a thread')
  await first.terminate()
  text = await until('telltale_metrics_workers_ended_total', 2)
  // A thread that ends by itself has its last job counted.
  assert.equal(value(text, 'jobs_done_total'), 10)
  assert.ok(!text.includes('worker="thread-'))
})

test('M24, M22: a blocked thread does not hold a scrape up and keeps its last known values', async (t) => {
  const before = value((await kit.metrics.renderText()).text, 'jobs_done_total') ?? 0
  const thread = start(t, { jobs: 5 })
  await until('jobs_done_total', before + 5)
  thread.postMessage('block')
  const text = await until('telltale_metrics_worker_stale{worker="thread-1"}', 1)
  assert.equal(value(text, 'jobs_done_total'), before + 5)
  const startedAt = performance.now()
  await kit.metrics.renderText()
  assert.ok(performance.now() - startedAt < 1000)
})

test('a process whose threads have ended ends by itself', async () => {
  const program = run(['../metrics/fixtures/main-thread.mjs'])
  const { code, lines, stderr } = await program.ended
  assert.equal(code, 0)
  assert.equal(stderr, '')
  assert.deepEqual(lines.at(-1), { event: 'thread_exit', code: 0, counted: true })
})
