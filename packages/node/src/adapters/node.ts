/** Plain node:http, https and http2: a handler whose errors are caught, and a name for its routes. */
import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'
import { currentContext } from '../context.js'
import { noteRequestError } from '../request/entrance.js'

/** Names the route of the current request, `/users/:id`. Without effect outside a request. */
export function setRoute(template: string): void {
  const unit = currentContext()?.unit
  if (unit !== undefined && !unit.ended) unit.route = template
}

/**
 * Wraps a request handler: what it throws or rejects with becomes the error of the request, and is
 * answered with a problem document (RFC 9457) when nothing was sent yet, with the error's own
 * `status` when it has one from 400 to 599, else 500, instead of ending the process.
 *
 * @example
 * http.createServer(observe(async (req, res) => { … }))
 */
export function observe<Request extends IncomingMessage, Response extends ServerResponse>(
  handler: (request: Request, response: Response) => unknown,
): (request: Request, response: Response) => void {
  return (request, response) => {
    const fail = (error: unknown): void => {
      noteRequestError(response, error)
      const status = Number((error as { status?: unknown } | null | undefined)?.status)
      if (response.headersSent) response.destroy()
      else if (status >= 400 && status < 600)
        sendProblem(response, status, STATUS_CODES[status] ?? 'Error')
      else sendProblem(response, 500, 'Internal Server Error')
    }
    try {
      const result = handler(request, response)
      if (typeof (result as Promise<unknown> | undefined)?.then === 'function') {
        ;(result as Promise<unknown>).then(undefined, fail)
      }
    } catch (error) {
      fail(error)
    }
  }
}

/** Answers with problem details that carry the request id, so that a user can quote it. */
export function sendProblem(
  response: ServerResponse,
  status: number,
  title: string,
  detail?: string,
): void {
  const requestId = response.getHeader('X-Request-ID')
  response.statusCode = status
  response.setHeader('Content-Type', 'application/problem+json')
  response.end(
    JSON.stringify({ type: 'about:blank', title, status, detail, request_id: requestId }),
  )
}
