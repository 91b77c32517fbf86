/**
 * Reads V8's stack text: https://v8.dev/docs/stack-trace-api. CommonJS paths, ESM file URLs, eval,
 * async, native, `new`, anonymous functions, node: internals, Windows paths.
 */
import { existsSync, readFileSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** One line of a stack, as V8 wrote it. */
export type CallSite = {
  /** '?' when V8 knows no name; without `async ` and ` [as alias]`. */
  readonly name: string
  /** Absolute path, `node:…`, `wasm://…`; '' for native code and built-ins. */
  readonly file: string
  /** 1-based; 0 when unknown. */
  readonly line: number
  /** 1-based; 0 when unknown. */
  readonly column: number
}

/** What source files are called. */
const CODE = /\.(?:[cm]?[jt]sx?|vue|svelte|coffee)$/i
/** The largest source file that is read. */
export const MAX_CODE_BYTES: number = 8 * 1024 * 1024

/** True when a file has the name of source code. */
export function isCodeFile(file: string): boolean {
  return CODE.test(file)
}

/**
 * The text of a source file that a frame names. Throws with a short reason for anything else: a
 * frame may have been written by whoever wrote the error's message, so only regular files with the
 * name of code are read, never a device, a pipe or a secret.
 */
export function readCode(file: string): string {
  if (!isCodeFile(file)) throw new Error('not a source file')
  const stats = statSync(file, { throwIfNoEntry: false })
  if (stats === undefined) throw new Error('missing')
  if (!stats.isFile()) throw new Error('not a regular file')
  if (stats.size > MAX_CODE_BYTES) throw new Error('larger than 8 MiB')
  return readFileSync(file, 'utf8')
}

/**
 * The frames of a stack without the message before them: lines of a message that look like frames
 * are not taken for some. When the message is not at its place (it was changed after the error was
 * made), only the last lines are kept, as many as V8 writes.
 */
export function framesOf(stack: string, message: string): string {
  if (message === '') return stack
  const found = stack.indexOf(message)
  if (found !== -1 && found < 256) return stack.slice(found + message.length)
  const lines = stack.split('\n')
  const limit = Number(Error.stackTraceLimit) || 10
  return lines.slice(-limit).join('\n')
}

/** Frames kept of one stack: the newest. */
const MAX_FRAMES = 50

/** Reads the frames of a stack, newest call first as V8 writes them. Never throws. */
export function parseStack(stack: string, message: string): CallSite[] {
  return parseFrames(framesOf(stack, message))
}

/** As parseStack, for a text without the message. */
export function parseFrames(stack: string): CallSite[] {
  const sites: CallSite[] = []
  let at = 0
  while (at < stack.length && sites.length < MAX_FRAMES) {
    let end = stack.indexOf('\n', at)
    if (end === -1) end = stack.length
    const site = parseLine(stack.slice(at, end))
    if (site !== undefined) sites.push(site)
    at = end + 1
  }
  return sites
}

function parseLine(raw: string): CallSite | undefined {
  const line = raw.trim()
  if (!line.startsWith('at ')) return undefined
  let rest = line.slice(3)
  if (rest.startsWith('async ')) rest = rest.slice(6)
  const open = rest.endsWith(')') ? rest.indexOf(' (') : -1
  if (open === -1) return locate('?', rest)
  let name = rest.slice(0, open)
  const alias = name.indexOf(' [as ')
  if (alias > 0) name = name.slice(0, alias)
  return locate(name === '' || name === '<anonymous>' ? '?' : name, rest.slice(open + 2, -1))
}

function locate(name: string, text: string): CallSite {
  let where = text
  if (where.startsWith('eval at ')) {
    // The place that called eval: the evaluated text itself is nowhere on disk.
    const inner = /\(([^()]+:\d+:\d+)\)/.exec(where)
    if (inner === null) return { name, file: '', line: 0, column: 0 }
    where = inner[1] as string
  }
  const last = trailingNumber(where)
  if (last === undefined) return { name, file: localPath(where), line: 0, column: 0 }
  const first = trailingNumber(last.rest)
  return first === undefined
    ? { name, file: localPath(last.rest), line: last.number, column: 0 }
    : { name, file: localPath(first.rest), line: first.number, column: last.number }
}

function trailingNumber(text: string): { rest: string; number: number } | undefined {
  const colon = text.lastIndexOf(':')
  if (colon <= 0 || colon === text.length - 1) return undefined
  for (let i = colon + 1; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code < 48 || code > 57) return undefined
  }
  return { rest: text.slice(0, colon), number: Number(text.slice(colon + 1)) }
}

/** A path from what V8 calls the script: file URLs become paths, `<anonymous>` and native become ''. */
function localPath(script: string): string {
  if (script === '<anonymous>' || script === 'native' || script.startsWith('index ')) return ''
  if (!script.startsWith('file://')) return script
  let path = script.slice(7)
  const extra = path.search(/[?#]/)
  if (extra !== -1) path = path.slice(0, extra)
  if (path.includes('%')) {
    try {
      path = decodeURIComponent(path)
    } catch {
      // not an encoded URL: take it as it stands
    }
  }
  return /^\/[A-Za-z]:/.test(path) ? path.slice(1) : path
}

/** Where the kit itself lies (`…/dist/`), found by its own stack; '' when it was bundled into the application. */
const KIT_ROOT: string = findKitRoot()

function findKitRoot(): string {
  const file = slashes(parseStack(new Error('').stack ?? '', '')[0]?.file ?? '')
  const home = /^(.*\/)(?:esm|cjs)\/errors\/stack\.js$/.exec(file)
  return home?.[1] ?? ''
}

function slashes(path: string): string {
  return path.includes('\\') ? path.replaceAll('\\', '/') : path
}

/** True when a file belongs to the application: not Node's, not a dependency, not the kit. */
export function isInApp(file: string): boolean {
  if (file === '' || file.startsWith('node:') || file.includes('://')) return false
  const path = slashes(file)
  return !path.includes('/node_modules/') && !(KIT_ROOT !== '' && path.startsWith(KIT_ROOT))
}

/** A path as seen from the project root, with forward slashes; absolute when it lies outside. */
export function relativeTo(root: string, file: string): string {
  const path = slashes(file)
  const base = slashes(root)
  return path.startsWith(`${base}/`) ? path.slice(base.length + 1) : path
}

/**
 * The module of a file as Sentry's Node SDK names it: `src.routes:orders` for src/routes/orders.ts,
 * `express.lib:router` for a dependency. Stable over deployments, so that grouping can use it.
 */
export function moduleName(root: string, file: string): string {
  if (file === '' || file.includes('://')) return ''
  if (file.startsWith('node:')) return file
  let path = relativeTo(root, file)
  const dependency = path.lastIndexOf('node_modules/')
  if (dependency !== -1) path = path.slice(dependency + 'node_modules/'.length)
  path = path.replace(/^\/+/, '').replace(/\.(?:[cm]?[jt]sx?)$/, '')
  const slash = path.lastIndexOf('/')
  return slash === -1
    ? path
    : `${path.slice(0, slash).replaceAll('/', '.')}:${path.slice(slash + 1)}`
}

/**
 * The folder of the application: the nearest package.json with a name above the main script, else
 * the working directory. Reads the disk; call it once.
 */
export function findProjectRoot(script: string | undefined, cwd: string): string {
  if (script === undefined || script === '' || slashes(script).includes('/node_modules/'))
    return cwd
  let folder = dirname(script)
  for (let depth = 0; depth < 20; depth++) {
    const manifest = join(folder, 'package.json')
    try {
      if (
        existsSync(manifest) &&
        typeof JSON.parse(readFileSync(manifest, 'utf8')).name === 'string'
      )
        return folder
    } catch {
      // unreadable: look further up
    }
    const parent = dirname(folder)
    if (parent === folder) break
    folder = parent
  }
  return cwd
}
