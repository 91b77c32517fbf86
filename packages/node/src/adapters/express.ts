/**
 * Express 4 and 5: the route template and the true error. Express 5 publishes errors on its
 * router's tracing channel and needs no wiring; Express 4 takes one line, `observe(app)`.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { contextOfResponse, noteRequestError } from '../request/entrance.js'

type Route = { readonly path?: unknown; readonly stack?: Layer[] }
type Layer = {
  handle: ((...args: unknown[]) => unknown) & { readonly stack?: Layer[] }
  readonly route?: Route | undefined
  readonly params?: Record<string, string> | undefined
  readonly path?: string | undefined
  match?(
    path: string,
  ): boolean | { readonly params?: Record<string, string>; readonly path?: string }
}
type App = {
  handle: (...args: unknown[]) => unknown
  readonly mountpath?: string | string[]
  readonly parent?: App
  readonly router?: { readonly stack?: Layer[] }
  readonly _router?: { readonly stack?: Layer[] }
}
type ExpressRequest = IncomingMessage & {
  readonly route?: Route
  readonly baseUrl?: string
  readonly app?: App
}

/** Templates by route and mount path; a mount path with parameters has many, so it is bounded. */
const templates = new WeakMap<object, Map<string, string>>()
const MAX_TEMPLATES = 500

/** `/orders/:id` of the route that an Express request has matched; undefined when there is none. */
export function readExpressRoute(request: IncomingMessage): string | undefined {
  const { route, baseUrl = '', app } = request as ExpressRequest
  if (route === undefined || route.path === undefined) return undefined
  const path = typeof route.path === 'string' ? route.path : String(route.path)
  if (baseUrl === '') return path
  let known = templates.get(route)
  if (known === undefined) {
    known = new Map()
    templates.set(route, known)
  }
  let template = known.get(baseUrl)
  if (template === undefined) {
    const base = mountTemplate(app, route, baseUrl)
    template = path === '/' ? base || '/' : base + path
    if (known.size < MAX_TEMPLATES) known.set(baseUrl, template)
  }
  return template
}

/** The pattern behind a concrete mount path: `/tenants/:tenant` for `/tenants/42`. */
function mountTemplate(app: App | undefined, route: Route, baseUrl: string): string {
  let prefix = ''
  for (let mounted = app; mounted?.parent !== undefined; mounted = mounted.parent) {
    prefix = (Array.isArray(mounted.mountpath) ? mounted.mountpath[0] : mounted.mountpath) + prefix
  }
  const depth = prefix === '' ? 0 : prefix.split('/').length - 1
  const rest = baseUrl.split('/').slice(depth + 1)
  const inner = rest.length === 0 ? '' : `/${rest.join('/')}`
  const stack = routerOf(app)?.stack
  return prefix + ((stack && findMount(stack, route, inner)) ?? inner.replace(ID_SEGMENT, '/:id'))
}

/** What an unknown mount path must not leak into a label: numbers, UUIDs, long hex. */
const ID_SEGMENT = /\/(?:\d+|[0-9a-f]{8,}(?:-[0-9a-f]{4,})*)(?=\/|$)/gi

// Express 4 throws when `app.router` is read.
function routerOf(app: App | undefined): { readonly stack?: Layer[] } | undefined {
  return app?._router ?? app?.router
}

function findMount(stack: readonly Layer[], route: Route, base: string): string | undefined {
  if (stack.some((layer) => layer.route === route)) return ''
  for (const layer of stack) {
    const inner = layer.handle?.stack
    if (inner === undefined || layer.match === undefined) continue
    const match = layer.match(base || '/')
    if (match === false) continue
    const { params, path = '' } = match === true ? layer : match
    const found = findMount(inner, route, base.slice(path === '/' ? 0 : path.length))
    if (found !== undefined) return (path === '/' ? '' : named(path, params)) + found
  }
  return undefined
}

function named(path: string, params: Record<string, string> | undefined): string {
  const names = new Map(Object.entries(params ?? {}).map(([name, value]) => [value, name]))
  return path
    .split('/')
    .map((part) => {
      const name = names.get(part)
      return name === undefined ? part : `:${name}`
    })
    .join('/')
}

function note(request: IncomingMessage, response: ServerResponse, error: unknown): void {
  // 'route' and 'router' are signals of Express, not errors.
  if (error === undefined || error === null || error === 'route' || error === 'router') return
  const unit = contextOfResponse(response)?.unit
  if (unit === undefined || unit.ended) return
  // Later the router restores baseUrl, and the prefix is lost.
  unit.route ??= readExpressRoute(request) ?? null
  noteRequestError(response, error)
}

/** Listens to Express 5's router; returns the function that undoes it. */
export function watchExpress(): () => void {
  const onError = (message: unknown): void => {
    const { req, res, error } = message as {
      req: IncomingMessage
      res: ServerResponse
      error: unknown
    }
    note(req, res, error)
  }
  subscribe('tracing:express.router.request:error', onError)
  return () => {
    unsubscribe('tracing:express.router.request:error', onError)
  }
}

const kSeen: unique symbol = Symbol('telltale.seen') as never
type Seen = { [kSeen]?: true }

/**
 * Watches an Express 4 application (Express 5 needs nothing; it does no harm there). Call it right
 * after `express()`. Only this application and the layers of its routers are changed. Returns it.
 *
 * @example
 * const app = observe(express())
 */
export function observe<T extends (...args: never[]) => unknown>(application: T): T {
  const app = application as unknown as App & Seen
  if (app[kSeen] === true) return application
  app[kSeen] = true
  const handle = app.handle
  let watched = -1
  app.handle = function (this: App, ...args: unknown[]): unknown {
    const stack = app._router?.stack
    if (stack !== undefined && stack.length !== watched) {
      watchLayers(stack)
      watched = stack.length
    }
    return Reflect.apply(handle, this, args)
  }
  return application
}

/** Every handler, so that an error is seen where it leaves its origin, with its route still known. */
function watchLayers(stack: readonly Layer[]): void {
  for (const layer of stack) {
    const original = layer.handle as Layer['handle'] & Seen
    if (original[kSeen] === true) continue
    if (original.stack !== undefined) watchLayers(original.stack)
    else if (layer.route?.stack !== undefined) watchLayers(layer.route.stack)
    else if (original.length === 4) layer.handle = seen(watchErrorHandler(original))
    else if (original.length <= 3) layer.handle = seen(watchHandler(original))
  }
}

function seen(handle: Layer['handle'] & Seen): Layer['handle'] {
  handle[kSeen] = true
  return handle
}

type Next = (error?: unknown) => unknown

function watchHandler(original: Layer['handle']): Layer['handle'] {
  return function (this: unknown, req: unknown, res: unknown, next: unknown) {
    try {
      return original.call(this, req, res, (error?: unknown) => {
        note(req as IncomingMessage, res as ServerResponse, error)
        return (next as Next)(error)
      })
    } catch (error) {
      note(req as IncomingMessage, res as ServerResponse, error)
      throw error
    }
  }
}

function watchErrorHandler(original: Layer['handle']): Layer['handle'] {
  return function (this: unknown, error: unknown, req: unknown, res: unknown, next: unknown) {
    note(req as IncomingMessage, res as ServerResponse, error)
    return original.call(this, error, req, res, next)
  }
}
