/** The route template of an Express request, with the patterns of the mount paths it came through. */
import type { IncomingMessage } from 'node:http'

type Route = { readonly path?: unknown; readonly stack?: Layer[] }
export type Layer = {
  handle: ((...args: unknown[]) => unknown) & { readonly stack?: Layer[] }
  readonly route?: Route | undefined
  readonly params?: Record<string, string> | undefined
  readonly path?: string | undefined
  match?(
    path: string,
  ): boolean | { readonly params?: Record<string, string>; readonly path?: string }
}
export type App = {
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

/**
 * `/orders/:id` of the route that an Express request has matched; undefined when there is none, and
 * for a 404 that was answered after the route had handed the request on.
 */
export function readExpressRoute(request: IncomingMessage, statusCode: number): string | undefined {
  const { route, baseUrl = '' } = request as ExpressRequest
  if (route === undefined || route.path === undefined) return undefined
  if (statusCode === 404 && hasLeft(request, route)) return undefined
  const path = typeof route.path === 'string' ? route.path : String(route.path)
  if (baseUrl === '') return path
  let known = templates.get(route)
  if (known === undefined) {
    known = new Map()
    templates.set(route, known)
  }
  let template = known.get(baseUrl)
  if (template === undefined) {
    const base = mountTemplate((request as ExpressRequest).app, route, baseUrl)
    template = path === '/' ? base || '/' : base + path
    if (known.size < MAX_TEMPLATES) known.set(baseUrl, template)
  }
  return template
}

const kLeft: unique symbol = Symbol('telltale.express.left') as never
type Passing = ExpressRequest & { next?: unknown; [kLeft]?: Route | undefined }

/** Notes that a handler which is none of its route's has the request: its route has handed it on. */
export function noteLeft(request: IncomingMessage): void {
  const passing = request as Passing
  if (passing.route !== undefined) passing[kLeft] = passing.route
}

/**
 * True when another handler than the route's own had the last word. Express keeps `req.route` when
 * the route calls `next('route')`. The router takes `req.next` away when no handler is left; of the
 * handlers that still came Express 4 tells by `noteLeft`, Express 5 by the pattern that it matched
 * last, which it keeps on the request for its tracing channel.
 */
function hasLeft(request: IncomingMessage, route: Route): boolean {
  const passing = request as Passing
  if (passing.next === undefined || passing[kLeft] === route) return true
  const key = Object.getOwnPropertySymbols(passing).find(
    (symbol) => symbol.description === 'router.tracing.matchedRoute',
  )
  if (key === undefined) return false
  const last = (passing as unknown as Record<symbol, unknown>)[key]
  return last !== route.path && !(Array.isArray(route.path) && route.path.includes(last))
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
  return prefix + ((stack && findMount(stack, route, inner)) ?? (inner === '' ? '' : '/:mount'))
}

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

/** The mount path with its parameters' names; compared decoded, as the router decodes them. */
function named(path: string, params: Record<string, string> | undefined): string {
  const names = new Map<string, string[]>()
  for (const [name, value] of Object.entries(params ?? {})) {
    names.set(value, [...(names.get(value) ?? []), name])
  }
  return path
    .split('/')
    .map((part) => {
      if (part === '') return part
      const name = names.get(decoded(part))?.shift()
      if (name !== undefined) return `:${name}`
      // A parameter inside a segment (`/:a-:b`): the whole segment stands for it.
      const inside = [...names].find(
        ([value, left]) => left.length > 0 && value !== '' && decoded(part).includes(value),
      )
      return inside === undefined ? part : `:${inside[1].shift()}`
    })
    .join('/')
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    return part
  }
}
