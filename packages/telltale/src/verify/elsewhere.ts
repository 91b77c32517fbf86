/** DSNs that stand in the project itself: where events go when the service does not heed SENTRY_DSN. */
import { readFileSync } from 'node:fs'
import type { Place } from './checks/check.js'
import { isLoopback } from './options.js'
import { isCode, listFiles } from './source.js'

export type Dsn = { readonly host: string; readonly place: Place }

/** A key of 32 hexadecimal digits, a host, the number of a project. */
const DSN =
  /https?:\/\/[0-9a-f]{32}(?::\w+)?@([\w.-]+|\[[0-9a-f:]+\])(?::\d+)?\/(?:[\w./-]*\/)?\d+\b/gi

/** The DSNs in the project's code, configuration and `.env` files, each with its line. */
export function findDsns(cwd: string): readonly Dsn[] {
  const isWanted = (name: string): boolean =>
    isCode(name) || /^\.env(?:\.|$)|\.(?:json|ya?ml|toml|ini)$/.test(name)
  return listFiles(cwd, isWanted).flatMap((file) => {
    const text = readFileSync(file, 'utf8')
    return [...text.matchAll(DSN)].map(({ 1: host = '', index }) => ({
      host,
      place: { file, line: text.slice(0, index).split('\n').length },
    }))
  })
}

/**
 * The hosts among them that no connection may reach. This machine's own are left out: other things
 * may live there, and the proxy knows an event when it sees one.
 */
export function trackersOf(dsns: readonly Dsn[]): string[] {
  const hosts = dsns.map(({ host }) => host.replace(/^\[|\]$/g, ''))
  return [...new Set(hosts.filter((host) => !isLoopback(host)))]
}
