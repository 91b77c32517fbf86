/**
 * Finds the members of the outermost object of a JSON text by one look at its bytes, so that of a text
 * of many megabytes only what is needed is read. RFC 8259.
 */

/** Where the value of a member stands, spaces around it included. */
export type Member = {
  readonly from: number
  readonly to: number
  /** For an array: where each element begins and ends, in turn. */
  readonly elements: readonly number[]
}

/** Bytes between two pauses, well below a millisecond of work. */
const PAUSE_BYTES = 131_072

/**
 * The members of the object that begins at `start`; yields where a pause is possible. What it is told
 * wrong inside a value is found when that value is parsed.
 *
 * @throws SyntaxError when the text is no whole object.
 */
export function* membersOf(text: Buffer, start: number): Generator<undefined, Map<string, Member>> {
  const members = new Map<string, Member>()
  let name = ''
  let from = -1
  let elements: number[] = []
  let isArray = false
  let depth = 0
  let pauseAt = start + PAUSE_BYTES
  for (let at = start; at < text.length; at++) {
    const code = text[at] as number
    if (code === 34) {
      const end = stringEnd(text, at + 1)
      if (depth === 1 && from === -1) name = JSON.parse(text.toString('utf8', at, end + 1))
      at = end
      if (at < pauseAt) continue
      pauseAt = at + PAUSE_BYTES
      yield
    } else if (code === 123 || code === 91) {
      depth++
      if (depth === 1 && code === 91) break
      if (depth === 2) {
        isArray = code === 91
        if (isArray) elements.push(at + 1)
      }
    } else if (code === 125 || code === 93 || code === 44) {
      if (depth === 2 && isArray && code !== 125) elements.push(at)
      if (code === 44) {
        if (depth === 2 && isArray) elements.push(at + 1)
      } else depth--
      if (depth === 0 || (depth === 1 && code === 44)) {
        if (from !== -1) members.set(name, { from, to: at, elements })
        if (depth === 0) return members
        from = -1
        elements = []
      }
    } else if (code === 58) {
      if (depth === 1) from = at + 1
    } else if (depth === 0 && code > 32) break
  }
  throw new SyntaxError('no whole object')
}

/** The position of the quote that ends the string whose text begins at `at`. */
function stringEnd(text: Buffer, at: number): number {
  const quote = text.indexOf(34, at)
  if (quote !== -1 && text[quote - 1] !== 92) return quote
  for (let i = at; i < text.length; i++) {
    const code = text[i]
    if (code === 34) return i
    if (code === 92) i++
  }
  throw new SyntaxError('a string without an end')
}
