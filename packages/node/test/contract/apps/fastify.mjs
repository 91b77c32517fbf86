// Fastify 5, with the kit's logger as its own.

import { rawRoutes, routes } from './routes.mjs'
import { announce, log } from './start.mjs'
import { serveUpgrades } from './upgrades.mjs'

const { default: Fastify } = await import('fastify')
const app = Fastify({
  loggerInstance: log,
  disableRequestLogging: true,
  requestTimeout: 2500,
  http: { headersTimeout: 2000, connectionsCheckingInterval: 50 },
})
app.removeAllContentTypeParsers()
app.addContentTypeParser('*', (_request, _payload, done) => done(null))

function register(instance, list) {
  for (const [method, url, handle] of list) {
    instance.route({
      method,
      url,
      handler(request, reply) {
        const json = (status, body) => reply.code(status).send(body)
        return handle({
          req: request.raw,
          res: reply.raw,
          params: request.params,
          json,
          fail: (error) => reply.send(error),
        })
      },
    })
  }
}
register(app, routes)
app.register(async (mounted) => register(mounted, routes), { prefix: '/api' })
app.register(async (tenants) => register(tenants, routes), { prefix: '/tenants/:tenant' })
for (const [method, url, handle] of rawRoutes) {
  app.route({
    method,
    url,
    handler(request, reply) {
      reply.hijack()
      handle(request.raw, reply.raw)
    },
  })
}
app.get('/handled', {
  errorHandler: (_error, _request, reply) => reply.code(500).send({ error: 'sorry' }),
  handler() {
    throw new Error('handled by the application')
  },
})
app.get('/error-in-handler', {
  errorHandler() {
    throw new Error('second')
  },
  handler() {
    throw new Error('first')
  },
})

serveUpgrades(app.server)
await app.listen({ port: 0, host: '127.0.0.1' })
announce(app.server, () => app.close())
