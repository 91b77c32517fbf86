// 10,000 lines a second for SECONDS while nobody reads stdout, then STOP on stdin; figures go to stderr.
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { log, logging } from './configured.mjs'

const delay = monitorEventLoopDelay({ resolution: 5 })
const seconds = Number(process.env.SECONDS)
const text = 'x'.repeat(150)
// A running service: the young generation has its size before the reader stalls.
const stop = logging.capture(() => {})
for (let i = 0; i < 200_000; i++) log.info('warm', { i, text })
stop()
const beforeBytes = process.memoryUsage().rss
delay.enable()
let sent = 0
let errors = 0
const startMs = performance.now()
const timer = setInterval(() => {
  const due = Math.min(seconds, (performance.now() - startMs) / 1000) * 10_000
  while (sent < due) log.info('stalled', { i: sent++, text })
  log.error('important', { i: errors++ })
  if (sent >= seconds * 10_000) {
    clearInterval(timer)
    delay.disable()
    const figures = {
      sent,
      errors,
      p99Ms: delay.percentile(99) / 1e6,
      maxMs: delay.max / 1e6,
      rssBytes: process.memoryUsage().rss - beforeBytes,
      dropped: logging.counts.dropped,
    }
    process.stderr.write(`${JSON.stringify(figures)}\n`)
    process.stdin.once('data', async () => {
      process.stdin.pause()
      await new Promise((resolve) => setTimeout(resolve, 300))
      await logging.flush()
      process.exit(0)
    })
  }
}, 10)
