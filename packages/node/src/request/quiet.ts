/** Requests whose success is not worth a line: probes and scrapes, whoever serves them. */

const PROBE = /^\/(?:health(?:z|[-_]?check)?(?:\/|$)|(?:ready|live)(?:z|ness)?\/?$|metrics\/?$)/

/** True for the paths that orchestrators and scrapers poll by habit. */
export function isProbePath(path: string): boolean {
  const letter = path.charCodeAt(1)
  // h, l, m, r: what the pattern can begin with; most paths are decided here.
  return (letter === 104 || letter === 108 || letter === 109 || letter === 114) && PROBE.test(path)
}

/** True when `path` begins with one of the prefixes. */
export function hasPrefix(path: string, prefixes: readonly string[]): boolean {
  for (const prefix of prefixes) if (path.startsWith(prefix)) return true
  return false
}
