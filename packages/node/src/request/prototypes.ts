/**
 * Express gives each request and response another prototype when it gets them. In the V8 of Node 20
 * and 22 an object with properties that was given another prototype has, from the next property on, a
 * shape that no other object shares: nothing finds what it looks for quickly any more, and shapes are
 * garbage. That is more than half of the time of a bare request. So the server of an Express
 * application makes them with the application's prototypes, as it would with `createServer`'s options
 * `IncomingMessage` and `ServerResponse`, and Express has nothing to change.
 *
 * The application alone sees them so: before anybody else does, Node's own prototypes are back.
 */
import { IncomingMessage, ServerResponse } from 'node:http'
import type { Server } from 'node:net'

/** Node 24 needs none of this. */
const IS_NEEDED = Number.parseInt(process.versions.node, 10) < 24

type Application = { readonly request?: object; readonly response?: object }
type Class = new (...args: never[]) => object

export type Prototypes = {
  /** Before `event` is emitted. */
  before(event: string, request: object, second: object): void
  /** After 'request' was emitted, when Express has given its prototypes. */
  after(request: object, response: object): void
  /** From now on the server makes what it made before. */
  undo(): void
}

/** Undefined for a server that needs it not, or that makes other requests and responses than Node's. */
export function createPrototypes(server: Server): Prototypes | undefined {
  if (!IS_NEEDED) return undefined
  const classes = server as unknown as Record<symbol, unknown>
  const symbols = Object.getOwnPropertySymbols(server)
  const kRequest = symbols.find(({ description }) => description === 'IncomingMessage')
  const kResponse = symbols.find(({ description }) => description === 'ServerResponse')
  if (kRequest === undefined || classes[kRequest] !== IncomingMessage) return undefined
  if (kResponse === undefined || classes[kResponse] !== ServerResponse) return undefined
  let given: { app: Application; request: object; response: object } | undefined
  let isDecided = false

  function onlyListener(): Application | undefined {
    const listeners = server.listeners('request')
    return listeners.length === 1 ? (listeners[0] as Application) : undefined
  }

  function make(requests: Class, responses: Class): void {
    classes[kRequest as symbol] = requests
    classes[kResponse as symbol] = responses
  }

  return {
    before(event, request, second) {
      if (given === undefined) return
      if (event === 'request') {
        if (onlyListener() === given.app) return
        make(IncomingMessage, ServerResponse)
      }
      giveBack(request, given.request, IncomingMessage)
      giveBack(second, given.response, ServerResponse)
    },
    after(request, response) {
      if (isDecided) return
      isDecided = true
      const app = onlyListener()
      if (app?.request === undefined || Object.getPrototypeOf(request) !== app.request) return
      if (app.response === undefined || Object.getPrototypeOf(response) !== app.response) return
      given = { app, request: app.request, response: app.response }
      make(madeWith(app.request, IncomingMessage), madeWith(app.response, ServerResponse))
    },
    undo() {
      if (given !== undefined) make(IncomingMessage, ServerResponse)
    },
  }
}

function giveBack(object: object, from: object, to: Class): void {
  if (Object.getPrototypeOf(object) === from) Object.setPrototypeOf(object, to.prototype)
}

/** Both are functions of Node's that can be called, with two arguments at most. */
function madeWith(prototype: object, original: Class): Class {
  const call = original as unknown as (this: object, first: unknown, second: unknown) => void
  function Made(this: object, first: unknown, second: unknown): void {
    call.call(this, first, second)
  }
  Made.prototype = prototype
  return Made as unknown as Class
}
