/**
 * Keeps a storm of one error from flooding the tracker without losing its count. Errors are one when they
 * come from one place and their messages differ only in ids, numbers and quoted text: the first five are
 * sent, then one a minute. An event stands for itself and for the `suppressed_count` before it, so
 * the sum over all events sent is exact.
 */

/** How many of one error go out at once. */
export const STORM_BURST = 5
/** Milliseconds between two events of an error beyond the burst. */
export const STORM_INTERVAL_MS = 60_000
/** Milliseconds without the error after which its burst is allowed again. */
const CALM_MS = 300_000
const MAX_KEYS = 2000

/** What to do with one occurrence: the suppressed ones it stands for besides itself, or -1: suppress it. */
export type Verdict = number

export type Storm<Sample> = {
  /** Decides on one occurrence. `sample` is asked once per storm, for the report of the remainder. */
  admit(key: number, nowMs: number, sample: () => Sample): Verdict
  /** Reports what is suppressed and due; all of it when `everything`. */
  report(nowMs: number, everything: boolean): void
  /** True while something suppressed waits for its report. */
  isWaiting(): boolean
}

type Entry<Sample> = {
  sent: number
  suppressed: number
  lastSentMs: number
  lastSeenMs: number
  sample: Sample | undefined
}

/** Creates a storm filter; `emit` receives a sample and how many suppressed ones it stands for besides itself. */
export function createStorm<Sample>(emit: (sample: Sample, others: number) => void): Storm<Sample> {
  const entries = new Map<number, Entry<Sample>>()
  let waiting = 0

  function take(entry: Entry<Sample>): number {
    const count = entry.suppressed
    if (count > 0) waiting--
    entry.suppressed = 0
    return count
  }

  function release(entry: Entry<Sample>, nowMs: number): void {
    const { sample } = entry
    const count = take(entry)
    entry.lastSentMs = nowMs
    if (count > 0 && sample !== undefined) emit(sample, count - 1)
  }

  function makeRoom(nowMs: number): void {
    for (const [key, entry] of entries) {
      entries.delete(key)
      release(entry, nowMs)
      return
    }
  }

  return {
    admit(key, nowMs, sample) {
      let entry = entries.get(key)
      if (entry === undefined) {
        if (entries.size >= MAX_KEYS) makeRoom(nowMs)
        entry = { sent: 0, suppressed: 0, lastSentMs: 0, lastSeenMs: nowMs, sample: undefined }
        entries.set(key, entry)
      }
      if (nowMs - entry.lastSeenMs > CALM_MS) entry.sent = 0
      entry.lastSeenMs = nowMs
      if (entry.sent < STORM_BURST || nowMs - entry.lastSentMs >= STORM_INTERVAL_MS) {
        entry.sent++
        entry.lastSentMs = nowMs
        return take(entry)
      }
      if (entry.suppressed === 0) {
        waiting++
        entry.sample ??= sample()
      }
      entry.suppressed++
      return -1
    },
    report(nowMs, everything) {
      if (waiting === 0) return
      for (const entry of entries.values()) {
        if (entry.suppressed === 0) continue
        if (everything || nowMs - entry.lastSentMs >= STORM_INTERVAL_MS) release(entry, nowMs)
      }
    },
    isWaiting: () => waiting > 0,
  }
}

/**
 * What differs between two messages of one kind: text in quotes, words that hold a digit and are as long
 * as an id (UUID, hexadecimal, any other), numbers. An apostrophe within a word is no quote.
 */
const VARIABLE =
  /(?<!\w)(?:"[^"\n]*"|'[^'\n]*'|`[^`\n]*`)(?!\w)|\b(?=[\w-]*\d)\w[\w-]{6,}\w\b|\d+(?:[.,]\d+)*/g
/** Characters of a message that are looked at, and that are kept of what is left. */
const MESSAGE_CHARS = 400
const KIND_CHARS = 200

/** What messages that differ only in ids, numbers and quoted text have in common. Never throws; its time is bounded. */
export function kindOfMessage(message: string): string {
  return message.slice(0, MESSAGE_CHARS).replace(VARIABLE, '*').slice(0, KIND_CHARS)
}

/** A 53-bit hash of a text, for keys that must not keep the text alive (FNV-1a in two lanes). */
export function hashText(text: string): number {
  let low = 0x811c9dc5
  let high = 0xc9dc5118
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    low = Math.imul(low ^ code, 0x01000193)
    high = Math.imul(high ^ code, 0x85ebca6b)
  }
  return (high & 0x1fffff) * 0x100000000 + (low >>> 0)
}
