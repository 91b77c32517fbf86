// A closed stderr: the kit's own faults must not end the process.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

test('faults on a closed stderr neither end the process nor say a secret', async () => {
  const kit = fileURLToPath(new URL('../../dist/esm/entry/index.js', import.meta.url))
  const source = (body) => `
    import { init, captureException } from ${JSON.stringify(kit)}
    const kit = init({ service: 't', errors: { dsn: 'http://abcdef@127.0.0.1:9/1', spoolDir: false, beforeSend() { throw new Error('postgres://u:hunter2@h/db') } } })
    ${body}`
  const deaf = spawn(
    process.execPath,
    [
      '--input-type=module',
      '-e',
      source(`
    await new Promise((resolve) => setTimeout(resolve, 200))
    init({ service: 't' })
    await new Promise((resolve) => setTimeout(resolve, 100))
    process.stdout.write('{"alive":true}\\n')
    process.exit(3)`),
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  )
  deaf.stderr.destroy()
  let out = ''
  deaf.stdout.on('data', (part) => {
    out += part
  })
  const [code] = await once(deaf, 'close')
  assert.equal(code, 3, out)
  assert.match(out, /alive/)

  const telling = spawn(
    process.execPath,
    [
      '--input-type=module',
      '-e',
      source(`
    captureException(new Error('x'))
    await kit.flush(500)
    process.exit(0)`),
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  )
  let told = ''
  telling.stderr.on('data', (part) => {
    told += part
  })
  await once(telling, 'close')
  assert.match(told, /TELLTALE_E_TRACKER_CALLBACK/)
  assert.equal(told.includes('hunter2'), false)
})
