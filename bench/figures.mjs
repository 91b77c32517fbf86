// Arithmetic of the results: medians, spreads, ratios of the same round.

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

const digitsOf = (largest) => (largest < 10 ? 2 : largest < 100 ? 1 : 0)

/** A number with three sensible digits and thousands separated. */
export function show(value, digits = digitsOf(Math.abs(value))) {
  return value.toLocaleString('en', {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  })
}

/** `median (min–max)`; a dash for nothing. */
export function spread(values) {
  const known = values.filter((value) => Number.isFinite(value))
  if (known.length === 0) return '–'
  const digits = known.every(Number.isInteger) ? 0 : digitsOf(Math.max(...known))
  const [middle, min, max] = [median(known), Math.min(...known), Math.max(...known)]
  if (min === max) return show(middle, digits)
  return `${show(middle, digits)} (${show(min, digits)}–${show(max, digits)})`
}

const matching = (rows, where) =>
  rows.filter((row) => Object.entries(where).every(([key, value]) => row[key] === value))

/** One figure of the rows that match `where`, a value a round. */
export const valuesOf = (rows, where, figure) => matching(rows, where).map((row) => row[figure])

/**
 * A figure of some rows against the figure of others in the same round: their quotients, or with
 * `difference` what is added. Rounds in which either is not known are left out.
 */
export function against(rows, where, reference, figure, difference = false) {
  const others = new Map(matching(rows, reference).map((row) => [row.round, row[figure]]))
  return matching(rows, where)
    .filter((row) => row[figure] !== null && (others.get(row.round) ?? null) !== null)
    .map((row) =>
      difference ? row[figure] - others.get(row.round) : row[figure] / others.get(row.round),
    )
}
