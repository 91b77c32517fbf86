// The guard of the hot path: counted instructions and bytes, which no busy machine can change.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MAJOR, measure, recorded } from '../hot-path.mjs'

// Runs of one build differ by as much; the upper of their values is on record.
const SLACK = 1.025

test('a request costs the instructions and the bytes that are on record, and no more', (t) => {
  const known = recorded()
  // Another Node has another standard library: its figures are near those of the recorded one.
  const [limit, slack] = known[MAJOR] ? [known[MAJOR], SLACK] : [Object.values(known)[0], 1.3]
  const found = measure()
  t.diagnostic(JSON.stringify(found))
  assert.ok(found.bare.instructions > 100_000 && found.bare.bytes > 1000, 'the server did its work')
  for (const what of ['instructions', 'bytes']) {
    assert.ok(
      found[what] < limit[what] * slack,
      `the kit adds ${found[what]} ${what} to a request, ${limit[what]} are on record. Find what made the hot path dearer; when it is worth it: node bench/hot-path.mjs --update`,
    )
    assert.ok(
      found[what] > limit[what] / slack / 1.1,
      `the kit adds only ${found[what]} ${what} to a request: put it on record with node bench/hot-path.mjs --update`,
    )
  }
})
