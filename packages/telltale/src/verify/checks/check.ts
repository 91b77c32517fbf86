/** What a check is: one promise of an observable service, and how a run is judged by it. */
import type { Evidence } from '../evidence.js'

export type Status = 'pass' | 'fail' | 'skip' | 'unproven' | 'error'

/** What mends a failure: an edit, an environment variable, a command, or words. */
export type Fix = { readonly kind: 'edit' | 'env' | 'command' | 'manual'; readonly text: string }

export type Place = { readonly file: string; readonly line: number }

export type Verdict = {
  readonly status: Status
  /** For a pass: what was seen. For skip, unproven and error: the reason. */
  readonly detail?: string
  readonly expected?: string
  readonly got?: string
  /** Lines, answers or pieces of events; untrusted text. */
  readonly evidence?: readonly string[]
  readonly cause?: Place
  readonly fix?: Fix
  /** A command line that shows it again. */
  readonly reproduce?: string
}

export type Check = {
  /** Stable: `req.id.shared`. */
  readonly id: string
  readonly title: string
  /** When it passes. */
  readonly criterion: string
  /** The seed of it all: what everybody checks by hand. */
  readonly isRecipe?: boolean
  /** It can only be judged when verify started the service itself. */
  readonly needsStart?: boolean
  /** It needs the service's lines. */
  readonly needsLines?: boolean
  /** It counts or reads what reached the tracker. */
  readonly needsEvents?: boolean
  /** Shown, never failed. */
  readonly isInformation?: boolean
  run(evidence: Evidence): Verdict
}

export const pass = (detail?: string): Verdict => ({
  status: 'pass',
  ...(detail !== undefined && { detail }),
})
export const skip = (detail: string): Verdict => ({ status: 'skip', detail })
export const unproven = (detail: string): Verdict => ({ status: 'unproven', detail })
export const fail = (
  verdict: Omit<Verdict, 'status' | 'expected' | 'got' | 'fix'> & {
    readonly expected: string
    readonly got: string
    readonly fix: Fix
  },
): Verdict => ({ status: 'fail', ...verdict })

export const edit = (text: string): Fix => ({ kind: 'edit', text })
export const env = (text: string): Fix => ({ kind: 'env', text })
export const manual = (text: string): Fix => ({ kind: 'manual', text })

/** Why it is not known what reached the tracker; undefined when it is. */
export function unreadReason({ tracker }: Evidence): string | undefined {
  return tracker.unread === 0
    ? undefined
    : `the service compresses events by zstd, which Node ${process.versions.node} cannot read: run verify on Node 22.15 or newer`
}

/** A text as evidence: one line, of bounded length. */
export function excerpt(text: string, max = 400): string {
  const line = text.replaceAll('\n', '\\n')
  return line.length > max ? `${line.slice(0, max)} … (${line.length} characters)` : line
}

/** `1 line`, `2 lines`. */
export const count = (n: number, what: string): string =>
  `${n} ${what}${n === 1 || what.endsWith('s') ? '' : 's'}`
