/** Where a service tells whether it lives and whether it is ready. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Client, Exchange } from './http.js'
import type { VerifyOptions } from './options.js'

export type HealthPaths = {
  readonly live: string | undefined
  readonly ready: string | undefined
  /** What was asked, for the report when nothing was found. */
  readonly tried: readonly string[]
}

const LIVE = [
  '/api/v1/health/live/',
  '/health/live',
  '/livez',
  '/health/liveness',
  '/api/health/live',
  '/live',
  '/healthz',
  '/health',
  '/api/health',
]
const READY = [
  '/api/v1/health/ready/',
  '/health/ready',
  '/readyz',
  '/health/readiness',
  '/api/health/ready',
  '/ready',
  '/healthz',
  '/health',
  '/api/health',
]

/** Flags first, then the repository's Kubernetes manifests, then the usual paths. */
export async function findHealth(client: Client, options: VerifyOptions): Promise<HealthPaths> {
  const manifests = readProbes(options.cwd)
  const nowhere = await client.ask({ purpose: 'discovery', path: '/telltale-verify-nowhere' })
  const tried: string[] = []
  const find = async (
    flag: string | undefined,
    probe: string | undefined,
    usual: readonly string[],
  ): Promise<string | undefined> => {
    if (flag !== undefined) return flag
    for (const path of [...(probe === undefined ? [] : [probe]), ...usual]) {
      tried.push(path)
      const answer = await client.ask({ purpose: 'discovery', path })
      if (isHealth(answer, nowhere)) return path
    }
    return undefined
  }
  return {
    live: await find(options.live, manifests.live, LIVE),
    ready: await find(options.ready, manifests.ready, READY),
    tried,
  }
}

/** 200 or 503, and not what the service answers to any path. */
function isHealth(answer: Exchange, nowhere: Exchange): boolean {
  if (answer.status !== 200 && answer.status !== 503) return false
  return answer.status !== nowhere.status || answer.body !== nowhere.body
}

const FOLDERS = ['.', 'k8s', 'kubernetes', 'deploy', 'manifests', 'charts', 'helm', 'infra']

/** The paths of `livenessProbe` and `readinessProbe` in the YAML files of the usual folders. */
export function readProbes(cwd: string): { live?: string; ready?: string } {
  const found: { live?: string; ready?: string } = {}
  for (const folder of FOLDERS.map((name) => join(cwd, name)).filter((path) => existsSync(path))) {
    let files: string[] = []
    try {
      files = readdirSync(folder).filter((name) => /\.ya?ml$/.test(name))
    } catch {
      continue
    }
    for (const file of files.slice(0, 50)) {
      const text = readFileSync(join(folder, file), 'utf8')
      const probe = (name: string): string | undefined =>
        new RegExp(`${name}:[^}]*?\\bpath:\\s*["']?(/[^\\s"',}]*)`).exec(text)?.[1]
      const live = probe('livenessProbe')
      const ready = probe('readinessProbe')
      if (live !== undefined) found.live ??= live
      if (ready !== undefined) found.ready ??= ready
    }
  }
  return found
}
