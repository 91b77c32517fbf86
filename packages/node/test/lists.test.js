import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { EVENTS, FIELDS } from '../dist/esm/fields.js'
import { fileOf, LISTS } from '../scripts/lists.mjs'

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

test('every event that the kit logs is on the list', () => {
  const folder = fileURLToPath(new URL('../src', import.meta.url))
  const text = readdirSync(folder, { recursive: true })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => readFileSync(`${folder}/${file}`, 'utf8'))
    .join('\n')
  const logged = [...text.matchAll(/log(?:\.\w+|\[[^\]]+\])\(\s*'([a-z_]+)'/g)].map(
    ([, event]) => event,
  )
  assert.ok(logged.length > 5)
  for (const event of logged) if (event !== 'console') assert.ok(event in EVENTS, event)
  assert.ok('request_finished' in EVENTS && Object.keys(FIELDS).length > 30)
})
