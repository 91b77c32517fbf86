/**
 * The three endpoints, answered on Node's own request and response before any framework: GET and
 * HEAD, with and without trailing slash, never a redirect, never cached.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createTokenCheck, isLocal } from '../access.js'
import { reportFault } from '../faults.js'
import type { Settings } from '../options.js'
import type { CheckVerdict, ReadyStatus, Verdict } from './health.js'

/** What the endpoints are told by health. */
export type HealthSource = {
  /** Calls back when the verdict is fresh enough to be shown: at once or within 900 ms. */
  whenFresh(answer: () => void): void
  verdict(): Verdict
  /** True once the service was ready for the first time, or said that it has started. */
  hasStarted(): boolean
}

type Endpoint = 'live' | 'ready' | 'startup'

const PLAIN = 'application/json'
/** draft-inadarei-api-health-check-06. */
const HEALTH = 'application/health+json'

const DRAFT_STATUS: Readonly<Record<ReadyStatus, 'pass' | 'warn' | 'fail'>> = {
  ok: 'pass',
  degraded: 'warn',
  fail: 'fail',
  starting: 'fail',
  draining: 'fail',
}

/**
 * Creates the handler of the endpoints below `basePath`. It returns true when the request was one
 * of them; the answer may follow later. Never throws.
 */
export function createEndpoints(
  settings: Settings['health'],
  source: HealthSource,
): (request: IncomingMessage, response: ServerResponse, path: string) => boolean {
  const { basePath } = settings
  const paths = new Map<string, Endpoint>()
  for (const endpoint of ['live', 'ready', 'startup'] as const) {
    paths.set(`${basePath}/${endpoint}`, endpoint)
    paths.set(`${basePath}/${endpoint}/`, endpoint)
  }
  const showsToken = createTokenCheck(settings.token)

  /** Who shows a token is judged by it alone, wherever it comes from. */
  function mayShowDetails(request: IncomingMessage): boolean {
    return request.headers.authorization === undefined ? isLocal(request) : showsToken(request)
  }

  function answer(endpoint: Endpoint, request: IncomingMessage, response: ServerResponse): void {
    try {
      if (response.headersSent || response.destroyed) return
      const type = prefersHealthJson(request.headers.accept) ? HEALTH : PLAIN
      if (endpoint === 'ready') {
        const verdict = source.verdict()
        const body = readyBody(type, verdict, mayShowDetails(request))
        send(response, verdict.status === 'fail' ? 503 : 200, type, body)
      } else if (endpoint === 'live' || source.hasStarted()) {
        send(response, 200, type, statusBody(type, 'ok'))
      } else send(response, 503, type, statusBody(type, 'starting'))
    } catch (error) {
      reportFault('TELLTALE_E_INTERNAL', error)
      response.destroy()
    }
  }

  return (request, response, path) => {
    if (!path.startsWith(basePath)) return false
    const query = path.indexOf('?')
    const endpoint = paths.get(query === -1 ? path : path.slice(0, query))
    if (endpoint === undefined) return false
    if (request.method !== 'GET' && request.method !== 'HEAD') refuseMethod(response)
    else if (endpoint === 'live') answer(endpoint, request, response)
    else source.whenFresh(() => answer(endpoint, request, response))
    return true
  }
}

function refuseMethod(response: ServerResponse): void {
  response.writeHead(405, { Allow: 'GET, HEAD', 'Cache-Control': 'no-store', 'Content-Length': 0 })
  response.end()
}

/** Node leaves the body out of an answer to HEAD by itself and keeps the headers. */
function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, {
    'Content-Type': type,
    'Content-Length': Buffer.byteLength(body),
    'Cache-Control': 'no-store',
  })
  response.end(body)
}

function statusBody(type: string, status: ReadyStatus): string {
  return type === PLAIN ? `{"status":"${status}"}` : `{"status":"${DRAFT_STATUS[status]}"}`
}

function readyBody(type: string, verdict: Verdict, hasDetails: boolean): string {
  const checks: Record<string, unknown> = {}
  for (const [name, seen] of Object.entries(verdict.checks)) {
    checks[name] = type === PLAIN ? plainCheck(seen, hasDetails) : draftCheck(seen, hasDetails)
  }
  // A lifecycle status says it all by itself; a reason given to setReady does not.
  const isOwnReason = verdict.readiness === 'fail' && !causedByCheck(verdict)
  return type === PLAIN
    ? JSON.stringify({
        status: verdict.readiness,
        reason: isOwnReason ? verdict.reason : undefined,
        checks,
      })
    : JSON.stringify({
        status: DRAFT_STATUS[verdict.readiness],
        output: verdict.readiness === 'ok' ? undefined : verdict.reason,
        checks,
      })
}

function causedByCheck(verdict: Verdict): boolean {
  return Object.values(verdict.checks).some((seen) => seen.reason === verdict.reason)
}

function plainCheck(seen: CheckVerdict, hasDetails: boolean): unknown {
  const reason = seen.reason === '' ? undefined : seen.reason
  if (!hasDetails) return { status: seen.status, reason }
  return {
    status: seen.status,
    reason,
    critical: seen.critical,
    duration_ms: tenth(seen.durationMs),
    age_ms: seen.ageMs === undefined ? undefined : Math.round(seen.ageMs),
    last_change: ago(seen.unchangedMs),
  }
}

function draftCheck(seen: CheckVerdict, hasDetails: boolean): unknown {
  const status = DRAFT_STATUS[seen.status]
  const output = seen.reason === '' ? undefined : seen.reason
  if (!hasDetails) return [{ status, output }]
  return [
    {
      status,
      output,
      observedValue: tenth(seen.durationMs),
      observedUnit: seen.durationMs === undefined ? undefined : 'ms',
      time: ago(seen.ageMs),
    },
  ]
}

function tenth(ms: number | undefined): number | undefined {
  return ms === undefined ? undefined : Math.round(ms * 10) / 10
}

function ago(ms: number | undefined): string | undefined {
  return ms === undefined ? undefined : new Date(Date.now() - ms).toISOString()
}

/** Whether Accept asks for application/health+json by name, at least as much as for plain JSON. */
export function prefersHealthJson(accept: string | undefined): boolean {
  if (accept === undefined || !accept.includes('health+json')) return false
  let health = 0
  let plain = 0
  for (const part of accept.slice(0, 1024).toLowerCase().split(',')) {
    const [type = '', ...parameters] = part.split(';')
    const name = type.trim()
    if (name !== HEALTH && name !== PLAIN) continue
    const q = parameters.map((text) => text.trim()).find((text) => text.startsWith('q='))
    const weight = q === undefined ? 1 : Number(q.slice(2)) || 0
    if (name === HEALTH) health = Math.max(health, weight)
    else plain = Math.max(plain, weight)
  }
  return health > 0 && health >= plain
}
