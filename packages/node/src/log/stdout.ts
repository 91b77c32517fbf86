/**
 * The writer: lines are gathered and written once a turn of the event loop, or at once where that
 * matters, and standard output can neither block, break nor fill the process.
 *
 * A pipe whose reader stalls would block `fs.writeSync` for good, so the pipe is opened a second
 * time, non-blocking, through /proc/self/fd: that open file is ours alone, whereas O_NONBLOCK on
 * descriptor 1 would be seen by every process that shares it. Where that is not possible (sockets,
 * other systems) `process.stdout` is touched, which makes Node set the flag on descriptor 1 itself.
 * A write that would block gives EAGAIN; the lines wait in memory, bounded, and a timer tries again.
 *
 * Writes to a pipe are cut at line ends into pieces of at most PIPE_BUF (4,096 bytes on Linux), for
 * POSIX promises that such a write is all or nothing, whatever other processes and threads write. A
 * longer line can be torn by another writer when the pipe is full: no system call that Node offers
 * prevents it. On files each write is whole, since shells open them for appending. A terminal that
 * its user stopped (Ctrl-S) does block, as it does for every program.
 */
import { constants, fstatSync, openSync, writeSync } from 'node:fs'
import { reportFault } from '../faults.js'

/** Where lines go. Its functions never throw and never block, except `flushSync`, which is bounded. */
export type Writer = {
  /** Takes one line that ends in a newline. From `warn` up, and with `sync`, it is written at once. */
  write(line: string, level: number): void
  /** Resolves when everything is out, or after two seconds without progress. */
  flush(): Promise<void>
  /** Writes all there is, waiting for a slow reader while it makes progress: at most 5 s without. */
  flushSync(): void
  /** Asks for `beforeWrite` and a write at the end of this turn of the event loop. */
  atTurnEnd(): void
  /** From here on every line is written at once: no later turn will come. */
  exiting(): void
  /** Settings of the next lines. */
  configure(settings: WriterSettings): void
  readonly counts: { readonly written: number; readonly dropped: number }
}

export type WriterSettings = {
  readonly sync: boolean
  readonly maxBufferBytes: number
  /** Makes the line that tells a loss; undefined when such lines are not wanted. */
  readonly lossLine: (count: number, byLevel: Readonly<Record<number, number>>) => string
  /** Called before a turn's lines are written: what waited for that hands its lines to `write` now. */
  readonly beforeWrite: () => void
}

const WARN = 40
const PIPE_BUF = 4096
/** Characters gathered in one turn before they are written without waiting for its end. */
const GATHER_LIMIT = 32_768
/** Room for what is gathered, at three bytes a character. */
const SCRATCH_BYTES = 131_072
const RETRY_MIN_MS = 2
const RETRY_MAX_MS = 50
const SYNC_PATIENCE_MS = 5000
const FLUSH_PATIENCE_MS = 2000
const NEWLINE = 10

/** A line's bytes as text, one character each: a pooled Buffer would keep its whole slab in memory. */
type Waiting = { readonly level: number; readonly latin1: string }

/** Makes the writer of a descriptor; the kit's own writes to descriptor 1. */
export function createWriter(fd: number): Writer {
  let settings: WriterSettings | undefined
  let sync = false
  let isExiting = false
  let maxBytes = 8_388_608
  let scratch: Buffer | undefined
  let target = -1
  let isPipe = false
  let written = 0
  let dropped = 0

  // This turn's lines: one text, and the level of each line in it.
  let gathered = ''
  let levels: number[] = []
  let scheduled = false

  // Lines that standard output would not take; the first may be half written.
  let waiting: Waiting[] = []
  let head = 0
  let offset = 0
  let waitingBytes = 0
  let retryMs = RETRY_MIN_MS
  let retry: NodeJS.Timeout | undefined
  let broken = false
  // A refused write costs an exception: at most one a millisecond is risked from inside a log call.
  let blockedAtMs = 0

  // Losses not told yet.
  let lost = 0
  let lostByLevel: Record<number, number> = {}
  const waitingByLevel: Record<number, number> = {}

  function open(): void {
    target = fd
    try {
      const stat = fstatSync(fd)
      isPipe = stat.isFIFO() || stat.isSocket()
      if (stat.isFIFO()) {
        try {
          target = openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK)
          return
        } catch {
          // not Linux, or the pipe belongs to another user
        }
      }
      if (isPipe && fd === 1) void process.stdout.isTTY
    } catch {
      // closed: each write will say so
    }
  }

  /** Writes what it can; returns the bytes taken, -1 to try later, -2 when the output is broken. */
  function put(bytes: Uint8Array, from: number, to: number): number {
    if (target === -1) open()
    try {
      return writeSync(target, bytes, from, to - from)
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code
      if (code === 'EAGAIN' || code === 'EINTR') {
        blockedAtMs = Date.now()
        return -1
      }
      if (!broken) {
        broken = true
        reportFault('TELLTALE_E_LOG_WRITE', error)
      }
      return -2
    }
  }

  /** Where the piece of a write that starts at `from` ends: at a line end within PIPE_BUF, if any. */
  function pieceEnd(bytes: Buffer, from: number, size: number): number {
    if (!isPipe || size - from <= PIPE_BUF) return size
    const end = bytes.lastIndexOf(NEWLINE, from + PIPE_BUF - 1)
    if (end >= from) return end + 1
    const next = bytes.indexOf(NEWLINE, from)
    return next === -1 ? size : next + 1
  }

  /** UTF-8 in a buffer that the next call takes again, when the text is not too long for that. */
  function encoded(text: string): Buffer {
    if (text.length * 3 > SCRATCH_BYTES) return Buffer.from(text)
    scratch ??= Buffer.allocUnsafeSlow(SCRATCH_BYTES)
    return scratch.subarray(0, scratch.write(text))
  }

  function drainGathered(): void {
    if (gathered === '') return
    const text = gathered
    const ofLines = levels
    gathered = ''
    levels = []
    if (target === -1) open()
    const bytes = encoded(text)
    if (head < waiting.length) {
      keepLines(bytes, 0, ofLines, 0)
      return
    }
    let at = 0
    while (at < bytes.length) {
      const end = pieceEnd(bytes, at, bytes.length)
      const count = put(bytes, at, end)
      if (count === -2) {
        const rest = countLines(bytes, at)
        loseOutput(ofLines.slice(ofLines.length - rest))
        written += ofLines.length - rest
        return
      }
      if (count <= 0) break
      at += count
    }
    if (at === bytes.length) {
      written += ofLines.length
      broken = false
      return
    }
    const rest = countLines(bytes, at)
    written += ofLines.length - rest
    keepLines(bytes, at, ofLines, ofLines.length - rest)
  }

  /** Puts the unwritten lines of a text in the queue; the first may have been begun. */
  function keepLines(bytes: Buffer, from: number, ofLines: number[], firstLine: number): void {
    let at = from
    let line = firstLine
    while (at < bytes.length) {
      const end = bytes.indexOf(NEWLINE, at) + 1
      const begun = at === from && from > 0 && bytes[from - 1] !== NEWLINE
      keep(ofLines[line] ?? WARN, bytes.subarray(at, end), begun)
      line++
      at = end
    }
    waitToRetry()
  }

  function keep(level: number, bytes: Buffer, begun: boolean): void {
    if (!begun && !makeRoom(level, bytes.length)) {
      lose(level, 1)
      return
    }
    waiting.push({
      level: begun ? Number.POSITIVE_INFINITY : level,
      latin1: bytes.toString('latin1'),
    })
    waitingBytes += bytes.length
    if (!begun) waitingByLevel[level] = (waitingByLevel[level] ?? 0) + 1
  }

  /** Drops less severe lines for a new one; false when there is no room for it all the same. */
  function makeRoom(level: number, bytes: number): boolean {
    if (waitingBytes + bytes <= maxBytes) return true
    const lowest = lowestWaiting()
    if (level > lowest) evict(lowest, level, bytes)
    return waitingBytes + bytes <= maxBytes
  }

  function lowestWaiting(): number {
    for (const level in waitingByLevel) if (waitingByLevel[level] !== 0) return Number(level)
    return Number.POSITIVE_INFINITY
  }

  /** Drops the least severe lines, latest first, until an eighth of the buffer is free. */
  function evict(lowest: number, below: number, need: number): void {
    let level = lowest
    const goal = Math.min(maxBytes - need, maxBytes - (maxBytes >> 3))
    while (level < below && waitingBytes > goal) {
      const kept: Waiting[] = []
      for (let i = waiting.length - 1; i >= head; i--) {
        const line = waiting[i] as Waiting
        const isBegun = i === head && offset > 0
        if (line.level === level && !isBegun && waitingBytes > goal) {
          waitingBytes -= line.latin1.length
          waitingByLevel[level] = (waitingByLevel[level] ?? 1) - 1
          lose(level, 1)
        } else kept.push(line)
      }
      waiting = kept.reverse()
      head = 0
      if (waitingBytes <= goal) return
      level = lowestWaiting()
    }
  }

  function lose(level: number, count: number): void {
    dropped += count
    lost += count
    lostByLevel[level] = (lostByLevel[level] ?? 0) + count
    if (lost === count) reportFault('TELLTALE_E_LOG_DROPPED', `${waitingBytes} bytes are waiting.`)
  }

  /** The output is closed, full or broken: what cannot go anywhere is counted, not kept. */
  function loseOutput(ofLines: readonly number[]): void {
    for (const level of ofLines) {
      dropped++
      lost++
      lostByLevel[level] = (lostByLevel[level] ?? 0) + 1
    }
  }

  /** Writes queued lines until the output would block. True when none is left. */
  function drainWaiting(): boolean {
    let progress = false
    while (head < waiting.length) {
      // Short lines are joined up to PIPE_BUF, which stays one whole write.
      let joined = 1
      let text = (waiting[head] as Waiting).latin1
      let size = text.length - offset
      while (head + joined < waiting.length) {
        const next = (waiting[head + joined] as Waiting).latin1
        if (size + next.length > PIPE_BUF) break
        size += next.length
        text += next
        joined++
      }
      const piece = Buffer.from(text, 'latin1')
      const count = put(piece, offset, piece.length)
      if (count === -1 || count === 0) break
      if (count === -2) {
        loseOutput(waiting.slice(head).map((part) => (part.level < 99 ? part.level : WARN)))
        forget()
        return true
      }
      progress = true
      offset += count
      while (head < waiting.length) {
        const line = waiting[head] as Waiting
        const size = line.latin1.length
        if (offset < size) break
        offset -= size
        waitingBytes -= size
        if (line.level < 99) waitingByLevel[line.level] = (waitingByLevel[line.level] ?? 1) - 1
        written++
        head++
      }
    }
    if (progress) retryMs = RETRY_MIN_MS
    if (head === waiting.length) {
      forget()
      return true
    }
    if (head > 1024 && head > waiting.length / 2) {
      waiting = waiting.slice(head)
      head = 0
    }
    return false
  }

  function forget(): void {
    waiting = []
    head = 0
    offset = 0
    waitingBytes = 0
    for (const level in waitingByLevel) waitingByLevel[level] = 0
  }

  /** Tells losses once there is room again. */
  function tellLoss(): void {
    if (lost === 0 || settings === undefined || waitingBytes > maxBytes / 2) return
    const line = Buffer.from(settings.lossLine(lost, lostByLevel))
    const before = lost
    lost = 0
    lostByLevel = {}
    if (head < waiting.length) {
      keep(WARN, line, false)
      return
    }
    const count = put(line, 0, line.length)
    if (count === line.length) written++
    else if (count === -2) lost = before
    else keepLines(line, Math.max(0, count), [WARN], 0)
  }

  function waitToRetry(): void {
    if (retry !== undefined) return
    retry = setTimeout(() => {
      retry = undefined
      const empty = drainWaiting()
      tellLoss()
      if (!empty) {
        retryMs = Math.min(retryMs * 2, RETRY_MAX_MS)
        waitToRetry()
      }
    }, retryMs)
    retry.unref()
  }

  function atTurnEnd(): void {
    if (scheduled) return
    scheduled = true
    setImmediate(turnEnd)
  }

  function turnEnd(): void {
    settings?.beforeWrite()
    scheduled = false
    drainGathered()
    if (lost > 0 && head === waiting.length && !broken) tellLoss()
  }

  function write(line: string, level: number): void {
    const isUrgent = level >= WARN || sync || isExiting
    if (isUrgent) settings?.beforeWrite()
    gathered += line
    levels.push(level)
    if (isUrgent || gathered.length > GATHER_LIMIT) {
      if (head < waiting.length && Date.now() !== blockedAtMs) drainWaiting()
      drainGathered()
    } else atTurnEnd()
  }

  function flushSync(): void {
    settings?.beforeWrite()
    let idleMs = 0
    const cell = new Int32Array(new SharedArrayBuffer(4))
    for (;;) {
      const before = waitingBytes - offset
      const empty = drainWaiting()
      if (empty) {
        drainGathered()
        if (head === waiting.length) {
          if (lost === 0 || broken) return
          tellLoss()
          if (head === waiting.length) return
        }
      }
      idleMs = waitingBytes - offset < before ? 0 : idleMs + 5
      if (idleMs > SYNC_PATIENCE_MS) return
      Atomics.wait(cell, 0, 0, 5)
    }
  }

  function flush(): Promise<void> {
    settings?.beforeWrite()
    drainWaiting()
    drainGathered()
    if (head === waiting.length) return Promise.resolve()
    return new Promise((resolve) => {
      let left = waitingBytes - offset
      let sinceMs = performance.now()
      const look = (): void => {
        const isEmpty = drainWaiting()
        const nowMs = performance.now()
        if (waitingBytes - offset < left) sinceMs = nowMs
        left = waitingBytes - offset
        if (isEmpty || nowMs - sinceMs > FLUSH_PATIENCE_MS) resolve()
        else setTimeout(look, 5)
      }
      setTimeout(look, 1)
    })
  }

  return {
    write,
    flush,
    flushSync,
    atTurnEnd,
    exiting() {
      isExiting = true
    },
    configure(next) {
      settings = next
      sync = next.sync
      maxBytes = next.maxBufferBytes
    },
    counts: {
      get written() {
        return written
      },
      get dropped() {
        return dropped
      },
    },
  }
}

function countLines(bytes: Buffer, from: number): number {
  let count = 0
  for (let at = bytes.indexOf(NEWLINE, from); at !== -1; at = bytes.indexOf(NEWLINE, at + 1))
    count++
  return count
}
