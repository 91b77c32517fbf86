import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { createSpool, EXPIRY_MS, MAX_SPOOL_BYTES } from '../../dist/esm/errors/trackers/spool.js'

const ITEM = { type: 'event', category: 'error', id: 'a'.repeat(32), count: 1, payload: '{}' }

test('spool: files of another DSN make room after a week, not before, and never its own', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'telltale-test-spool-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const [own, other] = ['1'.repeat(16), '2'.repeat(16)]
  const names = [`${own}-1-old.spool`, `${other}-1-old.spool`, `${other}-1-new.spool`]
  for (const name of names) {
    writeFileSync(join(folder, name), Buffer.alloc(MAX_SPOOL_BYTES / 2))
    const days = name.includes('old') ? -1000 : 60_000
    const time = new Date(Date.now() - EXPIRY_MS + days)
    utimesSync(join(folder, name), time, time)
  }
  const spool = createSpool(folder, own, 1_000_000)
  assert.equal(
    spool.writeSync([ITEM]),
    0,
    'the file of a week is gone, the other two fill the folder',
  )
  assert.deepEqual(readdirSync(folder).sort(), [names[0], names[2]])
  rmSync(join(folder, names[2]))
  assert.equal(spool.writeSync([ITEM]), 1)
})
