/**
 * Outgoing HTTP: trace context and request id on the way out, counters, spans and breadcrumbs for
 * the request that asked. Sources: undici's channels (global fetch, undici) and node's http client
 * channels. Node before 22.13 tells of a client request only after its headers are out, so there
 * `addRequest` of http.Agent is overridden: the one thing every request passes that has an agent.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import http from 'node:http'
import { type Context, currentContext, pushBreadcrumb } from '../context.js'
import { guarded } from '../faults.js'
import type { Settings } from '../options.js'
import { newSpanId } from './ids.js'
import { keepSpan, wallMs } from './span.js'
import { formatSentryTrace, formatTraceparent } from './traceparent.js'

type Headers = { has(name: string): boolean; set(name: string, value: string): void }

/** What is remembered of a call between its start and its end. */
type Call = {
  readonly context: Context
  readonly spanId: string
  readonly startTick: number
  readonly method: string
  readonly host: string
  readonly path: string
  statusCode: number
}

type UndiciRequest = {
  readonly origin?: unknown
  readonly path?: unknown
  readonly method?: unknown
  readonly headers?: unknown
  addHeader?(name: string, value: string): unknown
}
type ClientRequest = http.ClientRequest & {
  readonly agent?: Agent | undefined
  readonly _header?: string | null
}
type AddRequest = (request: ClientRequest, ...rest: unknown[]) => unknown
type Agent = { addRequest: AddRequest }

const kCall: unique symbol = Symbol('telltale.call') as never
type Marked = { [kCall]?: Call | undefined }

/** True for hosts on the list; an entry that begins with a dot covers subdomains too. */
export function isAllowedHost(host: string, allowed: true | readonly string[]): boolean {
  if (allowed === true) return true
  const name = host.toLowerCase()
  return allowed.some((entry) =>
    entry.startsWith('.')
      ? name.endsWith(entry.toLowerCase()) || name === entry.slice(1).toLowerCase()
      : name === entry.toLowerCase(),
  )
}

const HAS_CREATED_CHANNEL = (() => {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  return major > 22 || (major === 22 && minor >= 13)
})()

/** Subscribes; returns the function that undoes it. `baggage` is what a trace that starts here sends. */
export function watchOutgoing(
  settings: Settings['request'],
  baggage: (context: Context) => string,
): () => void {
  const { propagateTraceTo, propagateRequestIdTo } = settings
  const overrides = new WeakSet<AddRequest>()
  const prototype: Agent = http.Agent.prototype as never
  const { addRequest } = prototype
  let isStopped = false

  /** Starts a call of the current unit; undefined outside any, where nothing is propagated. */
  function begin(method: string, host: string, path: string, headers: Headers): Call | undefined {
    const context = currentContext()
    if (context === undefined) return undefined
    const unit = context.unit
    const spanId = unit.sampled ? newSpanId() : context.spanId
    if (isAllowedHost(host, propagateTraceTo) && !headers.has('traceparent')) {
      headers.set('traceparent', formatTraceparent(unit.traceId, spanId, unit.sampled))
      if (!headers.has('sentry-trace')) {
        headers.set('sentry-trace', formatSentryTrace(unit.traceId, spanId, unit.sampled))
        const carried = unit.baggage || baggage(context)
        if (carried !== '' && !headers.has('baggage')) headers.set('baggage', carried)
      }
    }
    if (isAllowedHost(host, propagateRequestIdTo) && !headers.has('x-request-id')) {
      headers.set('x-request-id', unit.requestId)
    }
    return { context, spanId, startTick: performance.now(), method, host, path, statusCode: 0 }
  }

  function end(call: Call, failed: boolean): void {
    const { context, method, host, path, statusCode, startTick } = call
    const unit = context.unit
    const endTick = performance.now()
    unit.httpOutCount++
    unit.httpOutMs += endTick - startTick
    if (unit.ended) return
    const name = `${method} ${host}${path}`
    keepSpan(unit, {
      spanId: call.spanId,
      parentSpanId: context.spanId,
      op: 'http.client',
      name,
      startMs: wallMs(unit, startTick),
      endMs: wallMs(unit, endTick),
      status: failed || statusCode >= 400 ? 'error' : 'ok',
      data: {
        'http.request.method': method,
        'server.address': host,
        'http.response.status_code': statusCode,
      },
    })
    pushBreadcrumb(unit, {
      ms: Date.now(),
      level: failed || statusCode >= 500 ? 'error' : 'info',
      category: 'http',
      message: name,
      data: `{"status_code":${statusCode}}`,
    })
  }

  function settle(holder: unknown, failed: boolean): void {
    const call = (holder as Marked)[kCall]
    if (call === undefined) return
    ;(holder as Marked)[kCall] = undefined
    end(call, failed)
  }

  const onUndici: Record<string, (message: unknown) => void> = {
    'undici:request:create': (message) => {
      const request = (message as { request: UndiciRequest & Marked }).request
      if (typeof request.addHeader !== 'function') return
      const origin = String(request.origin ?? '')
      const { method, headers } = request
      request[kCall] = begin(
        String(method ?? 'GET'),
        hostOf(origin),
        withoutQuery(String(request.path ?? '/')),
        {
          has: (name) => hasUndiciHeader(headers, name),
          set: (name, value) => request.addHeader?.(name, value),
        },
      )
    },
    'undici:request:headers': (message) => {
      const { request, response } = message as {
        request: Marked
        response: { statusCode?: number }
      }
      const call = request[kCall]
      if (call !== undefined) call.statusCode = response.statusCode ?? 0
    },
    'undici:request:trailers': (message) =>
      settle((message as { request: unknown }).request, false),
    'undici:request:error': (message) => settle((message as { request: unknown }).request, true),
  }

  function inject(request: ClientRequest & Marked): void {
    if (request[kCall] !== undefined || request.headersSent || request._header) return
    request[kCall] = begin(request.method, hostOf(request.host), withoutQuery(request.path), {
      has: (name) => request.hasHeader(name),
      set: (name, value) => void request.setHeader(name, value),
    })
  }

  /** Puts the ids on at `addRequest`; after `stop` it only hands on. */
  function overrideAgent(agent: Agent): void {
    const { addRequest } = agent
    if (typeof addRequest !== 'function' || overrides.has(addRequest)) return
    const ours: AddRequest = function (this: Agent, request, ...rest) {
      if (!isStopped) guarded(() => inject(request))
      return Reflect.apply(addRequest, this, [request, ...rest])
    }
    overrides.add(ours)
    agent.addRequest = ours
  }

  const onHttp: Record<string, (message: unknown) => void> = {
    'http.client.request.created': (message) =>
      inject((message as { request: ClientRequest }).request),
    'http.client.request.start': (message) => {
      const request = (message as { request: ClientRequest }).request
      // An agent that is no http.Agent: its first call has gone without ids.
      if (!HAS_CREATED_CHANNEL && request.agent) overrideAgent(request.agent)
    },
    'http.client.response.finish': (message) => {
      const { request, response } = message as { request: Marked; response: http.IncomingMessage }
      if (request[kCall] !== undefined) request[kCall].statusCode = response.statusCode ?? 0
      settle(request, false)
    },
    'http.client.request.error': (message) =>
      settle((message as { request: unknown }).request, true),
  }

  const subscriptions = [...Object.entries(onUndici), ...Object.entries(onHttp)].map(
    ([channel, act]) => {
      const listener = (message: unknown): void => guarded(() => act(message))
      subscribe(channel, listener)
      return () => unsubscribe(channel, listener)
    },
  )
  if (!HAS_CREATED_CHANNEL) guarded(() => overrideAgent(prototype))

  return () => {
    for (const undo of subscriptions) undo()
    isStopped = true
    if (overrides.has(prototype.addRequest)) prototype.addRequest = addRequest
  }
}

/** Host without scheme, userinfo and port. */
function hostOf(origin: string): string {
  const scheme = origin.indexOf('://')
  let host = scheme < 0 ? origin : origin.slice(scheme + 3)
  host = host.slice(host.lastIndexOf('@') + 1)
  if (host.startsWith('[')) return host.slice(1, host.indexOf(']'))
  const colon = host.indexOf(':')
  return colon < 0 || host.indexOf(':', colon + 1) > 0 ? host : host.slice(0, colon)
}

function withoutQuery(path: string): string {
  const query = path.indexOf('?')
  return query < 0 ? path : path.slice(0, query)
}

/** undici keeps headers as one text (before 6.?) or as a flat list of names and values. */
function hasUndiciHeader(headers: unknown, name: string): boolean {
  if (typeof headers === 'string') return headers.toLowerCase().includes(`${name}:`)
  if (!Array.isArray(headers)) return false
  for (let i = 0; i < headers.length; i += 2) {
    if (String(headers[i]).toLowerCase() === name) return true
  }
  return false
}
