/** What every real service of the suites has in common: a child process on a loopback port. */
import { spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { accessSync, constants, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** The path of a program from PATH or `folders`; throws one line that names the Debian package. */
export function findProgram(names, folders, debianPackage) {
  for (const folder of [...folders, ...(process.env.PATH ?? '').split(delimiter)]) {
    for (const name of names) {
      try {
        const path = join(folder, name)
        accessSync(path, constants.X_OK)
        return path
      } catch {
        // not here
      }
    }
  }
  throw new Error(`${names[0]} was not found; install it with: apt-get install ${debianPackage}`)
}

/** A port below those of outgoing connections, which could take it before the service listens. */
export async function freePort() {
  for (;;) {
    const server = createServer().listen(randomInt(10_000, 32_768), '127.0.0.1')
    const isFree = await once(server, 'listening').then(
      () => true,
      () => false,
    )
    if (!isFree) continue
    const { port } = server.address()
    server.close()
    await once(server, 'close')
    return port
  }
}

/** A process and its children; PostgreSQL's are sessions of their own, so no group holds them all. */
function family(pid) {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
    return [pid, ...children.split(' ').filter(Boolean).map(Number)]
  } catch {
    return [pid]
  }
}

function signalTo(pid, signal) {
  try {
    process.kill(pid, signal)
  } catch {
    // it has ended
  }
}

/** A new folder below the system's own; removed when the process ends. */
export function temporaryFolder(name) {
  const folder = mkdtempSync(join(tmpdir(), `telltale-${name}-`))
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/**
 * Runs a program as a service. `ready()` resolves true once it answers; it is asked until then.
 * `stop` ends it in an orderly way, `kill` at once, `start` brings it back on the same port,
 * `freeze` and `thaw` suspend it and its children.
 */
export async function runService({ program, args, options = {}, port, url, ready, stopSignal }) {
  let child
  let output = ''

  const service = {
    url,
    port,
    get pid() {
      return child?.pid
    },
    async start(moreArgs = []) {
      output = ''
      // A group of its own: Ctrl-C in a terminal ends the suite, which then ends the service.
      child = spawn(program, [...args, ...moreArgs], {
        ...options,
        detached: true,
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      const collect = (chunk) => {
        output = (output + chunk).slice(-4000)
      }
      child.stdout.on('data', collect)
      child.stderr.on('data', collect)
      for (const pipe of [child.stdout, child.stderr]) pipe.unref()
      child.unref()
      const until = performance.now() + 30_000
      while (!(await ready())) {
        if (child.exitCode !== null || child.signalCode !== null || performance.now() > until) {
          throw new Error(`${program} did not start:\n${output}`)
        }
        await sleep(20)
      }
    },
    async stop() {
      await end(stopSignal)
    },
    async kill() {
      await end('SIGKILL')
    },
    freeze() {
      for (const pid of family(child.pid)) signalTo(pid, 'SIGSTOP')
    },
    thaw() {
      for (const pid of family(child.pid)) signalTo(pid, 'SIGCONT')
    },
  }

  async function end(signal) {
    const ending = child
    if (ending === undefined || ending.exitCode !== null || ending.signalCode !== null) return
    ending.ref()
    const exited = once(ending, 'exit')
    service.thaw()
    if (signal === 'SIGKILL') for (const pid of family(ending.pid)) signalTo(pid, signal)
    else ending.kill(signal)
    await exited
  }

  process.on('exit', () => {
    for (const pid of family(child.pid)) signalTo(pid, 'SIGKILL')
  })
  await service.start()
  return service
}
