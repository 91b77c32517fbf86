import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createCanaries, formsOf } from '../../dist/verify/canaries.js'

test('canaries: twelve places, all different, new each time', () => {
  const { all } = createCanaries()
  assert.equal(all.length, 12)
  assert.equal(new Set(all.map(({ value }) => value)).size, 12)
  assert.notEqual(createCanaries().all[0].value, all[0].value)
})

test('canaries: found as they are, URL-encoded, and in base64 at any offset', () => {
  const value = 'canary+secret/0123456789'
  for (const text of [
    `x${value}y`,
    `?token=${encodeURIComponent(value)}`,
    ...['', 'u', 'us', 'use'].map((lead) =>
      Buffer.from(`${lead}${value}:and more`).toString('base64'),
    ),
  ]) {
    assert.ok(
      formsOf(value).some((form) => text.includes(form)),
      text,
    )
  }
  assert.equal(
    formsOf(value).some((form) =>
      Buffer.from('something else altogether').toString('base64').includes(form),
    ),
    false,
  )
})
