/** A run from start to end: its phases in their order, each in the process it needs. */
import { randomBytes, randomInt } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { attach } from './attach.js'
import { createCanaries } from './canaries.js'
import { leadDependencies } from './dependencies.js'
import { findDsns, trackersOf } from './elsewhere.js'
import type { Crash, Evidence, Mark, Untracked } from './evidence.js'
import { findHealth } from './health.js'
import { createClient } from './http.js'
import { UsageError, type VerifyOptions } from './options.js'
import { crashService } from './phases/crash.js'
import { cutDependencies, dependenciesOf } from './phases/cut.js'
import { provokeErrors } from './phases/errors.js'
import { scrapeMetrics } from './phases/metrics.js'
import { askProbes } from './phases/probes.js'
import { stopService } from './phases/stop.js'
import { sendTraffic } from './phases/traffic.js'
import { runUntracked } from './phases/untracked.js'
import { startProxy } from './proxy.js'
import { createPulse } from './pulse.js'
import { isOpen, type Service, startService } from './service.js'
import type { Stage } from './stage.js'
import { parseObject, startTracker } from './tracker.js'
import { TOKEN_VARIABLE, verifyRoute } from './verify-routes.js'

/** Tells what happens now, for the progress line. */
export type Progress = (what: string) => void

/** Ports that services like to have fixed; a later process has to wait for them. */
const CLOSED_MS = 5000
/** How long a service may take to end when the run is broken off. */
const CLOSE_MS = 1500

/** Starts a run; `close` may be called while it is under way. */
export function createRun(
  options: VerifyOptions,
  progress: Progress,
): { readonly done: Promise<Evidence>; close(): Promise<void> } {
  const begin = performance.now()
  const startedAt = new Date()
  const now = (): number => performance.now() - begin
  const pulse = createPulse()
  const closers: (() => Promise<void> | void)[] = []
  const services: Service[] = []
  let isClosing = false
  let closed: Promise<void> | undefined

  async function close(): Promise<void> {
    isClosing = true
    closed ??= (async () => {
      await Promise.all(services.map((service) => service.stop(CLOSE_MS)))
      for (const end of closers.reverse()) await end()
    })()
    await closed
  }

  /** A loop that waits for nothing any more would keep the event loop from everything else. */
  function stopWhenClosing(): void {
    if (isClosing) throw new UsageError('interrupted', 3)
  }

  async function run(): Promise<Evidence> {
    const token = randomBytes(16).toString('hex')
    const word = randomBytes(4).toString('hex')
    const canaries = createCanaries()
    const marks: Mark[] = []
    const tracker = await startTracker(pulse, now)
    closers.push(() => tracker.close())
    const proxy = await startProxy(pulse)
    closers.push(() => proxy.close())

    const phase = async <T>(label: string, work: () => Promise<T>): Promise<T> => {
      stopWhenClosing()
      progress(label)
      const at = now()
      try {
        return await work()
      } finally {
        marks.push({ at, until: now(), kind: 'phase', label })
      }
    }

    function stageOf(service: Service, client: Stage['client'], found: Partial<Stage>): Stage {
      return {
        options,
        client,
        service,
        tracker,
        proxy,
        canaries,
        token,
        run: word,
        hasRoutes: false,
        live: undefined,
        ready: undefined,
        now,
        async until(holds, timeoutMs) {
          const isTrue = await pulse.until(() => isClosing || holds(), timeoutMs * options.scale)
          stopWhenClosing()
          return isTrue
        },
        add: (mark) => marks.push(mark),
        missingPath: (name) => `/telltale-verify/${word}/${name}`,
        mark: (name) => `${word}-${name}`,
        signedIn: (user) => {
          const header = options.auth[Math.min(user, options.auth.length - 1)]
          return header === undefined ? {} : { [header.name]: header.value }
        },
        askReady: (timeoutMs = 4000) =>
          client.ask({ purpose: 'ready', path: found.ready ?? '/', timeoutMs }),
        ...found,
      }
    }

    if (options.url !== undefined) {
      return await attach(options, options.url, {
        stageOf,
        phase,
        now,
        pulse,
        marks,
        startedAt,
        tracker,
        canaries,
        token,
        onClose: (close) => closers.push(close),
      })
    }

    const led = await leadDependencies(options, proxy)
    const dsns = findDsns(options.cwd)
    const trackers = trackersOf(dsns)
    // What clients keep on disk for a tracker that is away must not wait for a later start.
    const temporary = mkdtempSync(join(tmpdir(), 'telltale-run-'))
    closers.push(() => rmSync(temporary, { recursive: true, force: true }))
    const wantedPort = options.port ?? (await freePort())
    const start = async (
      name: string,
      env: Record<string, string | undefined>,
      port: number,
      { isSure = false, atOnce = 1 } = {},
    ): Promise<Service> => {
      const service = await startService(
        {
          name,
          command: options.command,
          cwd: options.cwd,
          port: isSure ? port : options.port,
          wantedPort: port,
          hasHook: options.hasHook,
          bootTimeoutMs: options.bootTimeoutMs * atOnce,
          ownPorts: [tracker.port],
          trackers,
          env: {
            NODE_ENV: 'production',
            // What is meant for verify's own output must not colour the service's.
            NO_COLOR: undefined,
            FORCE_COLOR: undefined,
            ...pastProxies(),
            SENTRY_ENVIRONMENT: 'telltale-verify',
            SENTRY_RELEASE: 'telltale-verify@1',
            PORT: String(port),
            TMPDIR: temporary,
            // pm2 is one daemon a home. In that of the user it may run already, with other services.
            PM2_HOME: join(temporary, name),
            ...led.env,
            ...env,
            ...options.env,
          },
        },
        { pulse, proxy, now },
      )
      services.push(service)
      if (isClosing) await service.stop(CLOSE_MS)
      stopWhenClosing()
      await service.findPort()
      return service
    }
    const tracked = { SENTRY_DSN: tracker.dsn, [TOKEN_VARIABLE]: token }

    const service = await phase('start', () => start('main', tracked, wantedPort))
    const listeningMs = now()
    const client = createClient(service.host, service.port, now)
    closers.push(() => client.close())
    const isAliveLater = !(await pulse.until(() => !service.isAlive(), 500))
    if (!isAliveLater) {
      const last = service.capture.lines.slice(-20).map(({ text }) => `  ${text.slice(0, 500)}`)
      throw new UsageError(
        `The service listened and ended right after.\nIts last lines:\n${last.join('\n')}`,
        3,
      )
    }

    const whoami = await client.ask(verifyRoute(token, 'whoami'))
    const kit = whoami.status === 200 ? parseObject(whoami.body)?.kit : undefined
    const health = await phase('look for the health routes', () => findHealth(client, options))
    const stage = stageOf(service, client, {
      hasRoutes: typeof kit === 'string',
      live: health.live,
      ready: health.ready,
    })
    const isReady =
      health.ready === undefined ? false : await waitUntilReady(stage, options.bootTimeoutMs)

    const evidence: Evidence = {
      options,
      startedAt,
      token,
      canaries,
      knownSecrets: led.secrets,
      base: client.base,
      capture: service.capture,
      reports: service.reports,
      tracker,
      exchanges: client.exchanges,
      targets: [],
      dsns,
      elsewhere: proxy.elsewhere,
      marks,
      boot: { listeningMs, isAliveLater, isReady, listener: service.listener },
      health,
      ...(typeof kit === 'string' && { kit }),
    }
    Object.defineProperty(evidence, 'targets', { get: () => [...proxy.targets.values()] })

    evidence.traffic = await phase('requests', () => sendTraffic(stage))
    evidence.probes = await phase('probes', () => askProbes(stage))
    const errors = await phase('errors', () => provokeErrors(stage))
    if (errors !== undefined) evidence.errors = errors
    const metrics = await phase('metrics', () => scrapeMetrics(stage))
    if (metrics !== undefined) evidence.metrics = metrics
    if (stage.ready === undefined) evidence.noCut = 'no ready route was found'
    else if (!isReady) evidence.noCut = 'the service was never ready; see health.ready'
    else if (dependenciesOf(proxy.targets.values()).length === 0) {
      evidence.noCut = noDependency(options, service)
    } else evidence.cuts = await phase('cuts', () => cutDependencies(stage))
    if (service.isAlive()) evidence.stop = await phase('stop', () => stopService(stage))
    await service.stop()

    // From here on each process has its own end. A service that takes its port from PORT can run
    // several times at once; any other has to wait for its port.
    const isMovable = options.port === undefined && service.port === wantedPort
    const jobs = [...crashKinds(stage).map((kind) => () => crash(kind)), () => untracked()] as const
    const atOnce = isMovable ? jobs.length : 1
    const others = await phase('crash, and without a tracker', async () => {
      const results: (Crash | Untracked)[] = []
      if (isMovable) return await Promise.all(jobs.map((job) => job()))
      for (const job of jobs) {
        const end = now() + CLOSED_MS
        while ((await isOpen(service.port, service.host)) && now() < end) {
          await pulse.until(() => false, 50)
        }
        results.push(await job())
      }
      return results
    })
    evidence.crashes = others.filter((one): one is Crash => 'kind' in one)
    const last = others.find((one): one is Untracked => 'isUp' in one)
    if (last !== undefined) evidence.untracked = last
    return evidence

    async function another<T>(
      name: string,
      env: Record<string, string | undefined>,
      work: (stage: Stage) => Promise<T>,
      failed: (reason: string) => T,
    ): Promise<T> {
      let other: Service | undefined
      let otherClient: Stage['client'] | undefined
      try {
        // Of a service of several processes the others may listen long before the one that is meant.
        const port = isMovable ? await freePort() : wantedPort
        other = await start(name, env, port, { isSure: isMovable, atOnce })
        otherClient = createClient(other.host, other.port, now)
        const found = stageOf(other, otherClient, {
          hasRoutes: stage.hasRoutes,
          live: stage.live,
          ready: stage.ready,
        })
        if (isReady) await waitUntilReady(found, options.bootTimeoutMs * atOnce)
        return await work(found)
      } catch (error) {
        if (error instanceof UsageError) return failed(error.message)
        throw error
      } finally {
        otherClient?.close()
        await other?.stop()
      }
    }

    function crash(kind: Crash['kind']): Promise<Crash> {
      return another(
        `crash-${kind}`,
        tracked,
        (other) => crashService(other, kind),
        (failure) => ({
          kind,
          mark: '',
          lines: 0,
          exit: undefined,
          exitMs: undefined,
          records: [],
          events: [],
          failure,
        }),
      )
    }

    function untracked(): Promise<Untracked> {
      return another(
        'untracked',
        { SENTRY_DSN: undefined, [TOKEN_VARIABLE]: undefined },
        (other) => runUntracked(other, evidence.errors?.single.at(-1)),
        (failure) => ({
          isUp: false,
          failure,
          refused: [],
          error: undefined,
          ordinary: [],
          hidden: undefined,
          hiddenLikeMissing: undefined,
          notices: [],
          twice: undefined,
        }),
      )
    }
  }

  return { done: run(), close }
}

function crashKinds(stage: Stage): Crash['kind'][] {
  if (stage.hasRoutes) return ['throw', 'reject']
  return stage.options.crashRoute === undefined ? [] : ['route']
}

/** Polls ready until it is 200; false when it is not within `timeoutMs`. */
async function waitUntilReady(stage: Stage, timeoutMs: number): Promise<boolean> {
  const end = stage.now() + timeoutMs
  while (stage.now() < end && stage.service.isAlive()) {
    if ((await stage.askReady()).status === 200) return true
    await stage.until(() => !stage.service.isAlive(), 100)
  }
  return false
}

function noDependency(options: VerifyOptions, service: Service): string {
  if (options.dependencies.length > 0) return 'the service never connected to what --dep names'
  return service.reports.some((report) => report.type === 'hello')
    ? 'the service connects to no database and no cache over the network'
    : 'no Node process was seen, so its connections cannot be led: name them with --dep database=env:DATABASE_URL'
}

/** Clients that heed HTTP_PROXY reach the tracker, and the service itself, without it. */
function pastProxies(): Record<string, string> {
  const { NO_PROXY, no_proxy } = process.env
  const hosts = [no_proxy ?? NO_PROXY, '127.0.0.1', 'localhost'].filter(Boolean).join(',')
  return { NO_PROXY: hosts, no_proxy: hosts }
}

/**
 * A port that nobody listens on. It comes from below the ports that the system gives to outgoing
 * connections (32768 on Linux, 49152 elsewhere): one of those may be taken before the service listens.
 */
async function freePort(): Promise<number> {
  for (let tries = 0; ; tries++) {
    const server = createServer()
    try {
      server.listen(tries < 20 ? randomInt(10_000, 32_768) : 0, '127.0.0.1')
      await once(server, 'listening')
      return (server.address() as AddressInfo).port
    } catch (error) {
      if (tries >= 20) throw error
    } finally {
      server.close()
    }
  }
}
