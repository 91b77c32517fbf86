/** Where in the project's own files a text comes from: a guess, shown only when there is one place. */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { extname, join } from 'node:path'

const CODE = new Set(['.ts', '.mts', '.cts', '.js', '.mjs', '.cjs', '.tsx', '.py', '.rb', '.go'])
const SKIPPED = new Set(['node_modules', 'dist', 'build', 'coverage', 'vendor', '__pycache__'])
const MAX_FILES = 2000
const MAX_BYTES = 500_000
/** Fewer letters than this are found everywhere. */
const MIN_LETTERS = 8

/** The one line of code that holds the longest piece of `text` which can be a literal. */
export function findInSource(
  cwd: string,
  text: string,
): { readonly file: string; readonly line: number } | undefined {
  const pieces = text
    .split(/[\d"'`\\{}[\]()<>]+/)
    .map((piece) => piece.trim())
    .filter((piece) => piece.length >= MIN_LETTERS)
    .sort((a, b) => b.length - a.length)
    .slice(0, 3)
  if (pieces.length === 0) return undefined
  const files = listFiles(cwd)
  for (const piece of pieces) {
    const places: { file: string; line: number }[] = []
    for (const file of files) {
      const lines = readFileSync(file, 'utf8').split('\n')
      for (const [index, line] of lines.entries()) {
        if (line.includes(piece)) places.push({ file, line: index + 1 })
      }
    }
    if (places.length === 1) return places[0]
  }
  return undefined
}

export const isCode = (name: string): boolean => CODE.has(extname(name))

/** Files of the project whose name is wanted, small ones, a bounded number of them. */
export function listFiles(root: string, isWanted = isCode): string[] {
  const files: string[] = []
  const walk = (folder: string): void => {
    let entries: string[]
    try {
      entries = readdirSync(folder)
    } catch {
      return
    }
    for (const name of entries) {
      if (
        files.length >= MAX_FILES ||
        SKIPPED.has(name) ||
        (name.startsWith('.') && !isWanted(name))
      )
        continue
      const path = join(folder, name)
      const stats = statSync(path, { throwIfNoEntry: false })
      if (stats?.isDirectory()) walk(path)
      else if (stats && isWanted(name) && stats.size < MAX_BYTES) files.push(path)
    }
  }
  walk(root)
  return files
}
