// What is published: subpaths, types, arrows between rooms, the public names.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { entries, SUBPATHS } from '../scripts/exports.mjs'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const require = createRequire(import.meta.url)
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

test('package.json has the subpaths of scripts/exports.mjs, and each has its files', () => {
  const { exports, typesVersions } = entries()
  assert.deepEqual(manifest.exports, exports)
  assert.deepEqual(manifest.typesVersions, typesVersions)
  for (const file of Object.values(SUBPATHS)) {
    for (const format of ['esm', 'cjs']) {
      for (const ending of ['js', 'd.ts']) {
        assert.ok(
          existsSync(join(root, 'dist', format, `${file}.${ending}`)),
          `${format}/${file}.${ending}`,
        )
      }
    }
  }
})

test('the kit has no runtime dependencies', () => {
  assert.equal(manifest.dependencies, undefined)
  assert.equal(manifest.peerDependencies, undefined)
})

test('the version in the code is that of package.json', async () => {
  assert.equal((await import('../dist/esm/index.js')).VERSION, manifest.version)
})

test('each subpath exports the same names to import and to require, and they are the agreed ones', async () => {
  const agreed = JSON.parse(readFileSync(join(root, 'test', 'api.json'), 'utf8'))
  const found = {}
  for (const [subpath, file] of Object.entries(SUBPATHS)) {
    const esm = Object.keys(
      await import(pathToFileURL(join(root, 'dist/esm', `${file}.js`)).href),
    ).sort()
    const cjs = Object.keys(require(join(root, 'dist/cjs', `${file}.js`)))
      .filter((name) => name !== '__esModule')
      .sort()
    assert.deepEqual(cjs, esm, subpath)
    found[subpath] = esm
  }
  assert.deepEqual(found, agreed, 'A public name changed: update test/api.json and the CHANGELOG.')
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
  'context.ts': '',
  'builtin.ts': '',
  'access.ts': 'builtin',
  'bind.ts': 'context faults',
  'options.ts': 'faults | errors context',
  'redact.ts': '| options',
  request: 'request context trace options faults',
  trace: 'trace builtin context options faults redact | errors',
  errors: 'errors builtin context options faults redact version',
  metrics: 'metrics access builtin options faults | request context',
  health: 'health access builtin options faults | metrics',
  log: 'log context options faults fields redact | request',
  'shutdown.ts': 'context faults | options',
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
