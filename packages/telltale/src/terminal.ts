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

/** `out` decides on colours (NO_COLOR and FORCE_COLOR are heard), `err` carries the progress. */
export function createTerminal(
  out: WriteStream | NodeJS.WriteStream,
  err: WriteStream | NodeJS.WriteStream,
  isQuiet: boolean,
): Terminal {
  const { NO_COLOR, FORCE_COLOR, TERM } = process.env
  const hasColours =
    !NO_COLOR && TERM !== 'dumb' && (out.isTTY === true || (FORCE_COLOR ?? '0') !== '0')
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
    width: Math.min(out.columns ?? 100, MAX_WIDTH),
    bold: paint(1, 22),
    dim: paint(2, 22),
    red: paint(31, 39),
    green: paint(32, 39),
    yellow: paint(33, 39),
    blue: paint(34, 39),
    progress(text) {
      if (isQuiet) return
      if (err.isTTY !== true) return void err.write(`  … ${text}\n`)
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
