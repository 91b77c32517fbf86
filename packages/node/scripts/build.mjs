// Compiles the kit twice, ESM and CJS, each with its own types, by plain tsc; then folds what each
// public subpath loads into few files, because a module costs Node 0.4 ms to load and there are eighty.
// They are CommonJS, which Node can load in the middle of a function, so that a start loads only what
// it needs; `import` gets the same copy as `require`, by a small file of names. Shortened names save
// another 3 ms of parsing; names of functions stay, and lines of a hundred characters, for stack traces.
import { spawnSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { rollup } from '@rollup/wasm-node'
import { minify } from 'terser'
import { bundlersFile, SUBPATHS } from './exports.mjs'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const require = createRequire(import.meta.url)
const tsc = join(dirname(require.resolve('typescript/package.json')), 'bin', 'tsc')

rmSync(join(root, 'dist'), { recursive: true, force: true })
let failed = false
for (const format of ['esm', 'cjs']) {
  // Comments belong into the types; in the code Node would only read past them at each start.
  for (const what of [
    ['--emitDeclarationOnly'],
    ['--declaration', 'false', '--isolatedDeclarations', 'false', '--removeComments'],
  ]) {
    const args = [tsc, '-p', join(root, `tsconfig.${format}.json`), ...what]
    failed ||= spawnSync(process.execPath, args, { stdio: 'inherit' }).status !== 0
  }
  writeFileSync(
    join(root, 'dist', format, 'package.json'),
    `${JSON.stringify({ type: format === 'esm' ? 'module' : 'commonjs' })}\n`,
  )
}

/** What a start does not need, by the file that its first use loads. */
const LATER = {
  later_errors: /^errors\/(event|exception|lru|mappings|json-members|scope|scrub|source|stack)/,
  later_turn:
    /^(health\/endpoints|metrics\/(http|own|registry|runtime)|request\/(cut-off|upgrade)|trace\/transaction)/,
  later_verify: /^verify-routes/,
  later_tracker: /^errors\/trackers\/(?!sentry-sdk|dsn)/,
  later_pretty: /^log\/pretty/,
  later_scrape: /^metrics\/(aggregate|endpoint|exposition|foreign|hub|member|scrape|wire)/,
}
const laterFile = (id) => {
  const module = relative(join(root, 'dist/esm'), id)
  return Object.keys(LATER).find((name) => LATER[name].test(module))
}

// The unfolded modules stay beside the folded entries: the tests of the rooms use them.
const bundle = await rollup({
  input: Object.fromEntries(
    Object.values(SUBPATHS).map((file) => [`entry/${file}`, join(root, 'dist/esm', `${file}.js`)]),
  ),
  external: (id) => id.startsWith('node:'),
  // The files need each other, which is why they are loaded later.
  onLog: (level, log, print) => log.code === 'CIRCULAR_CHUNK' || print(level, log),
})
const loadedByIndex = new Set()
const modules = new Map(bundle.cache.modules.map((module) => [module.id, module]))
function visit(id) {
  if (loadedByIndex.has(id) || !modules.has(id)) return
  loadedByIndex.add(id)
  for (const next of modules.get(id).dependencies) visit(next)
}
visit(join(root, 'dist/esm/index.js'))

/** `later_x.name` becomes `later_x().name`, which loads the file. */
const loadLater = {
  name: 'load-later',
  renderChunk: (code) =>
    code
      .replace(/(?<![\w$./])(later_\w+)\./g, '$1().')
      .replace(
        /^var (later_\w+) = (require\('[^']+'\));$/gm,
        'let $1_loaded;\nconst $1 = () => ($1_loaded ??= $2);',
      ),
}
const shorten = {
  name: 'shorten',
  renderChunk: (code) =>
    minify(code, {
      toplevel: true,
      keep_fnames: true,
      keep_classnames: true,
      format: { ascii_only: true, max_line_len: 100 },
    }),
}
const { output } = await bundle.write({
  plugins: [loadLater, shorten],
  dir: join(root, 'dist/cjs'),
  format: 'cjs',
  entryFileNames: '[name].js',
  chunkFileNames: 'entry/[name].js',
  hoistTransitiveImports: false,
  // One file for all that index loads: nothing of it may exist twice in one process.
  manualChunks: (id) => (loadedByIndex.has(id) ? (laterFile(id) ?? 'kit') : undefined),
})
await bundle.close()

// What `import` gets. Node reads a CommonJS file for its names when it is imported, for a millisecond
// and a half, so it is required; to import node:module for that would cost another half of one.
// Bundlers, which cannot follow that, get a file that imports it.
for (const { fileName, exports: names, isEntry, code, imports, moduleIds } of output) {
  if (!isEntry) continue
  const target = join(root, 'dist/esm', fileName)
  const pathTo = (file) => relative(dirname(target), join(root, 'dist/cjs', file))
  // What only hands on names of the kit's file is passed by: each file is a millisecond and a half.
  const given = new Map(names.map((name) => [name, name]))
  let source = fileName
  if (moduleIds.length === 0) {
    source = imports.find((file) => !file.startsWith('node:'))
    for (const [, name, own] of code.matchAll(/exports\.(\w+)\s*=\s*\w+\.([\w$]+)/g))
      given.set(name, own)
  }
  const list = [...given].map(([name, own]) => (own === name ? name : `${own}: ${name}`))
  mkdirSync(dirname(target), { recursive: true })
  writeFileSync(
    target,
    `const require = process.getBuiltinModule('module').createRequire(import.meta.filename)
export const { ${list.join(', ')} } = require('${pathTo(source)}')
`,
  )
  writeFileSync(bundlersFile(target), `export { ${names.join(', ')} } from '${pathTo(fileName)}'\n`)
}
process.exit(failed ? 1 : 0)
