// Runs every test file under node --test, then the contract suites once more on the other supported
// Node. Arguments go to node --test; arguments that name files or folders choose what runs.
//   node scripts/test.mjs
//   node scripts/test.mjs packages/node/test/log --test-name-pattern=BigInt
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { otherNode } from './other-node.mjs'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
process.chdir(root)

const chosen = process.argv.slice(2).filter((argument) => existsSync(argument))
const passed = process.argv.slice(2).filter((argument) => !existsSync(argument))
const files = (chosen.length > 0 ? chosen : testFolders()).flatMap(testFiles).sort()
if (files.length === 0) {
  console.error(
    'No test files found. Tests are called *.test.js and live in packages/*/test and bench/test.',
  )
  process.exit(1)
}

// A folder of their own, so that nothing is left of the tests and nothing found by them.
const temporary = mkdtempSync(join(tmpdir(), 'telltale-test-'))
// Databases that the tests start run as a user of their own.
chmodSync(temporary, 0o711)

// A client that a failed test left open keeps trying for ever, and its file would never end.
const endings = ['--test-force-exit', `--test-timeout=${10 * 60_000}`]

let status = run(process.execPath, files)

// The kit promises the same behaviour on its oldest and on the current long-term Node.
const contract = files.filter((file) => /(^|\/)contract\/|contract[^/]*\.test\.js$/.test(file))
if (chosen.length === 0 && contract.length > 0) {
  const { major, path } = otherNode(root)
  console.log(`\nThe contract suites again, on Node ${major}:`)
  status = run(path, contract) || status
}
rmSync(temporary, { recursive: true, force: true })
process.exitCode = status

function run(node, list) {
  // The tests start databases and measure time; more files at once than cores only makes noise.
  const { status, signal, error } = spawnSync(
    node,
    ['--test', '--test-concurrency=2', ...endings, ...passed, ...list],
    { stdio: 'inherit', env: { ...process.env, TMPDIR: temporary } },
  )
  if (error) console.error(error.message)
  if (signal) console.error(`node --test ended by ${signal}`)
  return status ?? 1
}

function testFolders() {
  return ['packages', 'examples']
    .filter((folder) => existsSync(folder))
    .flatMap((folder) => readdirSync(folder).map((name) => join(folder, name, 'test')))
    .concat(join('bench', 'test'))
    .filter((folder) => existsSync(folder))
}

function testFiles(path) {
  if (statSync(path).isFile()) return [relative(root, join(root, path))]
  return readdirSync(path, { withFileTypes: true }).flatMap((entry) => {
    if (entry.isDirectory()) {
      return ['fixtures', 'node_modules'].includes(entry.name)
        ? []
        : testFiles(join(path, entry.name))
    }
    return entry.name.endsWith('.test.js') ? [join(path, entry.name)] : []
  })
}
