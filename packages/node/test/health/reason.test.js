import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isPublicReason, reasonOf } from '../../dist/esm/health/reason.js'

const error = (fields, message = 'broke') => Object.assign(new Error(message), fields)

test('a reason is read from code, name, message, in that order, then from what caused it', () => {
  const cyclic = new Error('round')
  cyclic.cause = cyclic
  for (const [thrown, reason] of [
    [error({ code: 'ECONNREFUSED' }), 'refused'],
    [error({ code: 'ECONNRESET' }), 'refused'],
    [error({ code: '57P01' }), 'refused'],
    [error({ code: 'PROTOCOL_CONNECTION_LOST' }), 'refused'],
    [error({ code: 'ETIMEDOUT' }), 'timeout'],
    [error({ code: 'ENOTFOUND' }), 'dns'],
    [error({ code: 'EAI_AGAIN' }), 'dns'],
    [error({ code: '28P01' }), 'auth'],
    [error({ code: 'ER_ACCESS_DENIED_ERROR' }), 'auth'],
    [error({ code: '57P03' }), 'loading'],
    [error({ code: '25006' }), 'readonly'],
    [error({ code: '53300' }), 'refused_capacity'],
    [error({ code: 'ER_CON_COUNT_ERROR' }), 'refused_capacity'],
    // A socket that is not there; the same codes of a file tell nothing.
    [error({ code: 'ENOENT', syscall: 'connect' }), 'refused'],
    [error({ code: 'EACCES', syscall: 'connect' }), 'refused'],
    [error({ code: 'ENOENT', syscall: 'open' }), 'error'],
    [new DOMException('too long', 'TimeoutError'), 'timeout'],
    [error({}, 'LOADING Redis is loading the dataset in memory'), 'loading'],
    [error({}, 'BUSY Redis is busy running a script'), 'loading'],
    [error({}, 'WRONGPASS invalid username-password pair'), 'auth'],
    [error({}, 'SASL: SCRAM-SERVER-FIRST-MESSAGE: client password must be a string'), 'auth'],
    [error({}, 'NOREPLICAS Not enough good replicas to write.'), 'readonly'],
    [error({}, 'OOM command not allowed'), 'refused_capacity'],
    [error({}, 'Connection terminated unexpectedly'), 'refused'],
    [error({}, 'not LOADING at its beginning'), 'error'],
    [error({ code: 'OTHER', cause: error({ code: 'ENOTFOUND' }) }), 'dns'],
    [error({ code: 'ECONNREFUSED', cause: error({ code: 'ENOTFOUND' }) }), 'refused'],
    [
      new AggregateError([error({ code: 'ECONNREFUSED' }), error({ code: 'EAI_AGAIN' })]),
      'refused',
    ],
    [cyclic, 'error'],
    [error({ code: 7 }), 'error'],
    [undefined, 'error'],
    [null, 'error'],
    ['ECONNREFUSED', 'error'],
  ]) {
    assert.equal(reasonOf(thrown), reason, `${thrown?.code} ${thrown}`)
  }
})

test('a word may be shown, a sentence, a host or a number may not', () => {
  for (const word of ['a', 'pool_busy', 'x'.repeat(64)]) assert.ok(isPublicReason(word), word)
  for (const word of ['', 'Db', '1st', 'db-1', 'db.internal', 'two words', 'x'.repeat(65), 7, null])
    assert.ok(!isPublicReason(word), String(word))
})
