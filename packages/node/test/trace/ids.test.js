import assert from 'node:assert/strict'
import { test } from 'node:test'
import { newSpanId, newTraceId, newUuid } from '../../dist/esm/trace/ids.js'

test('ids have their form and never repeat, over many pools', () => {
  const forms = [
    [newTraceId, /^[0-9a-f]{32}$/],
    [newSpanId, /^[0-9a-f]{16}$/],
    [newUuid, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/],
  ]
  const seen = new Set()
  const digits = new Set()
  for (let i = 0; i < 5000; i++) {
    for (const [make, form] of forms) {
      const id = make()
      assert.match(id, form)
      assert.equal(seen.has(id), false, id)
      seen.add(id)
    }
    digits.add(newUuid()[19])
  }
  assert.equal(digits.size, 4, 'every variant digit occurs')
})
