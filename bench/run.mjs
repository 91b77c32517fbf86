// npm run bench [-- --quick | --budgets] [--json FILE] [--only NAME,…] [--rounds N] [--seconds N]
// Measures, prints, and after a complete run writes results/ and docs/performance.md.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { judge } from './budgets.mjs'
import { drawSvg } from './chart.mjs'
import { measureGrowth, measureStall, measureTracker } from './growth.mjs'
import { CONNECTIONS, LOADER } from './load.mjs'
import { measureMicro } from './micro.mjs'
import { canPin, endAll, HERE, pinSelf, startSink } from './process.mjs'
import { method, printReport, writePage } from './report.mjs'
import { measureThroughput } from './throughput.mjs'
import { FRAMEWORKS, VARIANTS, WORKLOADS } from './variants.mjs'

const NAMES = [...Object.keys(FRAMEWORKS), ...Object.keys(WORKLOADS), ...Object.keys(VARIANTS)]
/** Who is asked at a steady rate. A stack wired by hand may not be able to answer it. */
const PACED = ['bare', 'telltale']
const ESSENTIAL = ['bare', 'telltale', 'hand-wired']
/**
 * `warm`: rounds before the first that counts, and in how many of them bare takes part, which two
 * seconds compile; `paced`: who is also asked at a steady rate; `leaves`: framework or variant of a
 * workload; `seldom`: framework, workload or variant that takes part in every fifth round only, and in
 * two of `warm`. What no budget of the design asks for is left out where there is no time for it, and
 * what keeps far from its budget is measured less often than a p99, which moves most.
 */
const MODES = {
  complete: {
    rounds: 5,
    seconds: 2,
    warm: { json: 2, work: 1 },
    variants: Object.keys(VARIANTS),
    paced: PACED,
  },
  budgets: {
    rounds: 7,
    seconds: 2,
    warm: { json: 4, work: 2 },
    variants: ESSENTIAL,
    paced: PACED,
  },
  quick: {
    rounds: 9,
    seconds: 1,
    warm: { json: 9, work: 2, bare: 3 },
    variants: ESSENTIAL,
    paced: [],
    seldom: ['hand-wired', 'express', 'work'],
    leaves: ['node:http, work', 'hand-wired, work'],
  },
}

function usage(message) {
  if (message) console.error(`bench: ${message}`)
  console.error(
    'usage: npm run bench -- [--quick | --budgets] [--json FILE] [--only NAME[,NAME]] [--rounds N] [--seconds N]\n' +
      '  without a mode      everything, about 24 minutes; writes bench/results/ and docs/performance.md\n' +
      '  --budgets           bare, telltale and hand-wired, and what else the budgets need, about 6 minutes\n' +
      '  --quick             the same with fewer rounds, under 3 minutes once its peers are installed\n' +
      '  --json FILE         the throughput rows, for other programs\n' +
      `  --only NAME,…       throughput alone, of some of ${NAMES.join(', ')}; bare always runs`,
  )
  process.exit(message ? 2 : 0)
}

function readFlags() {
  let values
  try {
    values = parseArgs({
      options: {
        quick: { type: 'boolean' },
        budgets: { type: 'boolean' },
        json: { type: 'string' },
        only: { type: 'string' },
        rounds: { type: 'string' },
        seconds: { type: 'string' },
        help: { type: 'boolean' },
      },
    }).values
  } catch (error) {
    usage(error.message)
  }
  if (values.help) usage()
  if (values.quick && values.budgets) usage('--quick and --budgets are two modes; take one')
  const names = values.only?.split(',')
  for (const name of names ?? []) if (!NAMES.includes(name)) usage(`--only does not know ${name}`)
  const chosen = (all, whenNone = all) => {
    const some = Object.keys(all).filter((name) => names?.includes(name))
    return some.length > 0 ? some : Object.keys(whenNone)
  }
  const count = (flag, usual) => {
    const number = Number(values[flag] ?? usual)
    if (!Number.isInteger(number) || number < 1 || number > 60)
      usage(`--${flag} takes a whole number from 1 to 60, got ${values[flag]}`)
    return number
  }
  const mode = values.quick ? 'quick' : values.budgets ? 'budgets' : 'complete'
  const { rounds, seconds, warm, variants, paced, leaves = [], seldom = [] } = MODES[mode]
  const usual = Object.fromEntries(variants.map((name) => [name, true]))
  return {
    json: values.json,
    mode,
    isPartial: names !== undefined,
    plan: {
      rounds: count('rounds', rounds),
      seconds: count('seconds', seconds),
      warm,
      paced,
      leaves: names === undefined ? leaves : [],
      seldom: names === undefined ? seldom : [],
      connections: CONNECTIONS,
      frameworks: chosen(FRAMEWORKS),
      workloads: chosen(WORKLOADS),
      variants: [...new Set(['bare', ...chosen(VARIANTS, usual)])],
    },
  }
}

function prepare() {
  if (process.platform !== 'linux') usage('CPU and memory are read from /proc: Linux is needed')
  if (!existsSync(join(HERE, '../packages/node/dist/esm/entry/index.js')))
    usage('the kit is not built: run npm ci in the root folder first')
  const missing = Object.keys(dependencies()).filter(
    (name) => !existsSync(join(HERE, 'node_modules', name)),
  )
  if (missing.length === 0) return
  console.error('Installing what the kit is compared with …')
  const args = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
  const { status } = spawnSync('npm', args, { cwd: HERE, stdio: ['ignore', 2, 2] })
  if (status !== 0) process.exit(3)
}

const readJson = (path) => JSON.parse(readFileSync(path, 'utf8'))
const dependencies = () => readJson(join(HERE, 'package.json')).dependencies
const versionIn = (folder) => readJson(join(HERE, folder, 'package.json')).version
const versions = () => ({
  '@telltale/node': versionIn('../packages/node'),
  ...Object.fromEntries(
    Object.keys(dependencies()).map((name) => [name, versionIn(`node_modules/${name}`)]),
  ),
})

const startedMs = performance.now()
let part = ''
/** One line that changes on a terminal; elsewhere a line for each part. */
function progress(text) {
  const seconds = Math.round((performance.now() - startedMs) / 1000)
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${seconds} s  ${text}`)
  else if (!text.startsWith(part) || part === '') console.error(`${seconds} s  ${text}`)
  part = text.replace(/ round .*/, '')
}

/** One element a line: small, and a change of one figure is a change of one line. */
function compact(results) {
  const lists = Object.entries(results).map(([name, value]) =>
    Array.isArray(value)
      ? `${JSON.stringify(name)}: [\n${value.map((entry) => JSON.stringify(entry)).join(',\n')}\n]`
      : `${JSON.stringify(name)}: ${JSON.stringify(value)}`,
  )
  return `{\n${lists.join(',\n')}\n}\n`
}

function write(path, text) {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text)
  console.log(`written: ${path}`)
}

const { json, mode, isPartial, plan } = readFlags()
prepare()
pinSelf()
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    endAll()
    process.exit(130)
  })
}
const results = {
  when: new Date().toISOString(),
  machine: `${cpus().length} × ${cpus()[0]?.model ?? 'unknown CPU'}`,
  node: process.version,
  isPinned: canPin,
  loader: LOADER,
  plan,
  versions: versions(),
  rows: [],
  paced: [],
  deliveries: [],
  micro: [],
  growth: [],
}
console.log(method(results).join('\n'))
const sink = await startSink()
try {
  Object.assign(results, await measureThroughput(plan, sink, progress))
  if (!isPartial) {
    results.micro = await measureMicro(mode === 'quick', sink, progress)
    const troubled = { seconds: 1, warm: 2, rounds: 5, variants: ['telltale'] }
    results.growth = await measureTracker(troubled, sink, progress)
    if (mode === 'complete') {
      // No budget rests on the other's.
      const others = { seconds: 1, warm: 1, rounds: 2, variants: ['hand-wired'] }
      results.growth.push(...(await measureTracker(others, sink, progress)))
      const loggers = ['telltale', 'pino-http', 'winston', 'evlog', 'hand-wired']
      const stall = { seconds: 1, variants: loggers }
      results.growth.push(...(await measureStall(stall, sink, progress)))
      results.growth.push(...(await measureGrowth({ rounds: 2, seconds: 1 }, sink, progress)))
    }
  }
} catch (error) {
  console.error(`\nbench: ${error.stack}`)
  process.exitCode = 1
} finally {
  await sink.end()
  endAll()
}
if (process.stderr.isTTY) process.stderr.write('\n')
if (process.exitCode === undefined) {
  printReport(results, process.stdout.isTTY === true && !process.env.NO_COLOR)
  if (!isPartial) {
    const name = mode === 'complete' ? 'latest' : mode
    write(join(HERE, `results/${name}.json`), compact(results))
    write(join(HERE, `results/${name}.svg`), drawSvg(results, method(results)[0]))
    if (mode === 'complete') writePage(results)
  }
  if (json) write(json, `[\n${results.rows.map((row) => JSON.stringify(row)).join(',\n')}\n]\n`)
  const judged = isPartial ? [] : judge(results).map(({ verdict }) => verdict)
  const verdicts = judged.filter((verdict) => verdict !== 'not measured')
  const missed = verdicts.filter((verdict) => verdict === 'missed').length
  if (verdicts.length > 0) console.log(`${missed} of ${verdicts.length} budgets missed`)
  console.log(`${Math.round((performance.now() - startedMs) / 1000)} s`)
}
