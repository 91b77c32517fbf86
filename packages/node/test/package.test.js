// What is published: subpaths, types, arrows between rooms, the public names.
import assert from 'node:assert/strict'
import { execFile, execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { bundlersFile, entries, SUBPATHS } from '../scripts/exports.mjs'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const require = createRequire(import.meta.url)
const execute = promisify(execFile)
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

test('package.json has the subpaths of scripts/exports.mjs, and each has its files', () => {
  const { exports, typesVersions } = entries()
  assert.deepEqual(manifest.exports, exports)
  assert.deepEqual(manifest.typesVersions, typesVersions)
  const { './package.json': _, ...files } = exports
  for (const conditions of Object.values(files))
    for (const file of Object.values({ ...conditions.import, ...conditions.require }))
      assert.ok(existsSync(join(root, file)), file)
})

test('the kit has no runtime dependencies', () => {
  assert.equal(manifest.dependencies, undefined)
  assert.equal(manifest.peerDependencies, undefined)
})

test('the version in the code is that of package.json', async () => {
  assert.equal((await import('../dist/esm/entry/index.js')).VERSION, manifest.version)
})

test('each subpath gives import, require and bundlers the same copy, and the names are the agreed ones', async () => {
  const agreed = JSON.parse(readFileSync(join(root, 'test', 'api.json'), 'utf8'))
  const found = {}
  for (const [subpath, file] of Object.entries(SUBPATHS)) {
    const esm = join(root, 'dist/esm/entry', `${file}.js`)
    const imported = await import(pathToFileURL(esm).href)
    const required = require(join(root, 'dist/cjs/entry', `${file}.js`))
    assert.deepEqual({ ...required }, { ...imported }, subpath)
    const bundled = await import(pathToFileURL(bundlersFile(esm)).href)
    assert.deepEqual({ ...bundled }, { ...imported }, subpath)
    found[subpath] = Object.keys(imported).sort()
  }
  assert.deepEqual(found, agreed, 'A public name changed: update test/api.json and the CHANGELOG.')
})

test('a start loads what it needs, and the rest is there a second later', async () => {
  const program = `
    const { init, captureException } = require(${JSON.stringify(join(root, 'dist/cjs/entry/index.js'))})
    const fs = require("node:fs")
    const loaded = () => Object.keys(require.cache).map((file) => require('node:path').basename(file)).sort()
    init({ service: 'start', log: { level: 'silent' }, health: { checks: { ok: () => true } } })
    const first = loaded()
    if (process.argv[1] === 'capture') captureException(new Error('early'))
    const early = loaded()
    setTimeout(() => fs.writeSync(1, JSON.stringify({ first, early, later: loaded() })), 1200)`
  const env = { ...process.env, SENTRY_DSN: 'http://a@127.0.0.1:9/1', TELLTALE_SPOOL_DIR: 'false' }
  const run = async (...args) =>
    JSON.parse((await execute(process.execPath, ['-e', program, ...args], { env })).stdout)
  const [calm, captured] = await Promise.all([run(), run('capture')])
  const start = ['index.js', 'kit.js']
  assert.deepEqual(calm.first, start)
  assert.deepEqual(calm.early, start)
  assert.deepEqual(calm.later, [
    ...start,
    'later_errors.js',
    'later_scrape.js',
    'later_tracker.js',
    'later_turn.js',
  ])
  assert.deepEqual(captured.early, [...start, 'later_errors.js'])
})

test('a service whose files are gone before the kit has loaded the rest is not harmed', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'telltale-gone-'))
  try {
    cpSync(join(root, 'dist/cjs/entry'), folder, { recursive: true })
    for (const name of readdirSync(folder))
      if (name.startsWith('later_')) rmSync(join(folder, name))
    const program = `
      const kit = require(${JSON.stringify(join(folder, 'index.js'))})
      const { errors } = kit.init({ service: 'gone', log: { level: 'silent' } })
      const ids = [kit.captureException(new Error('e')), kit.captureMessage('m'), kit.captureEvent({})]
      kit.setTag('a', 1)
      kit.addBreadcrumb({ message: 'b' })
      const answer = kit.withScope((scope) => scope.setTag('a', 1).setUser({ id: 1 }) && 'answer')
      require('node:http').createServer((_req, res) => {
        kit.setUser({ id: 2 })
        res.end('ok')
      }).listen(0, '127.0.0.1', async function () {
        const texts = []
        for (const path of ['', 'metrics', 'api/v1/health/live'])
          texts.push(await (await fetch('http://127.0.0.1:' + this.address().port + '/' + path)).text())
        setTimeout(() => {
          require('node:fs').writeSync(1, JSON.stringify({ ids: ids.map(String), answer, texts, losses: errors.losses() }))
          process.exit(0)
        }, 1200)
      })`
    const env = {
      ...process.env,
      SENTRY_DSN: 'http://a@127.0.0.1:9/1',
      TELLTALE_SPOOL_DIR: 'false',
    }
    const { stdout } = await execute(process.execPath, ['-e', program], { env })
    const { ids, answer, texts, losses } = JSON.parse(stdout)
    for (const id of ids) assert.match(id, /^[0-9a-f]{32}$/)
    assert.equal(answer, 'answer')
    assert.deepEqual(texts, ['ok', 'ok', 'ok'])
    assert.deepEqual(losses, { internal_sdk_error: 3 })
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})

test('publint and attw find nothing wrong with the packed package', () => {
  const folder = mkdtempSync(join(tmpdir(), 'telltale-pack-'))
  try {
    execFileSync('npm', ['pack', '--ignore-scripts', '--pack-destination', folder], {
      cwd: root,
      stdio: 'pipe',
    })
    const tarball = join(folder, readdirSync(folder)[0])
    const bin = (name) => join(root, '../../node_modules/.bin', name)
    execFileSync(bin('publint'), ['run', tarball, '--strict'], { cwd: root, stdio: 'pipe' })
    execFileSync(bin('attw'), [tarball, '--no-emoji'], { cwd: root, stdio: 'pipe' })
  } catch (error) {
    assert.fail(`${error.message}\n${error.stdout}\n${error.stderr}`)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})

// The table of docs/architecture.md: what each room may import. `type` imports may also point at the
// rooms named after the bar.
const ARROWS = {
  'fields.ts': '',
  'version.ts': '',
  'faults.ts': '',
  'storage.ts': '',
  'context.ts': 'storage',
  'builtin.ts': '',
  'access.ts': 'builtin',
  'bind.ts': 'context faults',
  'options.ts': 'builtin faults | errors context',
  'redact.ts': '| options',
  request: 'request context trace options faults',
  trace: 'trace builtin context options faults redact | errors',
  errors: 'errors builtin context options faults redact version',
  metrics: 'metrics access builtin options faults | request context',
  health: 'health access builtin options faults | metrics',
  log: 'log builtin context options faults fields redact | request',
  'shutdown.ts': 'builtin context faults | options',
  adapters: 'adapters request context',
  'verify-routes.ts': 'access adapters context request version',
  'telltale.ts': '*',
  'api.ts': '*',
  'index.ts': '*',
  'testing.ts': '*',
}

function* sources(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) yield* sources(join(folder, entry.name))
    else if (entry.name.endsWith('.ts')) yield join(folder, entry.name)
  }
}

test('imports keep to the arrows between rooms', () => {
  const src = join(root, 'src')
  const wrong = []
  for (const file of sources(src)) {
    const from = relative(src, file)
    const room = from.includes('/') ? from.split('/')[0] : from
    const allowed = ARROWS[room]
    assert.notEqual(allowed, undefined, `${room} is not a room of the table`)
    if (allowed === '*') continue
    const [values, types = ''] = allowed.split('|').map((part) => part.trim().split(/\s+/))
    for (const [, isType, target] of readFileSync(file, 'utf8').matchAll(
      /^(?:import|export)\s+(type\s)?[^'"]*?from\s+'(\.[^']+)'/gms,
    )) {
      const to = relative(src, join(dirname(file), target))
        .replace(/\.js$/, '')
        .split('/')[0]
      const inRoom = from.startsWith(`${to}/`)
      if (inRoom || values.includes(to) || (isType && types.includes(to))) continue
      wrong.push(`${from} imports ${target}`)
    }
  }
  assert.deepEqual(wrong, [])
})
