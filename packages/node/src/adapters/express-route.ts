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
