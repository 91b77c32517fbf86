/** A run against a service that verify did not start. */
import { closeSync, existsSync, fstatSync, openSync, readSync } from 'node:fs'
import { PassThrough } from 'node:stream'
import { createCapture } from './capture.js'
import type { Evidence, Mark } from './evidence.js'
import { findHealth } from './health.js'
import { createClient } from './http.js'
import { isLoopback, UsageError, type VerifyOptions } from './options.js'
import { scrapeMetrics } from './phases/metrics.js'
import { askProbes } from './phases/probes.js'
import { sendTraffic } from './phases/traffic.js'
import type { createPulse } from './pulse.js'
import { isOpen, type Service } from './service.js'
import type { Stage } from './stage.js'
import { parseObject } from './tracker.js'
import { TOKEN_VARIABLE, verifyRoute } from './verify-routes.js'

/** How often a file of --logs is looked at. */
const FOLLOW_MS = 50

export type Attaching = {
  stageOf(service: Service, client: Stage['client'], found: Partial<Stage>): Stage
  phase<T>(label: string, work: () => Promise<T>): Promise<T>
  onClose(close: () => void): void
  now(): number
  readonly pulse: ReturnType<typeof createPulse>
  readonly marks: Mark[]
  readonly startedAt: Date
  readonly tracker: Evidence['tracker']
  readonly canaries: Evidence['canaries']
  readonly token: string
}

/** A service that runs already: only what can be seen from outside, and in its log when we are told where. */
export async function attach(options: VerifyOptions, url: URL, run: Attaching): Promise<Evidence> {
  const { now, pulse } = run
  const capture = createCapture(pulse, now)
  if (options.logs === '-') capture.attach('stdout', process.stdin)
  else if (options.logs !== undefined) run.onClose(followFile(options.logs, capture))
  const client = createClient(url.hostname.replace(/^\[|\]$/g, ''), Number(url.port || 80), now)
  run.onClose(() => client.close())
  if (!(await isOpen(Number(url.port || 80), url.hostname))) {
    throw new UsageError(`Nothing answers at ${url.origin}.`, 3)
  }
  // With the service's own token its verify routes can be used here too.
  const token = process.env[TOKEN_VARIABLE] ?? run.token
  const isHarmless = !isLoopback(url.hostname)
  const whoami = isHarmless ? undefined : await client.ask(verifyRoute(token, 'whoami'))
  const kit = whoami?.status === 200 ? parseObject(whoami.body)?.kit : undefined
  const health = await run.phase('look for the health routes', () => findHealth(client, options))
  const service = { capture, isAlive: () => true, reports: [] } as unknown as Service
  const stage = run.stageOf(service, client, {
    hasRoutes: typeof kit === 'string',
    token,
    live: health.live,
    ready: health.ready,
  })
  const evidence: Evidence = {
    options,
    startedAt: run.startedAt,
    token,
    canaries: run.canaries,
    knownSecrets: [],
    base: client.base,
    capture,
    reports: [],
    tracker: run.tracker,
    exchanges: client.exchanges,
    targets: [],
    dsns: [],
    elsewhere: [],
    marks: run.marks,
    health,
    ...(typeof kit === 'string' && { kit }),
    noCut: 'attached',
  }
  if (!isHarmless) evidence.traffic = await run.phase('requests', () => sendTraffic(stage))
  evidence.probes = await run.phase('probes', () => askProbes(stage))
  if (!isHarmless) {
    const metrics = await run.phase('metrics', () => scrapeMetrics(stage))
    if (metrics !== undefined) evidence.metrics = metrics
  }
  return evidence
}

/** Reads what is appended to a file from now on. */
function followFile(file: string, capture: ReturnType<typeof createCapture>): () => void {
  if (!existsSync(file)) throw new UsageError(`--logs ${file}: there is no such file.`)
  const descriptor = openSync(file, 'r')
  const lines = new PassThrough()
  capture.attach('stdout', lines)
  const buffer = Buffer.alloc(1024 * 1024)
  let at = fstatSync(descriptor).size
  const timer = setInterval(() => {
    for (;;) {
      const length = readSync(descriptor, buffer, 0, buffer.length, at)
      if (length === 0) return
      at += length
      lines.write(Buffer.from(buffer.subarray(0, length)))
    }
  }, FOLLOW_MS)
  return () => {
    clearInterval(timer)
    closeSync(descriptor)
  }
}
