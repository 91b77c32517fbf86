import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { createFrames } from '../../dist/esm/errors/source-context.js'
import { isInApp, moduleName, parseStack } from '../../dist/esm/errors/stack.js'
import { redactor } from './memory.js'

const folder = realpathSync(mkdtempSync(join(tmpdir(), 'telltale-stack-')))
after(() => rmSync(folder, { recursive: true, force: true }))

test('stack: reads every form that V8 writes', () => {
  for (const [line, expected] of [
    ['at fn (/a/b.js:1:2)', ['fn', '/a/b.js', 1, 2]],
    ['at fn (file:///a/b%20c.mjs?t=1:1:2)', ['fn', '/a/b c.mjs', 1, 2]],
    ['at async Foo.bar (file:///a/b.mjs:10:20)', ['Foo.bar', '/a/b.mjs', 10, 20]],
    ['at async file:///a/b.mjs:10:20', ['?', '/a/b.mjs', 10, 20]],
    ['at /a (b)/c.js:3:4', ['?', '/a (b)/c.js', 3, 4]],
    ['at fn (/a (b)/c.js:3:4)', ['fn', '/a (b)/c.js', 3, 4]],
    ['at new Foo (/a/b.js:1:2)', ['new Foo', '/a/b.js', 1, 2]],
    ['at Object.<anonymous> (/a/b.js:1:2)', ['Object.<anonymous>', '/a/b.js', 1, 2]],
    ['at Foo.bar [as baz] (/a/b.js:1:2)', ['Foo.bar', '/a/b.js', 1, 2]],
    ['at <anonymous> (/a/b.js:1:2)', ['?', '/a/b.js', 1, 2]],
    ['at eval (eval at run (/a/b.js:5:6), <anonymous>:1:1)', ['eval', '/a/b.js', 5, 6]],
    ['at Array.map (<anonymous>)', ['Array.map', '', 0, 0]],
    ['at async Promise.all (index 0)', ['Promise.all', '', 0, 0]],
    ['at process.x (node:internal/timers:581:17)', ['process.x', 'node:internal/timers', 581, 17]],
    ['at fn (C:\\a\\b.js:1:2)', ['fn', 'C:\\a\\b.js', 1, 2]],
    ['at C:\\a\\b.js:1:2', ['?', 'C:\\a\\b.js', 1, 2]],
    ['at fn (file:///C:/a/b.js:1:2)', ['fn', 'C:/a/b.js', 1, 2]],
    ['at native', ['?', '', 0, 0]],
  ]) {
    const [site] = parseStack(`Error: x\n    ${line}`, 'x')
    assert.deepEqual([site.name, site.file, site.line, site.column], expected, line)
  }
})

test('stack: lines of a message that look like frames are no frames', () => {
  const message = 'oops\n    at fake (/fake.js:1:2)'
  const sites = parseStack(new Error(message).stack, message)
  assert.ok(sites.every((site) => site.file !== '/fake.js'))
  assert.match(sites[0].file, /stack\.test\.js$/)
})

test('stack: a frame written is the frame read, and no text throws', () => {
  const name = fc.stringMatching(/^[A-Za-z_$][\w$.]{0,20}$/)
  const file = fc.stringMatching(/^\/[\w./-]{1,40}\.[mc]?[jt]s$/)
  const number = fc.integer({ min: 1, max: 1e6 })
  fc.assert(
    fc.property(name, file, number, number, fc.boolean(), (fn, path, line, column, isAsync) => {
      const text = `Error: m\n    at ${isAsync ? 'async ' : ''}${fn} (${path}:${line}:${column})`
      assert.deepEqual(parseStack(text, 'm'), [{ name: fn, file: path, line, column }])
    }),
  )
  fc.assert(
    fc.property(fc.string(), fc.string(), (text, message) => {
      parseStack(`Error: ${message}\n    at ${text}`, message)
    }),
  )
})

test('in_app: not Node, not a dependency, not the kit itself', () => {
  assert.equal(isInApp('/app/src/a.js'), true)
  assert.equal(isInApp('node:internal/x'), false)
  assert.equal(isInApp('/app/node_modules/express/index.js'), false)
  assert.equal(
    isInApp(fileURLToPath(new URL('../../dist/cjs/errors/errors.js', import.meta.url))),
    false,
  )
  assert.equal(isInApp(''), false)
})

test('module: derived from the path below the project root', () => {
  assert.equal(moduleName('/app', '/app/src/routes/orders.ts'), 'src.routes:orders')
  assert.equal(moduleName('/app', '/app/node_modules/express/lib/router.js'), 'express.lib:router')
  assert.equal(moduleName('/app', 'node:events'), 'node:events')
})

const SOURCE = `type Order = { id: number }

interface Padding {
  readonly a: string
}

export function place(order: Order): never {
  const password: string = 'in the source'
  // before
  throw new Error(\`order \${order.id} \${password.length}\`)
}
// after
`

function compile(name, options) {
  const root = join(folder, name)
  mkdirSync(join(root, 'src'), { recursive: true })
  writeFileSync(join(root, 'src/place.ts'), SOURCE)
  writeFileSync(join(root, 'package.json'), '{"name":"x"}')
  const require = createRequire(import.meta.url)
  const tsc = join(dirname(require.resolve('typescript/package.json')), 'bin/tsc')
  const args = [
    '--rootDir',
    'src',
    '--outDir',
    'dist',
    '--module',
    'commonjs',
    '--target',
    'es2022',
  ]
  const run = spawnSync(process.execPath, [tsc, ...args, ...options, 'src/place.ts'], { cwd: root })
  assert.equal(run.status, 0, String(run.stdout))
  return root
}

function failIn(root) {
  const { place } = createRequire(import.meta.url)(join(root, 'dist/place.js'))
  try {
    place({ id: 7 })
  } catch (error) {
    return createFrames(root, 2, redactor).resolve(parseStack(error.stack, error.message)).at(-1)
  }
}

for (const [name, options] of [
  ['map beside', ['--sourceMap']],
  ['inline map', ['--inlineSourceMap']],
  ['inline sources', ['--inlineSourceMap', '--inlineSources']],
]) {
  test(`K23: TypeScript with ${name}: exact line of the .ts file and its lines`, () => {
    const root = compile(name.replace(' ', '-'), options)
    if (options.includes('--inlineSources')) rmSync(join(root, 'src'), { recursive: true })
    const frame = failIn(root)
    assert.equal(frame.filename, 'src/place.ts')
    assert.deepEqual([frame.lineno, frame.colno, frame.module], [10, 9, 'src:place'])
    assert.match(frame.context_line, /throw new Error/)
    assert.equal(frame.pre_context.at(-1), '  // before')
    assert.deepEqual(frame.post_context, ['}', '// after'])
    assert.equal(frame.in_app, true)
    assert.ok(!JSON.stringify(frame).includes('in the source'), 'a literal of a secret name')
  })
}

test('K23: a missing or broken map is named on the frame, the .js line stands', () => {
  const root = compile('missing', ['--sourceMap'])
  rmSync(join(root, 'dist/place.js.map'))
  const frame = failIn(root)
  assert.equal(frame.filename, 'dist/place.js')
  assert.deepEqual(frame.data, { source_map: 'missing: dist/place.js.map' })
  assert.match(frame.context_line, /throw new Error/)
  writeFileSync(join(root, 'dist/place.js.map'), 'not json')
  assert.deepEqual(failIn(root).data, { source_map: 'broken: dist/place.js.map is not JSON' })
  writeFileSync(
    join(root, 'dist/place.js.map'),
    JSON.stringify({ version: 3, sources: ['../src/place.ts'], mappings: '!!!' }),
  )
  assert.match(failIn(root).data.source_map, /^broken: bad mapping/)
})

test('K23: an indexed map finds the section of the position', () => {
  const root = join(folder, 'indexed')
  mkdirSync(root)
  const file = join(root, 'bundle.js')
  writeFileSync(file, 'a()\nb()\n//# sourceMappingURL=bundle.js.map\n')
  const part = (name) => ({
    version: 3,
    sources: [name],
    sourcesContent: [`of ${name}`],
    mappings: 'AAAA',
  })
  writeFileSync(
    `${file}.map`,
    JSON.stringify({
      version: 3,
      sections: [
        { offset: { line: 0, column: 0 }, map: part('one.ts') },
        { offset: { line: 1, column: 0 }, map: part('two.ts') },
      ],
    }),
  )
  const sites = [{ name: 'b', file, line: 2, column: 1 }]
  const [frame] = createFrames(root, 1, redactor).resolve(sites)
  assert.deepEqual([frame.filename, frame.lineno, frame.context_line], ['two.ts', 1, 'of two.ts'])
})

test('frames: when Node maps the stack itself the kit takes it as it is', () => {
  const root = compile('node-maps', ['--sourceMap'])
  const dist = new URL('../../dist/esm/errors/', import.meta.url).href
  const program = join(root, 'main.mjs')
  writeFileSync(
    program,
    `import { place } from './dist/place.js'
import { createFrames } from '${dist}source-context.js'
import { parseStack } from '${dist}stack.js'
const redactor = { isSecretKey: () => false, text: (v) => v, url: (v) => v }
try { place({ id: 7 }) } catch (e) {
  console.log(JSON.stringify(createFrames(process.cwd(), 2, redactor).resolve(parseStack(e.stack, e.message)).at(-1)))
}`,
  )
  for (const args of [[], ['--enable-source-maps']]) {
    const run = spawnSync(process.execPath, [...args, program], { cwd: root, encoding: 'utf8' })
    const frame = JSON.parse(run.stdout)
    assert.deepEqual([frame.filename, frame.lineno, frame.data], ['src/place.ts', 10, undefined])
  }
})

test('frames: a minified line is cut around the column', () => {
  const file = join(folder, 'min.js')
  writeFileSync(file, `${'x;'.repeat(50_000)}boom();${'y;'.repeat(50_000)}`)
  const [frame] = createFrames(folder, 5, redactor).resolve([
    { name: '?', file, line: 1, column: 100_001 },
  ])
  assert.ok(frame.context_line.length <= 202)
  assert.match(frame.context_line, /boom\(\)/)
})
