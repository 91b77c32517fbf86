// The public subpaths of the kit, in one list. `node scripts/exports.mjs` writes them into
// package.json (exports, typesVersions); test/package.test.js holds package.json to it.
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export const SUBPATHS = {
  '.': 'index',
  './health': 'health/checks',
  './express': 'adapters/express',
  './fastify': 'adapters/fastify',
  './http': 'adapters/node',
  './pino': 'log/pino',
  './winston': 'log/winston',
  './testing': 'testing',
}

/** The file that bundlers are given in place of one that Node imports. */
export const bundlersFile = (file) => file.replace(/\.js$/, '.bundle.js')

/** The `exports` and `typesVersions` of package.json. */
export function entries() {
  const exports = {}
  const types = {}
  for (const [subpath, file] of Object.entries(SUBPATHS)) {
    const esm = `./dist/esm/entry/${file}.js`
    exports[subpath] = {
      import: { types: `./dist/esm/${file}.d.ts`, module: bundlersFile(esm), default: esm },
      require: { types: `./dist/cjs/${file}.d.ts`, default: `./dist/cjs/entry/${file}.js` },
    }
    if (subpath !== '.') types[subpath.slice(2)] = [`./dist/cjs/${file}.d.ts`]
  }
  exports['./package.json'] = './package.json'
  return { exports, typesVersions: { '*': types } }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const file = new URL('../package.json', import.meta.url)
  const manifest = { ...JSON.parse(readFileSync(file, 'utf8')), ...entries() }
  writeFileSync(file, `${JSON.stringify(manifest, null, 2)}\n`)
}
