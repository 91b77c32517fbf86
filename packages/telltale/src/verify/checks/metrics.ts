/** What a scrape says. */
import type { Evidence } from '../evidence.js'
import { type Check, count, edit, excerpt, fail, pass, skip } from './check.js'

const MAX_NEW_SERIES = 50
/** Scrapes and probes may be counted as well. */
const SLACK = 40

export const metrics: readonly Check[] = [
  {
    id: 'metrics',
    title: 'Metrics count every request and stay few',
    criterion:
      'A scrape is Prometheus text; the request count grows by the requests sent; 500 unknown paths add at most 50 series.',
    run(evidence: Evidence) {
      const { metrics: seen, base, options } = evidence
      if (seen === undefined) {
        if (options.url !== undefined && options.metrics === undefined)
          return skip('attached, and no metrics were found')
        return fail({
          expected: 'Prometheus text at /metrics',
          got: 'nothing',
          fix: edit(
            'Serve /metrics with the request duration as a histogram. The kit does; or name yours with --metrics.',
          ),
          reproduce: `curl -i ${base}/metrics`,
        })
      }
      const reproduce = `curl -s ${base}${seen.path}`
      const bad = seen.after.split('\n').find((line) => line !== '' && !isExpositionLine(line))
      if (bad !== undefined) {
        return fail({
          expected: 'Prometheus text exposition format',
          got: excerpt(bad),
          fix: edit('Let a metrics library render it.'),
          reproduce,
        })
      }
      const before = requestCount(seen.before)
      const after = requestCount(seen.after)
      if (after === undefined || before === undefined) {
        return fail({
          expected: 'a counter or histogram of HTTP requests',
          got: 'none (looked for http…_requests_total and http…_count)',
          fix: edit(
            'Observe http_server_request_duration_seconds for each request, labelled by route pattern.',
          ),
          reproduce,
        })
      }
      const grown = after - before
      if (grown < seen.sent || grown > seen.sent + SLACK) {
        return fail({
          expected: `the request count to grow by ${seen.sent}`,
          got: `${grown}`,
          fix: edit('Count each request once, when its response closes, 404s included.'),
          reproduce: `${reproduce}; curl -s -o /dev/null '${base}/telltale-verify/counted/[1-${seen.sent}]'; ${reproduce}`,
        })
      }
      const series = seriesOf(seen.afterMissing) - seriesOf(seen.after)
      if (series > MAX_NEW_SERIES) {
        return fail({
          expected: `at most ${MAX_NEW_SERIES} new series for ${seen.missing} unknown paths`,
          got: `${series}`,
          evidence: seen.afterMissing
            .split('\n')
            .filter((line) => line.includes('telltale-verify'))
            .slice(0, 2)
            .map((line) => excerpt(line)),
          fix: edit(
            'Label by route pattern (/users/:id), never by path; unknown paths share one label.',
          ),
          reproduce: `curl -s -o /dev/null '${base}/telltale-verify/series/[1-${seen.missing}]'; ${reproduce}`,
        })
      }
      return pass(
        `${count(seriesOf(seen.afterMissing), 'series')}; ${seen.sent} requests sent, ${grown} counted; ${seen.missing} unknown paths added ${series}`,
      )
    },
  },
]

/** The sum of every series that counts requests; undefined when there is none. */
function requestCount(text: string): number | undefined {
  let best: number | undefined
  for (const pattern of [
    /^http_server_request_duration_seconds_count$/,
    /^http.*(?:duration|latency|request).*_count$/,
    /^http.*requests?.*_total$/,
    /.*http.*requests?.*_(?:total|count)$/,
  ]) {
    const values = samples(text).filter(({ name }) => pattern.test(name))
    if (values.length === 0) continue
    const name = values[0]?.name
    best = values.filter((one) => one.name === name).reduce((sum, { value }) => sum + value, 0)
    break
  }
  // Before the first request there may be no row yet.
  return best ?? (/^# TYPE http\S+ (?:counter|histogram|summary)/m.test(text) ? 0 : undefined)
}

function samples(text: string): { name: string; value: number }[] {
  return text.split('\n').flatMap((line) => {
    const match = /^([a-zA-Z_:][\w:]*)(?:\{.*\})?\s+(\S+)/.exec(line)
    return match === null ? [] : [{ name: match[1] as string, value: Number(match[2]) }]
  })
}

const seriesOf = (text: string): number => samples(text).length

function isExpositionLine(line: string): boolean {
  return (
    line.startsWith('#') ||
    /^[a-zA-Z_:][\w:]*(?:\{[^\n]*\})?\s+(?:[-+]?(?:\d|\.\d|Inf)|NaN)/.test(line)
  )
}
