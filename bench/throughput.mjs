// The main part: variants × frameworks × workloads, interleaved round by round. While one is measured
// the others are stopped, so that each pays in its own windows for what it has put off.
import { setTimeout as sleep } from 'node:timers/promises'
import { load, pace } from './load.mjs'
import { startServer, usageOf } from './process.mjs'
import { proveErrors, proveRequests, proveTraces } from './proof.mjs'
import { FRAMEWORKS, variantOn, WORKLOADS } from './variants.mjs'

/** Requests a second of the steady load: what a bare Express has no trouble with on a small machine. */
export const PACE = 2000

/** What is `seldom` takes part in the first of so many rounds, and in the first so many that are not counted. */
const SELDOM = 5
const SELDOM_WARM = 2
/** Length of the windows that are not counted. */
const WARM_SECONDS = 1

const round = (value, digits) => Number(value.toFixed(digits))

/** One window of one server that is running; null for what a window without an answer cannot tell. */
export async function measure(server, plan) {
  const before = usageOf(server.child.pid)
  const { requests, rps, p50, p99 } = await load({ port: server.port, ...plan })
  const after = usageOf(server.child.pid)
  return {
    requests,
    figures: {
      rps: Math.round(rps),
      p50_ms: p50 === 0 ? null : round(p50, 3),
      p99_ms: p99 === 0 ? null : round(p99, 3),
      cpu_us_per_request: requests === 0 ? null : round((after.cpuUs - before.cpuUs) / requests, 2),
      rss_mb: round(after.rssMb, 1),
    },
  }
}

/** A line that another stack loses once, of the thousands of a run, does not end the run of all. */
async function proveAgain(server, workload, progress) {
  try {
    return await proveRequests(server, workload)
  } catch (error) {
    if (server.variant.stack === 'telltale') throw error
    progress(`again, ${error.message.split('\n')[0]}`)
    return 2 * (await proveRequests(server, workload))
  }
}

/** What a server has printed and sent so far, once it has had a moment to deliver. */
const delivered = async (server, sink) => ({
  lines: server.output.lines(),
  traces: (await sink.counts(server.project)).traces,
})

/** Waits until nothing more is delivered: a third of a second without a line or a trace, at most 1.5. */
async function settle(servers, sink) {
  const look = async () =>
    JSON.stringify(await Promise.all(servers.map((one) => delivered(one, sink))))
  let seen = await look()
  for (let i = 0; i < 5; i++) {
    await sleep(300)
    const now = await look()
    if (now === seen) return
    seen = now
  }
}

/**
 * Measures, and returns the rows; the times under a steady load, for the simple answer; and, for each
 * server and workload, the share of its lines and traces that arrived. Throws when a variant does not do its work.
 *
 * @param plan { frameworks, workloads, variants, rounds, seconds, warm, paced, leaves, seldom }; see MODES in run.mjs
 */
export async function measureThroughput(plan, sink, progress) {
  const rows = []
  const paced = []
  const deliveries = []
  for (const framework of plan.frameworks) {
    const all = []
    for (const name of plan.variants) {
      const server = await startServer(FRAMEWORKS[framework], variantOn(framework, name), sink)
      all.push(Object.assign(server, { framework }))
    }
    for (const workload of plan.workloads) {
      const isLeft = (name) => plan.leaves.includes(`${name}, ${workload}`)
      if (isLeft(framework)) continue
      const warm = plan.warm[workload]
      const takesPart = (name, turn) => {
        if ([framework, workload, name].some((one) => plan.seldom.includes(one)))
          return turn >= 1 ? turn % SELDOM === 1 : turn <= SELDOM_WARM - warm
        return name !== 'bare' || turn > -(plan.warm.bare ?? warm)
      }
      const servers = all.filter(({ variant }) => !isLeft(variant.name))
      const path = `${WORKLOADS[workload]}42`
      const requests = new Map()
      const before = new Map()
      for (const server of servers) {
        server.go()
        await proveErrors(server, sink)
        before.set(server, await delivered(server, sink))
        requests.set(server, 0)
        server.stop()
      }
      // Rounds up to 0 are like the others and not counted: V8 compiles a server, and compiles it anew
      // when connections close, others come and somebody looks at it in between.
      for (let turn = 1 - warm; turn <= plan.rounds; turn++) {
        const isCounted = turn >= 1
        progress(
          `${framework} ${workload} ${isCounted ? `round ${turn}/${plan.rounds}` : 'warm-up'}`,
        )
        // Each round begins with another variant, so that none always follows the same one; the order is
        // such that with a third variant that is seldom asked, the others' longest pauses, when a tracker
        // is left and V8 compiles anew what speaks to it, come at the beginning and not before round 1.
        const first = turn + 1 + servers.length * warm
        for (let i = 0; i < servers.length; i++) {
          const server = servers[(first + i) % servers.length]
          if (!takesPart(server.variant.name, turn)) continue
          server.output.trim()
          server.go()
          const proved = await proveAgain(server, workload, progress)
          const seconds = isCounted ? plan.seconds : WARM_SECONDS
          const { requests: count, figures } = await measure(server, { path, seconds })
          requests.set(server, requests.get(server) + proved + count)
          if (turn === 0) await proveTraces(server, sink, before.get(server).traces)
          const variant = server.variant.name
          if (isCounted) rows.push({ framework, workload, variant, round: turn, ...figures })
          if (isCounted && workload === 'json' && plan.paced.includes(variant)) {
            const steady = { port: server.port, path, rate: PACE, seconds: plan.seconds }
            const { requests: more, p50, p99 } = await pace(steady)
            requests.set(server, requests.get(server) + more)
            const times = { p50_ms: round(p50, 3), p99_ms: round(p99, 3) }
            paced.push({ framework, variant, round: turn, ...times })
          }
          server.stop()
        }
      }
      for (const server of servers) server.go()
      await settle(servers, sink)
      for (const server of servers) {
        const { variant } = server
        const after = await delivered(server, sink)
        const total = requests.get(server)
        const share = (count, due) => (due === 0 ? null : round(count / due, 3))
        deliveries.push({
          framework,
          workload,
          variant: variant.name,
          lines: share(after.lines - before.get(server).lines, total * variant.lines[workload]),
          traces: variant.sends.includes('traces')
            ? share(after.traces - before.get(server).traces, total * 0.2)
            : null,
        })
        server.stop()
      }
    }
    await Promise.all(all.map((server) => server.end()))
  }
  return { rows, paced, deliveries }
}
