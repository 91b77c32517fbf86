/**
 * Items that could not be sent before the process ended, on disk until the next start sends them.
 *
 * A file holds a header line and then, for each item, a line of JSON and its payload, in the manner
 * of an envelope. Its name carries a hash of the DSN, so that one project's items never go to
 * another, and no secret. Files appear by rename, whole or not at all, and are claimed by rename, so
 * that two processes starting together do not send twice. An item whose answer was still awaited
 * may be sent twice; its event id makes the duplicate harmless.
 */
import {
  closeSync,
  constants,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  statSync,
  unlinkSync,
  utimesSync,
  writeSync,
} from 'node:fs'
import { open, readdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { crypto } from '../../builtin.js'
import { reportFault } from '../../faults.js'

/** One item at rest. */
export type SpoolItem = {
  readonly type: string
  readonly category: string
  /** Event id; '' when the item has none. */
  readonly id: string
  /** What the item counts for: 1, or the spans of a container. */
  readonly count: number
  readonly payload: string
}

/** A file this process has claimed, and what is in it. */
export type Claim = {
  readonly path: string
  readonly items: readonly SpoolItem[]
  /** False when the file, or its end, could not be understood. */
  readonly isWhole: boolean
}

export type Spool = {
  /**
   * Writes items, the most valuable first; returns how many from the front were written. Throws
   * what the file system throws.
   */
  writeSync(items: readonly SpoolItem[]): number
  /** Claims one file of at most `maxBytes`; undefined when there is none. Throws as the file system does. */
  claim(maxBytes: number): Promise<Claim | undefined>
  /** Removes a claimed file. Never throws. */
  removeSync(path: string): void
}

/** All files of one DSN together. */
export const MAX_SPOOL_BYTES = 16_777_216
/** All files of a folder, whatever their DSN. */
export const MAX_FOLDER_BYTES: number = 4 * MAX_SPOOL_BYTES
/** A claim older than this belongs to a process that died with it. */
const STALE_CLAIM_MS = 3_600_000
/** Files of a DSN that nothing on this machine has used for so long make room; a fault line tells it. */
export const EXPIRY_MS: number = 7 * 86_400_000
const MAGIC = '{"telltale_spool":1}\n'
const NAME = /^([0-9a-f]{16})-[0-9a-z-]+\.(spool|claimed|tmp)$/

/**
 * The spool of one DSN. `folder` undefined: a folder of this user below os.tmpdir(), which must
 * belong to this user alone. A file holds about `fileBytes`, so that the next process can take it
 * into a queue of its own. Touches nothing until it is used.
 */
export function createSpool(folder: string | undefined, hash: string, fileBytes: number): Spool {
  const isShared = folder === undefined
  const path = folder ?? join(tmpdir(), `telltale-spool-${process.getuid?.() ?? 'user'}`)

  function prepareFolder(): void {
    mkdirSync(path, { recursive: true, mode: 0o700 })
    if (!isShared) return
    // Anyone may create names below the temporary folder: use nobody else's.
    const stat = lstatSync(path)
    const isOurs =
      process.getuid === undefined || (stat.uid === process.getuid() && (stat.mode & 0o077) === 0)
    if (!stat.isDirectory() || !isOurs) throw new Error(`${path} belongs to someone else`)
  }

  /** How many bytes may still be written. */
  function freeBytes(): number {
    let own = 0
    let total = 0
    for (const name of readdirSync(path)) {
      const match = NAME.exec(name)
      if (match === null) continue
      try {
        const { size, mtimeMs } = statSync(join(path, name))
        if (match[1] !== hash && Date.now() - mtimeMs > EXPIRY_MS) {
          removeSync(join(path, name))
          reportFault('TELLTALE_E_SPOOL', `${name} of another DSN is older than a week: removed.`)
        } else {
          total += size
          if (match[1] === hash) own += size
        }
      } catch {
        // Sent and removed by another process in this moment.
      }
    }
    return Math.min(MAX_SPOOL_BYTES - own, MAX_FOLDER_BYTES - total)
  }

  function freshName(): string {
    return `${hash}-${process.pid}-${Date.now()}-${crypto().randomBytes(4).toString('hex')}`
  }

  function writeFile(records: readonly Buffer[]): void {
    const base = join(path, freshName())
    const file = openSync(`${base}.tmp`, 'wx', 0o600)
    try {
      const bytes = Buffer.concat([Buffer.from(MAGIC), ...records])
      for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at)
      closeSync(file)
      renameSync(`${base}.tmp`, `${base}.spool`)
    } catch (error) {
      removeSync(`${base}.tmp`)
      throw error
    }
  }

  function removeSync(file: string): void {
    try {
      unlinkSync(file)
    } catch {
      // Gone already, or the folder became read-only: the next start finds the file and retries.
    }
  }

  return {
    writeSync(items) {
      prepareFolder()
      let room = freeBytes()
      let parts: Buffer[] = []
      let bytes = 0
      let written = 0
      for (const item of items) {
        const record = encode(item)
        if (record.length + MAGIC.length > room) break
        if (bytes + record.length > fileBytes && parts.length > 0) {
          writeFile(parts)
          written += parts.length
          parts = []
          bytes = 0
        }
        if (parts.length === 0) room -= MAGIC.length
        room -= record.length
        bytes += record.length
        parts.push(record)
      }
      if (parts.length > 0) writeFile(parts)
      written += parts.length
      return written
    },

    async claim(maxBytes) {
      let names: string[]
      try {
        names = await readdir(path)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
        throw error
      }
      if (names.length === 0) return undefined
      prepareFolder()
      for (const name of names.sort()) {
        const match = NAME.exec(name)
        if (match === null || match[1] !== hash) continue
        const from = join(path, name)
        const claimed = join(path, `${freshName()}.claimed`)
        try {
          const stat = lstatSync(from)
          if (!stat.isFile()) continue
          const isStale = Date.now() - stat.mtimeMs > STALE_CLAIM_MS
          if (match[2] !== 'spool' && !isStale) continue
          if (match[2] === 'tmp') {
            unlinkSync(from)
            continue
          }
          if (stat.size > MAX_SPOOL_BYTES) {
            unlinkSync(from)
            return { path: from, items: [], isWhole: false }
          }
          if (stat.size > maxBytes) continue
          renameSync(from, claimed)
          const now = new Date()
          utimesSync(claimed, now, now)
        } catch (error) {
          // Claimed by another process first.
          if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue
          throw error
        }
        const file = await open(claimed, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0))
        try {
          return { path: claimed, ...decode(await file.readFile()) }
        } finally {
          await file.close()
        }
      }
      return undefined
    },

    removeSync,
  }
}

function encode(item: SpoolItem): Buffer {
  const payload = Buffer.from(item.payload)
  const { type, category, id, count } = item
  const head = JSON.stringify({ type, category, id, count, length: payload.length })
  return Buffer.concat([Buffer.from(`${head}\n`), payload, Buffer.from('\n')])
}

/** Reads a spool file; stops at the first thing that is not as it was written. Never throws. */
export function decode(bytes: Buffer): { items: readonly SpoolItem[]; isWhole: boolean } {
  const items: SpoolItem[] = []
  if (bytes.toString('latin1', 0, MAGIC.length) !== MAGIC) return { items, isWhole: false }
  let at = MAGIC.length
  while (at < bytes.length) {
    const lineEnd = bytes.indexOf(10, at)
    if (lineEnd === -1) return { items, isWhole: false }
    const head = readHead(bytes.toString('utf8', at, lineEnd))
    if (head === undefined) return { items, isWhole: false }
    const payloadEnd = lineEnd + 1 + head.length
    if (bytes[payloadEnd] !== 10) return { items, isWhole: false }
    const { type, category, id, count } = head
    items.push({
      type,
      category,
      id,
      count,
      payload: bytes.toString('utf8', lineEnd + 1, payloadEnd),
    })
    at = payloadEnd + 1
  }
  return { items, isWhole: true }
}

type Head = Omit<SpoolItem, 'payload'> & { readonly length: number }

function readHead(line: string): Head | undefined {
  try {
    const head = JSON.parse(line) as Partial<Record<keyof Head, unknown>>
    return /^[a-z_]{1,32}$/.test(String(head.type)) &&
      /^[a-z_]{1,32}$/.test(String(head.category)) &&
      /^(?:[0-9a-f]{32})?$/.test(String(head.id)) &&
      isCount(head.count) &&
      isCount(head.length)
      ? (head as Head)
      : undefined
  } catch {
    return undefined
  }
}

function isCount(value: unknown): boolean {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= MAX_SPOOL_BYTES
}
