import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'

const dist = fileURLToPath(new URL('../../dist', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'telltale-crash-'))
after(() => rmSync(folder, { recursive: true, force: true }))

const SET_UP = `
const events = []
const tracker = {
  name: 'file',
  capture: (event) => events.push(event),
  flush: async () => {
    await new Promise((resolve) => setTimeout(resolve, 30))
    console.log('flushed', events.length)
    return true
  },
  close: async () => true,
  spoolSync: () => fs.writeFileSync(process.env.OUT, JSON.stringify(events)),
}
const redactor = { isSecretKey: () => false, text: (v) => v, url: (v) => v }
const settings = { service: 's', environment: 'e', errors: { sampleRate: 1, allowHeaders: [], ignoreErrors: [], contextLines: 2 } }
const errors = createErrors(settings, { redactor, trackers: [tracker] })
installCrashHandlers({ errors, onCrash: (e, origin) => console.log('crash', origin) })
process.on('exit', (code) => console.log('exit', code))
`
const HEADS = {
  cjs: `const fs = require('node:fs')
const { createErrors } = require(${JSON.stringify(`${dist}/cjs/errors/errors.js`)})
const { installCrashHandlers } = require(${JSON.stringify(`${dist}/cjs/errors/crash.js`)})
${SET_UP}`,
  mjs: `import fs from 'node:fs'
import { createErrors } from ${JSON.stringify(`${dist}/esm/errors/errors.js`)}
import { installCrashHandlers } from ${JSON.stringify(`${dist}/esm/errors/crash.js`)}
${SET_UP}`,
}

let count = 0
async function run(kind, body, { withKit = true, args = [] } = {}) {
  const name = `program-${++count}`
  const program = join(folder, `${name}.${kind}`)
  const out = join(folder, `${name}.json`)
  const head = withKit ? HEADS[kind] : HEADS[kind].replace(/[^\n]/g, '')
  writeFileSync(program, `${head}${body}\n`)
  const child = spawn(process.execPath, [...args, program], { env: { ...process.env, OUT: out } })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (data) => (stdout += data))
  child.stderr.on('data', (data) => (stderr += data))
  const [code, signal] = await once(child, 'close')
  let events = []
  try {
    events = JSON.parse(readFileSync(out, 'utf8'))
  } catch {}
  return { code, signal, stdout, stderr: stderr.replaceAll(name, 'program'), events }
}

const THROW = `setTimeout(() => { throw new TypeError('late') }, 1)`
const REJECT = `setTimeout(() => { Promise.reject(new RangeError('refused')) }, 1)`

for (const kind of ['cjs', 'mjs']) {
  for (const [name, body, type] of [
    ['uncaught exception', THROW, 'onuncaughtexception'],
    ['unhandled rejection', REJECT, 'onunhandledrejection'],
  ]) {
    test(`K6: ${kind}: an ${name} is one fatal event, exit 1, stderr as plain Node`, async () => {
      const [kit, plain] = await Promise.all([run(kind, body), run(kind, body, { withKit: false })])
      assert.equal(kit.events.length, 1, kit.stderr)
      assert.equal(kit.events[0].level, 'fatal')
      assert.deepEqual(
        [
          kit.events[0].exception.values[0].mechanism.type,
          kit.events[0].exception.values[0].mechanism.handled,
        ],
        [type, false],
      )
      assert.equal(kit.code, 1)
      assert.match(kit.stdout, /^crash \w+\nflushed 1\nexit 1\n$/)
      assert.equal(kit.stderr, plain.stderr)
    })

    test(`K6: ${kind}: with a handler of the user's an ${name} is captured and the process lives`, async () => {
      const handler = `process.on('${name === 'uncaught exception' ? 'uncaughtException' : 'unhandledRejection'}', () => console.log('mine'))\n`
      const kit = await run(kind, `${handler}${body}\nsetTimeout(() => console.log('alive'), 60)`)
      assert.equal(kit.code, 0)
      assert.equal(kit.stdout, 'mine\nalive\nexit 0\n')
      assert.equal(kit.stderr, '')
      assert.deepEqual(
        kit.events.map((event) => event.level),
        ['error'],
      )
    })
  }
}

test('K6: something thrown that is no error keeps exit code 1 and one event', async () => {
  const body = `setTimeout(() => { throw 'just text' }, 1)`
  const kit = await run('cjs', body)
  assert.equal(kit.code, 1)
  assert.equal(kit.events[0].exception.values[0].value, 'just text')
  assert.match(kit.stderr, /just text/)
})

test('K6: a second error during the flush neither loops nor changes the end', async () => {
  const body = `setInterval(() => { throw new Error('again') }, 1)`
  const kit = await run('cjs', body)
  assert.deepEqual([kit.code, kit.events.length], [1, 1])
})

test('K6: a fault inside onCrash does not hide the crash', async () => {
  const body = `installCrashHandlers({ errors, onCrash() { throw new Error('mine') } })\n${THROW}`
  const kit = await run('cjs', body)
  assert.deepEqual([kit.code, kit.events.length], [1, 1])
  assert.match(kit.stderr, /TypeError: late/)
})

test('K6: --unhandled-rejections=warn and none keep the process alive and capture', async () => {
  for (const mode of ['warn', 'none']) {
    const kit = await run('cjs', REJECT, { args: [`--unhandled-rejections=${mode}`] })
    assert.deepEqual([kit.code, kit.events.length], [0, 1], mode)
    assert.equal(/UnhandledPromiseRejectionWarning/.test(kit.stderr), mode === 'warn')
  }
  const strict = await run('cjs', REJECT, { args: ['--unhandled-rejections=strict'] })
  assert.deepEqual([strict.code, strict.events.length], [1, 1])
})

test('K4: process.exit right after a capture still writes the event', async () => {
  const kit = await run('mjs', `errors.captureException(new Error('last words'))\nprocess.exit(0)`)
  assert.equal(kit.code, 0)
  assert.equal(kit.events[0].exception.values[0].value, 'last words')
})
