// What is published runs from its tarball, with nothing beside it.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

test('the package has no runtime dependencies and no install scripts', () => {
  assert.equal(manifest.dependencies, undefined)
  for (const name of ['preinstall', 'install', 'postinstall']) {
    assert.equal(manifest.scripts[name], undefined)
  }
})

test('the packed command runs alone, and judges a service', () => {
  const folder = mkdtempSync(join(tmpdir(), 'telltale-pack-'))
  try {
    execFileSync('npm', ['pack', '--ignore-scripts', '--pack-destination', folder], {
      cwd: root,
      stdio: 'pipe',
    })
    execFileSync('tar', ['-xzf', join(folder, readdirSync(folder)[0])], { cwd: folder })
    const bin = join(folder, 'package', 'bin', 'telltale.js')
    const run = (...args) =>
      execFileSync(process.execPath, [bin, ...args], { cwd: folder, encoding: 'utf8' })
    assert.equal(run('--version').trim(), manifest.version)
    assert.match(run('verify', '--help'), /--error-route/)
    const service = join(root, 'test/fixtures/odd/tiny.mjs')
    const report = JSON.parse(run('verify', '--json', '--only', 'boot', '--', 'node', service))
    assert.equal(report.checks[0].status, 'pass')
    assert.ok(existsSync(join(folder, 'package', 'schema', 'verify-report.schema.json')))
    const publint = join(root, '../../node_modules/.bin/publint')
    execFileSync(
      publint,
      [
        'run',
        join(
          folder,
          readdirSync(folder).find((f) => f.endsWith('.tgz')),
        ),
      ],
      {
        cwd: root,
        stdio: 'pipe',
      },
    )
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
