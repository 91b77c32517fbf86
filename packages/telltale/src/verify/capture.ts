/** What the service prints: raw lines of both streams, stamped on arrival, never decoded before they are whole. */
import type { Readable } from 'node:stream'
import { type LogRecord, readRecord } from './dialect.js'
import type { Pulse } from './pulse.js'
import { parseObject } from './tracker.js'

export type Line = {
  readonly stream: 'stdout' | 'stderr'
  /** Milliseconds since the run began. */
  readonly at: number
  readonly text: string
  /** Undefined when the line is no JSON object. */
  readonly record: LogRecord | undefined
  readonly isUtf8: boolean
}

export type Capture = {
  readonly lines: readonly Line[]
  /** Bytes that were not kept, because 64 MB were. */
  readonly droppedBytes: number
  /** Records of stdout, in order. */
  records(): readonly LogRecord[]
}

const MAX_KEPT_BYTES = 64 * 1024 * 1024

export type Capturing = Capture & { attach(stream: 'stdout' | 'stderr', from: Readable): void }

export function createCapture(pulse: Pulse, now: () => number): Capturing {
  const lines: Line[] = []
  const records: LogRecord[] = []
  const strict = new TextDecoder('utf-8', { fatal: true })
  let kept = 0
  let droppedBytes = 0

  function add(stream: Line['stream'], bytes: Buffer): void {
    const body = bytes.at(-1) === 13 ? bytes.subarray(0, -1) : bytes
    if (body.length === 0) return
    if (kept + body.length > MAX_KEPT_BYTES) {
      droppedBytes += body.length
      return
    }
    kept += body.length
    let isUtf8 = true
    let text: string
    try {
      text = strict.decode(body)
    } catch {
      isUtf8 = false
      text = body.toString()
    }
    const object = text.trimStart().startsWith('{') ? parseObject(text) : undefined
    const record = object && readRecord(object, now(), text)
    lines.push({ stream, at: now(), text, record, isUtf8 })
    if (record !== undefined && stream === 'stdout') records.push(record)
  }

  return {
    lines,
    get droppedBytes() {
      return droppedBytes
    },
    records: () => records,
    attach(stream, from) {
      let parts: Buffer[] = []
      from.on('data', (chunk: Buffer) => {
        let start = 0
        for (;;) {
          const end = chunk.indexOf(10, start)
          if (end === -1) break
          parts.push(chunk.subarray(start, end))
          add(stream, parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts))
          parts = []
          start = end + 1
        }
        if (start < chunk.length) parts.push(chunk.subarray(start))
        pulse.beat()
      })
      from.on('end', () => {
        add(stream, Buffer.concat(parts))
        parts = []
        pulse.beat()
      })
      from.on('error', () => {})
    },
  }
}
