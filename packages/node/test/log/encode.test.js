import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import test from 'node:test'
import vm from 'node:vm'
import fc from 'fast-check'
import { createEncoder } from '../../dist/esm/log/encode.js'
import { createRedactor } from '../../dist/esm/redact.js'
import { configure, keysOf } from './memory.mjs'

const encoder = createEncoder({
  redactor: createRedactor({ keys: [], allow: [], patterns: [] }),
  maxBytes: 16_384,
  reserved: new Set(['level']),
  errorNames: { type: 'type', message: 'message', stack: 'stack' },
})
const round = (value) => JSON.parse(encoder.value(value))

const hostile = new Proxy(
  {},
  {
    get() {
      throw new Error('get')
    },
    ownKeys() {
      throw new Error('ownKeys')
    },
    getPrototypeOf() {
      throw new Error('getPrototypeOf')
    },
  },
)
function deep(levels) {
  const outermost = {}
  let inner = outermost
  for (let i = 0; i < levels; i++) {
    inner.a = {}
    inner = inner.a
  }
  return outermost
}
const cycle = { name: 'cycle' }
cycle.self = cycle

const rows = [
  ['a BigInt becomes a string', 12345678901234567890n, '12345678901234567890'],
  ['a huge BigInt becomes a placeholder', 1n << 100_000n, '[BigInt]'],
  ['NaN becomes null', Number.NaN, null],
  ['Infinity becomes null', Number.POSITIVE_INFINITY, null],
  ['a bad Date says so', new Date(Number.NaN), 'Invalid Date'],
  ['a Date is RFC 3339', new Date(0), '1970-01-01T00:00:00.000Z'],
  ['a function shows its name', function work() {}, '[Function work]'],
  ['a symbol shows its description', Symbol('s'), 'Symbol(s)'],
  ['undefined becomes null', undefined, null],
  ['undefined in an object is left out', { a: undefined, b: 1 }, { b: 1 }],
  ['a Map with text keys is an object', new Map([['a', 1]]), { a: 1 }],
  ['a Map with other keys is a list of pairs', new Map([[1, 'a']]), [[1, 'a']]],
  ['a Set is a list', new Set([1, 2]), [1, 2]],
  ['Headers are an object', new Headers({ accept: 'x' }), { accept: 'x' }],
  ['URLSearchParams are text', new URLSearchParams('a=1&b=2'), 'a=1&b=2'],
  ['a URL loses its userinfo', new URL('http://user:pass@host/p'), 'http://host/p'],
  ['a Buffer is a number of bytes', Buffer.from('abc'), { bytes: 3 }],
  ['an ArrayBuffer is a number of bytes', new ArrayBuffer(8), { bytes: 8 }],
  ['a RegExp is its source', /a"b/g, '/a"b/g'],
  ['a Promise is named', Promise.resolve(1), '[Promise]'],
  ['a boxed number is its value', Object(5), 5],
  ['a cycle is marked', cycle, { name: 'cycle', self: '[Circular]' }],
  ['toJSON is honoured', { toJSON: () => ({ id: 1 }) }, { id: 1 }],
  [
    'a throwing toJSON is replaced',
    {
      a: {
        toJSON() {
          throw new Error('no')
        },
      },
      b: 1,
    },
    { a: '[unreadable]', b: 1 },
  ],
  [
    'a throwing getter is replaced alone',
    {
      get bad() {
        throw new Error('no')
      },
      good: 1,
    },
    { bad: '[unreadable]', good: 1 },
  ],
  [
    'a hostile Proxy is replaced alone',
    { bad: hostile, good: 1 },
    { bad: '[unreadable]', good: 1 },
  ],
  [
    'an object without prototype is an object',
    Object.assign(Object.create(null), { a: 1 }),
    { a: 1 },
  ],
  ['the same object twice is no cycle', [cycle.name, { a: 1 }], ['cycle', { a: 1 }]],
  ['a __proto__ key stays a key', JSON.parse('{"__proto__":1}'), JSON.parse('{"__proto__":1}')],
]
for (const [title, value, expected] of rows) {
  test(`44: ${title}`, () => assert.deepEqual(round(value), expected))
  test(`44: ${title}, inside a line whose other fields are intact`, (t) => {
    const { log, raw } = configure(t)
    log.info('row', { before: 1, value, after: 2 })
    assert.equal(raw.length, 1)
    assert.ok(raw[0].endsWith('}\n') && raw[0].indexOf('\n') === raw[0].length - 1)
    const line = JSON.parse(raw[0])
    assert.equal(line.before, 1)
    assert.equal(line.after, 2)
    if (value !== undefined) assert.deepEqual(line.value, expected)
    keysOf(raw[0])
  })
}

test('44: a 20,000 deep object is cut, the other fields stay', (t) => {
  const { log, lines } = configure(t)
  log.info('deep', { value: deep(20_000), after: 1 })
  assert.equal(lines()[0].after, 1)
  assert.equal(lines()[0].truncated, true)
})

test('44: a hostile Proxy as the fields themselves still gives a line', (t) => {
  const { log, lines } = configure(t)
  log.info('proxy', hostile)
  log.info(hostile)
  log.info(hostile, hostile, hostile)
  assert.equal(lines().length, 3)
  assert.equal(lines()[0].event, 'proxy')
})

test('44: errors at any key and depth, from another realm, with causes and groups', () => {
  const foreign = vm.runInNewContext('new TypeError("foreign")')
  const group = new AggregateError([new Error('one'), 'two'], 'both')
  const json = round({
    a: { b: [new Error('deep', { cause: new RangeError('root') })] },
    foreign,
    group,
  })
  assert.equal(json.a.b[0].message, 'deep')
  assert.equal(json.a.b[0].cause.type, 'RangeError')
  assert.match(json.a.b[0].stack, /encode\.test\.js/)
  assert.deepEqual([json.foreign.type, json.foreign.message], ['TypeError', 'foreign'])
  assert.deepEqual(
    json.group.errors.map((error) => error.message),
    ['one', 'two'],
  )
})

test('46: control characters, separators and lone surrogates are escaped, in one line', (t) => {
  const { log, raw } = configure(t)
  const nasty = 'a\nb\rc\u2028d\u2029e\u001b[31mf\ud800g\udc00h\u0000i\u007fj\u009bk\u00e9😀'
  log.info(nasty, { [nasty]: nasty })
  const text = raw[0]
  assert.equal(text.indexOf('\n'), text.length - 1)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: none may be there
  assert.doesNotMatch(text.slice(0, -1), /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/)
  assert.equal(JSON.parse(text).event, shown(nasty))
  assert.equal(JSON.parse(text)[shown(nasty)], shown(nasty))
  assert.equal(Buffer.from(text).toString(), text, 'valid UTF-8')
  const python = spawnSync(
    'python3',
    [
      '-c',
      'import json,sys\nfor l in sys.stdin.buffer: print(json.loads(l.decode("utf-8"))["level"])',
    ],
    { input: text },
  )
  assert.equal(String(python.stdout), 'info\n', String(python.stderr))
  const jq = spawnSync('jq', ['-r', '.level'], { input: text })
  assert.equal(String(jq.stdout), 'info\n', String(jq.stderr))
})

test('47: a cause chain of 1,000, a cycle of causes, a 10 MB message give one bounded line each', (t) => {
  const { log, raw, lines } = configure(t)
  let chain = new Error('root')
  for (let i = 0; i < 1000; i++) chain = new Error(`level ${i}`, { cause: chain })
  const ring = new Error('ring')
  ring.cause = new Error('other', { cause: ring })
  log.info('chain', chain)
  log.info('ring', ring)
  log.info('long', new Error('m'.repeat(10_000_000)))
  log.info('m'.repeat(10_000_000))
  assert.equal(raw.length, 4)
  for (const text of raw) assert.ok(Buffer.byteLength(text) <= 16_384, `${text.length}`)
  const [first, second, third, fourth] = lines()
  assert.equal(first.error.cause.cause.message, 'level 997')
  assert.equal(first.truncated, true)
  assert.equal(second.error.cause.cause.type, 'Circular')
  assert.match(third.error.stack, /encode\.test\.js/, 'the frames outlive a long message')
  assert.equal(fourth.truncated, true)
  assert.match(fourth.event, /^m{1000}/)
})

test('47: whatever is thrown gives an error object', (t) => {
  const { log, lines } = configure(t)
  const frozen = Object.freeze(new Error('frozen'))
  const blind = new Error('blind')
  Object.defineProperty(blind, 'stack', {
    get() {
      throw new Error('no stack')
    },
  })
  for (const error of [null, 'x', {}, 7n, frozen, blind, hostile, { message: 'like' }])
    log.info('thrown', { error })
  const errors = lines().map((line) => line.error)
  assert.deepEqual(errors[0], { type: 'null', message: 'null' })
  assert.deepEqual(errors[1], { type: 'string', message: 'x' })
  assert.deepEqual(errors[2], { type: 'Object', message: '{}' })
  assert.deepEqual(errors[3], { type: 'bigint', message: '7' })
  assert.equal(errors[4].message, 'frozen')
  assert.equal(errors[5].message, 'blind')
  assert.equal(typeof errors[6], 'object')
  assert.deepEqual(errors[7], { type: 'Object', message: 'like' })
})

test('48: a 5 MB object gives a line within the limit, marked, without walking all of it', (t) => {
  const { log, raw, lines } = configure(t)
  let reads = 0
  const big = { list: [] }
  for (let i = 0; i < 50_000; i++) {
    const item = { i, text: 'y'.repeat(80) }
    Object.defineProperty(item, 'seen', {
      enumerable: true,
      get() {
        reads++
        return true
      },
    })
    big.list.push(item)
  }
  const startMs = performance.now()
  log.info('big', big)
  const tookMs = performance.now() - startMs
  assert.ok(Buffer.byteLength(raw[0]) <= 16_384)
  assert.equal(lines()[0].truncated, true)
  assert.ok(lines()[0].list.length > 50)
  assert.ok(reads < 500, `${reads} items were read`)
  assert.ok(tookMs < 200, `${tookMs} ms`)
})

test('48: the limit counts bytes, not characters', (t) => {
  const { log, raw } = configure(t, { log: { maxLineBytes: 1024 } })
  for (const char of ['é', '漢', '😀', '\u0001', '"', '\ud800']) {
    log.info(char.repeat(5000))
    log.info('fields', { a: char.repeat(5000), b: char.repeat(5000), [char.repeat(600)]: 1 })
    log.info('error', new Error(char.repeat(5000)))
    log.info('both', { a: char.repeat(900), error: new Error(char.repeat(5000)) })
    log.child({ bound: char.repeat(5000) }).info('child', { a: char.repeat(5000) })
  }
  for (const text of raw) {
    assert.ok(Buffer.byteLength(text) <= 1024, `${Buffer.byteLength(text)} bytes: ${text}`)
    assert.equal(JSON.parse(text).truncated, true, text)
    keysOf(text)
  }
})

test('48: the encoder alone keeps to the limit as well', () => {
  for (const char of ['x', 'é', '漢', '\u0001']) {
    const text = char.repeat(20_000)
    const error = new Error(text, { cause: new Error(text) })
    for (const json of [
      encoder.value(text),
      encoder.value({ a: [text, text] }),
      encoder.error(error),
      `{${encoder.fields({ a: text, b: text, level: text }).slice(1)}}`,
    ]) {
      assert.ok(Buffer.byteLength(json) <= 16_600, `${Buffer.byteLength(json)} bytes`)
      keysOf(json)
    }
  }
})

const anything = fc.anything({
  withBigInt: true,
  withDate: true,
  withMap: true,
  withSet: true,
  withTypedArray: true,
  withNullPrototype: true,
  withObjectString: true,
  withSparseArray: true,
  withUnicodeString: true,
  withBoxedValues: true,
  maxDepth: 4,
})
const shown = (text) =>
  text.replace(/\p{Surrogate}/gu, (char) => `\\u${char.charCodeAt(0).toString(16)}`)
const texts = fc.string({ unit: 'binary', maxLength: 200 })

test('property: any value in any place gives one line that parses, each key once', (t) => {
  const { log, raw } = configure(t, { log: { maxLineBytes: 2048 } })
  fc.assert(
    fc.property(fc.array(fc.oneof(anything, texts), { maxLength: 4 }), (args) => {
      raw.length = 0
      log.info(...args)
      assert.equal(raw.length, 1)
      assert.equal(raw[0].indexOf('\n'), raw[0].length - 1)
      assert.ok(Buffer.byteLength(raw[0]) <= 2048)
      keysOf(raw[0])
    }),
    { numRuns: 2000 },
  )
})

test('property: texts without secrets come back as they were', () => {
  fc.assert(
    fc.property(texts, (text) => {
      fc.pre(!/[=:@]|\d[\d -]{11}|bearer|basic|eyJ/i.test(text))
      assert.equal(round(text), shown(text))
    }),
    { numRuns: 2000 },
  )
})
