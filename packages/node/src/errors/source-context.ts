/**
 * Turns call sites into Sentry's frames: original position by source map, lines around it, path and
 * module from the project root. One cache of finished frames makes the second error of a place cheap.
 */
import { createLru } from './lru.js'
import type { Redactor } from './scrub.js'
import { createSourceMaps } from './source-map.js'
import { type CallSite, isInApp, moduleName, readCode, relativeTo } from './stack.js'
import type { StackFrame } from './tracker.js'

const MAX_LINE_CHARS = 200
/** Milliseconds of work in one turn of the event loop. */
const SLICE_MS = 5

export type Frames = {
  /**
   * Reads the source maps these call sites need, and makes their frames, a few milliseconds at a time;
   * undefined when no map is to be read. Never rejects.
   */
  prepare(sites: readonly CallSite[]): Promise<void> | undefined
  /** Frames of a stack, oldest first as Sentry wants them. Reads files on first sight of a place. Never throws. */
  resolve(sites: readonly CallSite[]): StackFrame[]
}

/** Creates the frame reader of one project. `contextLines` on each side, 0 for none. */
export function createFrames(root: string, contextLines: number, redactor: Redactor): Frames {
  const frames = createLru<StackFrame>(500)
  const texts = createLru<Source>(16 * 1024 * 1024)
  const maps = createSourceMaps()

  function readSource(file: string): Source {
    const known = texts.get(file)
    if (known !== undefined) return known
    let source: Source
    try {
      source = { text: readCode(file), missing: '' }
    } catch (error) {
      const reason = (error as NodeJS.ErrnoException).code ?? (error as Error).message
      source = { text: '', missing: reason }
    }
    texts.set(file, source, source.text.length * 2 + 256)
    return source
  }

  function resolveInApp(site: CallSite, frame: StackFrame): void {
    const { original, reason } = maps.lookup(site.file, site.line, site.column)
    if (reason !== undefined) frame.data = { source_map: relativeReason(root, reason) }
    const { file, line, column } = original ?? site
    const { text, missing } =
      original?.content === undefined ? readSource(file) : { text: original.content, missing: '' }
    place(frame, root, file, line, column)
    if (missing !== '') {
      frame.data = { ...frame.data, source: `${missing}: ${relativeTo(root, file)}` }
      return
    }
    if (contextLines > 0) addLines(frame, text, line, column, contextLines, redactor)
  }

  function resolveOne(site: CallSite): StackFrame {
    const key = `${site.name}\n${site.file}:${site.line}:${site.column}`
    const known = frames.get(key)
    if (known !== undefined) return known
    const inApp = isInApp(site.file)
    const frame: StackFrame = { function: site.name, in_app: inApp }
    place(frame, root, site.file, site.line, site.column)
    try {
      if (inApp && site.line > 0) resolveInApp(site, frame)
    } catch {
      frame.data = { source: 'unreadable' }
    }
    frames.set(key, frame, 1)
    return frame
  }

  async function prepareAll(files: Iterable<string>, sites: readonly CallSite[]): Promise<void> {
    // In turn: together they might hold more than the cache does.
    for (const file of files) await maps.prepare(file)
    let endMs = performance.now() + SLICE_MS
    for (const site of sites) {
      if (performance.now() > endMs) {
        await new Promise((next) => setImmediate(next))
        endMs = performance.now() + SLICE_MS
      }
      resolveOne(site)
    }
  }

  return {
    prepare(sites) {
      let files: Set<string> | undefined
      for (const { file, line } of sites) {
        if (line === 0 || !isInApp(file) || maps.isReady(file)) continue
        files ??= new Set()
        files.add(file)
      }
      return files && prepareAll(files, sites)
    },
    resolve: (sites) => {
      const out: StackFrame[] = new Array(sites.length)
      // Copied: a beforeSend that edits its event must not edit the cache.
      for (let i = 0; i < sites.length; i++)
        out[sites.length - 1 - i] = { ...resolveOne(sites[i] as CallSite) }
      return out
    },
  }
}

type Source = { readonly text: string; readonly missing: string }

function place(frame: StackFrame, root: string, file: string, line: number, column: number): void {
  frame.filename = file === '' ? '<native>' : relativeTo(root, file)
  if (file !== '') frame.abs_path = file
  const module = moduleName(root, file)
  if (module !== '') frame.module = module
  if (line > 0) frame.lineno = line
  if (column > 0) frame.colno = column
}

function relativeReason(root: string, reason: string): string {
  return reason.replaceAll(`${root}/`, '').slice(0, 300)
}

function addLines(
  frame: StackFrame,
  text: string,
  line: number,
  column: number,
  around: number,
  redactor: Redactor,
): void {
  const first = Math.max(1, line - around)
  const lines = takeLines(text, first, line + around)
  const at = line - first
  const own = lines[at]
  if (own === undefined) return
  const shown = (raw: string, near: number): string => maskLiterals(clip(raw, near), redactor)
  frame.pre_context = lines.slice(0, at).map((raw) => shown(raw, 0))
  frame.context_line = shown(own, column)
  frame.post_context = lines.slice(at + 1).map((raw) => shown(raw, 0))
}

/** Lines `first` to `last` (1-based, inclusive) without splitting the whole text. */
function takeLines(text: string, first: number, last: number): string[] {
  const lines: string[] = []
  let at = 0
  for (let number = 1; number <= last && at <= text.length; number++) {
    let end = text.indexOf('\n', at)
    if (end === -1) end = text.length
    if (number >= first)
      lines.push(text.slice(at, text.charCodeAt(end - 1) === 13 && end > at ? end - 1 : end))
    at = end + 1
  }
  return lines
}

/** At most 200 characters of a line, around the column where a minified line is longer. */
function clip(line: string, column: number): string {
  if (line.length <= MAX_LINE_CHARS) return line
  const start = Math.max(0, Math.min(column - MAX_LINE_CHARS / 2, line.length - MAX_LINE_CHARS))
  return `${start > 0 ? '…' : ''}${line.slice(start, start + MAX_LINE_CHARS - 2)}…`
}

/** Source may hold secrets too: `const apiKey = 'x'` keeps its name and loses its value. */
function maskLiterals(line: string, redactor: Redactor): string {
  try {
    const masked = line.replace(
      /([\w$-]+)(["'`]?\s*(?::[\w\s<>[\]|.]+)?[:=]\s*)(["'`])(?:\\.|(?!\3).)*(\3|$)/g,
      (all: string, key: string, between: string, quote: string) =>
        redactor.isSecretKey(key) ? `${key}${between}${quote}[REDACTED]${quote}` : all,
    )
    return redactor.text(masked)
  } catch {
    return ''
  }
}
