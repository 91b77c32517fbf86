// programs/scrape.mjs WHO COUNT: serves GET /metrics with a histogram of COUNT label sets, and
// GET /block, the longest time since the last asking for which the event loop did not turn, in ms.
import { createServer } from 'node:http'

const [, , who, count] = process.argv
const metric = { name: 'bench_seconds', help: 'Bench.', labelNames: ['method', 'route', 'status'] }

async function fill() {
  if (who === 'telltale') {
    const { histogram, init } = await import('@telltale/node')
    init({ service: 'bench', metrics: { maxSeries: 10_000 } })
    const own = histogram(metric)
    return { observe: (labels) => own.observe(labels, 0.02) }
  }
  if (who === 'prom-client') {
    const { default: client } = await import('prom-client')
    client.collectDefaultMetrics()
    const theirs = new client.Histogram(metric)
    return {
      observe: (labels) => theirs.observe(labels, 0.02),
      serve: async (_req, res) => res.end(await client.register.metrics()),
    }
  }
  const { MeterProvider } = await import('@opentelemetry/sdk-metrics')
  const { PrometheusExporter } = await import('@opentelemetry/exporter-prometheus')
  const exporter = new PrometheusExporter({ preventServerStart: true })
  const provider = new MeterProvider({
    readers: [exporter],
    views: [{ instrumentName: 'bench_seconds', aggregationCardinalityLimit: 10_000 }],
  })
  const histogram = provider.getMeter('bench').createHistogram('bench_seconds')
  return {
    observe: (labels) => histogram.record(0.02, labels),
    serve: (req, res) => exporter.getMetricsRequestHandler(req, res),
  }
}

const { observe, serve } = await fill()
for (let i = 0; i < Number(count); i++) {
  observe({ method: 'GET', route: `/r${i >> 2}/:id`, status: String(200 + (i & 3)) })
}
let last = performance.now()
let longest = 0
setInterval(() => {
  const now = performance.now()
  longest = Math.max(longest, now - last - 1)
  last = now
}, 1)
const server = createServer((req, res) => {
  if (req.url !== '/block') return serve(req, res)
  res.end(String(longest))
  longest = 0
})
server.listen(0, '127.0.0.1', () => process.stderr.write(`listening ${server.address().port}\n`))
process.on('SIGUSR2', () => process.exit(0))
