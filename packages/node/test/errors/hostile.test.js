import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createUnit, runInUnit, setUp } from './memory.js'

const trap = () => {
  throw new Error('trap')
}
const HOSTILE = new Proxy({}, { get: trap, ownKeys: trap, getPrototypeOf: trap, has: trap })

test('K18: no call throws into the caller, whatever it is given, and the error still arrives', async (t) => {
  const { errors, events } = setUp(t)
  runInUnit(createUnit(), () => {
    for (const value of [HOSTILE, null, undefined, 7, 'text', Symbol('s'), () => {}]) {
      errors.setUser(value)
      errors.setTag(value === HOSTILE ? 'key' : value, value)
      errors.setTags(value)
      errors.setContext('name', value)
      errors.setContext(value === HOSTILE ? 'key' : value, {})
      errors.setExtra('key', value)
      errors.setExtras(value)
      errors.addBreadcrumb(value)
    }
    errors.captureException(new Error('first'), HOSTILE)
    errors.captureException(new Error('second'), {
      contexts: HOSTILE,
      tags: HOSTILE,
      extra: HOSTILE,
    })
    errors.captureException(new Error('third'), trap)
    errors.captureException(HOSTILE)
    errors.captureEvent(HOSTILE)
    errors.captureMessage(Symbol('message'))
    errors.captureMessage('text', null)
  })
  await errors.flush()
  const values = events.map((event) => event.exception?.values[0].value ?? event.message)
  for (const name of ['first', 'second', 'third', 'Symbol(message)', 'text'])
    assert.ok(values.includes(name), `${name} in ${values}`)
})
