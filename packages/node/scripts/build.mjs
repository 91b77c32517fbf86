// Compiles the kit twice, ESM and CJS, each with its own types, by plain tsc.
import { spawnSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const require = createRequire(import.meta.url)
const tsc = join(dirname(require.resolve('typescript/package.json')), 'bin', 'tsc')

rmSync(join(root, 'dist'), { recursive: true, force: true })
let failed = false
for (const format of ['esm', 'cjs']) {
  const run = spawnSync(process.execPath, [tsc, '-p', join(root, `tsconfig.${format}.json`)], {
    stdio: 'inherit',
  })
  failed ||= run.status !== 0
  mkdirSync(join(root, 'dist', format), { recursive: true })
  writeFileSync(
    join(root, 'dist', format, 'package.json'),
    `${JSON.stringify({ type: format === 'esm' ? 'module' : 'commonjs' })}\n`,
  )
}
process.exit(failed ? 1 : 0)
