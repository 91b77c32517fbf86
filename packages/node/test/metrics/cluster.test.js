// Clusters of real processes whose workers block, die and are replaced. Numbers are those of the
// checks for metrics and health.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { run } from '../life/process.js'
import { checkExposition, promtool, referenceParser } from './judges.js'

const OPENMETRICS = 'application/openmetrics-text;version=1.0.0'
const event = (name) => (line) => line.event === name

/** Starts the cluster; resolves when all workers listen. `workers` maps a worker's id to its own port. */
async function startCluster(t, env = {}) {
  const program = run(['../metrics/fixtures/cluster.mjs'], { env })
  t.after(async () => {
    program.child.kill('SIGKILL')
    await program.ended
  })
  const { lines } = program
  const alone = await lines.wait(event('listening_alone'), 4, 20_000)
  const shared = (await lines.wait(event('listening'), 4, 20_000))[0].port
  const workers = new Map(alone.map((line) => [line.id, line.port]))
  return {
    ...program,
    shared,
    workers,
    pid: (id) => lines.all.find((line) => line.event === 'online' && line.id === id).pid,
    say: (text) => program.child.stdin.write(`${text}\n`),
  }
}

async function get(port, path, headers = {}) {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, {
    // A connection each: a kept one would always reach the same worker.
    headers: { connection: 'close', ...headers },
  })
  return { status: response.status, text: await response.text() }
}

async function scrape(port, headers) {
  const { status, text } = await get(port, '/metrics', headers)
  assert.equal(status, 200, text)
  return samplesOf(text)
}

/** Samples by name and labels, and the type of each. */
function samplesOf(text) {
  const samples = new Map()
  let type
  for (const line of text.split('\n')) {
    const meta = /^# TYPE \S+ (\S+)/.exec(line)
    if (meta) type = meta[1]
    const sample = /^([a-z_]+(?:\{.*\})?) (\S+)$/.exec(line)
    if (sample) samples.set(sample[1], { value: Number(sample[2]), type })
  }
  return Object.assign(samples, { text })
}

const sum = (samples, prefix) =>
  [...samples].reduce((total, [key, { value }]) => total + (key.startsWith(prefix) ? value : 0), 0)
const served = (samples) => sum(samples, 'http_server_request_duration_seconds_count')

/** Every counter and bucket of `before` is in `after`, and not smaller. */
function assertNoFall(before, after) {
  for (const [key, { value, type }] of before) {
    if (type === 'gauge') continue
    const now = after.get(key)?.value
    assert.ok(now >= value, `${key} fell from ${value} to ${now}`)
  }
}

/** Scrapes until `holds`: a server learns a little after its client that an answer has ended. */
async function until(port, holds, what) {
  const end = performance.now() + 15_000
  for (;;) {
    const samples = await scrape(port)
    if (holds(samples)) return samples
    if (performance.now() > end) assert.fail(`${what}: ${samples.text}`)
    await sleep(50)
  }
}

describe('cluster', { concurrency: 2 }, () => {
  test('M21: counters never fall while any of 4 workers answers 100 scrapes, and the sum is what was sent', async (t) => {
    const { shared, workers, lines } = await startCluster(t)
    const ports = [shared, ...workers.values()]
    let sent = 0
    let isOver = false
    const load = Promise.all(
      ports.map(async (port) => {
        while (!isOver) {
          await get(port, '/order')
          sent++
        }
      }),
    )
    let last = new Map()
    try {
      for (let i = 0; i < 100; i++) {
        const next = await scrape(ports[i % ports.length])
        assertNoFall(last, next)
        last = next
      }
    } finally {
      isOver = true
      await load
    }
    assert.ok(sent > 50)
    for (const port of workers.values()) {
      const samples = await until(port, (found) => served(found) >= sent, `${sent} requests`)
      assert.equal(served(samples), sent)
      assert.equal(sum(samples, 'orders_total'), sent)
      assert.equal(samples.get('http_server_active_requests').value, 0)
      // Four gauges of 2, and the largest of 1 to 4.
      assert.equal(samples.get('jobs_waiting').value, 8)
      assert.equal(samples.get('oldest_job_seconds').value, 4)
    }
    assert.deepEqual(
      [...new Set(lines.all.filter(event('heard')).map((line) => line.type))],
      ['telltale:metrics'],
    )
  })

  test('M21: the management port of the primary shows the whole cluster, and only the primary opens it', async (t) => {
    const cluster = await startCluster(t, { CLUSTER_MANAGEMENT: '1' })
    const { port } = await cluster.lines.wait(event('management'))
    for (const own of cluster.workers.values()) await get(own, '/order')
    const samples = await until(port, (found) => served(found) >= 4, 'four requests')
    assert.equal(served(samples), 4)
    assert.match(samples.text, /^process_resident_memory_bytes\{worker="primary"\} /m)
    const started = cluster.lines.all.filter(event('telltale_started'))
    assert.equal(started.length, 5)
    assert.equal(started.filter((line) => line.parts.management === "on: the primary's").length, 4)
    const alone = cluster.lines.all.filter(event('listening_alone'))
    assert.deepEqual(
      alone.map((line) => line.management_port),
      [null, null, null, null],
    )
    assert.equal(cluster.stderr(), '')
  })

  test('the sum over a cluster pleases every judge in both formats, with the exemplars of any worker', async (t) => {
    const { workers, shared, pid } = await startCluster(t)
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    for (const port of workers.values()) await get(port, '/order', { traceparent })
    const { text } = await until(shared, (found) => served(found) >= 4, 'four requests')
    promtool(text)
    checkExposition(text)
    const open = (await get(shared, '/metrics', { accept: OPENMETRICS })).text
    checkExposition(open, { openMetrics: true })
    assert.ok(referenceParser(open) > 50)
    assert.match(open, /_bucket\{.*\} 4 # \{trace_id="0af7651916cd43dd8448eb211c80319c"/)
    for (const worker of ['primary', 1, 2, 3, 4]) {
      assert.match(text, new RegExp(`^nodejs_heap_size_used_bytes{worker="${worker}"} `, 'm'))
    }
    assert.match(text, /^process_cpu_seconds_total \d/m)
    assert.ok(pid(4) > 0)
  })

  test('M22: while one worker is blocked for 9 s a scrape answers within 1 s, with its last known values', async (t) => {
    const { workers } = await startCluster(t)
    for (const port of workers.values()) for (let i = 0; i < 5; i++) await get(port, '/order')
    const before = await until(workers.get(1), (found) => served(found) >= 20, 'twenty requests')
    await get(workers.get(3), '/block?ms=9000')
    const blockedAt = performance.now()
    await get(workers.get(2), '/order')
    let last = before
    for (let i = 0; i < 6; i++) {
      const startedAt = performance.now()
      const samples = await scrape(workers.get([1, 2, 4][i % 3]))
      const tookMs = performance.now() - startedAt
      assert.ok(tookMs < 1000, `took ${tookMs} ms`)
      assertNoFall(last, samples)
      last = samples
      assert.equal(samples.get('orders_total{worker_id="3"}').value, 5)
      assert.equal(samples.get('telltale_metrics_worker_stale{worker="3"}').value, 1)
      assert.equal(sum(samples, 'telltale_metrics_worker_stale'), 1)
    }
    assert.equal(sum(last, 'orders_total'), 21)
    assert.ok(performance.now() - blockedAt < 9000, 'the worker was blocked all the time')
    const after = await until(
      workers.get(1),
      (found) => sum(found, 'telltale_metrics_worker_stale') === 0 && served(found) >= 22,
      'the worker is back',
    )
    assert.equal(served(after), 22)
    assertNoFall(last, after)
  })

  test('M23: counters and buckets do not fall when a worker is killed and replaced', async (t) => {
    const cluster = await startCluster(t)
    const { workers, lines } = cluster
    for (const port of workers.values()) for (let i = 0; i < 5; i++) await get(port, '/order')
    const before = await until(workers.get(1), (found) => served(found) >= 20, 'twenty requests')
    process.kill(cluster.pid(2), 'SIGKILL')
    await lines.wait(event('worker_exit'))
    assertNoFall(before, await scrape(workers.get(1)))
    const replaced = await lines.wait((line) => line.event === 'listening_alone' && line.id === 5)
    await get(replaced.port, '/order')
    const after = await until(replaced.port, (found) => served(found) >= 21, 'one more request')
    assertNoFall(before, after)
    assert.equal(served(after), 21)
    assert.equal(after.get('orders_total{worker_id="2"}').value, 5)
    assert.equal(after.get('telltale_metrics_workers_ended_total').value, 1)
    // The replacement takes the number, so that gauges do not get more labels with every death.
    const memory = [...after.keys()].filter((key) =>
      key.startsWith('process_resident_memory_bytes'),
    )
    assert.deepEqual(memory.map((key) => /worker="(.*)"/.exec(key)[1]).sort(), [
      '1',
      '2',
      '3',
      '4',
      'primary',
    ])
    assert.equal(after.get('jobs_waiting').value, 8)
  })

  test('a worker that is killed before any scrape has told what it counted up to two seconds before', async (t) => {
    const cluster = await startCluster(t)
    const { workers, lines } = cluster
    for (let i = 0; i < 3; i++) await get(workers.get(2), '/order')
    const heard = (line) => line.event === 'heard' && line.id === 2
    const soFar = lines.all.filter(heard).length
    // The first of two may have been on its way already.
    await lines.wait(heard, soFar + 2)
    process.kill(cluster.pid(2), 'SIGKILL')
    await lines.wait(event('worker_exit'))
    const samples = await scrape(workers.get(1))
    assert.equal(samples.get('orders_total{worker_id="2"}')?.value, 3)
  })

  test('a worker that is disconnected, ended or crashes sends its last totals first', async (t) => {
    const cluster = await startCluster(t)
    const { workers, lines } = cluster
    const ends = [
      [2, () => cluster.say('disconnect 2')],
      [3, () => process.kill(cluster.pid(3), 'SIGTERM')],
      [4, () => get(workers.get(4), '/crash')],
    ]
    let sent = 0
    for (const [id, end] of ends) {
      for (let i = 0; i < 7; i++, sent++) await get(workers.get(id), '/order')
      await end()
      await lines.wait((line) => line.event === 'worker_exit' && line.id === id)
    }
    const samples = await scrape(workers.get(1))
    for (const [id] of ends) {
      assert.equal(samples.get(`orders_total{worker_id="${id}"}`)?.value, 7, `worker ${id}`)
    }
    // The crashing request too.
    assert.equal(served(samples), sent + 1)
  })

  test('while the primary is blocked a scrape is a 503, not the numbers of one worker alone', async (t) => {
    const cluster = await startCluster(t)
    const port = cluster.workers.get(1)
    for (const own of cluster.workers.values()) await get(own, '/order')
    const before = await until(port, (found) => served(found) >= 4, 'four requests')
    cluster.say('block 5000')
    await cluster.lines.wait(event('blocking'))
    const startedAt = performance.now()
    assert.equal((await get(port, '/metrics')).status, 503)
    assert.ok(performance.now() - startedAt < 4000)
    assert.match(cluster.stderr(), /TELLTALE_E_CLUSTER/)
    assert.equal((await get(port, '/api/v1/health/ready/')).status, 200)
    let after
    while (after?.status !== 200) after = await get(port, '/metrics')
    assertNoFall(before, samplesOf(after.text))
  })

  test('F39: each worker answers its readiness for itself, and the metric shows which of 4 fails', async (t) => {
    const { workers } = await startCluster(t)
    await get(workers.get(2), '/break')
    const samples = await until(
      workers.get(4),
      (found) =>
        ['1', '2', '3', '4'].every((worker) => {
          const key = `health_check_status{check="database",worker="${worker}"}`
          return found.get(key)?.value === (worker === '2' ? 0 : 1)
        }),
      'one failed check and three that are well',
    )
    for (const worker of ['1', '3', '4']) {
      assert.equal(samples.get(`health_status{worker="${worker}"}`).value, 1)
    }
    assert.equal(samples.get('health_status{worker="2"}').value, 0)
    for (const [id, port] of workers) {
      const { status } = await get(port, '/api/v1/health/ready/')
      assert.equal(status, id === 2 ? 503 : 200, `worker ${id}`)
    }
  })

  test('M24: threads of the workers of a cluster are in the scrape of every worker', async (t) => {
    const { workers } = await startCluster(t)
    await get(workers.get(1), '/thread')
    await get(workers.get(2), '/thread')
    await get(workers.get(2), '/thread')
    const heapOf = (label) => `nodejs_heap_size_used_bytes{worker="${label}"}`
    const threads = ['1/thread-1', '2/thread-1', '2/thread-2']
    // The first report of a thread may come before it has looked at its heap.
    const samples = await until(
      workers.get(3),
      (found) =>
        sum(found, 'jobs_done_total') >= 9 && threads.every((label) => found.has(heapOf(label))),
      'three threads and their heaps',
    )
    assert.equal(sum(samples, 'jobs_done_total'), 9)
    for (const label of threads) {
      assert.ok(samples.has(heapOf(label)), label)
      assert.equal(samples.get(`telltale_metrics_worker_stale{worker="${label}"}`).value, 0)
    }
    // What belongs to the whole process is told once.
    assert.ok(!samples.has('process_resident_memory_bytes{worker="1/thread-1"}'))
    promtool(samples.text)
    checkExposition(samples.text)
  })

  test('without the kit in the primary each worker shows itself, and telltale_started says what to do', async (t) => {
    const { workers, lines } = await startCluster(t, { CLUSTER_ALONE: '1' })
    for (const line of await lines.wait(event('telltale_started'), 4)) {
      assert.match(line.parts.cluster, /^off: .*import this module in the primary/)
    }
    await get(workers.get(1), '/order')
    await until(workers.get(1), (found) => served(found) === 1, 'its own request')
    const other = await scrape(workers.get(2))
    assert.equal(served(other), 0)
    assert.ok(!other.text.includes('worker="'))
    assert.equal(lines.all.filter(event('heard')).length, 0)
  })

  test('the prom-client registry of a worker is its own, below the metrics of the whole cluster', async (t) => {
    const { workers } = await startCluster(t, { CLUSTER_REGISTRY: '1' })
    for (const port of workers.values()) await get(port, '/order')
    const { text } = await until(workers.get(2), (found) => served(found) >= 4, 'four requests')
    assert.match(text, /^foreign_total 1$/m)
    promtool(text)
    checkExposition(text)
    const open = (await get(workers.get(2), '/metrics', { accept: OPENMETRICS })).text
    checkExposition(open, { openMetrics: true })
  })

  test('a cluster whose workers are disconnected ends by itself, with code 0', async (t) => {
    const cluster = await startCluster(t)
    await scrape(cluster.shared)
    cluster.say('end')
    const { code, stderr } = await cluster.ended
    assert.equal(code, 0)
    assert.equal(stderr, '')
    assert.deepEqual(
      cluster.lines.all.filter(event('worker_exit')).map((line) => line.code),
      [0, 0, 0, 0],
    )
  })
})
