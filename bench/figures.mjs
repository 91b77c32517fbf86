// Arithmetic and drawing of the results; nothing here starts or measures anything.

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** `median (min–max)` with sensible digits. */
export function spread(values) {
  const digits = Math.max(...values) < 10 ? 2 : Math.max(...values) < 100 ? 1 : 0
  const show = (value) => value.toFixed(digits)
  return `${show(median(values))} (${show(Math.min(...values))}–${show(Math.max(...values))})`
}

/** The figures of one variant, and its ratios to another (bare) in the same round. */
export function summarise(rows, { framework, workload, variant }, reference = 'bare') {
  const of = (name) =>
    rows.filter((r) => r.framework === framework && r.workload === workload && r.variant === name)
  const own = of(variant)
  const bare = new Map(of(reference).map((row) => [row.round, row]))
  const paired = own.filter((row) => bare.has(row.round))
  const ratios = paired.map((row) => row.rps / bare.get(row.round).rps)
  const added = paired.map((row) => row.cpu_us_per_request - bare.get(row.round).cpu_us_per_request)
  const p99 = paired.map((row) => row.p99_ms / bare.get(row.round).p99_ms)
  return { own, ratios, added, p99 }
}

export function table(heads, rows) {
  const widths = heads.map((head, i) =>
    Math.max(head.length, ...rows.map((row) => String(row[i]).length)),
  )
  const line = (cells) =>
    cells
      .map((cell, i) => (i < 3 ? String(cell).padEnd(widths[i]) : String(cell).padStart(widths[i])))
      .join('  ')
  return [line(heads), widths.map((width) => '─'.repeat(width)).join('  '), ...rows.map(line)].join(
    '\n',
  )
}

const COLOURS = { bare: 90, telltale: 32, 'hand-wired': 31 }

/** Horizontal bars of ratios from 0 to 1. */
export function bars(entries, hasColour) {
  const width = Math.max(...entries.map(({ label }) => label.length))
  return entries
    .map(({ label, variant, ratio }) => {
      const filled = '█'.repeat(Math.max(1, Math.round(ratio * 40)))
      const bar = hasColour ? `\u001b[${COLOURS[variant] ?? 36}m${filled}\u001b[0m` : filled
      return `  ${label.padEnd(width)}  ${bar} ${ratio.toFixed(2)}`
    })
    .join('\n')
}
