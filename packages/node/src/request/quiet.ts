/** Requests whose success is not worth a line: probes and scrapes, whoever serves them. */

const PROBE = /^\/(?:health(?:z|[-_]?check)?(?:\/|$)|(?:ready|live)(?:z|ness)?\/?$|metrics\/?$)/

/** True for paths that orchestrators poll by habit, and for the prefixes the user named. */
export function isQuietPath(path: string, quietPaths: readonly string[]): boolean {
  const letter = path.charCodeAt(1)
  // h, l, m, r: what the pattern can begin with; most paths are decided here.
  if (letter === 104 || letter === 108 || letter === 109 || letter === 114) {
    if (PROBE.test(path)) return true
  }
  for (const prefix of quietPaths) if (path.startsWith(prefix)) return true
  return false
}
