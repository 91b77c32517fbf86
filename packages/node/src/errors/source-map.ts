/**
 * Source maps read from the local disk: https://tc39.es/ecma426/. A lookup walks the mappings text
 * without decoding it into tables: an error needs a handful of positions, a decoded bundle would
 * cost tens of megabytes. Results are cached by the frame cache above.
 */
import { readFileSync, statSync } from 'node:fs'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createLru } from './lru.js'

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

type BasicMap = {
  readonly mappings: string
  readonly sources: readonly (string | null)[]
  readonly sourcesContent?: readonly (string | null)[]
  readonly sourceRoot?: string
}
type IndexedMap = {
  readonly sections: readonly {
    readonly offset: { readonly line: number; readonly column: number }
    readonly map?: BasicMap
  }[]
}
type Loaded = {
  readonly map?: BasicMap | IndexedMap
  readonly folder: string
  readonly reason?: string
}

const MAX_MAP_BYTES = 16 * 1024 * 1024
const MARK = 'sourceMappingURL='

export type SourceMaps = {
  /** Looks a position (1-based) of a generated file up; `code` is the file's text. Never throws. */
  lookup(file: string, line: number, column: number, code: string): Lookup
}

/** Creates a reader with its own cache of at most 32 MiB of map text. */
export function createSourceMaps(): SourceMaps {
  const cache = createLru<Loaded>(32 * 1024 * 1024)

  function load(file: string, code: string): Loaded {
    const known = cache.get(file)
    if (known !== undefined) return known
    const { loaded, weight } = readMap(file, code)
    cache.set(file, loaded, weight + 256)
    return loaded
  }

  return {
    lookup(file, line, column, code) {
      try {
        const loaded = load(file, code)
        if (loaded.map === undefined)
          return loaded.reason === undefined ? {} : { reason: loaded.reason }
        const found = find(loaded.map, line - 1, Math.max(0, column - 1))
        if (found === undefined) return { reason: `no mapping for ${line}:${column}` }
        return { original: toOriginal(found, loaded.folder) }
      } catch (error) {
        return { reason: `broken: ${error instanceof Error ? error.message : String(error)}` }
      }
    },
  }
}

/** The URL of the map named by the last comment of a file; '' when there is none. */
export function sourceMappingUrl(code: string): string {
  const at = code.lastIndexOf(MARK)
  if (at < 4) return ''
  const comment = code.slice(at - 4, at)
  if (comment !== '//# ' && comment !== '//@ ' && comment !== '/*# ') return ''
  const rest = code.slice(at + MARK.length)
  return /^[^\s'"*]+/.exec(rest)?.[0] ?? ''
}

function readMap(file: string, code: string): { loaded: Loaded; weight: number } {
  const url = sourceMappingUrl(code)
  const folder = dirname(file)
  if (url.startsWith('data:')) {
    const comma = url.indexOf(',')
    if (comma === -1) return { loaded: { folder, reason: 'broken: inline map' }, weight: 0 }
    const body = url.slice(comma + 1)
    const text = /;base64$/i.test(url.slice(0, comma))
      ? Buffer.from(body, 'base64').toString('utf8')
      : decodeURIComponent(body)
    return parse(text, folder, 'inline map')
  }
  if (/^https?:/.test(url))
    return { loaded: { folder, reason: `remote: ${url.slice(0, 200)}` }, weight: 0 }
  const path =
    url === ''
      ? `${file}.map`
      : url.startsWith('file://')
        ? fileURLToPath(url)
        : resolve(folder, decodeURIComponent(url.replace(/[?#].*$/, '')))
  let text: string
  try {
    const stats = statSync(path)
    if (!stats.isFile())
      return { loaded: { folder, reason: `not a regular file: ${path}` }, weight: 0 }
    if (stats.size > MAX_MAP_BYTES)
      return { loaded: { folder, reason: `larger than 16 MiB: ${path}` }, weight: 0 }
    text = readFileSync(path, 'utf8')
  } catch {
    // A file without the comment needs no map: it is what the author wrote.
    return { loaded: url === '' ? { folder } : { folder, reason: `missing: ${path}` }, weight: 0 }
  }
  return parse(text, dirname(path), path)
}

function parse(text: string, folder: string, name: string): { loaded: Loaded; weight: number } {
  try {
    // Some servers prefix maps with )]}' against script inclusion.
    const map = JSON.parse(text.startsWith(")]}'") ? text.slice(text.indexOf('\n') + 1) : text)
    const isBasic = typeof map?.mappings === 'string' && Array.isArray(map.sources)
    if (!isBasic && !Array.isArray(map?.sections))
      return { loaded: { folder, reason: `broken: ${name} is not a source map` }, weight: 0 }
    return { loaded: { folder, map }, weight: text.length }
  } catch {
    return { loaded: { folder, reason: `broken: ${name} is not JSON` }, weight: 0 }
  }
}

type Found = { map: BasicMap; source: number; line: number; column: number }

function find(map: BasicMap | IndexedMap, line: number, column: number): Found | undefined {
  if (!('sections' in map)) return walk(map, line, column)
  let chosen: IndexedMap['sections'][number] | undefined
  for (const section of map.sections) {
    const { offset } = section
    if (offset.line > line || (offset.line === line && offset.column > column)) break
    chosen = section
  }
  if (chosen?.map === undefined) return undefined
  const { offset } = chosen
  return walk(
    chosen.map,
    line - offset.line,
    line === offset.line ? column - offset.column : column,
  )
}

const DIGITS: Int8Array = new Int8Array(128).fill(-1)
for (const [value, char] of [
  ...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/',
].entries())
  DIGITS[char.charCodeAt(0)] = value

/** Finds the last segment at or before a 0-based position on its line. */
function walk(map: BasicMap, wantLine: number, wantColumn: number): Found | undefined {
  const text = map.mappings
  let line = 0
  let at = 0
  let source = 0
  let originalLine = 0
  let originalColumn = 0
  let best: Found | undefined
  while (at < text.length && line <= wantLine) {
    let generatedColumn = 0
    while (at < text.length && text.charCodeAt(at) !== 59) {
      if (text.charCodeAt(at) === 44) {
        at++
        continue
      }
      let field = 0
      while (at < text.length) {
        let code = text.charCodeAt(at)
        if (code === 44 || code === 59) break
        let value = 0
        let shift = 0
        let digit: number
        do {
          digit = code < 128 ? (DIGITS[code] as number) : -1
          if (digit === -1 || shift > 30) throw new Error(`bad mapping at character ${at}`)
          value += (digit & 31) * 2 ** shift
          shift += 5
          at++
          code = text.charCodeAt(at)
        } while ((digit & 32) !== 0)
        const delta = value % 2 === 1 ? -Math.floor(value / 2) : value / 2
        if (field === 0) generatedColumn += delta
        else if (field === 1) source += delta
        else if (field === 2) originalLine += delta
        else if (field === 3) originalColumn += delta
        field++
      }
      if (line === wantLine && generatedColumn <= wantColumn)
        best = field >= 4 ? { map, source, line: originalLine, column: originalColumn } : undefined
    }
    line++
    at++
  }
  return best
}

function toOriginal(found: Found, folder: string): Original {
  const { map } = found
  const name = map.sources[found.source] ?? ''
  const rooted = `${map.sourceRoot ?? ''}${map.sourceRoot && !map.sourceRoot.endsWith('/') ? '/' : ''}${name}`
  let file = rooted
  if (rooted.startsWith('file://')) file = fileURLToPath(rooted)
  else if (!/^[a-z][a-z\d+.-]+:\/\//i.test(rooted))
    file = isAbsolute(rooted) ? rooted : join(folder, rooted)
  return {
    file,
    line: found.line + 1,
    column: found.column + 1,
    content: map.sourcesContent?.[found.source] ?? undefined,
  }
}
