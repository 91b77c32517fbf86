/** One process of the service: started, watched, signalled, and gone without a trace. */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Capturing, createCapture } from './capture.js'
import { type Channel, type HookReport, openChannel } from './channel.js'
import { UsageError } from './options.js'
import type { DependencyProxy } from './proxy.js'
import type { Pulse } from './pulse.js'

export type Exit = { readonly code: number | undefined; readonly signal: string | undefined }

export type Service = {
  readonly name: string
  readonly capture: Capturing
  readonly reports: readonly HookReport[]
  /** Where it listens; set by `findPort`. */
  readonly host: string
  readonly port: number
  /** The process that listens, of a cluster its primary, else the one that was started. */
  readonly listener: number
  /**
   * Watches the processes that answer requests: the answer tells how the first of them ended, also
   * a cluster's worker, which is replaced. Undefined while all of them live.
   */
  watch(): () => Exit | undefined
  /** True while the process that listens lives. */
  isAlive(): boolean
  /** How the process that listens ended; undefined while it lives. */
  exit(): Exit | undefined
  /** How the process that was started ended: a launcher may outlive what it launched. */
  launcherExit(): Exit | undefined
  /** Finds where it listens. Rejects with UsageError 3 when it never does, 4 when it is ambiguous. */
  findPort(): Promise<void>
  signal(name: NodeJS.Signals): void
  /**
   * Ends everything that belongs to it; resolves when nothing of it is left. What does not end within
   * `patienceMs` (8 s) of a SIGTERM is killed.
   */
  stop(patienceMs?: number): Promise<void>
}

export type StartSettings = {
  readonly name: string
  readonly command: readonly string[] | string
  readonly cwd: string
  /** Added to this process's environment. Undefined takes a variable away. */
  readonly env: Readonly<Record<string, string | undefined>>
  readonly port: number | undefined
  readonly wantedPort: number
  readonly hasHook: boolean
  readonly bootTimeoutMs: number
  /** Ports of verify that the service reaches directly. */
  readonly ownPorts: readonly number[]
  /** Hosts that nothing of it may reach: where the project's own DSNs lead. */
  readonly trackers: readonly string[]
}

const HOOK = fileURLToPath(new URL('./hook.cjs', import.meta.url))
/** How long other servers of the service may take to appear when none listens on PORT. */
const SETTLE_MS = 700
const LATE_MS = 10_000
/** How long PORT has to be open, when a Node process is there and did not say that it listens on it. */
const STEADY_MS = 1500
const STOP_MS = 8000
const KILL_ROUNDS = 5

export async function startService(
  settings: StartSettings,
  { pulse, proxy, now }: { pulse: Pulse; proxy: DependencyProxy; now: () => number },
): Promise<Service> {
  const capture = createCapture(pulse, now)
  const reports: HookReport[] = []
  const channel: Channel = await openChannel(pulse, now, (report) => {
    reports.push(report)
    if (report.type === 'connect') proxy.announce(report)
  })
  let launcherExit: Exit | undefined
  let failure: string | undefined
  let host = '127.0.0.1'
  let port = 0
  let listener = 0
  /** It was asked to end before, and had its time. */
  let isTold = false

  const { command, cwd, name } = settings
  const child = launch()
  listener = child.pid ?? 0
  // The last resort, should verify itself die: nothing outlives it.
  const onExit = (): void => killAll(members())
  process.once('exit', onExit)

  function launch(): ChildProcess {
    const options = settings.env.NODE_OPTIONS ?? process.env.NODE_OPTIONS
    const env: Record<string, string | undefined> = {
      ...process.env,
      PATH: binFolders(cwd) + (process.env.PATH ?? ''),
      ...settings.env,
      TELLTALE_VERIFY_CHANNEL: channel.path,
      ...(settings.hasHook && {
        NODE_OPTIONS: `${options ?? ''} --require ${JSON.stringify(HOOK)}`.trim(),
        TELLTALE_VERIFY_PROXY: String(proxy.port),
        TELLTALE_VERIFY_OWN: settings.ownPorts.join(','),
        TELLTALE_VERIFY_TRACKERS: settings.trackers.join(','),
      }),
    }
    // What npm and npx tell their own children is not the service's.
    for (const key of Object.keys(env)) if (/^npm_/i.test(key)) delete env[key]
    const isShell = typeof command === 'string'
    const started = spawn(
      isShell ? command : (command[0] as string),
      isShell ? [] : command.slice(1),
      {
        cwd,
        env,
        shell: isShell,
        // A group of its own, so that Ctrl-C reaches verify alone and the group can be ended as one.
        detached: process.platform !== 'win32',
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    )
    if (started.stdout) capture.attach('stdout', started.stdout)
    if (started.stderr) capture.attach('stderr', started.stderr)
    started.once('error', (error: NodeJS.ErrnoException) => {
      failure =
        error.code === 'ENOENT' ? `the program "${command[0]}" was not found` : error.message
      launcherExit ??= { code: 127, signal: undefined }
      pulse.beat()
    })
    started.once('exit', (code, signal) => {
      launcherExit = { code: code ?? undefined, signal: signal ?? undefined }
      pulse.beat()
    })
    return started
  }

  const listens = (): Extract<HookReport, { type: 'listen' }>[] =>
    reports.filter((report) => report.type === 'listen')

  function take(found: { host: string; port: number; listener?: number }): void {
    host = /^(?:::|0\.0\.0\.0|::ffff:127.*)$/.test(found.host) ? '127.0.0.1' : found.host
    port = found.port
    listener = found.listener ?? child.pid ?? 0
  }

  async function findPort(): Promise<void> {
    const wanted = settings.port ?? settings.wantedPort
    let reachable: number | undefined
    let isOver = false
    // For what no hook can tell. A Node launcher may try the port for a moment before it starts the
    // service, so beside one the port has to stay open.
    const probing = (async () => {
      let since: number | undefined
      while (!isOver) {
        since = (await isOpen(wanted)) ? (since ?? now()) : undefined
        const isNode = reports.some((report) => report.type === 'hello')
        if (since !== undefined && (!isNode || now() - since > STEADY_MS)) {
          reachable = wanted
          return pulse.beat()
        }
        await new Promise((resolve) => setTimeout(resolve, 100))
      }
    })()
    const onWanted = (): boolean =>
      reachable !== undefined || web().some((server) => server.port === wanted)
    const web = (): ReturnType<typeof listens> =>
      listens().filter((server) => server.isHttp && isRunning(server.pid))
    const isSettled = (): boolean => {
      const [first] = web()
      if (settings.port !== undefined || first === undefined) return false
      // A process beside it that neither listens nor started it may still be on its way.
      const patience = isOneStarting(first.pid) ? LATE_MS : SETTLE_MS
      return reports.every((report) => report.at < now() - patience || report.type === 'stderr')
    }
    const isOneStarting = (listening: number): boolean => {
      const parents = new Map(reports.map((report) => [report.pid, report.ppid]))
      const known = new Set(listens().map((server) => server.pid))
      for (let pid: number | undefined = listening; pid !== undefined; pid = parents.get(pid)) {
        known.add(pid)
      }
      return [...parents.keys()].some((pid) => !known.has(pid) && isRunning(pid))
    }
    await pulse.until(
      () => launcherExit !== undefined || onWanted() || isSettled(),
      settings.bootTimeoutMs,
    )
    isOver = true
    await probing
    // What listened may end at any moment, and how it did is known a little later.
    const hasListened = listens().some((server) => server.isHttp)
    const isGone = (): boolean => hasListened && reachable === undefined && web().length === 0
    if (isGone()) await pulse.until(() => launcherExit !== undefined || !isGone(), LATE_MS)
    if (web().length === 0 && (launcherExit !== undefined || isGone())) {
      const when = hasListened ? 'right after' : 'before'
      throw new UsageError(`The service ended ${when} it listened (${tellExit()}).${tail()}`, 3)
    }
    const match = web().find((server) => server.port === wanted)
    if (match !== undefined) return take(match)
    if (reachable !== undefined) return take({ host: '127.0.0.1', port: reachable })
    const servers = [...new Map(web().map((server) => [server.port, server])).values()]
    const [only] = servers
    if (servers.length === 1 && only !== undefined) return take(only)
    if (servers.length > 1) {
      const ports = servers.map((server) => `${server.port} (pid ${server.pid})`).join(', ')
      throw new UsageError(
        `The service has several HTTP servers: ports ${ports}. Say which one is meant: --port ${only?.port}`,
        4,
      )
    }
    const hint = reports.some((report) => report.type === 'hello')
      ? ''
      : ' No Node process was seen: for other languages read PORT from the environment, or pass --port.'
    throw new UsageError(
      `The service did not listen within ${settings.bootTimeoutMs / 1000} s.${hint}${tail()}`,
      3,
    )
  }

  function tellExit(): string {
    if (failure !== undefined) return failure
    if (launcherExit === undefined) return 'what started it still runs'
    const { code, signal } = launcherExit
    return signal === undefined ? `exit code ${code}` : `signal ${signal}`
  }

  function tail(): string {
    const last = capture.lines.slice(-20).map((line) => `  ${line.text.slice(0, 500)}`)
    const taken = capture.lines.find((line) => line.text.includes('EADDRINUSE'))
    return [
      taken === undefined
        ? ''
        : '\nIts port is taken (EADDRINUSE): end what listens there, or let the service read PORT.',
      last.length === 0 ? '\nIt printed nothing.' : `\nIts last lines:\n${last.join('\n')}`,
    ].join('')
  }

  function exitOf(pid: number): Exit | undefined {
    if (pid === child.pid) return launcherExit
    if (isRunning(pid)) return undefined
    const file = `${channel.path}.${pid}`
    const code = existsSync(file) ? Number(readFileSync(file, 'utf8')) : undefined
    return { code, signal: code === undefined ? 'a signal' : undefined }
  }

  /**
   * Everything that belongs to the service: the group, what the hook told of, their children, and,
   * where the system tells, whoever has its environment: a process manager starts processes of other
   * groups and other parents.
   */
  function members(): Set<number> {
    const pids = new Set<number>(carriers(channel.path))
    if (child.pid !== undefined) pids.add(child.pid)
    for (const report of reports) pids.add(report.pid)
    for (const pid of [...pids]) for (const below of descendants(pid)) pids.add(below)
    return pids
  }

  function killAll(pids: ReadonlySet<number>): void {
    if (child.pid !== undefined) kill(-child.pid, 'SIGKILL')
    for (const pid of pids) if (isRunning(pid)) kill(pid, 'SIGKILL')
  }

  return {
    name,
    capture,
    reports,
    get host() {
      return host
    },
    get port() {
      return port
    },
    get listener() {
      return listener
    },
    isAlive: () => (listener === child.pid ? launcherExit === undefined : isRunning(listener)),
    watch() {
      // A worker may answer before its report is here, so those that come later count as well.
      const pids = (): number[] => [
        ...listens().flatMap((one) =>
          one.listener === listener && one.port === port ? [one.pid] : [],
        ),
        listener,
      ]
      const ended = new Set(pids().filter((pid) => exitOf(pid) !== undefined))
      return () =>
        pids()
          .filter((pid) => !ended.has(pid))
          .map(exitOf)
          .find((exit) => exit !== undefined)
    },
    exit: () => exitOf(listener),
    launcherExit: () => launcherExit,
    findPort,
    signal(signal) {
      if (signal === 'SIGTERM' && listener === child.pid) isTold = true
      kill(listener, signal)
    },
    async stop(patienceMs = STOP_MS) {
      let all = members()
      const left = (): boolean => launcherExit === undefined || [...all].some(isRunning)
      if (left()) {
        // First politely: a launcher may have children of its own to end.
        kill(child.pid, 'SIGTERM')
        kill(child.pid, 'SIGCONT')
        await pulse.until(() => !left(), isTold ? Math.min(300, patienceMs) : patienceMs)
      }
      // A manager that starts what has ended may have done so a moment before its own end.
      for (let round = 0; round < KILL_ROUNDS; round++) {
        all = members()
        if (!left()) break
        killAll(all)
        await pulse.until(() => !left(), 2000)
      }
      process.off('exit', onExit)
      child.stdout?.destroy()
      child.stderr?.destroy()
      await channel.close()
    },
  }
}

/** node_modules/.bin of the package and of the folders above it, as npm has them in PATH. */
function binFolders(cwd: string): string {
  let path = ''
  for (let folder = cwd; ; folder = dirname(folder)) {
    path += join(folder, 'node_modules', '.bin') + delimiter
    if (dirname(folder) === folder) return path
  }
}

/** Sends a signal; a process that has ended is no error. */
function kill(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined || pid === 0) return
  try {
    process.kill(pid, signal)
  } catch {
    // it has ended
  }
}

/** True while a process runs; one that has ended and was not waited for does not. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
  } catch {
    return false
  }
  try {
    return !/^\d+ \(.*\) Z /s.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return process.platform !== 'linux'
  }
}

/** The processes with `word` in their environment, where the system tells. */
function carriers(word: string): number[] {
  let pids: number[]
  try {
    pids = readdirSync('/proc').map(Number).filter(Boolean)
  } catch {
    return []
  }
  return pids.filter((pid) => {
    try {
      return pid !== process.pid && readFileSync(`/proc/${pid}/environ`).includes(word)
    } catch {
      return false
    }
  })
}

/** The processes below `pid`, where the system tells. */
function descendants(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((task) =>
      readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8')
        .split(' ')
        .filter(Boolean)
        .map(Number)
        .flatMap((child) => [child, ...descendants(child)]),
    )
  } catch {
    return []
  }
}

/** True when something accepts connections on a loopback port. */
export function isOpen(port: number, host = '127.0.0.1'): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, host)
    const finish = (answer: boolean): void => {
      socket.destroy()
      resolve(answer)
    }
    socket.setTimeout(1000, () => finish(false))
    socket.on('error', () => finish(false))
    socket.on('connect', () => finish(true))
  })
}
