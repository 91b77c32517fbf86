// autocannon as load.mjs needs it, for machines without wrk; argv[2] is the plan in JSON.
import autocannon from 'autocannon'

const { url, routes, connections, seconds } = JSON.parse(process.argv[2])
const { origin } = new URL(url)
const result = await autocannon({
  ...(routes
    ? {
        url: origin,
        requests: Array.from({ length: routes }, (_, i) => ({ path: `/route${i}/7` })),
      }
    : { url }),
  connections,
  duration: seconds,
})
console.log(
  JSON.stringify({
    requests: result.requests.total,
    rps: result.requests.total / result.duration,
    p50: result.latency.p50,
    p99: result.latency.p99,
    failed: result.non2xx + result.errors,
  }),
)
