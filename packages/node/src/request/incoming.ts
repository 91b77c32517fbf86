/** What an incoming request says about itself: path, request id, trace context. Nothing here trusts it. */
import type { IncomingMessage } from 'node:http'
import { Unit } from '../context.js'
import type { Settings } from '../options.js'
import { newSpanId, newTraceId, newUuid } from '../trace/ids.js'
import { parseSentryTrace, parseTraceparent, type RemoteParent } from '../trace/traceparent.js'
import { isProbePath } from './quiet.js'

/** Longest path kept on a line, in characters; a path is ASCII unless the client is broken. */
export const MAX_PATH = 2048
/** Longest baggage handed on, in characters (W3C Baggage, section 3.3.2 asks for 8192). */
const MAX_BAGGAGE = 8192
const MAX_REJECTED_ID = 64
const REQUEST_ID = /^[A-Za-z0-9._-]{8,64}$/
/** Names that objects inherit: an id is used as a key somewhere sooner or later. */
const INHERITED = new Set(Object.getOwnPropertyNames(Object.prototype))

/**
 * The path of a request target: no query, no fragment, no scheme and authority of an absolute form
 * (which may hold credentials). `//host/a` stays as it is: it is a path, not an authority.
 */
export function pathOf(url: string): string {
  let from = 0
  if (url.charCodeAt(0) !== 47 /* / */) {
    const scheme = url.indexOf('://')
    if (scheme > 0) {
      from = scheme + 3
      while (from < url.length) {
        const code = url.charCodeAt(from)
        if (code === 47 || code === 63 || code === 35) break
        from++
      }
    } else {
      const at = url.lastIndexOf('@')
      if (at >= 0) return url.slice(at + 1)
    }
  }
  let end = url.indexOf('?', from)
  const hash = url.indexOf('#', from)
  if (hash >= 0 && (end < 0 || hash < end)) end = hash
  if (end < 0) return (from === 0 ? url : url.slice(from)) || '/'
  return url.slice(from, end) || '/'
}

/** True for an id that may be taken over from a client. */
export function isAcceptableId(id: string): boolean {
  return REQUEST_ID.test(id) && !INHERITED.has(id)
}

type Incoming = {
  requestId: string
  traceparent: string
  sentryTrace: string
  baggage: string
  userAgent: string
  hasBody: boolean
}

/** The lengths of the names below, so that most headers are passed over without a comparison. */
const READ_LENGTHS: readonly boolean[] = Array.from({ length: 64 }, (_, length) =>
  [7, 10, 11, 12, 14, 17].includes(length),
)

/** Reads the few headers that matter from the raw list; `request.headers` would parse all of them. */
function readHeaders(raw: readonly string[]): Incoming {
  const found: Incoming = {
    requestId: '',
    traceparent: '',
    sentryTrace: '',
    baggage: '',
    userAgent: '',
    hasBody: false,
  }
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string
    const length = name.length
    if (!READ_LENGTHS[length]) continue
    const value = raw[i + 1] as string
    switch (name.toLowerCase()) {
      case 'x-request-id':
        found.requestId = found.requestId === '' ? value : `${found.requestId}, ${value}`
        break
      case 'traceparent':
        found.traceparent = found.traceparent === '' ? value : ','
        break
      case 'sentry-trace':
        found.sentryTrace = found.sentryTrace === '' ? value : ','
        break
      case 'baggage':
        found.baggage = found.baggage === '' ? value : `${found.baggage},${value}`
        break
      case 'user-agent':
        found.userAgent = value
        break
      case 'content-length':
        found.hasBody ||= value !== '0'
        break
      case 'transfer-encoding':
        found.hasBody = true
    }
  }
  return found
}

function mayTrust(
  policy: Settings['request']['trustRequestId'],
  request: IncomingMessage,
): boolean {
  if (policy === 'always') return true
  if (policy === 'never') return false
  try {
    return policy(request) === true
  } catch {
    return false
  }
}

export type UnitMaker = (request: IncomingMessage, path: string) => Unit

/** Prepares the function that opens a unit for a request; `decide` says whether it is traced. */
export function createUnitMaker(
  settings: Settings['request'],
  decide: (method: string, path: string, parent: RemoteParent | undefined) => boolean,
): UnitMaker {
  const policy = settings.trustRequestId
  return (request, path) => {
    const raw = request.rawHeaders
    const incoming = readHeaders(raw)
    const asks =
      incoming.requestId !== '' || incoming.traceparent !== '' || incoming.sentryTrace !== ''
    const trusted = asks && mayTrust(policy, request)
    const keepsId = trusted && isAcceptableId(incoming.requestId)
    let parent: RemoteParent | undefined
    if (trusted) {
      if (incoming.traceparent !== '') parent = parseTraceparent(incoming.traceparent)
      if (parent === undefined && incoming.sentryTrace !== '') {
        parent = parseSentryTrace(incoming.sentryTrace)
      }
    }
    const method = request.method ?? 'GET'
    const short = path.length > MAX_PATH ? path.slice(0, MAX_PATH) : path
    const isProbe = incoming.userAgent.startsWith('kube-probe/') || isProbePath(short)
    const unit = new Unit(
      'request',
      keepsId ? incoming.requestId : newUuid(),
      parent === undefined ? newTraceId() : parent.traceId,
      newSpanId(),
      parent === undefined ? '' : parent.spanId,
      !isProbe && decide(method, short, parent),
      Date.now(),
      performance.now(),
    )
    unit.method = method
    unit.path = short
    unit.pathTruncated = short !== path
    unit.rawHeaders = raw
    unit.url = request.url ?? ''
    unit.isProbe = isProbe
    unit.hasBody = incoming.hasBody
    if (!keepsId && incoming.requestId !== '') {
      unit.rejectedId = incoming.requestId.slice(0, MAX_REJECTED_ID)
    }
    if (parent !== undefined && incoming.baggage.length <= MAX_BAGGAGE) {
      unit.baggage = incoming.baggage
    }
    return unit
  }
}
