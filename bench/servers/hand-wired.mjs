// The careful stack of today: one id through AsyncLocalStorage on every line and in X-Request-ID,
// pino, prom-client with the route, the official Sentry SDK at 20 %, and one request_finished line.
import { AsyncLocalStorage } from 'node:async_hooks'
import { randomUUID } from 'node:crypto'
import * as Sentry from '@sentry/node'
import pino from 'pino'
import pinoHttp from 'pino-http'
import client from 'prom-client'

const storage = new AsyncLocalStorage()
export const logger = pino({ mixin: () => ({ request_id: storage.getStore()?.id }) })
export const log = (event, fields) => logger.info(fields, event)

client.collectDefaultMetrics()
const labelNames = ['method', 'route', 'status_code']
const duration = new client.Histogram({
  name: 'http_request_duration_seconds',
  help: 'Duration.',
  labelNames,
})
const total = new client.Counter({ name: 'http_requests_total', help: 'Requests.', labelNames })

/** pino-http with the id on its line; used as middleware. */
export const httpLogger = pinoHttp({
  logger,
  genReqId: (req) => req.headers['x-request-id'] ?? storage.getStore()?.id,
  customSuccessMessage: () => 'request_finished',
})

/** Runs `next` with an id, answers it in the header, and measures; `routeOf` names the route at the end. */
export function withRequest(req, res, routeOf, next) {
  const id = req.headers['x-request-id'] ?? randomUUID()
  res.setHeader('X-Request-ID', id)
  storage.run({ id }, () => {
    Sentry.getIsolationScope().setTag('request_id', id)
    const stop = duration.startTimer()
    res.on('finish', () => {
      const labels = { method: req.method, route: routeOf(), status_code: res.statusCode }
      stop(labels)
      total.inc(labels)
    })
    next()
  })
}

export { Sentry }
