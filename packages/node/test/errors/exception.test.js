import assert from 'node:assert/strict'
import { test } from 'node:test'
import vm from 'node:vm'
import { setUp } from './memory.js'

async function valuesOf(t, thrown) {
  const { errors, events } = setUp(t)
  errors.captureException(thrown)
  await errors.flush()
  assert.equal(events.length, 1)
  return events[0].exception.values
}

test('29: a chain of causes is told innermost first, the thrown one last', async (t) => {
  const root = Object.assign(new Error('refused'), { code: 'ECONNREFUSED', errno: -111 })
  const values = await valuesOf(
    t,
    new TypeError('outer', { cause: new Error('middle', { cause: root }) }),
  )
  assert.deepEqual(
    values.map((v) => [
      v.type,
      v.value,
      v.mechanism.exception_id,
      v.mechanism.parent_id,
      v.mechanism.source,
    ]),
    [
      ['Error', 'refused', 2, 1, 'cause'],
      ['Error', 'middle', 1, 0, 'cause'],
      ['TypeError', 'outer', 0, undefined, undefined],
    ],
  )
  assert.deepEqual(values[0].mechanism.data, { code: 'ECONNREFUSED', errno: -111 })
})

test('30: an AggregateError is a group with its members', async (t) => {
  const values = await valuesOf(
    t,
    new AggregateError([new Error('a'), new RangeError('b')], 'both'),
  )
  assert.equal(values.at(-1).mechanism.is_exception_group, true)
  assert.deepEqual(
    values.map((v) => [v.value, v.mechanism.source]),
    [
      ['b', 'errors[1]'],
      ['a', 'errors[0]'],
      ['both', undefined],
    ],
  )
})

test('31: what is thrown and is no error has a readable value', async (t) => {
  for (const [thrown, value] of [
    ['text', 'text'],
    [null, 'null'],
    [undefined, 'undefined'],
    [{ code: 42 }, '{"code":42}'],
    [7n, '7'],
    [Symbol('s'), 'Symbol(s)'],
  ]) {
    const [only] = await valuesOf(t, thrown)
    assert.equal(only.value, value)
    assert.equal(only.mechanism.synthetic, true)
    assert.ok(only.stacktrace.frames.length > 0)
  }
})

test('an error of another realm and an error-like object keep type and message', async (t) => {
  const [foreign] = await valuesOf(t, vm.runInNewContext('new TypeError("far")'))
  assert.deepEqual([foreign.type, foreign.value], ['TypeError', 'far'])
  const [like] = await valuesOf(t, { name: 'PgError', message: 'down' })
  assert.deepEqual([like.type, like.value], ['PgError', 'down'])
  class PaymentError extends Error {}
  const [own] = await valuesOf(t, new PaymentError('no'))
  assert.equal(own.type, 'PaymentError')
})

test('cycles, deep chains and wide groups stay bounded', async (t) => {
  const loop = new Error('loop')
  loop.cause = loop
  assert.equal((await valuesOf(t, loop)).length, 1)
  let deep = new Error('bottom')
  for (let i = 0; i < 100; i++) deep = new Error(`level ${i}`, { cause: deep })
  assert.equal((await valuesOf(t, deep)).length, 6)
  const wide = new AggregateError(Array.from({ length: 1000 }, (_, i) => new Error(`e${i}`)))
  assert.equal((await valuesOf(t, wide)).length, 11)
})

test('hostile errors are captured all the same', async (t) => {
  const error = new Error('x')
  for (const key of ['stack', 'name', 'message', 'cause', 'errors', 'code', 'constructor'])
    Object.defineProperty(error, key, {
      get() {
        throw new Error(`getter ${key}`)
      },
    })
  assert.equal((await valuesOf(t, error)).length, 1)
  const proxy = new Proxy(new Error('y'), {
    get() {
      throw new Error('trap')
    },
    getPrototypeOf() {
      throw new Error('trap')
    },
  })
  assert.equal((await valuesOf(t, proxy)).length, 1)
})
