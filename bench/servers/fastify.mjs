import { stack } from './stack.mjs'
import { announce, EXTRA_ROUTES, fail, lines, spans, user, work } from './work.mjs'

const { default: Fastify } = await import('fastify')

const app = Fastify(stack.fastify?.options)
if (stack.fastify) await stack.fastify.register?.(app)
else if (stack.middleware) {
  app.addHook('onRequest', (request, reply, done) => {
    request.raw.template = request.routeOptions.url
    stack.middleware(request.raw, reply.raw, done)
  })
}
app.get('/users/:id', (request, reply) => reply.send(user(request.params.id)))
app.get('/work/:id', async (request) => work(request.params.id, request))
app.get('/lines/:count', async (request) => lines(request.params.count, request))
app.get('/spans/:count', async (request) => spans(request.params.count))
app.get('/fail', async () => fail())
for (let i = 0; i < EXTRA_ROUTES; i++) {
  app.get(`/route${i}/:id`, (request, reply) => reply.send(user(request.params.id)))
}
if (stack.metrics) app.get('/metrics', () => stack.metrics())
await app.listen({ port: 0, host: '127.0.0.1' })
announce(app.server)
