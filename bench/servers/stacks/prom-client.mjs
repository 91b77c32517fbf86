// A histogram and a counter with method, route and status, and the default metrics of the process.
import client from 'prom-client'
import { routeOf } from '../route.mjs'

client.collectDefaultMetrics()
const labelNames = ['method', 'route', 'status_code']
const duration = new client.Histogram({
  name: 'http_request_duration_seconds',
  help: 'Duration of HTTP requests.',
  labelNames,
})
const total = new client.Counter({
  name: 'http_requests_total',
  help: 'HTTP requests.',
  labelNames,
})

export function middleware(req, res, next) {
  const stop = duration.startTimer()
  res.once('finish', () => {
    const labels = { method: req.method, route: routeOf(req), status_code: res.statusCode }
    stop(labels)
    total.inc(labels)
  })
  next()
}

export const metrics = () => client.register.metrics()
