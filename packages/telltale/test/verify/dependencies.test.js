import assert from 'node:assert/strict'
import { tmpdir } from 'node:os'
import { test } from 'node:test'
import { leadDependencies } from '../../dist/verify/dependencies.js'

const secretsOf = async (url) => {
  const options = { cwd: tmpdir(), dependencies: [], env: { SOME_URL: url } }
  const { secrets } = await leadDependencies(options, {})
  return secrets.filter(({ place }) => place.includes('SOME_URL')).map(({ value }) => value)
}

test('dependencies: the password of a URL is searched for', async () => {
  assert.deepEqual(await secretsOf('postgres://app:hunter2-secret@127.0.0.1/app'), [
    'hunter2-secret',
  ])
})

test('dependencies: a word that stands everywhere is no secret', async () => {
  assert.deepEqual(await secretsOf('postgres://postgres:postgres@localhost:5432/app'), [])
  assert.deepEqual(await secretsOf('postgres://app:database@db/database?sslmode=off'), [])
})
