/** An answer of the application's that is replaced once it is known: what a route on top of any framework is made of. */
import type { ServerResponse } from 'node:http'

/**
 * Lets the application run and, when it comes to answer, answers with `answer` instead. A status that
 * `isKept` accepts goes out as the application made it. Headers of the replaced answer are removed,
 * all but X-Request-ID; the callbacks of its writes run.
 */
export function takeOver(
  response: ServerResponse,
  isKept: (status: number) => boolean,
  answer: () => void,
): void {
  const { end, flushHeaders, write, writeHead } = response
  function restore(): void {
    Object.assign(response, { end, flushHeaders, write, writeHead })
  }
  response.writeHead = function (this: ServerResponse, ...args: unknown[]) {
    const status = Number(args[0])
    if (isKept(status)) {
      restore()
      return Reflect.apply(writeHead, this, args)
    }
    this.statusCode = status
    return this
  } as ServerResponse['writeHead']
  response.flushHeaders = function (this: ServerResponse) {
    if (!isKept(this.statusCode)) return
    restore()
    flushHeaders.call(this)
  }
  response.write = function (this: ServerResponse, ...args: unknown[]) {
    if (isKept(this.statusCode)) {
      restore()
      return Reflect.apply(write, this, args)
    }
    const done = args.find((arg) => typeof arg === 'function')
    if (done !== undefined) process.nextTick(done as () => void)
    return true
  } as ServerResponse['write']
  response.end = function (this: ServerResponse, ...args: unknown[]) {
    restore()
    if (isKept(this.statusCode)) return Reflect.apply(end, this, args)
    const done = args.find((arg) => typeof arg === 'function')
    if (done !== undefined) this.once('finish', done as () => void)
    for (const name of this.getHeaderNames()) if (name !== 'x-request-id') this.removeHeader(name)
    answer()
    return this
  } as ServerResponse['end']
}
