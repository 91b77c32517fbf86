/**
 * Reads anything that was thrown into a flat chain: the error, its causes, the members of a group.
 * Only strings are taken, at once, because the error may change before its event is written.
 * https://develop.sentry.dev/sdk/data-model/event-payloads/exception/
 */
import { cut, read } from './scrub.js'
import { type CallSite, framesOf } from './stack.js'

/** One error of a chain; `id` 0 is what was thrown. */
export type ChainLink = {
  readonly type: string
  readonly value: string
  /** V8's stack text; '' when there is none. */
  readonly stack: string
  readonly id: number
  /** -1 for the thrown one. */
  readonly parentId: number
  /** How the parent holds it: 'cause' or 'errors[2]'; '' for the thrown one. */
  readonly source: string
  readonly isGroup: boolean
  /** True when what was thrown is no error and the stack was made here. */
  readonly isSynthetic: boolean
  /** The frames of `stack`, read when its event is near. */
  sites?: readonly CallSite[]
  /** Machine-readable facts of system and HTTP errors: code, errno, syscall, status. */
  readonly data: Record<string, string | number> | undefined
}

const MAX_DEPTH = 5
const MAX_WIDTH = 10
const MAX_LINKS = 20
const MAX_STACK = 32_768
const MAX_VALUE = 16_384
const DATA_KEYS = ['code', 'errno', 'syscall', 'status', 'statusCode'] as const

/** True for errors of any realm and for objects that look like one. Never throws. */
export function isErrorLike(value: unknown): value is { message: unknown; stack?: unknown } {
  if (typeof value !== 'object' || value === null) return false
  try {
    return value instanceof Error || typeof (value as { message?: unknown }).message === 'string'
  } catch {
    return false
  }
}

/** The class of an error: its name, or its constructor's when the name was left at `Error`. Never throws. */
export function errorType(error: unknown): string {
  const name = read(error, 'name')
  if (typeof name === 'string' && name !== '' && name !== 'Error') return cut(name, 200)
  const constructorName = read(read(error, 'constructor'), 'name')
  return typeof constructorName === 'string' &&
    constructorName !== '' &&
    constructorName !== 'Object'
    ? cut(constructorName, 200)
    : 'Error'
}

/** The message of an error, or a readable form of anything else. Never throws. */
export function errorMessage(error: unknown): string {
  if (isErrorLike(error)) {
    const message = read(error, 'message')
    return typeof message === 'string' ? message : ''
  }
  return describe(error)
}

/** V8's stack text of an error; '' when it has none. Never throws. */
export function errorStack(error: unknown): string {
  const stack = read(error, 'stack')
  return typeof stack === 'string' ? stack : ''
}

/** Something thrown that is no error, as a person would write it: `boom`, `null`, `{"code":42}`. */
function describe(value: unknown): string {
  try {
    if (typeof value === 'string') return value
    if (typeof value === 'object' && value !== null) {
      // The keys only and primitives: values of a thrown object may hold anything.
      const shown: Record<string, unknown> = {}
      let count = 0
      for (const key of Object.keys(value)) {
        if (count++ === MAX_WIDTH) break
        const item = read(value, key)
        shown[key] =
          typeof item === 'object' && item !== null
            ? Array.isArray(item)
              ? '[Array]'
              : '[Object]'
            : typeof item === 'string'
              ? cut(item, 200)
              : typeof item === 'bigint' || typeof item === 'function' || typeof item === 'symbol'
                ? String(item).slice(0, 100)
                : item
      }
      return Array.isArray(value) ? `Array(${value.length})` : JSON.stringify(shown)
    }
    return typeof value === 'function' ? `function ${value.name}` : String(value)
  } catch {
    return '[unreadable]'
  }
}

function errorData(error: unknown): Record<string, string | number> | undefined {
  let data: Record<string, string | number> | undefined
  for (const key of DATA_KEYS) {
    const value = read(error, key)
    if (typeof value === 'number' || (typeof value === 'string' && value !== '')) {
      data ??= {}
      data[key] = typeof value === 'string' ? cut(value, 200) : value
    }
  }
  return data
}

/**
 * Reads what was thrown, the thrown one first. At most 5 deep, 10 wide, 20 in all; each object once.
 * `syntheticStack` stands in for what has no stack of its own. Never throws.
 */
export function readChain(thrown: unknown, syntheticStack: () => string): ChainLink[] {
  const links: ChainLink[] = []
  const seen = new Set<unknown>()

  function visit(error: unknown, parentId: number, source: string, depth: number): void {
    if (links.length === MAX_LINKS || depth > MAX_DEPTH || seen.has(error)) return
    if (typeof error === 'object' && error !== null) seen.add(error)
    const isError = isErrorLike(error)
    const members = isError ? read(error, 'errors') : undefined
    const group = safeList(members)
    const stack = isError ? errorStack(error) : ''
    const id = links.length
    links.push({
      type: isError ? errorType(error) : 'NonError',
      value: cut(errorMessage(error), MAX_VALUE),
      stack: (stack === '' && parentId === -1
        ? syntheticStack()
        : framesOf(stack, errorMessage(error))
      ).slice(0, MAX_STACK),
      id,
      parentId,
      source,
      isGroup: group.length > 0,
      isSynthetic: !isError,
      data: isError ? errorData(error) : undefined,
    })
    if (!isError) return
    for (let i = 0; i < group.length; i++) visit(group[i], id, `errors[${i}]`, depth + 1)
    const cause = read(error, 'cause')
    if (cause !== undefined && cause !== null) visit(cause, id, 'cause', depth + 1)
  }

  visit(thrown, -1, '', 0)
  return links
}

/** The members of a group that are errors themselves; validation libraries put other things in `errors`. */
function safeList(members: unknown): unknown[] {
  try {
    return Array.isArray(members) ? members.slice(0, MAX_WIDTH).filter(isErrorLike) : []
  } catch {
    return []
  }
}
