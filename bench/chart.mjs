// Throughput as a share of bare: bars for a terminal, and an SVG file.
import { against, median } from './figures.mjs'
import { inOrder, places } from './tables.mjs'

/** Where a bar ends that would be longer, as a share of bare. */
const WIDEST = 2.5

/** [{ place, bars: [{ variant, ratio, min, max }] }] in the order measured. */
function groups(results) {
  return places(results).map(([framework, workload]) => {
    const place = { framework, workload }
    const variants = results.rows
      .filter((row) => row.framework === framework && row.workload === workload)
      .map((row) => row.variant)
    return {
      place: `${framework}, ${workload}`,
      bars: inOrder(variants).map((variant) => {
        const own = { ...place, variant }
        const ratios = against(results.rows, own, { ...place, variant: 'bare' }, 'rps')
        return {
          variant,
          ratio: median(ratios),
          min: Math.min(...ratios),
          max: Math.max(...ratios),
        }
      }),
    }
  })
}

const isKit = (variant) => variant.startsWith('telltale')

export function drawBars(results, hasColour) {
  const lines = ['Throughput, bare = 1, median of the rounds']
  for (const { place, bars } of groups(results)) {
    lines.push('', place)
    const width = Math.max(...bars.map(({ variant }) => variant.length))
    for (const { variant, ratio } of bars) {
      const filled = '█'.repeat(Math.max(1, Math.round(Math.min(ratio, WIDEST) * 40)))
      const colour = isKit(variant) ? 32 : variant === 'hand-wired' ? 31 : 90
      const bar = hasColour ? `\u001b[${colour}m${filled}\u001b[0m` : filled
      lines.push(`  ${variant.padEnd(width)}  ${bar} ${ratio.toFixed(2)}`)
    }
  }
  return lines.join('\n')
}

const ROW = 20
const LEFT = 170
const SCALE = 300
const COLOURS = { telltale: '#1a7f37', 'hand-wired': '#cf222e', bare: '#8c959f' }
const colourOf = (variant) => (isKit(variant) ? COLOURS.telltale : (COLOURS[variant] ?? '#54aeff'))
const escaped = (text) => text.replace(/&/g, '&amp;').replace(/</g, '&lt;')

/** The same as an SVG document; whiskers from the lowest to the highest round. */
export function drawSvg(results, caption) {
  const parts = []
  let y = 54
  const at = (ratio) => LEFT + Math.min(ratio, WIDEST) * SCALE
  for (const { place, bars } of groups(results)) {
    parts.push(`<text x="${LEFT}" y="${y + 14}" class="place">${escaped(place)}</text>`)
    y += 24
    for (const { variant, ratio, min, max } of bars) {
      const width = (at(ratio) - LEFT).toFixed(1)
      const middle = y + 7
      const beyond = max > WIDEST ? ` (highest ${max.toFixed(2)})` : ''
      parts.push(
        `<text x="${LEFT - 8}" y="${y + 11}" text-anchor="end">${escaped(variant)}</text>`,
        `<rect x="${LEFT}" y="${y}" width="${width}" height="14" fill="${colourOf(variant)}"/>`,
        `<path d="M${at(min).toFixed(1)} ${middle}H${at(max).toFixed(1)}" class="whisker"/>`,
        `<text x="${(at(Math.max(ratio, max)) + 6).toFixed(1)}" y="${y + 11}">${ratio.toFixed(2)}${beyond}</text>`,
      )
      y += ROW
    }
    y += 10
  }
  const width = LEFT + SCALE * WIDEST + 140
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${y + 10}" viewBox="0 0 ${width} ${y + 10}" role="img" aria-label="Throughput as a share of bare">
<style>text{font:12px system-ui,sans-serif;fill:#24292f}.title{font-weight:600;font-size:15px}.place{font-weight:600}.whisker{stroke:#24292f;stroke-width:1.5;opacity:.6}</style>
<rect width="100%" height="100%" fill="#fff"/>
<text x="12" y="22" class="title">Throughput, bare = 1 (median of the rounds, whiskers lowest to highest)</text>
<text x="12" y="40">${escaped(caption)}</text>
${parts.join('\n')}
</svg>
`
}
