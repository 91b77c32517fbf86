/**
 * Fastify 5: the route template and the true error. Instances made after init are found by
 * Fastify's own `fastify.initialization` channel; one made before takes `observe(app)`.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { ServerResponse } from 'node:http'
import { contextOfResponse, noteRequestError } from '../request/entrance.js'

type Config = { readonly url?: string | undefined }
type Request = { readonly routeOptions?: { readonly url?: string; readonly config?: Config } }
type Reply = { readonly raw: ServerResponse }
type Done = () => void
type Instance = {
  addHook(name: 'onRequest', hook: (request: Request, reply: Reply, done: Done) => void): unknown
  addHook(
    name: 'onError',
    hook: (request: Request, reply: Reply, error: unknown, done: Done) => void,
  ): unknown
}

const observed = new WeakSet<object>()

/** Adds the two hooks to a Fastify instance; call it before its plugins and routes. Returns it. */
export function observe<T extends object>(instance: T): T {
  if (observed.has(instance)) return instance
  observed.add(instance)
  const fastify = instance as unknown as Instance
  const routeOf = createRouteOf()
  fastify.addHook('onRequest', (request, reply, done) => {
    const unit = contextOfResponse(reply.raw)?.unit
    if (unit !== undefined) unit.route = routeOf(request) ?? null
    done()
  })
  fastify.addHook('onError', (_request, reply, error, done) => {
    noteRequestError(reply.raw, error)
    done()
  })
  return instance
}

/**
 * Fastify's `routeOptions` copies twelve members at each reading, so the template is read where that getter
 * finds it: in what a request keeps under a symbol, found by the first request that shows the same in both.
 */
function createRouteOf(): (request: Request) => string | undefined {
  let place: symbol | undefined
  let isSought = true
  return (request) => {
    const kept = request as Record<symbol, { readonly config?: Config } | undefined>
    const known = place === undefined ? undefined : kept[place]?.config
    if (known !== undefined) return known.url
    const { url, config } = request.routeOptions ?? {}
    if (isSought && config !== undefined) {
      isSought = false
      place = Object.getOwnPropertySymbols(request).find((key) => kept[key]?.config === config)
    }
    return url
  }
}

/** Listens for new Fastify instances; returns the function that undoes it. */
export function watchFastify(): () => void {
  const onInit = (message: unknown): void => {
    const { fastify } = message as { fastify?: object }
    if (fastify !== undefined) observe(fastify)
  }
  subscribe('fastify.initialization', onInit)
  return () => {
    unsubscribe('fastify.initialization', onInit)
  }
}
