import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createTerminal } from '../dist/terminal.js'

const ESC = '\u001b'

/** All that a terminal writes in this environment. */
function written(env, isTTY) {
  const saved = { ...process.env }
  for (const name of ['NO_COLOR', 'FORCE_COLOR', 'TERM']) delete process.env[name]
  Object.assign(process.env, { TERM: 'xterm', ...env })
  let text = ''
  const write = (part) => {
    text += part
  }
  const stream = { isTTY, columns: 80, write }
  const terminal = createTerminal(stream, stream, false)
  process.env = saved
  terminal.progress('one')
  terminal.progress('two')
  terminal.clear()
  return `${text}${terminal.red('red')}${terminal.bold('bold')}`
}

test('39: with NO_COLOR or a dumb terminal there is no escape byte at all', () => {
  for (const env of [{ NO_COLOR: '1' }, { NO_COLOR: '1', FORCE_COLOR: '1' }, { TERM: 'dumb' }]) {
    for (const isTTY of [true, false]) {
      const text = written(env, isTTY)
      assert.equal(text.includes(ESC), false, JSON.stringify(text))
      assert.ok(text.includes('one') && text.includes('two'))
    }
  }
})

test('39: FORCE_COLOR colours a pipe, and FORCE_COLOR=0 does not colour a terminal', () => {
  assert.ok(written({ FORCE_COLOR: '1' }, false).includes(`${ESC}[31mred`))
  assert.equal(written({}, false).includes(ESC), false)
  assert.equal(written({ NO_COLOR: '' }, true).includes(`${ESC}[31mred`), true)
  assert.equal(written({ FORCE_COLOR: '0' }, true).includes(`${ESC}[31mred`), false)
})

test('a terminal without a size, or with a tiny one, has room for words', () => {
  for (const columns of [0, undefined, 3]) {
    assert.ok(createTerminal({ columns }, {}, true).width >= 40)
  }
})
