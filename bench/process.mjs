// Processes of the bench: started on a CPU of their own, stopped and continued, read in /proc.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  constants,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
} from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const HERE = dirname(fileURLToPath(import.meta.url))
export const has = (program) => spawnSync('sh', ['-c', `command -v ${program}`]).status === 0
export const canPin = availableParallelism() > 1 && has('taskset')
export const SERVER_CPU = 0
export const LOAD_CPU = 1

/** Whatever this process still has running; ended by endAll. */
const running = new Set()

/** The command and arguments that run a program on one CPU, where that can be had. */
export const pin = (cpu, command, args) =>
  canPin ? ['taskset', ['-c', String(cpu), command, ...args]] : [command, args]

/** This process reads the servers' output, so it keeps off their CPU, with all its threads. */
export function pinSelf() {
  if (canPin) spawnSync('taskset', ['-apc', String(LOAD_CPU), String(process.pid)])
}

/** Starts a program on one CPU. */
export function start(cpu, command, args, options = {}) {
  const child = spawn(...pin(cpu, command, args), { cwd: HERE, ...options })
  running.add(child)
  child.once('exit', () => running.delete(child))
  return child
}

/** Starts Node on one CPU. */
export const startNode = (cpu, args, options) => start(cpu, process.execPath, args, options)

/** Ends a process that we started: SIGUSR2, which the servers answer with an exit, then SIGKILL. */
export async function end(child) {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = once(child, 'exit')
  child.kill('SIGCONT')
  child.kill('SIGUSR2')
  const timer = setTimeout(() => child.kill('SIGKILL'), 5000)
  await exited
  clearTimeout(timer)
}

/** Ends at once whatever was started and still runs. */
export function endAll() {
  for (const child of running) child.kill('SIGKILL')
}

/** Starts Node with a program that tells its port on stderr; what it says later can be asked for. */
export async function startListening(cpu, args, options = {}) {
  const child = startNode(cpu, args, { stdio: ['ignore', 'ignore', 'pipe'], ...options })
  let text = ''
  const port = new Promise((resolve, reject) => {
    child.stderr.setEncoding('utf8').on('data', (part) => {
      text = (text + part).slice(-8192)
      const match = /listening (\d+)/.exec(text)
      if (match !== null) resolve(Number(match[1]))
    })
    child.once('exit', () => reject(new Error(`it ended before it listened:\n${text}`)))
  })
  return {
    child,
    port: await port,
    said: () => text.replace(/^listening \d+\n/m, ''),
    end: () => end(child),
  }
}

const count = (bytes) => {
  let lines = 0
  for (let at = bytes.indexOf(10); at !== -1; at = bytes.indexOf(10, at + 1)) lines++
  return lines
}

/** Counts the lines of what it is given, and keeps it while it is watched. */
function createTally() {
  let lines = 0
  let kept
  return {
    take(bytes) {
      lines += count(bytes)
      kept?.push(Buffer.from(bytes))
    },
    lines: () => lines,
    watch: () => {
      kept = []
    },
    seen: () => Buffer.concat(kept).toString('utf8'),
    unwatch: () => {
      kept = undefined
    },
  }
}

/** Milliseconds between two readings of a pipe. */
const READ_EVERY_MS = 2
/**
 * A pipe of 64 KB is full after 7 ms of a full load. A reader with a CPU to itself always comes sooner;
 * ours shares the load generator's and did not, once a second.
 */
const PIPE_BYTES = 1_048_576

/**
 * A real pipe as somebody's standard output; what comes is counted, and kept while it is watched.
 * `started` is called when the process has it; `stall` stops the reading; `trim` gives space back and
 * may only be called while nobody writes. It is read now and then: a reader that follows every write
 * would take the load generator's CPU three times as often.
 */
export function openPipe() {
  const folder = mkdtempSync(join(tmpdir(), 'telltale-bench-'))
  const path = join(folder, 'stdout')
  const made = spawnSync('mkfifo', [path])
  if (made.status !== 0) throw new Error(`mkfifo ${path}: ${made.stderr}`)
  const readEnd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  const writeEnd = openSync(path, 'w')
  // F_SETPIPE_SZ, which Node cannot ask for. Without perl, or with a lower limit, it stays as it is.
  spawnSync('perl', ['-e', 'open F, "+<", shift; fcntl F, 1031, shift', path, String(PIPE_BYTES)])
  rmSync(folder, { recursive: true })
  const tally = createTally()
  const block = Buffer.alloc(1 << 17)
  let timer
  let end
  const ended = new Promise((resolve) => {
    end = resolve
  })
  function read() {
    try {
      for (;;) {
        const n = readSync(readEnd, block)
        if (n === 0) return close()
        tally.take(block.subarray(0, n))
        if (n < block.length) return
      }
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error
    }
  }
  function stall(isStalled) {
    clearInterval(timer)
    timer = isStalled || end === undefined ? undefined : setInterval(read, READ_EVERY_MS)
  }
  function close() {
    if (end === undefined) return
    closeSync(readEnd)
    end()
    end = undefined
    stall(true)
  }
  stall(false)
  return {
    ...tally,
    fd: writeEnd,
    started: () => closeSync(writeEnd),
    ended,
    lines: () => {
      if (timer !== undefined) read()
      return tally.lines()
    },
    stall,
    trim: () => {},
    close,
  }
}

/** A file as somebody's standard output, read from where the last reading ended. */
function openFile() {
  const folder = mkdtempSync(join(tmpdir(), 'telltale-bench-'))
  const fd = openSync(join(folder, 'stdout'), 'a+')
  rmSync(folder, { recursive: true })
  const block = Buffer.alloc(1 << 20)
  let at = 0
  const tally = createTally()
  function read() {
    for (;;) {
      const n = readSync(fd, block, 0, block.length, at)
      if (n === 0) return
      at += n
      tally.take(block.subarray(0, n))
    }
  }
  return {
    ...tally,
    fd,
    started: () => {},
    lines: () => {
      read()
      return tally.lines()
    },
    watch: () => {
      read()
      tally.watch()
    },
    seen: () => {
      read()
      return tally.seen()
    },
    stall: () => {},
    trim: () => {
      read()
      ftruncateSync(fd, 0)
      at = 0
    },
    close: () => closeSync(fd),
  }
}

/**
 * Runs a program of programs/ to its end; returns what it printed on its standard output, or with
 * `quiet` sends that to /dev/null and returns what it printed on standard error.
 */
export async function run(program, args = [], { env = {}, quiet = false } = {}) {
  const child = startNode(SERVER_CPU, [`programs/${program}.mjs`, ...args.map(String)], {
    stdio: ['ignore', quiet ? openSync('/dev/null', 'w') : 'pipe', 'pipe'],
    env: { PATH: process.env.PATH, HOME: process.env.HOME, NODE_ENV: 'production', ...env },
  })
  const texts = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr']) {
    child[name]?.setEncoding('utf8').on('data', (part) => {
      texts[name] += part
    })
  }
  const [code] = await once(child, 'close')
  if (code !== 0) throw new Error(`programs/${program}.mjs ended with ${code}:\n${texts.stderr}`)
  return quiet ? texts.stderr : texts.stdout
}

/** With the smallest young space it would collect twenty times a second, a millisecond of the load's CPU each. */
const QUIET = ['--min-semi-space-size=16']

/** Starts the sink. `url` is its own, `dsn(project)` a Sentry DSN. */
export async function startSink(...args) {
  const { port, end } = await startListening(LOAD_CPU, [...QUIET, 'sink.mjs', ...args])
  const url = `http://127.0.0.1:${port}`
  return {
    url,
    dsn: (project) => `http://abcdef0123456789abcdef0123456789@127.0.0.1:${port}/${project}`,
    /** What has arrived for a project so far. */
    async counts(project) {
      const all = await (await fetch(`${url}/counts`)).json()
      return all[project] ?? { posts: 0, bytes: 0, events: 0, traces: 0, spans: 0 }
    },
    end,
  }
}

let projects = 0

/** Starts one server of servers/ with one variant, stopped until it is continued. */
export async function startServer(file, variant, sink, env = {}) {
  const output = variant.stdout === 'file' ? openFile() : openPipe()
  const project = String(++projects)
  const preload = variant.preload ? ['--import', `./servers/stacks/${variant.preload}.mjs`] : []
  const args = [...preload, `servers/${file}.mjs`, variant.stack]
  const started = startListening(SERVER_CPU, args, {
    stdio: ['ignore', output.fd, 'pipe'],
    env: {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      NODE_ENV: 'production',
      ...variant.env?.(sink, project),
      ...env,
    },
  })
  output.started()
  const { child, port, said, end } = await started
  child.kill('SIGSTOP')
  output.stall(true)
  return {
    variant,
    project,
    child,
    output,
    said,
    port,
    go: () => {
      output.stall(false)
      child.kill('SIGCONT')
    },
    stop: () => {
      child.kill('SIGSTOP')
      output.stall(true)
    },
    async end() {
      await end()
      output.close()
    },
  }
}

/** User and system time of a process, microseconds (in steps of 10,000); its resident memory, MB. */
export function usageOf(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')
  const rss = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  return { cpuUs: (Number(fields[11]) + Number(fields[12])) * 10_000, rssMb: Number(rss[1]) / 1024 }
}
