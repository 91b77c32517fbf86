/**
 * Express 4 and 5: the route template and the true error. Express 5 publishes errors on its
 * router's tracing channel and needs no wiring; Express 4 takes one line, `observe(app)`.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { contextOfResponse, noteRequestError } from '../request/entrance.js'
import { type App, type Layer, noteLeft, readExpressRoute } from './express-route.js'

function note(request: IncomingMessage, response: ServerResponse, error: unknown): void {
  // 'route' and 'router' are signals of Express, not errors.
  if (error === undefined || error === null || error === 'route' || error === 'router') return
  const unit = contextOfResponse(response)?.unit
  if (unit === undefined || unit.ended) return
  // Later the router restores baseUrl, and the prefix is lost.
  unit.route ??= readExpressRoute(request, statusOf(error)) ?? null
  noteRequestError(response, error)
}

/** The status that an error asks for, 0 when it asks for none. Never throws. */
function statusOf(error: unknown): number {
  try {
    const { status, statusCode } = Object(error) as { status?: unknown; statusCode?: unknown }
    return Number(status ?? statusCode ?? 0)
  } catch {
    return 0
  }
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
function watchLayers(stack: readonly Layer[], isOfRoute = false): void {
  for (const layer of stack) {
    const original = layer.handle as Layer['handle'] & Seen
    if (original[kSeen] === true) continue
    if (original.stack !== undefined) watchLayers(original.stack)
    else if (layer.route?.stack !== undefined) watchLayers(layer.route.stack, true)
    else if (original.length === 4) layer.handle = seen(watchErrorHandler(original))
    else if (original.length <= 3) layer.handle = seen(watchHandler(original, isOfRoute))
  }
}

function seen(handle: Layer['handle'] & Seen): Layer['handle'] {
  handle[kSeen] = true
  return handle
}

type Next = (error?: unknown) => unknown

function watchHandler(original: Layer['handle'], isOfRoute: boolean): Layer['handle'] {
  return function (this: unknown, req: unknown, res: unknown, next: unknown) {
    if (!isOfRoute) noteLeft(req as IncomingMessage)
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
