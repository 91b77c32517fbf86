// evlog: one wide event a request, with the log calls inside; its own integrations for Express and
// Fastify, and on node:http one made with its toolkit, as its guide for other frameworks says.
import { initLogger } from 'evlog'
import { evlog } from 'evlog/express'
import { evlog as fastifyPlugin } from 'evlog/fastify'
import { createLoggerStorage, defineFrameworkIntegration } from 'evlog/toolkit'

initLogger({ env: { service: 'bench' } })
const { storage } = createLoggerStorage('a request', 'evlog:bench')
const integration = defineFrameworkIntegration({
  name: 'node',
  extractRequest: (req) => ({
    method: req.method,
    path: req.url.split('?')[0],
    headers: req.headers,
    requestId: req.headers['x-request-id'],
  }),
  attachLogger: (req, logger) => {
    req.log = logger
  },
  storage,
})
const onExpress = evlog()

export function middleware(req, res, next) {
  if (req.app !== undefined) return onExpress(req, res, next)
  const { finish, runWith } = integration.start(req, {})
  res.once('finish', () => finish({ status: res.statusCode }))
  runWith(next)
}

export const log = (event, fields, req) => req.log.info(event, fields)
export const fastify = { register: (app) => app.register(fastifyPlugin) }
