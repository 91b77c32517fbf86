import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync, truncateSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import {
  createSpool,
  EXPIRY_MS,
  MAX_FOLDER_BYTES,
  MAX_SPOOL_BYTES,
} from '../../dist/esm/errors/trackers/spool.js'

const ITEM = { type: 'event', category: 'error', id: 'a'.repeat(32), count: 1, payload: '{}' }
const [OWN, OTHER] = ['1'.repeat(16), '2'.repeat(16)]

function folderWith(t, files) {
  const folder = mkdtempSync(join(tmpdir(), 'telltale-spool-test-'))
  t.after(() => rmSync(folder, { recursive: true }))
  for (const [name, bytes, ageMs] of files) {
    const path = join(folder, name)
    writeFileSync(path, '')
    truncateSync(path, bytes)
    const time = new Date(Date.now() - ageMs)
    utimesSync(path, time, time)
  }
  return folder
}

test('spool: what another DSN left does not take the room of this one', (t) => {
  const folder = folderWith(t, [[`${OTHER}-1-a.spool`, MAX_SPOOL_BYTES, 0]])
  const spool = createSpool(folder, OWN, 1_000_000)
  assert.equal(spool.writeSync([ITEM]), 1)
  truncateSync(join(folder, readdirSync(folder)[0]), MAX_SPOOL_BYTES)
  assert.equal(spool.writeSync([ITEM]), 0, 'its own bound holds')
})

test('spool: files of another DSN make room after a week, not before, and never its own', (t) => {
  const names = [`${OWN}-1-old.spool`, `${OTHER}-1-old.spool`, `${OTHER}-1-new.spool`]
  const folder = folderWith(t, [
    [names[0], 1000, EXPIRY_MS + 1000],
    [names[1], MAX_FOLDER_BYTES / 2, EXPIRY_MS + 1000],
    [names[2], MAX_FOLDER_BYTES - 1000, EXPIRY_MS - 60_000],
  ])
  const spool = createSpool(folder, OWN, 1_000_000)
  assert.equal(spool.writeSync([ITEM]), 0, 'the rest fills the folder')
  assert.deepEqual(readdirSync(folder).sort(), [names[0], names[2]])
  rmSync(join(folder, names[2]))
  assert.equal(spool.writeSync([ITEM]), 1)
})
