/**
 * The written form: Prometheus text 0.0.4 and OpenMetrics 1.0.0, chosen by Accept, written in slices
 * that give way to the event loop about every millisecond.
 *
 * Bounds are written in OpenMetrics' canonical form (`le="1.0"`) in both formats, so that the series
 * are the same whichever a scraper asks for.
 *
 * Formats: https://prometheus.io/docs/instrumenting/exposition_formats/ and
 * https://github.com/OpenObservability/OpenMetrics (specification 1.0).
 */
import { type Exemplar, type Family, HistogramRow, type Row } from './registry.js'

export type Format = 'text' | 'openmetrics'

export const CONTENT_TYPES: Readonly<Record<Format, string>> = {
  text: 'text/plain; version=0.0.4; charset=utf-8',
  openmetrics: 'application/openmetrics-text; version=1.0.0; charset=utf-8',
}

/**
 * Chooses the format for an Accept header. OpenMetrics only when it is named, in version 1.0.0 or
 * none, and not less wanted than text; everything else, also what we cannot make, gets text.
 */
export function chooseFormat(accept: string | undefined): Format {
  let text = 0
  let openmetrics = 0
  for (const range of parseHeader(accept)) {
    if (range.value === 'application/openmetrics-text') {
      const version = range.parameters.get('version') ?? '1.0.0'
      if (version === '1.0.0') openmetrics = Math.max(openmetrics, range.q)
    } else if (range.value === 'text/plain' || range.value === 'text/*' || range.value === '*/*') {
      text = Math.max(text, range.q)
    }
  }
  return openmetrics > 0 && openmetrics >= text ? 'openmetrics' : 'text'
}

/** True when Accept-Encoding names gzip with a weight above 0; a bare `*` does not count. */
export function acceptsGzip(acceptEncoding: string | undefined): boolean {
  return parseHeader(acceptEncoding).some(
    (coding) => (coding.value === 'gzip' || coding.value === 'x-gzip') && coding.q > 0,
  )
}

type Weighted = {
  readonly value: string
  readonly q: number
  readonly parameters: ReadonlyMap<string, string>
}

/** Items of a list header with their weights (RFC 9110, 12.4.2); hostile lengths are cut. */
function parseHeader(header: string | undefined): Weighted[] {
  if (header === undefined) return []
  return header
    .slice(0, 2048)
    .split(',', 32)
    .map((item) => {
      const [value = '', ...rest] = item.split(';', 8).map((part) => part.trim().toLowerCase())
      const parameters = new Map<string, string>()
      for (const part of rest) {
        const at = part.indexOf('=')
        if (at > 0) parameters.set(part.slice(0, at).trim(), unquote(part.slice(at + 1).trim()))
      }
      const q = Number(parameters.get('q') ?? 1)
      return { value, q: q >= 0 && q <= 1 ? q : 0, parameters }
    })
}

function unquote(text: string): string {
  return text.replace(/^"(.*)"$/, '$1')
}

/** How long scrapes work before they give way to the event loop. */
export const SLICE_MS = 1
const ROWS_PER_LOOK = 8
const CHUNK_CHARACTERS = 16_384

/** One turn of the event loop: other work runs. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/** Collects text into buffers and gives way to the event loop when its slice is over. */
export class Writer {
  readonly format: Format
  readonly chunks: Buffer[] = []
  bytes = 0
  private text = ''
  private sliceStart = performance.now()
  private untilLook = ROWS_PER_LOOK

  constructor(format: Format) {
    this.format = format
  }

  add(text: string): void {
    this.text += text
  }

  /** Takes over a piece that is encoded already. */
  append(chunk: Buffer): void {
    this.encode()
    this.chunks.push(chunk)
    this.bytes += chunk.length
  }

  /**
   * True when it is time to `pause()`. Cheap: reads the clock once in some rows. Text is encoded on
   * the way, within the slice: joining strings costs next to nothing until they are encoded.
   */
  isDue(): boolean {
    if (--this.untilLook > 0) return false
    this.untilLook = ROWS_PER_LOOK
    if (this.text.length >= CHUNK_CHARACTERS) this.encode()
    return performance.now() - this.sliceStart >= SLICE_MS
  }

  /** Lets other work run. */
  async pause(): Promise<void> {
    await turn()
    this.sliceStart = performance.now()
  }

  /** Ends the text; the chunks are complete. */
  end(): void {
    if (this.format === 'openmetrics') this.add('# EOF\n')
    this.encode()
  }

  /** Encodes what was added. */
  encode(): void {
    if (this.text === '') return
    const chunk = Buffer.from(this.text)
    this.text = ''
    this.chunks.push(chunk)
    this.bytes += chunk.length
  }
}

/** A row as it is written: the value, or a histogram's count of each bucket and its sum. */
export type SampleRow = {
  readonly labels: string
  readonly cells: ArrayLike<number>
  readonly exemplars: readonly (Exemplar | undefined)[] | undefined
}

/** Writes rows of a family that are not this process's alone. */
export async function writeRows(
  writer: Writer,
  family: Pick<Family, 'name' | 'type' | 'help'> & { readonly bounds: ArrayLike<number> },
  rows: ReadonlyMap<string, Omit<SampleRow, 'labels'>>,
): Promise<void> {
  if (rows.size === 0) return
  const { name, type } = family
  writer.add(header(writer.format, name, type, family.help))
  const bounds = type === 'histogram' ? boundTexts(family.bounds) : []
  const sampleName = type === 'counter' ? `${name}_total` : name
  for (const [labels, { cells, exemplars }] of rows) {
    writer.add(
      type === 'histogram'
        ? histogramText(name, bounds, { labels, cells, at: 0, exemplars }, writer.format)
        : sample(sampleName, labels, cells[0] as number),
    )
    if (writer.isDue()) await writer.pause()
  }
}

/** Writes the rows of an instrument; each row is taken in one piece, so its counts agree. */
export async function writeFamily(writer: Writer, family: Family): Promise<void> {
  // Rows are only ever appended: the ones there at the start are those of this scrape.
  const count = family.rows.length
  if (count === 0) return
  writer.add(header(writer.format, family.name, family.type, family.help))
  const bounds = family.type === 'histogram' ? boundTexts(family.bounds) : []
  for (let i = 0; i < count; i++) {
    const row = family.rows[i] as Row
    if (row instanceof HistogramRow) {
      writer.add(histogramText(family.name, bounds, row, writer.format))
    } else writer.add(sample(family.sampleName, row.labels, row.value))
    if (writer.isDue()) await writer.pause()
  }
}

/** Writes what the readers of a collected family reported. */
export async function writeCollected(
  writer: Writer,
  family: Family,
  values: ReadonlyMap<string, number>,
): Promise<void> {
  if (values.size === 0) return
  writer.add(header(writer.format, family.name, family.type, family.help))
  for (const [labels, value] of values) {
    writer.add(sample(family.sampleName, labels, value))
    if (writer.isDue()) await writer.pause()
  }
}

/** HELP and TYPE. `name` is the family's, without `_total`; text format names the counter's sample. */
export function header(format: Format, name: string, type: string, help: string): string {
  const shown = format === 'text' && type === 'counter' ? `${name}_total` : name
  return `# HELP ${shown} ${escapeHelp(help, format)}\n# TYPE ${shown} ${type}\n`
}

function escapeHelp(help: string, format: Format): string {
  const escaped = help
    .replaceAll('\\', '\\\\')
    .replaceAll('\n', '\\n')
    // biome-ignore lint/suspicious/noControlCharactersInRegex: parsers of the format stop at them
    .replace(/[\u0000-\u001f\u007f\ud800-\udfff]/gu, ' ')
  return format === 'openmetrics' ? escaped.replaceAll('"', '\\"') : escaped
}

function sample(name: string, labels: string, value: number): string {
  return labels === ''
    ? `${name} ${numberText(value)}\n`
    : `${name}{${labels}} ${numberText(value)}\n`
}

/** A number as both formats read it. */
export function numberText(value: number): string {
  if (Number.isFinite(value)) return String(value)
  return Number.isNaN(value) ? 'NaN' : value > 0 ? '+Inf' : '-Inf'
}

function boundTexts(bounds: ArrayLike<number>): string[] {
  const texts = Array.from(bounds, (bound) => {
    const text = String(bound)
    return `le="${/^\d+$/.test(text) ? `${text}.0` : text}"} `
  })
  texts.push('le="+Inf"} ')
  return texts
}

function histogramText(
  name: string,
  bounds: readonly string[],
  row: SampleRow & { readonly at: number },
  format: Format,
): string {
  const { cells, at, labels } = row
  const exemplars = format === 'openmetrics' ? row.exemplars : undefined
  const prefix = labels === '' ? `${name}_bucket{` : `${name}_bucket{${labels},`
  let text = ''
  let count = 0
  for (let i = 0; i < bounds.length; i++) {
    count += cells[at + i] as number
    text += prefix + bounds[i] + count
    const exemplar = exemplars?.[i]
    text += exemplar === undefined ? '\n' : exemplarText(exemplar)
  }
  const tail = labels === '' ? ' ' : `{${labels}} `
  const sum = numberText(cells[at + bounds.length] as number)
  return `${text}${name}_sum${tail}${sum}\n${name}_count${tail}${count}\n`
}

// At most 128 characters of label names and values (OpenMetrics): these are 63.
function exemplarText(exemplar: Exemplar): string {
  return ` # {trace_id="${exemplar.traceId}",span_id="${exemplar.spanId}"} ${exemplar.value} ${(exemplar.ms / 1000).toFixed(3)}\n`
}
