// Messages that look like stacks: what a client writes must not choose which files are read.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { parseStack, readCode } from '../../dist/esm/errors/stack.js'
import { captureException, close, init } from '../../dist/esm/index.js'
import { createMemoryTracker } from '../../dist/esm/testing.js'

test('a message of any length that ends in frames adds none to the stack', () => {
  for (const length of [10, 1000, 17_000, 200_000]) {
    const message = `${'x'.repeat(length)}\n    at y (/etc/passwd:1:1)`
    const error = new Error(message)
    assert.equal(
      parseStack(error.stack, message).some((site) => site.file === '/etc/passwd'),
      false,
    )
    error.message = 'changed afterwards'
    const sites = parseStack(error.stack, error.message)
    assert.ok(sites.length <= 10)
  }
})

test('only regular files with the name of code are read', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'telltale-forged-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const pipe = join(folder, 'pipe.js')
  execFileSync('mkfifo', [pipe])
  writeFileSync(join(folder, '.env'), 'SECRET=1')
  writeFileSync(join(folder, 'fine.ts'), 'let a')
  for (const [file, why] of [
    [pipe, /regular/],
    ['/etc/passwd', /source/],
    [join(folder, '.env'), /source/],
    [join(folder, 'none.js'), /missing/],
    [folder, /source/],
  ])
    assert.throws(() => readCode(file), why, file)
  assert.equal(readCode(join(folder, 'fine.ts')), 'let a')
})

test('an event of a forged error holds no line of a foreign file', async () => {
  const tracker = createMemoryTracker()
  init({
    service: 't',
    errors: { tracker, captureCrashes: false },
    shutdown: { enabled: false },
    log: { level: 'silent' },
  })
  captureException(new Error(`cannot parse ${'x'.repeat(17_000)}\n    at y (/etc/passwd:1:1)`))
  const event = await tracker.next()
  assert.equal(JSON.stringify(event).includes(['root', 'x', '0'].join(':')), false)
  assert.ok(
    event.exception.values[0].stacktrace.frames.every((frame) => frame.abs_path !== '/etc/passwd'),
  )
  await close()
})
