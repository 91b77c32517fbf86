/**
 * The mappings of a source map (https://tc39.es/ecma426/), found without decoding them into tables: a
 * mark every few kilobytes keeps where the decoding stood, so that a position costs microseconds and
 * a map of many megabytes costs some ten kilobytes of marks.
 */

/** A place in the mappings: the state after a segment. All 0-based. */
export type Cursor = {
  /** The character after the segment. */
  at: number
  line: number
  column: number
  source: number
  originalLine: number
  originalColumn: number
  /** The segment names a source: 1, it does not: 0, the line has none yet: -1. */
  kind: number
}

/** Cursors in order, MARK_FIELDS numbers each. */
export type Marks = Int32Array

/** Bytes of mappings between two marks: about what a lookup decodes. */
const MARK_BYTES = 4096
const MARK_FIELDS = 7
/** Bytes between two pauses, about a millisecond of work. */
const PAUSE_BYTES = 65_536

const DIGITS: Int8Array = new Int8Array(256).fill(-1)
for (const [value, char] of [
  ...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/',
].entries())
  DIGITS[char.charCodeAt(0)] = value

/** Moves to the next segment; false at the end. Throws at what is no mapping. */
function next(text: Buffer, cursor: Cursor): boolean {
  let at = cursor.at
  for (; at < text.length; at++) {
    const code = text[at]
    if (code === 59) {
      cursor.line++
      cursor.column = 0
      cursor.kind = -1
    } else if (code !== 44) break
  }
  if (at >= text.length) {
    cursor.at = at
    return false
  }
  let field = 0
  let value = 0
  let shift = 0
  for (; at < text.length; at++) {
    const code = text[at] as number
    if (code === 44 || code === 59) break
    const digit = DIGITS[code] as number
    if (digit === -1 || shift > 25) throw new Error(`bad mapping at character ${at}`)
    value |= (digit & 31) << shift
    if ((digit & 32) !== 0) {
      shift += 5
      continue
    }
    const delta = (value & 1) === 1 ? -(value >>> 1) : value >>> 1
    if (field === 0) cursor.column += delta
    else if (field === 1) cursor.source += delta
    else if (field === 2) cursor.originalLine += delta
    else if (field === 3) cursor.originalColumn += delta
    field++
    value = 0
    shift = 0
  }
  cursor.kind = field >= 4 ? 1 : 0
  cursor.at = at
  return true
}

/** Goes through the mappings once and sets the marks; yields where a pause is possible. Never throws. */
export function* markOut(text: Buffer): Generator<undefined, Marks> {
  const cursor: Cursor = {
    at: 0,
    line: 0,
    column: 0,
    source: 0,
    originalLine: 0,
    originalColumn: 0,
    kind: -1,
  }
  const marks: number[] = []
  let markAt = 0
  let pauseAt = PAUSE_BYTES
  const mark = (): void => {
    const { at, line, column, source, originalLine, originalColumn, kind } = cursor
    marks.push(at, line, column, source, originalLine, originalColumn, kind)
    markAt = at + MARK_BYTES
  }
  mark()
  try {
    while (next(text, cursor)) {
      if (cursor.at < markAt) continue
      mark()
      if (cursor.at < pauseAt) continue
      pauseAt = cursor.at + PAUSE_BYTES
      yield
    }
  } catch {
    // A lookup behind this place meets it again and says so; those before it are answered.
  }
  return Int32Array.from(marks)
}

/** The last segment at or before a 0-based position of its line; undefined when it maps to nothing. Throws at a bad mapping. */
export function findMapping(
  text: Buffer,
  marks: Marks,
  line: number,
  column: number,
): Cursor | undefined {
  let low = 0
  let high = marks.length / MARK_FIELDS - 1
  while (low < high) {
    const middle = (low + high + 1) >> 1
    const markLine = marks[middle * MARK_FIELDS + 1] as number
    const markColumn = marks[middle * MARK_FIELDS + 2] as number
    if (markLine < line || (markLine === line && markColumn <= column)) low = middle
    else high = middle - 1
  }
  const [
    at = 0,
    markLine = 0,
    markColumn = 0,
    source = 0,
    originalLine = 0,
    originalColumn = 0,
    kind = -1,
  ] = marks.subarray(low * MARK_FIELDS, (low + 1) * MARK_FIELDS)
  const cursor: Cursor = {
    at,
    line: markLine,
    column: markColumn,
    source,
    originalLine,
    originalColumn,
    kind,
  }
  let best: Cursor | undefined
  do {
    if (cursor.line > line || (cursor.line === line && cursor.column > column)) break
    if (cursor.line === line && cursor.kind !== -1)
      best = cursor.kind === 1 ? { ...cursor } : undefined
  } while (next(text, cursor))
  return best
}
