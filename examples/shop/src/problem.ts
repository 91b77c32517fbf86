/** Every error answer is RFC 9457 problem details. */
import { currentRequestId } from '@telltale/node'
import type { ErrorRequestHandler, RequestHandler, Response } from 'express'

/** An outcome that the client can act on: thrown anywhere, answered as problem details. */
export class Problem extends Error {
  override readonly name = 'Problem'
  /** HTTP status, 400 to 599. Express reads it too. */
  readonly status: number
  /** One sentence for the client. */
  readonly detail: string

  constructor(status: number, detail: string, options?: ErrorOptions) {
    super(detail, options)
    this.status = status
    this.detail = detail
  }
}

const TITLES: Readonly<Record<number, string>> = {
  400: 'Bad request',
  401: 'Sign-in needed',
  404: 'Not found',
  409: 'Conflict',
  413: 'Body too large',
  415: 'Unsupported media type',
  502: 'Bad gateway',
  503: 'Service unavailable',
}

/** Answers paths that no route took. */
export const notFound: RequestHandler = (request, response) => {
  send(response, 404, `Nothing is at ${request.path}.`)
}

/** Answers errors. It neither logs nor reports: the kit has seen the error on its way here. */
export const problemHandler: ErrorRequestHandler = (error: unknown, _request, response, next) => {
  if (response.headersSent) return next(error)
  if (error instanceof Problem) return send(response, error.status, error.detail)
  if (isUnavailable(error)) {
    response.setHeader('Retry-After', '5')
    return send(response, 503, 'The database does not answer. Try again in a few seconds.')
  }
  const { status, expose, message } = error as {
    status?: number
    expose?: boolean
    message?: string
  }
  if (status !== undefined && status >= 400 && status < 500) {
    return send(
      response,
      status,
      expose === true && message ? message : 'The request is not valid.',
    )
  }
  send(response, 500, 'Something went wrong on our side. Quote the request id when you report it.')
}

function send(response: Response, status: number, detail: string): void {
  response
    .status(status)
    .type('application/problem+json')
    .send(
      JSON.stringify({
        type: 'about:blank',
        title: TITLES[status] ?? (status < 500 ? 'Bad request' : 'Internal error'),
        status,
        detail,
        request_id: currentRequestId(),
      }),
    )
}

/** True for a database that is away or going down; PostgreSQL's error classes 08 and 57P. */
function isUnavailable(error: unknown): boolean {
  const { code, message } = error as { code?: unknown; message?: unknown }
  if (typeof code === 'string') {
    return /^(08|57P)/.test(code) || ['ECONNREFUSED', 'ECONNRESET', 'EPIPE'].includes(code)
  }
  return (
    typeof message === 'string' &&
    /^(Connection terminated|timeout exceeded when trying to connect|Query read timeout)/.test(
      message,
    )
  )
}
