// Compiles the kit twice, ESM and CJS, each with its own types, by plain tsc; then folds what each
// public subpath loads into few files, because a module costs Node 0.4 ms to load and there are eighty,
// and shortens them, which saves another 3 ms of parsing. Names of functions and line breaks stay, for
// stack traces.
import { spawnSync } from 'node:child_process'
import { rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { rollup } from '@rollup/wasm-node'
import { minify } from 'terser'
import { SUBPATHS } from './exports.mjs'

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

// The unfolded modules stay beside the folded entries: the tests of the rooms use them.
const bundle = await rollup({
  input: Object.fromEntries(
    Object.values(SUBPATHS).map((file) => [`entry/${file}`, join(root, 'dist/esm', `${file}.js`)]),
  ),
  external: (id) => id.startsWith('node:'),
})
const loadedByIndex = new Set()
const modules = new Map(bundle.cache.modules.map((module) => [module.id, module]))
function visit(id) {
  if (loadedByIndex.has(id) || !modules.has(id)) return
  loadedByIndex.add(id)
  for (const next of modules.get(id).dependencies) visit(next)
}
visit(join(root, 'dist/esm/index.js'))
const shorten = {
  name: 'shorten',
  renderChunk: (code, _chunk, { format }) =>
    minify(code, {
      module: format === 'es',
      toplevel: true,
      keep_fnames: true,
      keep_classnames: true,
      format: { ascii_only: true, beautify: true, indent_level: 0 },
    }),
}
for (const format of ['esm', 'cjs']) {
  await bundle.write({
    plugins: [shorten],
    dir: join(root, 'dist', format),
    format,
    entryFileNames: '[name].js',
    chunkFileNames: 'entry/[name].js',
    hoistTransitiveImports: false,
    // One chunk for all that index loads: nothing of it may exist twice in one process.
    manualChunks: (id) => (loadedByIndex.has(id) ? 'kit' : undefined),
  })
}
await bundle.close()
process.exit(failed ? 1 : 0)
