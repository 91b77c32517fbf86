/** Two scrapes around known traffic, and a third after many paths that do not exist. */
import type { Metrics } from '../evidence.js'
import { inParallel } from '../http.js'
import type { Stage } from '../stage.js'

const USUAL = ['/metrics', '/metrics/', '/prometheus', '/api/metrics', '/actuator/prometheus']
const COUNTED = 40
const MISSING = 500

/** Undefined when there is nothing to scrape. */
export async function scrapeMetrics(stage: Stage): Promise<Metrics | undefined> {
  const { client, options } = stage
  let path: string | undefined
  for (const candidate of options.metrics === undefined ? USUAL : [options.metrics]) {
    const answer = await client.ask({ purpose: 'scrape', path: candidate })
    if (answer.status === 200 && /^(?:# |[a-zA-Z_:][\w:]*[{ ])/m.test(answer.body)) {
      path = candidate
      break
    }
  }
  if (path === undefined) return undefined
  const found = path
  const scrape = async (): Promise<string> =>
    (await client.ask({ purpose: 'scrape', path: found })).body
  const before = await scrape()
  const request = (name: string) => (index: number) =>
    client.ask({ purpose: 'counted', path: stage.missingPath(`${name}${index}`) })
  await inParallel(COUNTED, 4, request('counted'))
  let after = await scrape()
  // A row is written when the response closes, which may be after the client has it.
  for (let times = 0; times < 20 && after === before; times++) after = await scrape()
  await inParallel(MISSING, 8, request('series'))
  return { path, before, after, sent: COUNTED, afterMissing: await scrape(), missing: MISSING }
}
