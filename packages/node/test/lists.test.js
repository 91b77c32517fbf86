import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { EVENTS, FIELDS } from '../dist/esm/fields.js'
import { fileOf, LISTS } from '../scripts/lists.mjs'

function sources() {
  const folder = fileURLToPath(new URL('../src', import.meta.url))
  return readdirSync(folder, { recursive: true })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => readFileSync(`${folder}/${file}`, 'utf8'))
}

for (const [name, make] of Object.entries(LISTS)) {
  test(`docs/${name} is what the source says`, async () => {
    assert.equal(
      readFileSync(fileOf(name), 'utf8'),
      await make(),
      'Run npm run lists -w packages/node.',
    )
  })
}

test('every option has a docstring in its list', () => {
  const source = readFileSync(new URL('../src/options.ts', import.meta.url), 'utf8')
  const listed = readFileSync(fileOf('options.md'), 'utf8')
  const types = source.slice(
    source.indexOf('export type LogOptions'),
    source.indexOf('export type Settings'),
  )
  for (const [, name] of types.matchAll(/^ {2}readonly (\w+)\?:/gm)) {
    assert.match(listed, new RegExp(`[.\`]${name}\``), name)
  }
})

test('every metric that the kit registers is on the list', () => {
  const listed = readFileSync(fileOf('metrics.md'), 'utf8')
  const registered =
    /(?:\bname: |\b(?:heap|space)\(\s*)'((?:http|health|process|nodejs|telltale)(?:_[a-z]+)+)'/g
  const names = [...sources().join('\n').matchAll(registered)].map(([, name]) => name)
  assert.ok(names.length > 30, String(names.length))
  for (const name of names) assert.match(listed, new RegExp(`^\\| \`${name}\` \\|`, 'm'))
})

test('every event that the kit logs is on the list', () => {
  const logged = [
    ...sources()
      .join('\n')
      .matchAll(/log(?:\.\w+|\[[^\]]+\])\(\s*'([a-z_]+)'/g),
  ].map(([, event]) => event)
  assert.ok(logged.length > 5)
  for (const event of logged) if (event !== 'console') assert.ok(event in EVENTS, event)
  assert.ok('request_finished' in EVENTS && Object.keys(FIELDS).length > 30)
})
