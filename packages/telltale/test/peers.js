// Launchers and SDKs that are no dependency of the workspace: installed below test/peers when a test
// first asks, once for each state of their lockfile, without any script of theirs.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, rmdirSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The folder that they are installed in; what runs in it finds them. */
export const PEERS = fileURLToPath(new URL('./peers', import.meta.url))

const STAMP = join(PEERS, 'node_modules', '.installed')
const LOCK = join(PEERS, '.installing')
/** A lock that was not touched for so long is of a process that died. */
const STALE_MS = 10 * 60_000

/** Resolves when they are there. Test files that ask at once wait for the first of them. */
export async function installPeers() {
  const state = createHash('sha256')
    .update(readFileSync(join(PEERS, 'package-lock.json')))
    .update(`${process.platform}-${process.arch}`)
    .digest('hex')
  const isThere = () => read(STAMP) === state
  while (!isThere()) {
    if (!lock()) {
      await new Promise((resolve) => setTimeout(resolve, 200))
      continue
    }
    try {
      if (!isThere()) install()
      writeFileSync(STAMP, state)
    } finally {
      rmdirSync(LOCK)
    }
  }
}

function install() {
  const args = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
  const { status, stderr, error } = spawnSync('npm', args, {
    cwd: PEERS,
    encoding: 'utf8',
    // What npm tells the script that runs the tests is about the workspace.
    env: Object.fromEntries(
      Object.entries(process.env).filter(
        ([key]) => !/^npm_(config_(local_)?prefix|package)/i.test(key),
      ),
    ),
  })
  if (status !== 0) {
    throw new Error(
      `The launchers and SDKs of ${PEERS} could not be installed; the npm registry is needed.\n${error?.message ?? stderr}`,
    )
  }
}

function lock() {
  try {
    mkdirSync(LOCK)
    return true
  } catch {
    const { mtimeMs } = statSync(LOCK, { throwIfNoEntry: false }) ?? {}
    if (mtimeMs !== undefined && Date.now() - mtimeMs > STALE_MS) {
      const now = new Date()
      utimesSync(LOCK, now, now)
      return true
    }
    return false
  }
}

function read(path) {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}
