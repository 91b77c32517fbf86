/** The terminal: colours where they can be seen, a progress line where it can move. */
import type { WriteStream } from 'node:tty'

export type Paint = (text: string) => string

export type Terminal = {
  readonly width: number
  readonly bold: Paint
  readonly dim: Paint
  readonly red: Paint
  readonly green: Paint
  readonly yellow: Paint
  readonly blue: Paint
  /** What happens now, in one line that the next call replaces; plain lines where nothing can move. */
  progress(text: string): void
  /** Takes the progress line away. */
  clear(): void
}

const MAX_WIDTH = 110
const MIN_WIDTH = 40

/**
 * `out` decides on colours, `err` carries the progress. NO_COLOR (https://no-color.org) beats
 * FORCE_COLOR, which beats what `out` is; with NO_COLOR or TERM=dumb no escape sequence is written.
 */
export function createTerminal(
  out: WriteStream | NodeJS.WriteStream,
  err: WriteStream | NodeJS.WriteStream,
  isQuiet: boolean,
): Terminal {
  const { NO_COLOR, FORCE_COLOR, TERM } = process.env
  const isPlain = Boolean(NO_COLOR) || TERM === 'dumb'
  const isForced =
    FORCE_COLOR === undefined ? out.isTTY === true : !/^(?:0|false)$/.test(FORCE_COLOR)
  const hasColours = !isPlain && isForced
  const paint =
    (open: number, close: number): Paint =>
    (text) =>
      hasColours ? `\u001b[${open}m${text}\u001b[${close}m` : text
  let isShown = false
  const clear = (): void => {
    if (isShown) err.write('\r\u001b[2K')
    isShown = false
  }
  return {
    // A terminal without a size says 0.
    width: Math.max(MIN_WIDTH, Math.min(out.columns || 100, MAX_WIDTH)),
    bold: paint(1, 22),
    dim: paint(2, 22),
    red: paint(31, 39),
    green: paint(32, 39),
    yellow: paint(33, 39),
    blue: paint(34, 39),
    progress(text) {
      if (isQuiet) return
      if (err.isTTY !== true || isPlain) return void err.write(`  … ${text}\n`)
      clear()
      err.write(`  … ${text}`)
      isShown = true
    },
    clear,
  }
}

/** Control characters of untrusted text made visible, so that a line cannot drive the terminal. */
export function printable(text: string): string {
  return text.replace(
    /[^\P{Cc}\t\n]/gu,
    (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`,
  )
}
