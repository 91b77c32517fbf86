// The results in words and tables, on a terminal and in docs/performance.md.
// node bench/report.mjs writes the page again from results/latest.json.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { drawBars } from './chart.mjs'
import { HERE } from './process.mjs'
import {
  budgetTable,
  drawMarkdown,
  drawText,
  growthTable,
  microTable,
  places,
  slopeTable,
  throughputTable,
  troubleTable,
} from './tables.mjs'

const PAGE = join(HERE, '../docs/performance.md')
const LATEST = join(HERE, 'results/latest.json')

/** How, when, where and with what it was measured. */
export function method({ when, machine, node, isPinned, loader, plan, versions }) {
  const { json, work, bare } = plan.warm
  const seldom =
    (plan.seldom ?? []).length === 0 ? '' : ` In every fifth round only: ${plan.seldom.join(', ')}.`
  return [
    `${when.slice(0, 10)} · Node ${node} · ${machine}${isPinned ? ', server on CPU 0, load on CPU 1' : ', not pinned'}`,
    `${plan.rounds} rounds of ${plan.seconds} s, ${plan.connections} keep-alive connections by ${loader}; each variant a process of its own, interleaved round by round, the others stopped meanwhile; a check of its answers, lines, counters and traces before each window; ${json} more of a second (${work} where there are hops) come before and are not counted${bare === undefined ? '' : `, bare takes part in the last ${bare}`}.${seldom}`,
    ...(loader === 'wrk'
      ? []
      : [
          'Without wrk the load generator is busier than the fast servers: ratios of throughput flatter everybody; believe the CPU.',
        ]),
    'Log lines go to a pipe with a reader (telltale-file: to a file), 20 % of traces to a sink on loopback that parses them. CPU is user and system time of the server process, all threads, per request. Median of the rounds (lowest–highest); ratios are to the same round.',
    Object.entries(versions)
      .map(([name, version]) => `${name} ${version}`)
      .join(' · '),
  ]
}

const NARROW = [
  'variant',
  'requests/s',
  'of bare',
  'of hand-wired',
  'p50 ms',
  'p99 ms',
  'CPU µs',
  'RSS MB',
]

function pick({ heads, rows }, wanted) {
  const columns = wanted.map((head) => heads.indexOf(head))
  return { heads: wanted, rows: rows.map((row) => columns.map((i) => row[i])) }
}

/** Everything that was measured, for a terminal. */
export function printReport(results, hasColour) {
  const print = (title, table) => {
    if (table.rows.length > 0) console.log(`\n${title}\n\n${drawText(table)}`)
  }
  for (const [framework, workload] of places(results)) {
    const table = throughputTable(results, framework, workload)
    print(`${framework}, ${workload}`, pick(table, NARROW))
  }
  if (results.rows.length > 0) console.log(`\n${drawBars(results, hasColour)}`)
  print('Single calls', microTable(results))
  print('How cost grows (Fastify)', growthTable(results))
  print('One more', slopeTable(results))
  print('Trouble', troubleTable(results))
  const budgets = budgetTable(results)
  print('Budgets', {
    heads: budgets.heads,
    rows: budgets.rows.filter((row) => row.at(-1) !== 'not measured'),
  })
  console.log()
}

const TITLES = { 'node:http': 'node:http', express: 'Express 5', fastify: 'Fastify 5' }

function sections(results) {
  const throughput = (workload) =>
    places(results)
      .filter((place) => place[1] === workload)
      .map(([framework]) => {
        const table = throughputTable(results, framework, workload)
        return `### ${TITLES[framework]}\n\n${drawMarkdown(table)}`
      })
      .join('\n\n')
  return {
    method: method(results)
      .map((line) => `- ${line}`)
      .join('\n'),
    budgets: drawMarkdown(budgetTable(results)),
    json: throughput('json'),
    work: throughput('work'),
    calls: drawMarkdown(microTable(results)),
    growth: `${drawMarkdown(growthTable(results))}\n\n${drawMarkdown(slopeTable(results))}`,
    trouble: drawMarkdown(troubleTable(results)),
  }
}

/**
 * The page with the tables of these results between `<!-- bench:NAME -->` and `<!-- /bench:NAME -->`,
 * all else as it was. Throws when a pair of markers is missing.
 */
export function fillPage(page, results) {
  let filled = page
  for (const [name, text] of Object.entries(sections(results))) {
    const [begin, end] = [`<!-- bench:${name} -->`, `<!-- /bench:${name} -->`]
    const from = filled.indexOf(begin)
    const to = filled.indexOf(end)
    if (from === -1 || to < from) throw new Error(`docs/performance.md lacks ${begin} … ${end}`)
    filled = `${filled.slice(0, from + begin.length)}\n${text}\n${filled.slice(to)}`
  }
  return filled
}

/** Writes the tables into docs/performance.md. */
export function writePage(results) {
  writeFileSync(PAGE, fillPage(readFileSync(PAGE, 'utf8'), results))
}

if (process.argv[1] === join(HERE, 'report.mjs'))
  writePage(JSON.parse(readFileSync(LATEST, 'utf8')))
