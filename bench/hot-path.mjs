// node hot-path.mjs [--update]: what one request with two log calls costs through the kit, in machine
// instructions and bytes of heap. Counted, not timed: valgrind counts the instructions of Node without
// its compilers, whose moment is chance, and the heap is large enough that nothing is collected. So
// the figures are the same on any machine, busy or not, and a test holds them to hot-path.json.
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { HERE } from './process.mjs'

const FLAGS = [
  '--jitless',
  '--single-threaded',
  '--random-seed=1',
  '--hash-seed=1',
  '--min-semi-space-size=64',
  '--max-semi-space-size=64',
]
const [FEW, MANY] = [200, 600]
export const FILE = join(HERE, 'hot-path.json')
export const MAJOR = process.versions.node.split('.')[0]

function run(command, args) {
  const env = { PATH: process.env.PATH, NODE_ENV: 'production' }
  const { status, stderr, error } = spawnSync(command, args, {
    cwd: HERE,
    env,
    stdio: ['ignore', 'ignore', 'pipe'],
    encoding: 'utf8',
  })
  if (status !== 0) throw error ?? new Error(`${command} ended with ${status}:\n${stderr}`)
  return stderr
}

function instructions(variant, count) {
  const valgrind = ['--tool=callgrind', '--callgrind-out-file=/dev/null', process.execPath]
  const told = run('valgrind', [
    ...valgrind,
    ...FLAGS,
    'programs/hot-path.mjs',
    variant,
    `${count}`,
  ])
  return Number(/Collected : (\d+)/.exec(told)[1])
}

function bytes(variant) {
  return JSON.parse(
    run(process.execPath, [...FLAGS, 'programs/hot-path.mjs', variant, '600']).match(
      /\{"bytes".*\}/,
    )[0],
  ).bytes
}

/** What one request costs without and with the kit, and what the kit adds. */
export function measure() {
  const cost = (variant) => ({
    instructions: Math.round(
      (instructions(variant, MANY) - instructions(variant, FEW)) / (MANY - FEW),
    ),
    bytes: Math.round(bytes(variant)),
  })
  const bare = cost('bare')
  const telltale = cost('telltale')
  return {
    instructions: telltale.instructions - bare.instructions,
    bytes: telltale.bytes - bare.bytes,
    bare,
  }
}

export const recorded = () => JSON.parse(readFileSync(FILE, 'utf8'))

if (process.argv[1] === join(HERE, 'hot-path.mjs')) {
  const found = measure()
  console.log(JSON.stringify(found, null, 1))
  if (process.argv[2] === '--update') {
    writeFileSync(FILE, `${JSON.stringify({ ...recorded(), [MAJOR]: found }, null, 2)}\n`)
  }
}
