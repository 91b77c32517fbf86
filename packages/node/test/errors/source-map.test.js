import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { membersOf } from '../../dist/esm/errors/json-members.js'
import { findMapping, markOut } from '../../dist/esm/errors/mappings.js'
import { createSourceMaps } from '../../dist/esm/errors/source-map.js'
import { setUp } from './memory.js'

const folder = mkdtempSync(join(tmpdir(), 'telltale-maps-'))
after(() => rmSync(folder, { recursive: true }))

const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
function vlq(number) {
  let value = number < 0 ? (-number << 1) | 1 : number << 1
  let text = ''
  do {
    const digit = value & 31
    value >>>= 5
    text += DIGITS[value > 0 ? digit | 32 : digit]
  } while (value > 0)
  return text
}

/** Mappings text of lines of `[column, source?, line, column]`. */
function encode(lines) {
  const last = [0, 0, 0, 0]
  return lines
    .map((segments) => {
      last[0] = 0
      return segments
        .map((segment) =>
          segment
            .map((value, field) => {
              const delta = value - last[field]
              last[field] = value
              return vlq(delta)
            })
            .join(''),
        )
        .join(',')
    })
    .join(';')
}

function drain(steps) {
  for (;;) {
    const { done, value } = steps.next()
    if (done) return value
  }
}

const natural = fc.integer({ min: 0, max: 100_000 })
const segments = fc
  .array(fc.oneof(fc.tuple(natural), fc.tuple(natural, fc.nat(50), natural, natural)), {
    maxLength: 8,
  })
  .map((list) =>
    [...new Map(list.map((one) => [one[0], one])).values()].sort((a, b) => a[0] - b[0]),
  )

test('mappings: every position finds what a table of all segments says', () => {
  fc.assert(
    fc.property(
      fc.array(segments, { minLength: 1, maxLength: 40 }),
      // Enough of the same to pass many marks.
      fc.integer({ min: 1, max: 60 }),
      fc.array(fc.tuple(fc.nat(50), natural), { minLength: 5, maxLength: 5 }),
      (some, times, positions) => {
        const lines = Array.from({ length: times }, () => some).flat()
        const text = Buffer.from(encode(lines))
        const marks = drain(markOut(text))
        for (const [near, column] of positions) {
          const line = (near * 7919) % (lines.length + 2)
          const segment = lines[line]?.findLast((one) => one[0] <= column)
          const wanted = segment?.length === 4 ? segment.slice(1) : undefined
          const found = findMapping(text, marks, line, column)
          assert.deepEqual(
            found && [found.source, found.originalLine, found.originalColumn],
            wanted,
          )
        }
      },
    ),
    { numRuns: 200 },
  )
})

test('mappings: one line of megabytes is found everywhere, and what is behind a fault says so', () => {
  const line = Array.from({ length: 200_000 }, (_, n) => [n * 10, n % 90, n, n % 80])
  const text = Buffer.from(encode([line]))
  const marks = drain(markOut(text))
  assert.ok(
    text.length > 1_000_000 && marks.byteLength < 20_000,
    `${text.length} ${marks.byteLength}`,
  )
  for (const n of [0, 1, 500, 99_999, 199_999]) {
    const found = findMapping(text, marks, 0, n * 10 + 9)
    assert.deepEqual([found.source, found.originalLine, found.originalColumn], [n % 90, n, n % 80])
  }
  text[900_000] = 33
  const damaged = drain(markOut(text))
  assert.equal(findMapping(text, damaged, 0, 5009).originalLine, 500)
  assert.throws(() => findMapping(text, damaged, 0, 1_999_999), /bad mapping at character 900000/)
})

test('json members: values and elements are those of JSON.parse, whatever the text', () => {
  const top = fc.dictionary(
    fc.string().filter((name) => name !== '__proto__'),
    fc.oneof(fc.json().map(JSON.parse), fc.array(fc.string())),
  )
  fc.assert(
    fc.property(top, fc.constantFrom(0, 2), (value, indent) => {
      const json = JSON.stringify(value, null, indent)
      const text = Buffer.from(` ${json}\n`)
      const members = drain(membersOf(text, 0))
      assert.deepEqual([...members.keys()].sort(), Object.keys(value).sort())
      for (const [name, { from, to, elements }] of members) {
        assert.deepEqual(
          JSON.parse(text.toString('utf8', from, to)),
          JSON.parse(JSON.stringify(value[name])),
        )
        if (!Array.isArray(value[name]) || value[name].length === 0) continue
        const each = []
        for (let i = 0; i < elements.length; i += 2)
          each.push(JSON.parse(text.toString('utf8', elements[i], elements[i + 1])))
        assert.deepEqual(each, JSON.parse(JSON.stringify(value[name])))
      }
      // Cut anywhere it is no whole object.
      const cutAt = Math.floor(json.length / 2)
      assert.throws(() => drain(membersOf(Buffer.from(json.slice(0, cutAt)), 0)), SyntaxError)
    }),
  )
  for (const text of ['', 'not json', '[]', '7', '{"a":1', '{"a', 'x{}'])
    assert.throws(() => drain(membersOf(Buffer.from(text), 0)), SyntaxError)
})

const SOURCE_LINES = 100

/** A bundle with a map of about 4 MB: one generated line for each source line. */
function bundle(name) {
  const file = join(folder, `${name}.js`)
  const lines = 100_000
  const list = Array.from({ length: lines }, (_, n) =>
    Array.from({ length: 6 }, (__, k) => [
      k * 9,
      Math.floor(n / SOURCE_LINES),
      n % SOURCE_LINES,
      k * 7,
    ]),
  )
  const sources = Array.from({ length: lines / SOURCE_LINES }, (_, n) => `src/file${n}.ts`)
  const content = (n) =>
    Array.from({ length: SOURCE_LINES }, (_, line) => `const of${n}at${line} = "\\\\"`).join('\n')
  writeFileSync(file, `${'f();g();h();\n'.repeat(lines)}//# sourceMappingURL=${name}.js.map\n`)
  writeFileSync(
    `${file}.map`,
    JSON.stringify({
      version: 3,
      sourceRoot: '../app',
      sources,
      names: ['a', '"]}'],
      mappings: encode(list),
      sourcesContent: sources.map((_, n) => (n === 3 ? null : content(n))),
    }),
  )
  return file
}

/** An error whose 50 frames are all over the bundle, and what each must become. */
function failureIn(file) {
  const places = Array.from({ length: 50 }, (_, n) => n * 1999 + 405)
  const error = new Error('in a bundle')
  error.stack = `Error: in a bundle\n${places
    .map((line) => `    at f (${file}:${line + 1}:20)`)
    .join('\n')}`
  const wanted = places
    .map((line) => {
      const source = Math.floor(line / SOURCE_LINES)
      return [
        `file${source}.ts`,
        (line % SOURCE_LINES) + 1,
        `const of${source}at${line % SOURCE_LINES}`,
      ]
    })
    .reverse()
  return { error, wanted }
}

const shown = (event) =>
  event.exception.values[0].stacktrace.frames.map((frame) => [
    frame.filename.split('/').at(-1),
    frame.lineno,
    frame.context_line?.split(' = ')[0],
  ])

test('a large map: 50 frames are exact, and the event loop turns while they are found', async (t) => {
  const { errors, events } = setUp(t)
  const { error, wanted } = failureIn(bundle('turning'))
  errors.captureException(error)
  let turns = 0
  while (events.length === 0) {
    await new Promise(setImmediate)
    turns++
  }
  assert.deepEqual(shown(events[0]), wanted)
  assert.match(events[0].exception.values[0].stacktrace.frames[0].abs_path, /app\/src\/file/)
  // Reading the map, its marks and its frames takes far longer than a slice.
  assert.ok(turns > 8, `${turns} turns`)
})

test('a large map: a flush waits for it and later errors keep their place', async (t) => {
  const { errors, events } = setUp(t)
  const { error, wanted } = failureIn(bundle('flushed'))
  errors.captureException(error)
  errors.captureException(new TypeError('after it'))
  await new Promise(setImmediate)
  const flushes = [errors.flush(20_000), errors.flush(20_000)]
  assert.deepEqual(await Promise.all(flushes), [true, true])
  assert.deepEqual(
    events.map((event) => event.exception.values[0].value),
    ['in a bundle', 'after it'],
  )
  assert.deepEqual(shown(events[0]), wanted)
  await errors.flush()
  assert.equal(events.length, 2)
})

test('a large map: what the exit or a short flush cannot wait for is written at once', async (t) => {
  const file = bundle('exiting')
  for (const end of [(errors) => errors.spoolSync(), (errors) => errors.flush(0)]) {
    const { errors, events } = setUp(t)
    const { error, wanted } = failureIn(file)
    errors.captureException(error)
    await end(errors)
    assert.equal(events.length, 1)
    assert.deepEqual(shown(events[0]), wanted)
  }
})

test('source maps: read once however many ask, and a source without a text has none', async () => {
  const file = bundle('once')
  const maps = createSourceMaps()
  assert.equal(maps.isReady(file), false)
  await Promise.all([maps.prepare(file), maps.prepare(file)])
  assert.equal(maps.isReady(file), true)
  rmSync(`${file}.map`)
  rmSync(file)
  const { original } = maps.lookup(file, 3 * SOURCE_LINES + 5, 1)
  assert.equal(original.file, join(folder, '../app/src/file3.ts'))
  assert.deepEqual([original.line, original.column, original.content], [5, 1, undefined])
  assert.match(maps.lookup(file, 3, 10).original.content, /^const of0at0 = "/)
  assert.deepEqual(maps.lookup(file, 900_000, 1), { reason: 'no mapping for 900000:1' })
})
