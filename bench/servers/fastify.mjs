import { announce, user, work } from './work.mjs'

const variant = process.argv[2]
const kit = variant === 'telltale' ? await import('./kit.mjs') : undefined
const hand = variant === 'hand-wired' ? await import('./hand-wired.mjs') : undefined
const log = kit?.log ?? hand?.log ?? (() => {})

const { default: Fastify } = await import('fastify')
const app = Fastify()
if (hand !== undefined) {
  hand.Sentry.setupFastifyErrorHandler?.(app)
  app.addHook('onRequest', (request, reply, done) => {
    hand.withRequest(
      request.raw,
      reply.raw,
      () => request.routeOptions.url ?? 'unmatched',
      () => {
        hand.httpLogger(request.raw, reply.raw)
        done()
      },
    )
  })
}
app.get('/users/:id', (request, reply) => reply.send(user(request.params.id)))
app.get('/work/:id', async (request) => work(request.params.id, log))
await app.listen({ port: 0, host: '127.0.0.1' })
announce(app.server)
