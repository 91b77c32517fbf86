/**
 * The text of an application's prom-client registries, brought into the format of the scrape.
 * Families that bear a name of ours or of an earlier registry are left out, since a scrape with two
 * families of one name is refused as a whole.
 */
import { type Format, numberText, type Writer } from './exposition.js'

type ForeignFamily = {
  /** As OpenMetrics names it: a counter without `_total`. */
  name: string
  type: string
  /** Escaped as in the source. */
  help: string
  unit: string
  readonly lines: string[]
}

const SUFFIXES = ['_total', '_bucket', '_sum', '_count', '_created', '_info', '_gsum', '_gcount']

/** Parses an exposition in slices. Lines that are no samples are left out. */
export async function readForeign(
  writer: Writer,
  text: string,
): Promise<ReadonlyMap<string, ForeignFamily>> {
  const families = new Map<string, ForeignFamily>()
  let current: ForeignFamily | undefined
  let shown = ''
  const family = (name: string): ForeignFamily => {
    let found = families.get(name)
    if (found === undefined) {
      found = { name, type: 'unknown', help: '', unit: '', lines: [] }
      families.set(name, found)
    }
    return found
  }
  for (let from = 0; from < text.length; ) {
    let to = text.indexOf('\n', from)
    if (to === -1) to = text.length
    const line = text.slice(from, to)
    from = to + 1
    if (line.startsWith('#')) {
      const meta = /^# (HELP|TYPE|UNIT) ([a-zA-Z_:][\w:]*)(?: (.*))?$/.exec(line)
      if (meta === null) continue
      const [, kind, name = '', rest = ''] = meta
      if (name !== shown || current === undefined) {
        shown = name
        current = family(name)
      }
      if (kind === 'HELP') current.help = rest
      else if (kind === 'UNIT') current.unit = rest
      else current.type = rest === 'untyped' ? 'unknown' : rest
    } else if (line !== '') {
      const name = /^[a-zA-Z_:][\w:]*/.exec(line)?.[0]
      if (name === undefined) continue
      if (current === undefined || !belongs(name, shown)) {
        shown = name
        current = family(name)
      }
      // prom-client 15 writes Nan, which OpenMetrics does not know.
      current.lines.push(line.endsWith(' Nan') ? `${line.slice(0, -4)} NaN` : line)
    }
    if (writer.isDue()) await writer.pause()
  }
  for (const one of families.values()) {
    if (one.type === 'counter' && one.name.endsWith('_total')) {
      one.name = one.name.slice(0, -'_total'.length)
    }
  }
  return families
}

function belongs(sample: string, family: string): boolean {
  return (
    sample === family ||
    (sample.startsWith(family) && SUFFIXES.includes(sample.slice(family.length)))
  )
}

/** Every name that a family would put into a scrape. */
export function foreignNames(family: ForeignFamily): string[] {
  const { name, type } = family
  if (type === 'counter') return [name, `${name}_total`]
  if (type === 'histogram') return [name, `${name}_bucket`, `${name}_sum`, `${name}_count`]
  if (type === 'summary') return [name, `${name}_sum`, `${name}_count`]
  return [name]
}

/** Writes a family read from `source` in the writer's format. */
export async function writeForeign(
  writer: Writer,
  family: ForeignFamily,
  source: Format,
): Promise<void> {
  const { format } = writer
  if (family.lines.length === 0) return
  const { name, help } = family
  const type = format === 'text' ? textType(family.type) : family.type
  const shown =
    format === 'openmetrics'
      ? name
      : family.type === 'counter'
        ? `${name}_total`
        : family.type === 'info'
          ? `${name}_info`
          : name
  if (help !== '') writer.add(`# HELP ${shown} ${convertHelp(help, source, format)}\n`)
  writer.add(`# TYPE ${shown} ${type}\n`)
  if (format === 'openmetrics' && family.unit !== '') writer.add(`# UNIT ${shown} ${family.unit}\n`)
  const verbatim = source === format && !(format === 'text' && family.type === 'counter')
  for (const line of family.lines) {
    const converted = verbatim ? line : convertSample(line, family, source, format)
    if (converted !== '') writer.add(`${converted}\n`)
    if (writer.isDue()) await writer.pause()
  }
}

function textType(type: string): string {
  if (type === 'info' || type === 'stateset') return 'gauge'
  return ['counter', 'gauge', 'histogram', 'summary'].includes(type) ? type : 'untyped'
}

function convertHelp(help: string, source: Format, format: Format): string {
  if (source === format) return help
  return format === 'openmetrics' ? help.replaceAll('"', '\\"') : help.replaceAll('\\"', '"')
}

function convertSample(
  line: string,
  family: ForeignFamily,
  source: Format,
  format: Format,
): string {
  const nameEnd = /^[a-zA-Z_:][\w:]*/.exec(line)?.[0].length ?? 0
  let name = line.slice(0, nameEnd)
  if (name.endsWith('_created') && name !== family.name) return ''
  if (family.type === 'counter') name = `${family.name}_total`
  const labelsEnd = line[nameEnd] === '{' ? endOfLabels(line, nameEnd + 1) : nameEnd
  const labels = line.slice(nameEnd, labelsEnd)
  const rest = line.slice(labelsEnd).trim()
  const exemplarAt = rest.indexOf(' # ')
  const [value = '', stamp] = (exemplarAt === -1 ? rest : rest.slice(0, exemplarAt)).split(/\s+/)
  const time = stamp === undefined ? '' : ` ${convertTime(stamp, source, format)}`
  return `${name}${labels} ${value}${time}`
}

// Prometheus text counts milliseconds, OpenMetrics seconds.
function convertTime(stamp: string, source: Format, format: Format): string {
  if (source === format) return stamp
  return numberText(
    format === 'text' ? Math.round(Number(stamp) * 1000) : Math.round(Number(stamp)) / 1000,
  )
}

function endOfLabels(line: string, from: number): number {
  let quoted = false
  for (let i = from; i < line.length; i++) {
    const char = line[i]
    if (quoted && char === '\\') i++
    else if (char === '"') quoted = !quoted
    else if (char === '}' && !quoted) return i + 1
  }
  return line.length
}
