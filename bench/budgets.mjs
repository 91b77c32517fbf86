// The budgets of the kit: what it may cost, and what it aims at.

import { against, median, show, spread } from './figures.mjs'
import { PACE } from './throughput.mjs'

const json = 'json'
const work = 'work'

/** Throughput as a share of another variant's in the same round. */
const throughput =
  (framework, workload, of) =>
  ({ rows }) => {
    const place = { framework, workload }
    return against(rows, { ...place, variant: 'telltale' }, { ...place, variant: of }, 'rps')
  }
const ofBare =
  (figure, framework, difference, variant = 'telltale') =>
  ({ rows }) => {
    const place = { framework, workload: json }
    return against(rows, { ...place, variant }, { ...place, variant: 'bare' }, figure, difference)
  }
const micro =
  (what, who = 'telltale') =>
  ({ micro }) =>
    micro.find((entry) => entry.what === what && entry.who === who)?.values ?? []
const quotient = (what, other) => (results) => {
  const others = micro(what, other)(results)
  return micro(what)(results).map((value, i) => value / others[i])
}
const tracker =
  (x) =>
  ({ growth }) => {
    const place = { curve: 'tracker', variant: 'telltale' }
    return against(growth, { ...place, x }, { ...place, x: 'answers' }, 'p99_ms')
  }

const least = (what, unit, budget, moonshot, values) => ({
  what,
  unit,
  sign: '≥',
  budget,
  moonshot,
  values,
})
/**
 * A budget in time is one of the machine it was set on, where a peer took `reference`. Where that peer
 * (`peer(results)`) is slower, the budget grows with it, so that it stays the same ratio; it never shrinks.
 */
const most = (what, unit, budget, moonshot, values, reference, peer) => ({
  what,
  unit,
  sign: '≤',
  budget,
  moonshot,
  values,
  slowness: (results) =>
    peer === undefined ? 1 : Math.max(1, median(peer(results)) / reference || 1),
})

const FRAMEWORKS = { express: 'Express 5', fastify: 'Fastify 5', 'node:http': 'node:http' }
const each = (make) => Object.entries(FRAMEWORKS).map(([framework, name]) => make(framework, name))

/** What the stack wired by hand added to a request where the budget of 24 µs was set. */
const HAND_WIRED_CPU_US = { express: 663, fastify: 707, 'node:http': 364 }

/** `values(results)` finds the measured values; their median is held to `budget`, which one has not. */
export const BUDGETS = [
  least('Express 5, JSON answer: of bare', '×', 0.8, 0.9, throughput('express', json, 'bare')),
  least(
    'Express 5, JSON answer: of hand-wired',
    '×',
    3.5,
    4.3,
    throughput('express', json, 'hand-wired'),
  ),
  least('Fastify 5, JSON answer: of bare', '×', 0.52, 0.65, throughput('fastify', json, 'bare')),
  least(
    'Fastify 5, JSON answer: of hand-wired',
    '×',
    10,
    13,
    throughput('fastify', json, 'hand-wired'),
  ),
  least('node:http, JSON answer: of bare', '×', 0.48, 0.6, throughput('node:http', json, 'bare')),
  least(
    'node:http, JSON answer: of hand-wired',
    '×',
    8,
    11,
    throughput('node:http', json, 'hand-wired'),
  ),
  least(
    'Express 5, three hops and two log calls: of bare',
    '×',
    0.6,
    0.75,
    throughput('express', work, 'bare'),
  ),
  least(
    'Fastify 5, three hops and two log calls: of bare',
    '×',
    0.45,
    0.55,
    throughput('fastify', work, 'bare'),
  ),
  ...each((framework, name) =>
    most(
      `${name}, JSON answer: CPU added`,
      'µs',
      24,
      10,
      ofBare('cpu_us_per_request', framework, true),
      HAND_WIRED_CPU_US[framework],
      ofBare('cpu_us_per_request', framework, true, 'hand-wired'),
    ),
  ),
  ...each((framework, name) =>
    most(
      `${name}, JSON answer: p99 at saturation, of bare`,
      '×',
      1.5,
      1.2,
      ofBare('p99_ms', framework, false),
    ),
  ),
  ...each((framework, name) =>
    most(`${name}, JSON answer: p99 at ${PACE} requests/s, of bare`, '×', 1.5, 1.2, ({ paced }) =>
      against(paced, { framework, variant: 'telltale' }, { framework, variant: 'bare' }, 'p99_ms'),
    ),
  ),
  most(
    'import + init',
    'ms',
    25,
    10,
    micro('import + init'),
    907,
    micro('import + init', '@sentry/node'),
  ),
  most('RSS added by it', 'MB', 12, 6, micro('RSS added by it')),
  most(
    'a log call, 3 fields, in a request: of pino',
    '×',
    1,
    0.5,
    quotient('a log call, 3 fields, in a request', 'pino'),
  ),
  most(
    'a disabled log call',
    'ns',
    15,
    8,
    micro('a disabled log call'),
    12,
    micro('a disabled log call', 'pino'),
  ),
  most(
    'a histogram observation',
    'ns',
    60,
    20,
    micro('a histogram observation, 240 label sets'),
    775,
    micro('a histogram observation, 240 label sets', 'prom-client'),
  ),
  most(
    'scrape of 5,000 label sets: longest loop block',
    'ms',
    10,
    3,
    micro('scrape of 5,000 label sets: longest loop block'),
    160,
    micro('scrape of 5,000 label sets: longest loop block', 'prom-client'),
  ),
  most('1,000 concurrent probes: queries', '', 20, 2, micro('1,000 concurrent probes: queries')),
  least(
    '500 different errors at once: delivered or counted',
    '',
    500,
    500,
    micro('500 different errors at once: delivered or counted'),
  ),
  most('tracker hangs: p99 of the application', '×', 1.05, 1, tracker('hangs')),
  most('tracker refuses: p99 of the application', '×', 1.05, 1, tracker('refuses')),
  ...['exit', 'SIGTERM', 'crash'].map((how) =>
    least(
      `lines out after ${how}, of 20,000`,
      '',
      20_000,
      20_000,
      micro(`lines out after ${how}, of 20,000`),
    ),
  ),
  least(
    'error lines out after SIGKILL, of 1',
    '',
    undefined,
    1,
    micro('error lines out after SIGKILL, of 1'),
  ),
]

/** Each budget with what was measured, and whether its median meets the budget and the aim. */
export function judge(results) {
  return BUDGETS.map(({ what, unit, sign, budget, moonshot, values, slowness }) => {
    const measured = values(results)
    const factor = slowness?.(results) ?? 1
    const holds = (limit) =>
      sign === '≥' ? median(measured) >= limit : median(measured) <= limit * factor
    const limit = (value) => {
      if (value === undefined) return '–'
      const text = `${sign} ${value.toLocaleString('en')}${unit === '' ? '' : ` ${unit}`}`
      return factor === 1 ? text : `${text} × ${show(factor)}`
    }
    const verdict = () => {
      if (measured.length === 0) return 'not measured'
      if (holds(moonshot)) return 'met, and the aim'
      return budget === undefined || holds(budget) ? 'met' : 'missed'
    }
    return {
      what,
      budget: limit(budget),
      moonshot: limit(moonshot),
      measured: spread(measured),
      verdict: verdict(),
    }
  })
}
