// The careful stack of today, wired by hand: one id through AsyncLocalStorage on every line and in
// X-Request-ID, pino-http with request_finished, prom-client with the route, the official Sentry SDK
// (sentry-preload.mjs) at 20 % of traces with the id as a tag.
import { AsyncLocalStorage } from 'node:async_hooks'
import { randomUUID } from 'node:crypto'
import * as Sentry from '@sentry/node'
import pino from 'pino'
import pinoHttp from 'pino-http'
import * as prometheus from './prom-client.mjs'

export { metrics } from './prom-client.mjs'
export { capture, expressErrors } from './sentry.mjs'

const VALID_ID = /^[A-Za-z0-9._-]{8,64}$/
const storage = new AsyncLocalStorage()
const logger = pino({ mixin: () => ({ request_id: storage.getStore()?.id }) })
const httpLogger = pinoHttp({
  logger,
  genReqId: () => storage.getStore().id,
  customSuccessMessage: () => 'request_finished',
  customErrorMessage: () => 'request_finished',
})

export function middleware(req, res, next) {
  const given = req.headers['x-request-id']
  const id = given !== undefined && VALID_ID.test(given) ? given : randomUUID()
  res.setHeader('X-Request-ID', id)
  storage.run({ id }, () => {
    Sentry.getIsolationScope().setTag('request_id', id)
    httpLogger(req, res)
    prometheus.middleware(req, res, next)
  })
}

export const log = (event, fields) => logger.info(fields, event)
export const startSpan = (name, work) => Sentry.startSpan({ name }, work)
