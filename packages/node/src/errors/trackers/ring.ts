/**
 * Texts on their way, outside of V8's heap and in memory that is used again. What waits for a
 * network would outlive V8's young generation by the thousand, and each large collection that it
 * causes takes time from the application.
 */

/** First in, first out. */
export type Ring = {
  /** Copies a text of one-byte characters; where it begins, or -1 when there is no room for it now. */
  put(text: string): number
  bytes(at: number, length: number): Buffer
  text(at: number, length: number): string
  /** Everything that was put before `end` may be written over. */
  release(end: number): void
}

/** `size` in bytes. The memory is taken at the first `put`. */
export function createRing(size: number): Ring {
  let memory: Buffer | undefined
  let first = 0
  let end = 0
  return {
    put(text) {
      const { length } = text
      // Compared whether needed or not: what V8 has never seen, such as the first wrap, it compiles anew.
      const isWrapped = end < first
      const lastFree = first - 1
      const fitsBehind = end + length <= (isWrapped ? lastFree : size)
      const fitsInFront = length <= lastFree
      let at = end
      if (!fitsBehind) {
        if (isWrapped || !fitsInFront) return -1
        at = 0
      }
      memory ??= Buffer.allocUnsafeSlow(size)
      memory.write(text, at, 'latin1')
      end = at + length
      return at
    },
    bytes: (at, length) => (memory as Buffer).subarray(at, at + length),
    text: (at, length) => (memory as Buffer).toString('latin1', at, at + length),
    release(upTo) {
      first = upTo
      if (first === end) {
        first = 0
        end = 0
      }
    },
  }
}
