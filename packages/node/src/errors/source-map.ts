/**
 * Source maps read from the local disk: https://tc39.es/ecma426/. A map is never parsed as a whole: its
 * bytes are kept, its mappings get marks, and a source's text is read out when a frame needs it. So a
 * map of many megabytes costs its bytes only, and is taken in a few milliseconds at a time.
 */
import { readFileSync, statSync } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Member, membersOf } from './json-members.js'
import { createLru } from './lru.js'
import { findMapping, type Marks, markOut } from './mappings.js'
import { isCodeFile, MAX_CODE_BYTES } from './stack.js'

/** A position in the source a file was made of. */
export type Original = {
  /** Absolute path, or the name in the map when it is no path. */
  readonly file: string
  /** 1-based. */
  readonly line: number
  /** 1-based. */
  readonly column: number
  /** Text of the source when the map carries it. */
  readonly content: string | undefined
}

/** What a lookup found: a position, a reason why not, or neither when the file has no map at all. */
export type Lookup = { readonly original?: Original; readonly reason?: string }

export type SourceMaps = {
  /** True when a lookup in this file reads no map any more. */
  isReady(file: string): boolean
  /** Reads the map of a generated file without holding the event loop for longer than a few milliseconds. Never rejects. */
  prepare(file: string): Promise<void>
  /** Looks a position (1-based) of a generated file up; reads its map at once when it is not ready. Never throws. */
  lookup(file: string, line: number, column: number): Lookup
}

/** The mappings of one map, or of one section of an indexed map. */
type Part = {
  /** 0-based position in the generated file from which it holds. */
  readonly line: number
  readonly column: number
  readonly mappings: Buffer
  readonly marks: Marks
  readonly sources: readonly (string | null)[]
  readonly sourceRoot: string
  content(source: number): string | undefined
}
type Loaded = { readonly parts: readonly Part[]; readonly folder: string; readonly reason?: string }

/** A file to read, or undefined: a good place for a pause. */
type Step = { readonly path: string; readonly maxBytes: number } | undefined
/** The bytes of that file, or why not. */
type Answer = Buffer | string | undefined

const MAX_MAP_BYTES = 16 * 1024 * 1024
const MAX_CACHE_BYTES = 32 * 1024 * 1024
const MAX_CONTENT_CHARS = 4 * 1024 * 1024
/** Milliseconds of work in one turn of the event loop. */
const SLICE_MS = 5
const URL_MARK = 'sourceMappingURL='

/** Creates a reader with its own cache of at most 32 MiB of maps. */
export function createSourceMaps(): SourceMaps {
  const cache = createLru<Loaded>(MAX_CACHE_BYTES)
  const contents = createLru<string | undefined>(MAX_CONTENT_CHARS)
  const preparing = new Map<string, Promise<void>>()

  function keep(file: string, loaded: Loaded): Loaded {
    let weight = 256
    for (const { mappings, marks } of loaded.parts)
      weight += mappings.buffer.byteLength + marks.byteLength
    cache.set(file, loaded, Math.min(weight, MAX_CACHE_BYTES))
    return loaded
  }

  function load(file: string): Loaded {
    const steps = takeIn(file)
    let step = steps.next()
    while (!step.done) step = steps.next(step.value && readNow(step.value))
    return keep(file, step.value)
  }

  async function prepareNow(file: string): Promise<void> {
    const steps = takeIn(file)
    let step = steps.next()
    let endMs = performance.now() + SLICE_MS
    while (!step.done) {
      let answer: Answer
      if (step.value !== undefined) {
        answer = await readLater(step.value)
        endMs = performance.now() + SLICE_MS
      } else if (performance.now() > endMs) {
        await new Promise((next) => setImmediate(next))
        endMs = performance.now() + SLICE_MS
      }
      step = steps.next(answer)
    }
    keep(file, step.value)
  }

  function contentOf(file: string, part: Part, source: number): string | undefined {
    const key = `${part.line}:${part.column}:${source}:${file}`
    let content = contents.get(key)
    if (content === undefined) {
      content = part.content(source)
      if (content !== undefined) contents.set(key, content, content.length)
    }
    return content
  }

  return {
    isReady: (file) => cache.get(file) !== undefined,
    prepare(file) {
      let running = preparing.get(file)
      if (running === undefined) {
        running = prepareNow(file)
          .catch(() => undefined)
          .finally(() => preparing.delete(file))
        preparing.set(file, running)
      }
      return running
    },
    lookup(file, line, column) {
      try {
        const loaded = cache.get(file) ?? load(file)
        const { parts, folder, reason } = loaded
        if (parts.length === 0) return reason === undefined ? {} : { reason }
        const at = { line: line - 1, column: Math.max(0, column - 1) }
        const part = parts.findLast((one) => !isBefore(at, one))
        const found =
          part &&
          findMapping(
            part.mappings,
            part.marks,
            at.line - part.line,
            at.line === part.line ? at.column - part.column : at.column,
          )
        if (part === undefined || found === undefined)
          return { reason: `no mapping for ${line}:${column}` }
        return {
          original: {
            file: pathOf(part, found.source, folder),
            line: found.originalLine + 1,
            column: found.originalColumn + 1,
            content: contentOf(file, part, found.source),
          },
        }
      } catch (error) {
        return { reason: broken(error) }
      }
    },
  }
}

type Position = { readonly line: number; readonly column: number }

function isBefore(one: Position, other: Position): boolean {
  return one.line < other.line || (one.line === other.line && one.column < other.column)
}

function broken(error: unknown): string {
  return `broken: ${error instanceof Error ? error.message : String(error)}`
}

// ── reading ───────────────────────────────────────────────────────────────────────────────────────

function checked(
  stats: { isFile(): boolean; readonly size: number },
  { path, maxBytes }: NonNullable<Step>,
): string | undefined {
  if (!stats.isFile()) return `not a regular file: ${path}`
  if (stats.size > maxBytes) return `larger than ${maxBytes / 1_048_576} MiB: ${path}`
  return undefined
}

function readNow(step: NonNullable<Step>): Answer {
  try {
    return checked(statSync(step.path), step) ?? readFileSync(step.path)
  } catch {
    return `missing: ${step.path}`
  }
}

async function readLater(step: NonNullable<Step>): Promise<Answer> {
  try {
    return checked(await stat(step.path), step) ?? (await readFile(step.path))
  } catch {
    return `missing: ${step.path}`
  }
}

/** Takes the map of a generated file in, step by step. Throws nothing; what is wrong is the reason. */
function* takeIn(file: string): Generator<Step, Loaded, Answer> {
  let folder = dirname(file)
  let name = ''
  const none = (reason?: string): Loaded =>
    reason === undefined ? { parts: [], folder } : { parts: [], folder, reason }
  try {
    // What is no readable source file has no map either; the frame says why it has no lines.
    if (!isCodeFile(file)) return none()
    const code = yield { path: file, maxBytes: MAX_CODE_BYTES }
    if (!Buffer.isBuffer(code)) return none()
    const url = sourceMappingUrl(code)
    let map: Answer
    if (url.startsWith('data:')) {
      name = 'inline map'
      map = dataOf(url)
    } else {
      if (/^https?:/.test(url)) return none(`remote: ${url.slice(0, 200)}`)
      name =
        url === ''
          ? `${file}.map`
          : url.startsWith('file://')
            ? fileURLToPath(url)
            : resolve(folder, decodeURIComponent(url.replace(/[?#].*$/, '')))
      map = yield { path: name, maxBytes: MAX_MAP_BYTES }
      // A file without the comment needs no map: it is what the author wrote.
      if (url === '' && String(map).startsWith('missing')) return none()
      folder = dirname(name)
    }
    if (!Buffer.isBuffer(map)) return none(String(map))
    const parts = yield* readMap(map)
    return parts === undefined ? none(`broken: ${name} is not a source map`) : { parts, folder }
  } catch (error) {
    return none(error instanceof SyntaxError ? `broken: ${name} is not JSON` : broken(error))
  }
}

/** The URL of the map named by the last comment of a file; '' when there is none. */
function sourceMappingUrl(code: Buffer): string {
  const at = code.lastIndexOf(URL_MARK)
  if (at < 4) return ''
  const comment = code.toString('latin1', at - 4, at)
  if (comment !== '//# ' && comment !== '//@ ' && comment !== '/*# ') return ''
  return /^[^\s'"*]+/.exec(code.toString('utf8', at + URL_MARK.length))?.[0] ?? ''
}

function dataOf(url: string): Buffer | string {
  const comma = url.indexOf(',')
  if (comma === -1) return 'broken: inline map'
  const body = url.slice(comma + 1)
  return /;base64$/i.test(url.slice(0, comma))
    ? Buffer.from(body, 'base64')
    : Buffer.from(decodeURIComponent(body))
}

/** The parts of a map; undefined when it is none. Throws a SyntaxError when it is not JSON. */
function* readMap(text: Buffer): Generator<undefined, Part[] | undefined> {
  // Some servers prefix maps with )]}' against script inclusion.
  const start = text.toString('latin1', 0, 4) === ")]}'" ? text.indexOf(10) + 1 : 0
  const members = yield* membersOf(text, start)
  const value = (name: string): unknown => {
    const member = members.get(name)
    return member && JSON.parse(text.toString('utf8', member.from, member.to))
  }
  if (members.has('sections')) {
    const parts: Part[] = []
    for (const { offset, map } of value('sections') as IndexedMap['sections']) {
      if (map === undefined) continue
      const mappings = Buffer.from(map.mappings, 'latin1')
      parts.push({
        line: offset.line,
        column: offset.column,
        mappings,
        marks: yield* markOut(mappings),
        sources: map.sources,
        sourceRoot: map.sourceRoot ?? '',
        content: (source) => map.sourcesContent?.[source] ?? undefined,
      })
    }
    return parts
  }
  const mappings = mappingsOf(text, members.get('mappings'))
  const sources = value('sources')
  if (mappings === undefined || !Array.isArray(sources)) return undefined
  const contents = members.get('sourcesContent')?.elements ?? []
  const marks = yield* markOut(mappings)
  const root = value('sourceRoot')
  return [
    {
      line: 0,
      column: 0,
      mappings,
      marks,
      sources,
      sourceRoot: typeof root === 'string' ? root : '',
      content(source) {
        const [from, to] = [contents[source * 2], contents[source * 2 + 1]]
        const content = from && JSON.parse(text.toString('utf8', from, to))
        return typeof content === 'string' ? content : undefined
      },
    },
  ]
}

type IndexedMap = {
  readonly sections: readonly {
    readonly offset: { readonly line: number; readonly column: number }
    readonly map?: {
      readonly mappings: string
      readonly sources: readonly (string | null)[]
      readonly sourcesContent?: readonly (string | null)[]
      readonly sourceRoot?: string
    }
  }[]
}

/** The text of the mappings as it stands in the file; through JSON only when it holds an escape. */
function mappingsOf(text: Buffer, member: Member | undefined): Buffer | undefined {
  if (member === undefined) return undefined
  const raw = text.subarray(member.from, member.to)
  const first = raw.indexOf(34)
  if (first !== -1 && raw.indexOf(92) === -1) return raw.subarray(first + 1, raw.lastIndexOf(34))
  const value: unknown = JSON.parse(raw.toString('utf8'))
  return typeof value === 'string' ? Buffer.from(value, 'latin1') : undefined
}

/** Absolute path of a source, or its name when that is no path. */
function pathOf(part: Part, source: number, folder: string): string {
  const name = part.sources[source] ?? ''
  const root = part.sourceRoot
  const rooted = `${root}${root === '' || root.endsWith('/') ? '' : '/'}${name}`
  if (rooted.startsWith('file://')) return fileURLToPath(rooted)
  if (/^[a-z][a-z\d+.-]+:\/\//i.test(rooted) || isAbsolute(rooted)) return rooted
  return join(folder, rooted)
}
