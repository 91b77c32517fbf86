// The arithmetic and the bounds of the process that adds others up, without the processes.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { combineAll, keep, retire, rowsOf } from '../../dist/esm/metrics/aggregate.js'
import { Writer } from '../../dist/esm/metrics/exposition.js'
import { createHub } from '../../dist/esm/metrics/hub.js'
import { createMember } from '../../dist/esm/metrics/member.js'
import { createRegistry } from '../../dist/esm/metrics/registry.js'
import { createChanges, TYPE } from '../../dist/esm/metrics/wire.js'

const NOTHING = { values: new Map(), incomplete: new Set() }

/** A hub and a way to make members of it whose messages pass through JSON, as between processes. */
function setUp(t, { maxSeries = 100, reads = () => Promise.resolve(NOTHING) } = {}) {
  const registry = createRegistry(maxSeries)
  const hub = createHub(registry, maxSeries, () => undefined)
  const join = (prefix = '') => {
    const own = createRegistry(maxSeries)
    const sent = []
    let member
    const peer = { prefix, send: (message) => setImmediate(() => member.receive(message)) }
    member = createMember(
      own,
      reads,
      {
        send(message, done) {
          sent.push(message)
          hub.receive(peer, JSON.parse(JSON.stringify(message)))
          done?.()
        },
      },
      true,
      () => undefined,
    )
    t.after(() => member.stop())
    return { registry: own, peer, member, sent }
  }
  return { hub, registry, join }
}

const merged = (hub, name) => combineAll(new Writer('text'), hub.sources(name))

test('whatever workers count, and however they end, the sum is what was counted', async (t) => {
  const step = fc.record({
    worker: fc.nat(3),
    label: fc.constantFrom('a', 'b', 'c', '_overflow'),
    value: fc.nat(1000),
    next: fc.constantFrom('', '', '', 'push', 'end'),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const { hub, join } = setUp(t, { maxSeries: 10 })
      const workers = [join(), join(), join(), join()]
      const expected = new Map()
      let observed = 0
      for (const { worker, label, value, next } of steps) {
        const { registry, peer, member } = workers[worker]
        registry
          .counter({ name: 'c', help: 'C.', labelNames: ['l'] })
          .labels({ l: label })
          .inc(value)
        registry.histogram({ name: 'h', help: 'H.', buckets: [10, 100] }).observe(value)
        expected.set(label, (expected.get(label) ?? 0) + value)
        observed++
        if (next !== '') member.push()
        if (next === 'end') {
          hub.ended(peer)
          workers[worker] = join()
        }
      }
      await hub.collect(1000)
      const counts = await merged(hub, 'c')
      for (const [label, value] of expected) {
        assert.equal(counts.get(`l="${label}"`)?.cells[0], value)
      }
      const cells = (await merged(hub, 'h')).get('')?.cells ?? [0, 0, 0, 0]
      assert.equal(cells[0] + cells[1] + cells[2], observed)
    }),
    { numRuns: 50 },
  )
})

test('totals of ended workers stay within the limit of label sets, and exact', async (t) => {
  const { hub, join } = setUp(t, { maxSeries: 20 })
  for (let i = 0; i < 50; i++) {
    const { registry, peer, member } = join()
    const counter = registry.counter({ name: 'c', help: 'C.', labelNames: ['l'] })
    for (let k = 0; k < 5; k++) counter.inc({ l: `${i}-${k}` })
    registry.gauge({ name: 'g', help: 'G.' }).set(1)
    member.push()
    hub.ended(peer)
  }
  const rows = await merged(hub, 'c')
  assert.equal(rows.size, 21)
  assert.equal(
    [...rows.values()].reduce((total, { cells }) => total + cells[0], 0),
    250,
  )
  assert.equal(rows.get('l="_overflow"').cells[0], 230)
  assert.deepEqual(hub.sources('g'), [])
})

test('gauges are put together as across says; NaN and infinity pass through JSON', async (t) => {
  const { hub, join } = setUp(t)
  for (const value of [3, 5, Number.POSITIVE_INFINITY]) {
    const { registry, member } = join()
    for (const across of ['sum', 'min', 'max', 'each']) {
      registry.gauge({ name: across, help: 'G.', across }).set(value)
    }
    registry.gauge({ name: 'nan', help: 'G.' }).set(Number.NaN)
    member.push()
  }
  const shown = async (name) =>
    [...(await merged(hub, name))].map(([labels, { cells }]) => [labels, cells[0]])
  assert.deepEqual(await shown('sum'), [['', Number.POSITIVE_INFINITY]])
  assert.deepEqual(await shown('min'), [['', 3]])
  assert.deepEqual(await shown('max'), [['', Number.POSITIVE_INFINITY]])
  assert.deepEqual(await shown('each'), [
    ['worker="1"', 3],
    ['worker="2"', 5],
    ['worker="3"', Number.POSITIVE_INFINITY],
  ])
  assert.deepEqual(await shown('nan'), [['', Number.NaN]])
})

test('a family that is another thing in another worker is left out there, and told', async (t) => {
  const { hub, join } = setUp(t)
  const one = join()
  const two = join()
  one.registry.counter({ name: 'x', help: 'X.', labelNames: ['a'] }).inc({ a: '1' })
  two.registry.counter({ name: 'x', help: 'X.', labelNames: ['b'] }).inc({ b: '1' })
  one.member.push()
  two.member.push()
  assert.deepEqual([...(await merged(hub, 'x')).keys()], ['a="1"'])
})

test('a worker that begins again does not count twice', async (t) => {
  const { hub, join } = setUp(t)
  const { registry, member, peer, sent } = join()
  registry.counter({ name: 'c', help: 'C.' }).inc(4)
  member.push()
  // As after close() and init() in the same process: its counters are at zero again.
  hub.receive(peer, { type: TYPE, do: 'rows', from: '', first: true, answers: 0, families: [] })
  hub.receive(peer, { ...sent.at(-1), first: false })
  assert.equal((await merged(hub, 'c')).get('').cells[0], 8)
})

test('a question that is not answered is not asked again, and a late answer settles it', async (t) => {
  let finish
  const { hub, registry, join } = setUp(t, {
    reads: () =>
      new Promise((resolve) => {
        finish = () => resolve(NOTHING)
      }),
  })
  const { peer } = join()
  let asked = 0
  const { send } = peer
  peer.send = (message) => {
    asked++
    send(message)
  }
  const stale = () => {
    const values = []
    for (const { read } of registry.families.get('telltale_metrics_worker_stale').readers)
      read((value, { worker }) => values.push([worker, value]))
    return values
  }
  await hub.collect(20)
  assert.deepEqual(stale(), [['1', 1]])
  await hub.collect(20)
  assert.equal(asked, 1)
  // On a busy machine the question may still be on its way.
  while (finish === undefined) await new Promise((resolve) => setImmediate(resolve))
  finish()
  await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual(stale(), [['1', 0]])
})

test('only what changed is sent, and nothing when nothing did', () => {
  const registry = createRegistry(1000)
  const counter = registry.counter({ name: 'c', help: 'C.', labelNames: ['l'] })
  const histogram = registry.histogram({ name: 'h', help: 'H.' })
  for (let i = 0; i < 450; i++) counter.inc({ l: i })
  const changes = createChanges(registry)
  const rows = () =>
    [...changes()].map((families) => families.reduce((sum, family) => sum + family.rows.length, 0))
  assert.deepEqual(rows(), [200, 200, 51])
  assert.deepEqual(rows(), [])
  counter.inc({ l: 7 })
  histogram.observe(0)
  const [families] = [...changes()]
  assert.deepEqual(
    families.map(({ name, rows: [[labels]] }) => [name, labels]),
    [
      ['c', 'l="7"'],
      ['h', ''],
    ],
  )
})

test('messages of another shape change nothing and throw nothing', (t) => {
  const { hub, join } = setUp(t)
  const { peer } = join()
  for (const message of [
    { type: TYPE },
    { type: TYPE, do: 'rows' },
    { type: TYPE, do: 'rows', from: '', first: false, answers: 0, families: [{}] },
    { type: TYPE, do: 'rows', from: 'nobody', first: false, answers: 9, families: [] },
    { type: TYPE, do: 'ended', from: 'nobody' },
  ])
    hub.receive(peer, message)
  assert.deepEqual([...hub.names()], [])
  assert.ok(hub.hasOthers)
})

test('a scrape that gives way does not count a worker twice that ends meanwhile', () => {
  const head = { name: 'c', help: 'C.', type: 'counter', across: 'sum', labelNames: [], bounds: [] }
  const store = new Map()
  const totals = new Map()
  keep(store, { ...head, whole: false, rows: [['', [5]]] }, 10)
  retire(totals, store, 10)
  const before = rowsOf(totals.get('c'))
  retire(totals, store, 10)
  assert.deepEqual(Array.from(before[0].cells), [5])
  assert.deepEqual(Array.from(rowsOf(totals.get('c'))[0].cells), [10])
})

test('a sum of fractions is the same to the last digit, however many of its workers have ended', async () => {
  const head = {
    name: 'seconds_total',
    type: 'counter',
    help: '',
    labelNames: [],
    bounds: [],
    across: 'sum',
  }
  const storeOf = (value) => {
    const store = new Map()
    keep(store, { ...head, rows: [['', [value]]], whole: true }, 10)
    return store
  }
  const sum = async (stores) => {
    const sources = stores.map((store) => ({ head, label: '', rows: rowsOf(store.get(head.name)) }))
    return (await combineAll(new Writer('text'), sources)).get('').cells[0]
  }
  const values = fc.array(fc.double({ min: 0, max: 1e9, noNaN: true }), {
    minLength: 2,
    maxLength: 8,
  })
  await fc.assert(
    fc.asyncProperty(values, fc.nat(), async (values, seed) => {
      const all = values.map(storeOf)
      const before = await sum(all)
      const totals = new Map()
      for (let left = [...all], i = seed; left.length > 0; i += 7) {
        retire(totals, left.splice(i % left.length, 1)[0], 10)
        assert.equal(await sum([totals, ...left]), before)
      }
    }),
  )
})
