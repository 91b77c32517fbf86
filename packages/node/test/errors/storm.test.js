import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import fc from 'fast-check'
import { createLru } from '../../dist/esm/errors/lru.js'
import {
  createStorm,
  hashText,
  kindOfMessage,
  STORM_INTERVAL_MS,
} from '../../dist/esm/errors/storm.js'
import { VERSION } from '../../dist/esm/version.js'

test('storm: five at once, then one a minute that carries the exact count', () => {
  const reported = []
  const storm = createStorm((sample, others) => reported.push([sample, others]))
  const verdicts = Array.from({ length: 8 }, () => storm.admit(1, 0, () => 'sample'))
  assert.deepEqual(verdicts, [0, 0, 0, 0, 0, -1, -1, -1])
  assert.equal(
    storm.admit(2, 0, () => 'other'),
    0,
  )
  assert.equal(
    storm.admit(1, STORM_INTERVAL_MS, () => 'sample'),
    3,
  )
  assert.equal(
    storm.admit(1, STORM_INTERVAL_MS + 1, () => 'sample'),
    -1,
  )
  storm.report(STORM_INTERVAL_MS + 2, false)
  assert.deepEqual(reported, [])
  storm.report(2 * STORM_INTERVAL_MS, false)
  assert.deepEqual(reported, [['sample', 0]])
  assert.equal(storm.isWaiting(), false)
})

test('storm: an error that was calm for five minutes has its burst again', () => {
  const storm = createStorm(() => {})
  for (let i = 0; i < 6; i++) storm.admit(1, 0, () => 's')
  storm.report(0, true)
  for (let i = 0; i < 5; i++)
    assert.equal(
      storm.admit(1, 400_000, () => 's'),
      0,
    )
  assert.equal(
    storm.admit(1, 400_000, () => 's'),
    -1,
  )
})

test('storm: whatever comes in which order, sent and reported add up to what came', () => {
  const step = fc.record({
    key: fc.integer({ min: 0, max: 3000 }),
    wait: fc.integer({ min: 0, max: 90_000 }),
  })
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 300 }),
      fc.integer({ min: 1, max: 5 }),
      (steps, keys) => {
        let stoodFor = 0
        const storm = createStorm((_, others) => {
          stoodFor += 1 + others
        })
        let now = 0
        for (const { key, wait } of steps) {
          now += wait % 20 === 0 ? wait : 0
          const others = storm.admit(key % keys, now, () => 's')
          if (others >= 0) stoodFor += 1 + others
        }
        storm.report(now, true)
        assert.equal(stoodFor, steps.length)
      },
    ),
  )
})

test('storm: more kinds of errors than it remembers lose no count', () => {
  let stoodFor = 0
  const storm = createStorm((_, others) => {
    stoodFor += 1 + others
  })
  for (let key = 0; key < 3000; key++)
    for (let i = 0; i < 7; i++) {
      const others = storm.admit(key, 0, () => 's')
      if (others >= 0) stoodFor += 1 + others
    }
  storm.report(0, true)
  assert.equal(stoodFor, 21_000)
})

test('storm: the kind of a message is what its ids, numbers and quotes leave', () => {
  for (const [message, kind] of [
    ['user 123 not found', 'user * not found'],
    ['user -12.50 of 1,000,000', 'user -* of *'],
    ['order 0b9e2c1e-7a54-4f3e-9d10-0123456789ab is gone', 'order * is gone'],
    ['no object 507f1f77bcf86cd799439011', 'no object *'],
    ['at 0xdeadbeef00', 'at *'],
    ['usr_8fK2jLq9ZZ left', '* left'],
    ['user123 left', 'user* left'],
    [`Unknown column 'a b' in "c" or \`d\``, 'Unknown column * in * or *'],
    ["can't open the users' cart, can't close it", "can't open the users' cart, can't close it"],
    ['connect ECONNREFUSED 127.0.0.1:5432', 'connect ECONNREFUSED *:*'],
    ['no digits-in-this long_identifier', 'no digits-in-this long_identifier'],
    ['"unclosed', '"unclosed'],
    ['', ''],
  ])
    assert.equal(kindOfMessage(message), kind)
  for (const evil of ['"', "'", '`', 'a-', '1.', 'a1', '\u{1F600}', "'a"])
    assert.ok(kindOfMessage(evil.repeat(100_000)).length <= 200)
})

test('storm: texts that differ have different hashes', () => {
  const hashes = new Set(Array.from({ length: 100_000 }, (_, i) => hashText(`number ${i}`)))
  assert.equal(hashes.size, 100_000)
})

test('lru: what was used longest ago leaves when the weight is exceeded', () => {
  const lru = createLru(10)
  lru.set('a', 1, 4)
  lru.set('b', 2, 4)
  assert.equal(lru.get('a'), 1)
  lru.set('c', 3, 4)
  assert.deepEqual([lru.get('a'), lru.get('b'), lru.get('c')], [1, undefined, 3])
  lru.set('huge', 4, 11)
  assert.equal(lru.get('huge'), undefined)
})

test('event: the version is the one of the package', () => {
  const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  assert.equal(VERSION, manifest.version)
})
