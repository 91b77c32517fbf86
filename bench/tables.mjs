// The results as tables: { heads, rows } of text; drawn for a terminal or as Markdown.
import { judge } from './budgets.mjs'
import { against, median, show, spread, valuesOf } from './figures.mjs'
import { VARIANTS } from './variants.mjs'

const unique = (values) => [...new Set(values)]
/** Rounds begin with another variant each time; tables have the order of the plan. */
export const inOrder = (names) => Object.keys(VARIANTS).filter((name) => names.includes(name))
const percent = (share) => (share == null ? '–' : `${Math.round(Math.min(share, 1) * 100)} %`)

/** One framework and workload: a row for each variant. */
export function throughputTable({ rows, deliveries }, framework, workload) {
  const place = { framework, workload }
  const names = inOrder(valuesOf(rows, place, 'variant'))
  return {
    heads: [
      'variant',
      'requests/s',
      'of bare',
      'of hand-wired',
      'p50 ms',
      'p99 ms',
      'p99 of bare',
      'CPU µs',
      'CPU added',
      'RSS MB',
      'lines out',
      'traces out',
    ],
    rows: names.map((variant) => {
      const own = { ...place, variant }
      const bare = { ...place, variant: 'bare' }
      const hand = { ...place, variant: 'hand-wired' }
      const delivery = deliveries.find(
        (entry) =>
          entry.framework === framework && entry.workload === workload && entry.variant === variant,
      )
      return [
        variant,
        spread(valuesOf(rows, own, 'rps')),
        spread(against(rows, own, bare, 'rps')),
        spread(against(rows, own, hand, 'rps')),
        spread(valuesOf(rows, own, 'p50_ms')),
        spread(valuesOf(rows, own, 'p99_ms')),
        spread(against(rows, own, bare, 'p99_ms')),
        spread(valuesOf(rows, own, 'cpu_us_per_request')),
        spread(against(rows, own, bare, 'cpu_us_per_request', true)),
        spread(valuesOf(rows, own, 'rss_mb')),
        percent(delivery?.lines),
        percent(delivery?.traces),
      ]
    }),
  }
}

/** The places that were measured, in order. */
export const places = ({ rows }) =>
  unique(rows.map(({ framework, workload }) => `${framework} ${workload}`)).map((name) =>
    name.split(' '),
  )

export function budgetTable(results) {
  return {
    heads: ['budget', 'must', 'aim', 'measured', 'verdict'],
    rows: judge(results).map((entry) => [
      entry.what,
      entry.budget,
      entry.moonshot,
      entry.measured,
      entry.verdict,
    ]),
  }
}

export function microTable({ micro }) {
  const first = new Map()
  for (const { what, who, values } of micro) if (who === 'telltale') first.set(what, median(values))
  return {
    heads: ['what', 'who', 'unit', 'median (min–max)', 'of telltale'],
    rows: micro.map(({ what, who, unit, values }) => [
      what,
      who,
      unit,
      spread(values),
      who === 'telltale' ? '1' : show(median(values) / first.get(what)),
    ]),
  }
}

/** A row for each x of each curve; CPU µs per request, requests/s, p99 and RSS of each variant. */
export function growthTable({ growth }) {
  const curves = growth.filter(({ curve }) => curve !== 'tracker' && curve !== 'stdout')
  const names = inOrder(curves.map(({ variant }) => variant))
  const rows = []
  for (const curve of unique(curves.map((point) => point.curve))) {
    for (const x of unique(valuesOf(curves, { curve }, 'x'))) {
      const cell = (figure) =>
        names.map((variant) => spread(valuesOf(curves, { curve, x, variant }, figure)))
      rows.push([
        curve,
        x.toLocaleString('en'),
        ...cell('cpu_us_per_request'),
        ...cell('p99_ms'),
        ...cell('rss_mb'),
      ])
    }
  }
  const heads = ['CPU µs', 'p99 ms', 'RSS MB'].flatMap((unit) =>
    names.map((name) => `${unit} ${name}`),
  )
  return { heads: ['curve', 'x', ...heads], rows }
}

/** What one more line or span costs: the slope between the least and the most. */
export function slopeTable({ growth }) {
  const rows = []
  for (const [curve, one] of [
    ['log lines per request', 'one more log line'],
    ['spans per request', 'one more span'],
  ]) {
    const points = growth.filter((point) => point.curve === curve)
    if (points.length === 0) continue
    const xs = points.map(({ x }) => x)
    const [least, most] = [Math.min(...xs), Math.max(...xs)]
    for (const variant of inOrder(points.map((point) => point.variant))) {
      const place = { curve, variant }
      const added = against(
        points,
        { ...place, x: most },
        { ...place, x: least },
        'cpu_us_per_request',
        true,
      )
      rows.push([one, variant, spread(added.map((us) => us / (most - least)))])
    }
  }
  return { heads: ['what', 'variant', 'CPU µs'], rows }
}

/** The tracker that hangs or refuses, and the standard output that stalls. */
export function troubleTable({ growth }) {
  const points = growth.filter(({ curve }) => curve === 'tracker' || curve === 'stdout')
  const rows = []
  for (const curve of unique(points.map((point) => point.curve))) {
    for (const variant of inOrder(valuesOf(points, { curve }, 'variant'))) {
      const order = ['answers', 'hangs', 'refuses', 'read', 'stalled']
      for (const x of order.filter(
        (x) => valuesOf(points, { curve, variant, x }, 'x').length > 0,
      )) {
        const own = { curve, variant, x }
        const usual = { curve, variant, x: curve === 'tracker' ? 'answers' : 'read' }
        rows.push([
          `${curve} ${x}`,
          variant,
          spread(valuesOf(points, own, 'rps')),
          spread(valuesOf(points, own, 'p99_ms')),
          spread(against(points, own, usual, 'p99_ms')),
          spread(valuesOf(points, own, 'rss_mb')),
          curve === 'stdout' ? percent(valuesOf(points, own, 'lines')[0]) : '–',
        ])
      }
    }
  }
  return {
    heads: ['trouble', 'variant', 'requests/s', 'p99 ms', 'p99 of usual', 'RSS MB', 'lines out'],
    rows,
  }
}

const isFigure = (text) => /^[-–\d≥≤]/.test(text)

/** For a terminal: columns of figures to the right. */
export function drawText({ heads, rows }) {
  const widths = heads.map((head, i) => Math.max(head.length, ...rows.map((row) => row[i].length)))
  const right = heads.map((_, i) => rows.length > 0 && rows.every((row) => isFigure(row[i])))
  const line = (cells) =>
    cells
      .map((cell, i) => (right[i] ? cell.padStart(widths[i]) : cell.padEnd(widths[i])))
      .join('  ')
  const rule = widths.map((width) => '─'.repeat(width)).join('  ')
  return [line(heads), rule, ...rows.map(line)].map((text) => text.trimEnd()).join('\n')
}

export function drawMarkdown({ heads, rows }) {
  const right = heads.map((_, i) => rows.length > 0 && rows.every((row) => isFigure(row[i])))
  const line = (cells) => `| ${cells.join(' | ')} |`
  return [
    line(heads),
    line(right.map((isRight) => (isRight ? '---:' : '---'))),
    ...rows.map(line),
  ].join('\n')
}
