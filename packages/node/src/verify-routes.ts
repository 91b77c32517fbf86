/**
 * The routes that `telltale verify` asks, below `/__telltale/verify/`. They exist only in a process
 * that was started with TELLTALE_VERIFY_TOKEN, for a program on this machine that shows the token;
 * for everyone else the application answers as it does to any unknown path. The application runs
 * first, so what these routes show is what its middleware left of the context. docs/verify.md.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createSecretCheck, isLocal } from './access.js'
import { sendProblem } from './adapters/node.js'
import { type Context, noteError } from './context.js'
import { takeOver } from './request/take-over.js'
import { VERSION } from './version.js'

const BASE = '/__telltale/verify/'
/** A token that could be guessed is none. */
const MIN_TOKEN_CHARS = 32
const MAX_MS = 30_000
const MAX_LINES = 10_000

type Log = {
  info(event: string, fields: Readonly<Record<string, unknown>>): void
}
type Deps = {
  readonly log: Log
  setUser(user: { readonly id: string }): void
}
type Opening = (request: IncomingMessage, response: ServerResponse, context: Context) => void
type Exchange = {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly context: Context
  readonly query: URLSearchParams
  readonly deps: Deps
}

/** Watches for requests to the routes; undefined without a token of at least 32 characters. */
export function createVerifyRoutes(token: string, deps: Deps): Opening | undefined {
  if (token.length < MIN_TOKEN_CHARS) return undefined
  const isToken = createSecretCheck(token)
  return (request, response, context) => {
    const { path } = context.unit
    if (!path.startsWith(BASE) || !isLocal(request)) return
    const given = request.headers['x-telltale-verify']
    if (typeof given !== 'string' || !isToken(given)) return
    const route = ROUTES[path.slice(BASE.length).replace(/\/$/, '')]
    if (route === undefined) return
    const query = new URL(request.url ?? '/', 'http://localhost').searchParams
    takeOver(
      response,
      () => false,
      () => {
        context.unit.route = path
        response.statusCode = 200
        route({ request, response, context, query, deps })
      },
    )
  }
}

const ROUTES: Readonly<Record<string, (exchange: Exchange) => void>> = {
  whoami: ({ response }) => sendJson(response, { verify: 1, kit: `@telltale/node ${VERSION}` }),
  work: (exchange) => void work(exchange),
  throw: fail,
  burst,
  crash,
}

/** Reads the body, waits `ms`, and writes a line before and after. */
async function work({ request, response, query, deps: { log } }: Exchange): Promise<void> {
  const mark = query.get('mark') ?? ''
  log.info('verify_work', { mark, step: 'begin' })
  if (!request.readableEnded && !request.destroyed) {
    await new Promise<void>((resolve) => {
      request.once('end', resolve).once('close', resolve).resume()
    })
  }
  log.info('verify_work', { mark, step: 'body' })
  await new Promise((resolve) => setTimeout(resolve, bounded(query.get('ms'), MAX_MS)))
  log.info('verify_work', { mark, step: 'end' })
  if (!query.has('stream')) return sendJson(response, { mark })
  response.setHeader('Content-Type', 'text/plain')
  for (const part of ['one\n', 'two\n']) response.write(part)
  response.end('three\n')
}

/** Fails as a handler does; the user is who the header names, else who the application signed in. */
function fail({ request, response, context, query, deps }: Exchange): void {
  const { authorization, 'x-api-key': key, 'x-telltale-verify-user': user } = request.headers
  if (typeof user === 'string' && user !== '') deps.setUser({ id: user })
  // As an application does that puts what it has at hand into a message.
  const message = query.has('quote')
    ? `connect to postgres://app:${key}@127.0.0.1/app failed with ${authorization}`
    : query.get('message')
  // What the application failed with, a sign-in that refused for one, was not what was asked for.
  context.unit.hasError = false
  noteError(context.unit, new Error(message ?? 'A deliberate error, to verify error tracking'))
  sendProblem(response, 500, 'Deliberate error', 'This error was raised to verify error tracking.')
}

/** Logs what loggers stumble over. */
function burst({ response, query, deps: { log } }: Exchange): void {
  const mark = query.get('mark') ?? ''
  const circular: Record<string, unknown> = { name: 'circular' }
  circular.self = circular
  const values: unknown[] = [
    'one\ntwo\r\nthree',
    'one\u2028two\u2029three',
    'x'.repeat(1024 * 1024),
    'half a pair \ud800',
    10n ** 30n,
    circular,
    new Error('outer\nline', { cause: new Error('inner') }),
    Object.defineProperty({}, 'broken', {
      enumerable: true,
      get() {
        throw new Error('a getter that throws')
      },
    }),
  ]
  for (const [n, value] of values.entries()) log.info('verify_burst', { mark, n, value })
  sendJson(response, { lines: values.length })
}

/** Writes `lines` lines and dies of an uncaught error, thrown or rejected. */
function crash({ query, deps: { log } }: Exchange): void {
  const mark = query.get('mark') ?? ''
  const lines = bounded(query.get('lines'), MAX_LINES)
  setImmediate(() => {
    for (let n = 0; n < lines; n++) log.info('verify_crash', { mark, n })
    const error = new Error('A deliberate crash, to verify what it leaves behind')
    if (query.get('kind') !== 'reject') throw error
    Promise.reject(error)
  })
}

function bounded(value: string | null, max: number): number {
  return Math.min(max, Math.max(0, Number(value) || 0))
}

function sendJson(response: ServerResponse, body: object): void {
  response.setHeader('Content-Type', 'application/json')
  response.end(JSON.stringify(body))
}
