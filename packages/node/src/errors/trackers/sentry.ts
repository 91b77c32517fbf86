/**
 * The lean client of Sentry's protocol: envelopes over kept connections, everything bounded,
 * every loss counted and told to the server as a client report. One file, because queue, sending,
 * answers, retries and reports all decide over the same items; what stands alone is beside it.
 */
import { AsyncResource } from 'node:async_hooks'
import { crypto, zlib } from '../../builtin.js'
import { reportFault } from '../../faults.js'
import type { ErrorTracker } from '../tracker.js'
import { type Connection, type Ending, openConnection, type Sendable } from './connection.js'
import { parseDsn } from './dsn.js'
import { createLine } from './line.js'
import { createRateLimits } from './rate-limits.js'
import type { Answer } from './response.js'
import { createSpool, type Spool, type SpoolItem } from './spool.js'

/** Time limits in milliseconds; the defaults suit any network, tests shorten them. */
export type SentryTiming = {
  /** Until a connection is accepted. Default 5,000. */
  readonly connectMs: number
  /** Until an answer comes. Default 10,000. */
  readonly answerMs: number
  /** How long an unused connection is kept. Default 4,000: below what servers keep, 5 s and more. */
  readonly idleMs: number
  /** First and longest pause after a failure; doubles with each, with jitter. Default 1,000 and 60,000. */
  readonly retryMinMs: number
  readonly retryMaxMs: number
  /** Between client reports. Default 60,000. */
  readonly reportMs: number
  /** How long spans are collected. Default 1,000. */
  readonly spanMs: number
  /** From creation until spooled items of earlier processes are sent. Default 2,000. */
  readonly resendMs: number
}

export type SentryTrackerOptions = {
  /** A DSN that matches DSN_PATTERN. */
  readonly dsn: string
  /** Bytes of everything unsent and unanswered, as UTF-8. */
  readonly maxQueueBytes: number
  /** Folder for what is unsent at exit; undefined: below os.tmpdir(); false: none. */
  readonly spoolDir: string | false | undefined
  /** Version of the kit, told to the server. */
  readonly sdkVersion: string
  readonly timing?: Partial<SentryTiming>
}

type Item = SpoolItem &
  Sendable & {
    /** Counts of a client report, given back when it is not delivered. */
    readonly report: ReadonlyMap<string, number> | undefined
    readonly file: SpoolFile | undefined
    attempts: number
    isFlying: boolean
    /** The finished request when the body is compressed. */
    packed: Buffer | undefined
  }
type SpoolFile = { readonly path: string; left: number }
type Waiter = { readonly timer: NodeJS.Timeout; readonly resolve: (done: boolean) => void }

const DEFAULT_TIMING: SentryTiming = {
  connectMs: 5000,
  answerMs: 10_000,
  idleMs: 4000,
  retryMinMs: 1000,
  retryMaxMs: 60_000,
  reportMs: 60_000,
  spanMs: 1000,
  resendMs: 2000,
}
const MAX_CONNECTIONS = 4
/** Requests unanswered on one proven connection, by number and by bytes. */
const MAX_PIPELINE = 256
const MAX_PIPELINE_BYTES = 262_144
/** Connections that broke under a pipeline until pipelining is given up. */
const MAX_PIPELINE_FAULTS = 3
/**
 * How long transactions wait for company at most, and for how much of it: 16 cost 0.3 to 1 µs a
 * request more. The timer runs on when enough have come, as one for each batch costs more than both.
 */
const BULK_MS = 100
const BULK_COUNT = 32
/**
 * The first batches are small, so that V8 has run what sends them often enough to compile it in the
 * first seconds of a full load. With full ones that comes in the tenth, and threads that compile take
 * the CPU from requests.
 */
const EARLY_BATCHES = 6144
const EARLY_COUNT = 2
/**
 * From so many waiting transactions on another connection helps. A tracker that pauses for a tenth of
 * a second needs none: each connection is memory, and code that V8 compiles anew.
 */
const BULK_BACKLOG = 1024
const MAX_COMPRESSING = 4
/** Memory an item costs besides its text. */
const ITEM_OVERHEAD_BYTES = 256
/** Less room than this and a transaction is not even written: most would not fit. */
const USUAL_TRANSACTION_BYTES = 2048
/**
 * From here bodies are gzipped. Transactions come by the thousand: compressing 2 kB costs several
 * times the CPU of sending it, so only large ones are.
 */
const GZIP_FROM_BYTES = 1024
const GZIP_TRANSACTION_FROM_BYTES = 32_768
const MAX_SPANS_IN_CONTAINER = 1000
const MAX_CONTAINER_BYTES = 200_000
/** After so many tries with a live server an item is given up; nearly an hour at the longest pause. */
const MAX_ATTEMPTS = 50
/** A 500 may be the item's own doing: it is not repeated for long. */
const MAX_ATTEMPTS_ON_500 = 3
/** While somebody waits in flush, pauses are no longer than this. */
const FLUSH_RETRY_MS = 1000

/**
 * Creates the tracker of a Sentry-compatible DSN (Sentry, GlitchTip, Bugsink, a Telltale station).
 *
 * Retries network failures, 502, 503 and 504 (and 500 twice); never 4xx or redirects. What a 429
 * refused is counted in `losses()` but not reported, because the server has counted it. When the
 * queue is full, transactions and spans give way to errors. Nothing throws; no timer or socket keeps
 * the process alive, except while a flush waits. Proxies are not supported.
 *
 * @see https://develop.sentry.dev/sdk/foundations/envelopes/
 */
export function createSentryTracker(options: SentryTrackerOptions): ErrorTracker {
  const parsed = parseDsn(options.dsn)
  if (parsed === undefined) throw new TypeError('createSentryTracker needs a valid DSN')
  const dsn = parsed
  const timing: SentryTiming = { ...DEFAULT_TIMING, ...options.timing }
  const hasSpool = options.spoolDir !== false
  let opened: Spool | undefined
  function spool(): Spool {
    opened ??= createSpool(options.spoolDir || undefined, dsn.hash(), options.maxQueueBytes / 4)
    return opened
  }
  const client = `telltale.node/${options.sdkVersion}`
  const requestHead =
    `POST ${dsn.path} HTTP/1.1\r\nHost: ${dsn.authority}\r\nUser-Agent: ${client}\r\n` +
    `X-Sentry-Auth: Sentry sentry_version=7, sentry_client=${client}, sentry_key=${dsn.publicKey}\r\n` +
    'Content-Type: application/x-sentry-envelope\r\n'
  const sdk = `"sdk":${JSON.stringify({ name: 'telltale.node', version: options.sdkVersion })}}`
  // Sockets and timers are made outside every request, so that they hold no request's context.
  const scope = new AsyncResource('TelltaleTracker')

  const limits = createRateLimits()
  const urgent = createLine<Item>()
  const bulk = createLine<Item>()
  /** Items taken from the lines and not final: being compressed, compressed, or on a connection. */
  let flying = 0
  const packing = new Set<Item>()
  const compressed: Item[] = []
  const connections: Connection<Item>[] = []
  let compressing = 0
  let heldBytes = 0

  let spans: string[] = []
  let spanBytes = 0
  let spanTimer: NodeJS.Timeout | undefined

  const losses: Record<string, number> = {}
  /** Losses not reported yet, by `reason,category`. */
  let outcomes = new Map<string, number>()

  let failures = 0
  let resumeAtMs = 0
  let pipelineFaults = 0
  let isScheduled = false
  let isClosed = false
  let closing: Promise<boolean> | undefined
  let isReportTried = false
  let isResending = false
  let wakeTimer: NodeJS.Timeout | undefined
  let bulkTimer: NodeJS.Timeout | undefined
  let sweepTimer: NodeJS.Timeout | undefined
  const waiters = new Set<Waiter>()
  let batches = 0
  /** So many waiting transactions are a batch. */
  let batchCount = EARLY_COUNT
  const reportTimer = setInterval(() => {
    enqueueReport()
    void resend()
    schedule()
  }, timing.reportMs).unref()
  const resendTimer = setTimeout(() => void resend(), timing.resendMs).unref()

  // ── counting ────────────────────────────────────────────────────────────────────────────────

  function count(reason: string, category: string, quantity: number, isReported: boolean): void {
    losses[reason] = (losses[reason] ?? 0) + quantity
    if (!isReported) return
    const key = `${reason},${category}`
    outcomes.set(key, (outcomes.get(key) ?? 0) + quantity)
  }

  function land(item: Item): boolean {
    if (!item.isFlying) return false
    item.isFlying = false
    flying--
    return true
  }

  function settle(item: Item): boolean {
    if (!land(item)) return false
    release(item)
    return true
  }

  function release(item: Item): void {
    heldBytes -= costOf(item)
    if (item.file !== undefined && --item.file.left === 0) {
      spool().removeSync(item.file.path)
      scope.runInAsyncScope(() => void resend())
    }
  }

  /** Counts an item that will not be delivered. A report gives its counts back, where that can help. */
  function lose(item: Item, reason: string, isReported: boolean): void {
    if (item.report === undefined) count(reason, item.category, item.count, isReported)
    else if (reason !== 'send_error') giveBack(item.report)
  }

  function giveBack(report: ReadonlyMap<string, number>): void {
    for (const [key, quantity] of report) outcomes.set(key, (outcomes.get(key) ?? 0) + quantity)
  }

  function isLimited(category: string): boolean {
    return limits.areAny && limits.isLimited(category, performance.now())
  }

  // ── taking in ───────────────────────────────────────────────────────────────────────────────

  function admit(
    type: string,
    category: string,
    id: string,
    payload: string,
    quantity: number,
    report?: ReadonlyMap<string, number>,
    file?: SpoolFile,
  ): boolean {
    const length = Buffer.byteLength(payload)
    const bytes = length + ITEM_OVERHEAD_BYTES
    const isBulk = type === 'transaction' || type === 'span'
    if (report === undefined) {
      if (isLimited(category)) {
        count('ratelimit_backoff', category, quantity, true)
        return false
      }
      while (!isBulk && heldBytes + bytes > options.maxQueueBytes && bulk.length > 0) {
        const evicted = bulk.shift() as Item
        release(evicted)
        lose(evicted, 'queue_overflow', true)
      }
      if (heldBytes + bytes > options.maxQueueBytes || (isClosed && !hasSpool)) {
        count(isClosed ? 'network_error' : 'queue_overflow', category, quantity, true)
        return false
      }
    }
    heldBytes += bytes
    const line = isBulk ? bulk : urgent
    line.push({
      type,
      category,
      id,
      payload,
      count: quantity,
      length,
      at: 0,
      isFlying: false,
      report,
      file,
      attempts: 0,
      packed: undefined,
    })
    schedule()
    return true
  }

  function enqueueSpans(): void {
    if (spanTimer !== undefined) {
      clearTimeout(spanTimer)
      spanTimer = undefined
    }
    if (spans.length === 0) return
    const payload = `{"version":2,"items":[${spans.join(',')}]}`
    const quantity = spans.length
    heldBytes -= spanBytes
    spans = []
    spanBytes = 0
    admit('span', 'span', '', payload, quantity)
  }

  function enqueueReport(): boolean {
    if (outcomes.size === 0 || isLimited('internal')) return false
    const report = outcomes
    outcomes = new Map()
    admit('client_report', 'internal', '', reportPayload(report), 1, report)
    return true
  }

  // ── sending ─────────────────────────────────────────────────────────────────────────────────

  /**
   * One pump for everything that arrives within a turn of the event loop: one write, many requests.
   * Transactions alone wait a little longer, because waking up costs more than sending does.
   */
  function schedule(): void {
    if (isScheduled || isClosed) return
    if (isBulkOnly() && waiters.size === 0 && bulk.length < batchCount) {
      if (bulk.length === 0 || bulkTimer !== undefined) return
      bulkTimer = scope.runInAsyncScope(setTimeout, undefined, endWaiting, BULK_MS)
      bulkTimer.unref()
      return
    }
    isScheduled = true
    scope.runInAsyncScope(setImmediate, undefined, pump)
  }

  function pump(): void {
    isScheduled = false
    if (isClosed) return
    try {
      const pauseMs = resumeAtMs === 0 ? 0 : resumeAtMs - performance.now()
      if (pauseMs > 0) wakeTimer ??= setTimeout(wake, pauseMs).unref()
      else while (hasWork() && fill()) {}
      checkWaiters()
    } catch (error) {
      reportFault('TELLTALE_E_INTERNAL', error)
    }
  }

  function wake(): void {
    wakeTimer = undefined
    pump()
  }

  function endWaiting(): void {
    bulkTimer = undefined
    pump()
  }

  /** Nothing waits that is wanted soon. */
  function isBulkOnly(): boolean {
    return urgent.length === 0 && compressed.length === 0
  }

  function hasWork(): boolean {
    return bulk.length > 0 || !isBulkOnly()
  }

  /** Writes to one connection what it can take; false when none can take anything now. */
  function fill(): boolean {
    let connection = connections.find((one) => room(one) > 0)
    if (connection === undefined) {
      const most =
        failures > 0 || (isBulkOnly() && bulk.length < BULK_BACKLOG) ? 1 : MAX_CONNECTIONS
      if (connections.length >= most) return false
    } else if (failures > 0 && connections.some((one) => one.outstanding > 0)) return false
    let free = connection === undefined ? 1 : room(connection)
    const items: Item[] = []
    let text = ''
    let isAscii = true
    const sentAt = new Date().toISOString()
    while (free > 0 && text.length < MAX_PIPELINE_BYTES) {
      const ready = compressed[0]
      if (ready?.packed !== undefined) {
        // Compressed requests are bytes: they are written alone.
        if (items.length > 0) break
        compressed.shift()
        packing.delete(ready)
        connection ??= connect()
        connection.sendBytes(ready, ready.packed)
        ready.packed = undefined
        return true
      }
      const item = take()
      if (item === undefined) break
      if (isLimited(item.category)) {
        release(item)
        lose(item, 'ratelimit_backoff', true)
        continue
      }
      item.isFlying = true
      flying++
      const head = envelopeHead(item, sentAt)
      const { length } = item
      if (length >= (item.type === 'transaction' ? GZIP_TRANSACTION_FROM_BYTES : GZIP_FROM_BYTES)) {
        compress(item, head)
        continue
      }
      text += `${requestHead}Content-Length: ${head.length + length}\r\n\r\n${head}`
      item.at = text.length
      text += item.payload
      isAscii &&= item.payload.length === length
      items.push(item)
      free--
    }
    if (items.length === 0) return false
    if (++batches === EARLY_BATCHES) batchCount = BULK_COUNT
    connection ??= connect()
    connection.send(items, text, isAscii)
    return true
  }

  function take(): Item | undefined {
    return (compressing < MAX_COMPRESSING ? urgent.shift() : undefined) ?? bulk.shift()
  }

  /**
   * How many requests a connection can take: one at a time until it has shown that it keeps open.
   * Transactions alone wait until many can go: one for each answer would cost several times as much.
   */
  function room(connection: Connection<Item>): number {
    const depth =
      connection.isProven && failures === 0 && pipelineFaults < MAX_PIPELINE_FAULTS
        ? MAX_PIPELINE
        : 1
    const free = depth - connection.outstanding
    return isBulkOnly() && free < Math.min(depth, batchCount) ? 0 : free
  }

  function envelopeHead(item: Item, sentAt: string): string {
    const eventId = item.type === 'transaction' ? eventIdOf(item.payload) : item.id
    const id = eventId === '' ? '' : `"event_id":"${eventId}",`
    const container =
      item.type === 'span'
        ? `,"item_count":${item.count},"content_type":"application/vnd.sentry.items.span.v2+json"`
        : ''
    return `{${id}"sent_at":"${sentAt}",${sdk}\n{"type":"${item.type}","length":${item.length}${container}}\n`
  }

  function compress(item: Item, head: string): void {
    compressing++
    packing.add(item)
    zlib().gzip(head + item.payload, { level: 1 }, (error, body) => {
      compressing--
      if (isClosed || !packing.has(item)) return
      if (error !== null) {
        packing.delete(item)
        if (settle(item)) lose(item, 'internal_sdk_error', true)
      } else {
        const text = `${requestHead}Content-Encoding: gzip\r\nContent-Length: ${body.length}\r\n\r\n`
        item.packed = Buffer.concat([Buffer.from(text, 'latin1'), body])
        compressed.push(item)
      }
      pump()
    })
  }

  function connect(): Connection<Item> {
    const connection = openConnection<Item>(dsn, timing, {
      onAnswer,
      onEnd(unanswered, ending) {
        const at = connections.indexOf(connection)
        if (at !== -1) connections.splice(at, 1)
        onEnd(unanswered, ending)
      },
    })
    connections.push(connection)
    sweepTimer ??= setInterval(sweep, Math.min(1000, timing.answerMs / 4)).unref()
    return connection
  }

  function sweep(): void {
    const nowMs = performance.now()
    for (const connection of [...connections]) connection.sweep(nowMs)
    if (connections.length === 0 && sweepTimer !== undefined) {
      clearInterval(sweepTimer)
      sweepTimer = undefined
    }
  }

  // ── answers ─────────────────────────────────────────────────────────────────────────────────

  function onAnswer(item: Item, answer: Answer): void {
    const { status } = answer
    if (status >= 300 || answer.rateLimits !== undefined || answer.retryAfter !== undefined) {
      limits.apply(status, answer, performance.now())
    }
    if (status >= 200 && status < 300) {
      failures = 0
      resumeAtMs = 0
      settle(item)
    } else if (status >= 500) {
      item.attempts++
      const isOverload = status === 502 || status === 503 || status === 504
      reportFault('TELLTALE_E_TRACKER', `${dsn.authority} answered ${status}.`)
      pause(isOverload ? Number(answer.retryAfter) * 1000 || 0 : 0)
      if (item.attempts < (isOverload ? MAX_ATTEMPTS : MAX_ATTEMPTS_ON_500)) retry(item)
      else if (settle(item)) lose(item, 'send_error', true)
    } else {
      failures = 0
      if (status !== 429) {
        reportFault(
          'TELLTALE_E_TRACKER',
          `${dsn.authority} answered ${status}${status === 401 || status === 403 ? '; check the key and the project of the DSN' : ''}.`,
        )
      }
      if (settle(item)) {
        if (status === 429) lose(item, 'ratelimit_backoff', false)
        else lose(item, 'send_error', true)
      }
    }
    schedule()
  }

  function onEnd(unanswered: readonly Item[], ending: Ending): void {
    if (isClosed) return
    if (unanswered.length > 1 && ending.kind === 'broken') pipelineFaults++
    const first = unanswered[0]
    if (first !== undefined) {
      // A kept connection may be closed by the server at any time: once, that is no failure.
      const isHarmless = ending.kind === 'stale' && first.attempts === 0
      if (!isHarmless) {
        pause(0)
        reportFault('TELLTALE_E_TRACKER', `${dsn.authority}: ${ending.message}.`)
      }
      for (const item of unanswered) {
        if (ending.kind !== 'unreachable') item.attempts++
        if (item.attempts < MAX_ATTEMPTS) retry(item)
        else if (settle(item)) lose(item, 'network_error', true)
      }
    }
    schedule()
  }

  function retry(item: Item): void {
    if (!land(item)) return
    if (item.type === 'transaction' || item.type === 'span') bulk.push(item)
    else urgent.push(item)
  }

  /** Stops sending for a while. Failures within one pause are one failure. */
  function pause(leastMs: number): void {
    const nowMs = performance.now()
    if (resumeAtMs > nowMs) return
    const ceiling = Math.min(timing.retryMaxMs, timing.retryMinMs * 2 ** failures)
    failures = Math.min(failures + 1, 30)
    let ms = Math.max(timing.retryMinMs, ceiling * (0.5 + Math.random() / 2))
    ms = Math.max(ms, Math.min(leastMs, timing.retryMaxMs))
    if (waiters.size > 0) ms = Math.min(ms, FLUSH_RETRY_MS)
    resumeAtMs = nowMs + ms
  }

  // ── flush, close, spool ─────────────────────────────────────────────────────────────────────

  function checkWaiters(): void {
    if (waiters.size === 0 || hasWork() || flying > 0 || spans.length > 0) return
    if (!isReportTried && enqueueReport()) {
      isReportTried = true
      return
    }
    for (const waiter of [...waiters]) finish(waiter, true)
  }

  function finish(waiter: Waiter, isDone: boolean): void {
    waiters.delete(waiter)
    clearTimeout(waiter.timer)
    waiter.resolve(isDone)
  }

  function flush(timeoutMs: number): Promise<boolean> {
    return scope.runInAsyncScope(
      () =>
        new Promise<boolean>((resolve) => {
          if (isClosed) {
            resolve(heldBytes === 0)
            return
          }
          // Not unref'ed: whoever awaits a flush wants the process to live until it is over.
          const timer = setTimeout(() => finish(waiter, false), Math.max(0, timeoutMs))
          const waiter: Waiter = { timer, resolve }
          waiters.add(waiter)
          isReportTried = false
          enqueueSpans()
          if (wakeTimer !== undefined) {
            clearTimeout(wakeTimer)
            wakeTimer = undefined
          }
          resumeAtMs = 0
          schedule()
        }),
    )
  }

  async function closeNow(timeoutMs: number): Promise<boolean> {
    const isDelivered = await flush(timeoutMs)
    isClosed = true
    for (const timer of [reportTimer, sweepTimer]) clearInterval(timer)
    for (const timer of [resendTimer, wakeTimer, bulkTimer, spanTimer]) clearTimeout(timer)
    for (const waiter of [...waiters]) finish(waiter, isDelivered)
    spoolSync()
    for (const connection of [...connections]) connection.destroy()
    return isDelivered
  }

  function spoolSync(): void {
    try {
      enqueueSpans()
      const sent = connections.flatMap((connection) => connection.unanswered())
      const items = [...urgent.list(), ...[...packing, ...sent].filter(land), ...bulk.list()]
      for (const store of [urgent, packing, bulk]) store.clear()
      compressed.length = 0
      for (const item of items) if (item.report !== undefined) giveBack(item.report)
      const unsent = items.filter((item) => item.report === undefined)
      unsent.sort((a, b) => rank(a) - rank(b))
      let records: SpoolItem[] = unsent
      if (outcomes.size > 0) {
        const payload = reportPayload(outcomes)
        outcomes = new Map()
        records = [
          { type: 'client_report', category: 'internal', id: '', count: 1, payload },
          ...unsent,
        ]
      }
      let written = 0
      try {
        if (hasSpool && records.length > 0) written = spool().writeSync(records)
      } catch (error) {
        reportFault('TELLTALE_E_SPOOL', error)
      }
      const kept = new Set(records.slice(0, written))
      const reason = hasSpool ? 'cache_overflow' : 'network_error'
      for (const item of items) {
        // What came from an older file stays there unless it is in the new one.
        if (item.file !== undefined && !kept.has(item)) heldBytes -= costOf(item)
        else {
          release(item)
          if (item.report === undefined && !kept.has(item)) {
            count(reason, item.category, item.count, true)
          }
        }
      }
    } catch (error) {
      reportFault('TELLTALE_E_INTERNAL', error)
    }
  }

  /** Takes one file of an earlier process into the queue; the next follows when it is done. */
  async function resend(): Promise<void> {
    if (!hasSpool || isClosed || isResending || failures > 0) return
    isResending = true
    try {
      for (;;) {
        const claim = await spool().claim(
          // An item in the queue counts for up to three times its bytes on disk.
          (options.maxQueueBytes - heldBytes) / (heldBytes === 0 ? 1 : 3),
        )
        if (claim === undefined || isClosed) return
        if (!claim.isWhole) {
          reportFault('TELLTALE_E_SPOOL', `${claim.path} is damaged; what was readable is sent.`)
          count('internal_sdk_error', 'error', 1, true)
        }
        // One more than the items, so that the file stays until all of them are in the queue.
        const file: SpoolFile = { path: claim.path, left: claim.items.length + 1 }
        for (const { type, category, id, payload, count: quantity } of claim.items) {
          if (!admit(type, category, id, payload, quantity, undefined, file)) file.left--
        }
        if (--file.left > 0) return
        spool().removeSync(file.path)
      }
    } catch (error) {
      reportFault('TELLTALE_E_SPOOL', error)
    } finally {
      isResending = false
    }
  }

  return {
    name: 'sentry',
    capture(event) {
      const category = event.exception === undefined ? 'default' : 'error'
      try {
        admit('event', category, event.event_id, JSON.stringify(event), 1)
      } catch (error) {
        count('internal_sdk_error', category, 1, true)
        reportFault('TELLTALE_E_INTERNAL', error)
      }
    },
    refusesTransaction() {
      const isHeldBack = isLimited('transaction')
      const isFull = heldBytes + USUAL_TRANSACTION_BYTES > options.maxQueueBytes
      if (!isHeldBack && !isFull) return false
      count(isHeldBack ? 'ratelimit_backoff' : 'queue_overflow', 'transaction', 1, true)
      return true
    },
    transaction(json) {
      admit('transaction', 'transaction', '', json, 1)
    },
    span(json) {
      const bytes = Buffer.byteLength(json)
      if (isLimited('span')) {
        count('ratelimit_backoff', 'span', 1, true)
        return
      }
      if (heldBytes + bytes > options.maxQueueBytes || isClosed) {
        count('queue_overflow', 'span', 1, true)
        return
      }
      if (spanBytes + bytes > MAX_CONTAINER_BYTES) enqueueSpans()
      spans.push(json)
      spanBytes += bytes
      heldBytes += bytes
      if (spans.length >= MAX_SPANS_IN_CONTAINER) enqueueSpans()
      else if (spanTimer === undefined) {
        spanTimer = scope.runInAsyncScope(setTimeout, undefined, enqueueSpans, timing.spanMs)
        spanTimer.unref()
      }
    },
    checkIn(json) {
      admit('check_in', 'monitor', '', json, 1)
    },
    sessions(json) {
      admit('sessions', 'session', '', json, 1)
    },
    flush,
    close(timeoutMs) {
      closing ??= closeNow(timeoutMs)
      return closing
    },
    spoolSync,
    losses: () => ({ ...losses }),
  }
}

/** What an item counts for in the queue's bound. */
function costOf(item: Item): number {
  return item.length + ITEM_OVERHEAD_BYTES
}

function rank(item: Item): number {
  if (item.type === 'event') return 0
  if (item.type === 'check_in' || item.type === 'sessions') return 1
  return item.type === 'transaction' ? 2 : 3
}

function reportPayload(outcomes: ReadonlyMap<string, number>): string {
  const discarded = [...outcomes].map(([key, quantity]) => {
    const [reason, category] = key.split(',')
    return { reason, category, quantity }
  })
  return JSON.stringify({ timestamp: Date.now() / 1000, discarded_events: discarded })
}

const EVENT_ID_FIRST = '{"event_id":"'

/** The event id of a payload: at once where it is the first member, as the kit writes it. */
function eventIdOf(json: string): string {
  const start = EVENT_ID_FIRST.length
  let id: unknown
  if (json.startsWith(EVENT_ID_FIRST)) {
    id = json.slice(start, start + 32)
    // As the kit writes it, one in five requests: no closer look.
    if (json.charCodeAt(start + 32) === 34 && !(id as string).includes('"')) return id as string
  } else {
    try {
      id = (JSON.parse(json) as { event_id?: unknown }).event_id
    } catch {
      // Not JSON: the server will refuse it, counted.
    }
  }
  return typeof id === 'string' && /^[0-9a-f]{32}$/.test(id)
    ? id
    : crypto().randomBytes(16).toString('hex')
}
