/**
 * X-Request-ID in the head of an answer. With `setHeader` Node would keep a table of headers from
 * then on and copy into it, one by one, what the application gives to `writeHead`: 3 µs. So the id is
 * written when Node puts the head together, and until then the response's methods tell of it as if
 * it were set. A value of the application's own wins.
 */
import type { ServerResponse } from 'node:http'

const NAME = 'X-Request-ID'
const KEY = 'x-request-id'
const kId: unique symbol = Symbol('telltale.requestId') as never

/** HTTP/2's responses have no `_storeHeader`. */
type Head = { _storeHeader?: (firstLine: string, headers: unknown) => void }
type Answer = ServerResponse & Head & { [kId]?: string | undefined }

/** Gives an answer its id. To be called before anybody else has the response. */
export function setRequestId(response: ServerResponse, requestId: string): void {
  const answer: Answer = response
  if (answer._storeHeader === undefined) {
    answer.setHeader(NAME, requestId)
    return
  }
  answer[kId] = requestId
  answer._storeHeader = storeHeader
  answer.getHeader = getHeader
  answer.getHeaderNames = getHeaderNames
  answer.getHeaders = getHeaders
  answer.hasHeader = hasHeader
  answer.removeHeader = removeHeader
}

const isId = (name: unknown): boolean =>
  typeof name === 'string' && name.length === KEY.length && name.toLowerCase() === KEY

/** The method that ours stands before; Express changes the prototype of a response. */
const node = (answer: Answer): Answer & Required<Head> => Object.getPrototypeOf(answer)

function storeHeader(this: Answer, firstLine: string, headers: unknown): void {
  const id = this[kId]
  const first = id === undefined || hasId(headers) ? firstLine : `${firstLine}${NAME}: ${id}\r\n`
  node(this)._storeHeader.call(this, first, headers)
}

/** `headers`: an object by name, or a list of names and values in turn, or of pairs. */
function hasId(headers: unknown): boolean {
  if (Array.isArray(headers)) {
    const isOfPairs = Array.isArray(headers[0])
    return headers.some((entry, i) => isId(isOfPairs ? entry[0] : i % 2 === 0 && entry))
  }
  for (const name in headers as object | undefined) if (isId(name)) return true
  return false
}

function getHeader(this: Answer, name: string): ReturnType<ServerResponse['getHeader']> {
  return node(this).getHeader.call(this, name) ?? (isId(name) ? this[kId] : undefined)
}

function getHeaderNames(this: Answer): string[] {
  const names = node(this).getHeaderNames.call(this)
  return this[kId] === undefined || names.includes(KEY) ? names : [KEY, ...names]
}

function getHeaders(this: Answer): ReturnType<ServerResponse['getHeaders']> {
  const headers = node(this).getHeaders.call(this)
  const id = this[kId]
  if (id !== undefined) headers[KEY] ??= id
  return headers
}

function hasHeader(this: Answer, name: string): boolean {
  return node(this).hasHeader.call(this, name) || (isId(name) && this[kId] !== undefined)
}

function removeHeader(this: Answer, name: string): void {
  node(this).removeHeader.call(this, name)
  if (isId(name)) this[kId] = undefined
}
