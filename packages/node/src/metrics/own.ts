/** What the kit counts of itself: its faults, and what its metrics could not take. */
import { faultCounts } from '../faults.js'
import { type Family, type Registry, readerErrors } from './registry.js'

/** Registers them: they exist from the start, zero or not. */
export function registerOwn(registry: Registry): void {
  registry.collect({
    name: 'telltale_faults_total',
    help: 'Faults of the kit, by code.',
    type: 'counter',
    labelNames: ['code'],
    read(add) {
      for (const [code, count] of faultCounts()) add(count, { code })
    },
  })
  registry.collect({
    name: 'telltale_metrics_series',
    help: 'Label sets of each metric that has labels; metrics.maxSeries is the limit.',
    type: 'gauge',
    across: 'max',
    labelNames: ['metric'],
    read(add) {
      for (const family of registry.families.values()) {
        if (!family.collected && family.labelNames.length > 0) {
          add(family.rows.length, { metric: family.sampleName })
        }
      }
    },
  })
  countByMetric(
    registry,
    'telltale_metrics_dropped_series_total',
    'Recordings whose label set was beyond metrics.maxSeries; they are in the _overflow row.',
    (family) => family.dropped,
  )
  countByMetric(
    registry,
    'telltale_metrics_ignored_values_total',
    'Values that a metric cannot take: negative, not finite, too large, unreadable labels.',
    (family) => family.ignored,
  )
  readerErrors(registry)
}

function countByMetric(
  registry: Registry,
  name: string,
  help: string,
  countOf: (family: Family) => number,
): void {
  registry.collect({
    name,
    help,
    type: 'counter',
    labelNames: ['metric'],
    read(add) {
      for (const family of registry.families.values()) {
        const count = countOf(family)
        if (count > 0) add(count, { metric: family.sampleName })
      }
    },
  })
}
