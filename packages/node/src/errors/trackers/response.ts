/**
 * Reads HTTP/1.1 answers from a socket: strict in framing, bounded in size, bodies thrown away.
 *
 * The tracker's answers matter by their status and a few headers only; a general client would build
 * objects for each. Source: RFC 9112.
 */

/** An answer as far as the tracker needs it. */
export type Answer = {
  readonly status: number
  readonly rateLimits: string | undefined
  readonly retryAfter: string | undefined
  /** False: the connection carries no further answer. */
  readonly keepAlive: boolean
}

/** Reads the answers of one connection. */
export type AnswerReader = {
  /**
   * Takes bytes as they arrive; calls `onAnswer` for each answer that is complete. Returns false
   * when the connection is of no further use: a framing fault, a limit, or an announced close.
   * Never throws.
   */
  push(chunk: Buffer): boolean
  /** The peer closed: an answer whose status has come counts, whatever is missing of its body. */
  end(): void
}

const MAX_HEAD_BYTES = 16_384
const MAX_BODY_BYTES = 262_144
const MAX_INTERIM = 10
const MAX_CHUNK_LINE_BYTES = 1024

const STATUS_LINE = /^HTTP\/1\.([01]) ([1-9]\d\d)(?: |$)/
const HEAD_END = Buffer.from('\r\n\r\n')

type State =
  | 'head'
  | 'length'
  | 'chunk-size'
  | 'chunk-data'
  | 'chunk-end'
  | 'trailer'
  | 'until-close'
  | 'dead'

/** An answer's head; `body` says how what follows ends, in bytes where they were told. */
type Head = Answer & { readonly body: number | 'chunked' | 'until-close' }

/** Undefined for what is no head of an answer. */
function parseHead(text: string): Head | undefined {
  const lines = text.split('\r\n')
  const match = STATUS_LINE.exec(lines[0] ?? '')
  if (match === null) return undefined
  let keepAlive = match[1] === '1'
  let length: number | undefined
  let isChunked = false
  let rateLimits: string | undefined
  let retryAfter: string | undefined
  for (const line of lines.slice(1)) {
    const colon = line.indexOf(':')
    if (colon < 1) return undefined
    const value = line.slice(colon + 1).trim()
    switch (line.slice(0, colon).toLowerCase()) {
      case 'content-length':
        if (!/^\d{1,15}$/.test(value)) return undefined
        if (length !== undefined && length !== Number(value)) return undefined
        length = Number(value)
        break
      case 'transfer-encoding':
        // Anything but a lone `chunked` cannot be framed here; reading to the close is safe.
        if (value.toLowerCase() === 'chunked') isChunked = true
        else keepAlive = false
        break
      case 'connection':
        if (/\bclose\b/i.test(value)) keepAlive = false
        break
      case 'x-sentry-rate-limits':
        rateLimits = rateLimits === undefined ? value : `${rateLimits},${value}`
        break
      case 'retry-after':
        retryAfter = value
    }
  }
  const status = Number(match[2])
  const isEmpty = status === 204 || status === 304
  const body = isEmpty ? 0 : isChunked ? 'chunked' : (length ?? 'until-close')
  // Both framings at once is how answers are smuggled: believe chunked, do not reuse.
  if (body === 'until-close' || (body === 'chunked' && length !== undefined)) keepAlive = false
  return { status, rateLimits, retryAfter, keepAlive, body }
}

/** Starts at the first byte of a connection's answers. */
export function createAnswerReader(onAnswer: (answer: Answer) => void): AnswerReader {
  let state: State = 'head'
  let pending: Buffer | undefined
  let answer: Answer | undefined
  /** Bytes left of the body or the chunk. */
  let left = 0
  let bodyBytes = 0
  let interim = 0
  // A server's heads differ in their date only, which comes thousands of times a second the same.
  let lastHead: Buffer | undefined
  let lastParsed: Head | undefined

  function finish(): void {
    const done = answer
    answer = undefined
    bodyBytes = 0
    interim = 0
    state = done?.keepAlive === true ? 'head' : 'dead'
    if (done !== undefined) onAnswer(done)
  }

  /** An answer whose body breaks the rules is still an answer; the connection is not kept. */
  function abandon(): void {
    state = 'dead'
    const done = answer
    answer = undefined
    if (done !== undefined) onAnswer({ ...done, keepAlive: false })
  }

  function readHead(bytes: Buffer, start: number, end: number): void {
    if (lastHead === undefined || bytes.compare(lastHead, 0, lastHead.length, start, end) !== 0) {
      lastHead = Buffer.from(bytes.subarray(start, end))
      lastParsed = parseHead(lastHead.toString('latin1'))
    }
    const head = lastParsed
    if (head === undefined) {
      abandon()
      return
    }
    if (head.status < 200) {
      // 101 would change the protocol, which nobody asked for.
      if (head.status === 101 || ++interim > MAX_INTERIM) abandon()
      return
    }
    answer = head
    if (head.body === 0) finish()
    else if (head.body === 'chunked') state = 'chunk-size'
    else if (head.body === 'until-close') state = 'until-close'
    else if (head.body > MAX_BODY_BYTES) abandon()
    else {
      left = head.body
      state = 'length'
    }
  }

  /** Where the line that begins at `at` ends; -1 when it is not complete yet, or too long. */
  function lineEnd(bytes: Buffer, at: number): number {
    const end = bytes.indexOf('\r\n', at, 'latin1')
    if (end === -1 ? bytes.length - at > MAX_CHUNK_LINE_BYTES : end - at > MAX_CHUNK_LINE_BYTES) {
      abandon()
      return -1
    }
    return end
  }

  /** A copy: the memory belongs to whoever read it. */
  function keep(bytes: Buffer, at: number): void {
    pending = Buffer.from(bytes.subarray(at))
  }

  function push(chunk: Buffer): boolean {
    const bytes = pending === undefined ? chunk : Buffer.concat([pending, chunk])
    pending = undefined
    let at = 0
    while (state !== 'dead' && at < bytes.length) {
      switch (state) {
        case 'head': {
          const end = bytes.indexOf(HEAD_END, at)
          if (end === -1 ? bytes.length - at > MAX_HEAD_BYTES : end - at > MAX_HEAD_BYTES) {
            abandon()
            break
          }
          if (end === -1) {
            // Bytes that cannot begin an answer are not waited for.
            const start = bytes.toString('latin1', at, Math.min(at + 5, bytes.length))
            if (!'HTTP/'.startsWith(start)) abandon()
            else keep(bytes, at)
            return state !== ('dead' as State)
          }
          const start = at
          at = end + 4
          readHead(bytes, start, end)
          break
        }
        case 'length':
        case 'chunk-data':
        case 'until-close': {
          const take =
            state === 'until-close' ? bytes.length - at : Math.min(left, bytes.length - at)
          at += take
          left -= take
          bodyBytes += take
          if (bodyBytes > MAX_BODY_BYTES) abandon()
          else if (state === 'length' && left === 0) finish()
          else if (state === 'chunk-data' && left === 0) state = 'chunk-end'
          break
        }
        case 'chunk-size': {
          const end = lineEnd(bytes, at)
          if (end === -1) {
            keep(bytes, at)
            return state !== ('dead' as State)
          }
          const size = /^([0-9a-fA-F]{1,8})[ \t]*(?:;.*)?$/.exec(bytes.toString('latin1', at, end))
          at = end + 2
          if (size === null) abandon()
          else {
            left = Number.parseInt(size[1] as string, 16)
            state = left === 0 ? 'trailer' : 'chunk-data'
          }
          break
        }
        case 'chunk-end':
        case 'trailer': {
          const end = lineEnd(bytes, at)
          if (end === -1) {
            keep(bytes, at)
            return state !== ('dead' as State)
          }
          const isEmpty = end === at
          bodyBytes += end - at
          at = end + 2
          if (state === 'chunk-end') {
            if (isEmpty) state = 'chunk-size'
            else abandon()
          } else if (isEmpty) finish()
          else if (bodyBytes > MAX_BODY_BYTES) abandon()
          break
        }
      }
    }
    return state !== 'dead'
  }

  return {
    push,
    end() {
      abandon()
    },
  }
}
