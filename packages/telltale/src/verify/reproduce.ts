/** Command lines that show a failure again: the start of the service as verify did it, and requests. */
import { isPlanted } from './canaries.js'
import type { Evidence } from './evidence.js'
import type { Exchange } from './http.js'
import type { VerifyOptions } from './options.js'
import { TOKEN_VARIABLE } from './verify-routes.js'

/** How late a line may come after what was asked meanwhile has its answer. */
const LATE_MS = 50
/** A longer body is made by the command instead of being written into it. */
const MAX_BODY = 1500

/** A word of a POSIX shell. */
export function quote(text: string): string {
  return /^[\w./:=%+,@-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}

/** The service's command, for a shell. */
export function commandLine({ command }: VerifyOptions): string {
  return typeof command === 'string' ? command : command.map(quote).join(' ')
}

/** As `commandLine`, for what runs another program: `env`, `nohup`. */
export function programLine(options: VerifyOptions): string {
  const { command } = options
  return typeof command === 'string' ? `sh -c ${quote(command)}` : commandLine(options)
}

/** Starts the service on the run's port with the run's token, and leaves its pid in PID. */
export function startLine(options: VerifyOptions, base: string, token: string): string {
  const { port } = new URL(base)
  const variables = ['NODE_ENV=production', `PORT=${port}`, `${TOKEN_VARIABLE}=${token}`]
  for (const [name, value] of Object.entries(options.env)) variables.push(`${name}=${quote(value)}`)
  return `env ${variables.join(' ')} ${programLine(options)} & PID=$!`
}

/** The whole verification again, for one check: for what no single request shows. */
export function rerunLine(options: VerifyOptions, id: string): string {
  const service = options.url === undefined ? ` -- ${commandLine(options)}` : ''
  return `npx telltale verify ${[...options.given, '--only', id].map(quote).join(' ')}${service}`
}

/**
 * A command line that sends the same request again. Planted secrets are left out of its headers,
 * unless they are what it is about; they are made up.
 */
export function curlOf(base: string, exchange: Exchange, isAboutSecrets = false): string {
  const parts = ['curl -i']
  if (exchange.method === 'HEAD') parts[0] = 'curl -I'
  else if (exchange.method !== 'GET') parts.push(`-X ${exchange.method}`)
  for (const [name, value] of Object.entries(exchange.sent)) {
    if (!/^content-length$/i.test(name) && (isAboutSecrets || !isPlanted(value)))
      parts.push(`-H ${quote(`${name}: ${value}`)}`)
  }
  const { sentBody, sentBytes } = exchange
  let lead = ''
  if (sentBytes > MAX_BODY) {
    lead = `printf '{"text":"%0${sentBytes}d"}' 0 | `
    parts.push('--data-binary @-')
  } else if (/[\r\n]/.test(sentBody)) {
    lead = `printf ${printfText(sentBody)} | `
    parts.push('--data-binary @-')
  } else if (sentBody !== '') parts.push(`--data-binary ${quote(sentBody)}`)
  parts.push(quote(base + exchange.path))
  return lead + parts.join(' ')
}

/** A header for curl, whatever its value: bytes that a terminal cannot show are made by printf. */
export function headerOf(name: string, value: string): string {
  // curl's own word for a header without a value.
  if (value === '') return `-H '${name};'`
  if (value.length > 1000) return `-H "${name}: $(printf %0${value.length}d 0)"`
  if (/^[ -~]*$/.test(value)) return `-H ${quote(`${name}: ${value}`)}`
  return `-H "$(printf ${printfText(`${name}: ${value}`)})"`
}

/** A format of printf, quoted; characters stand for bytes (latin1). */
function printfText(text: string): string {
  const escaped = text.replace(/[\\%]/g, '$&$&').replace(/[^ -~]/g, (one) => {
    return `\\${one.charCodeAt(0).toString(8).padStart(3, '0')}`
  })
  return `'${escaped.replaceAll("'", "'\\''")}'`
}

/** The request during which the service wrote a line; undefined when several different ones ran. */
export function requestDuring(
  { exchanges }: Pick<Evidence, 'exchanges'>,
  lines: readonly { readonly at: number }[],
): Exchange | undefined {
  // First with room for lines that come late; requests that follow each other at once leave none.
  for (const late of [LATE_MS, 0]) {
    for (const { at } of lines) {
      const running = exchanges.filter((one) => one.at <= at && at <= one.at + one.ms + late)
      const [first] = running
      // A request written by hand is no request of curl's.
      if (first === undefined || running.some(({ purpose }) => purpose === 'inbound')) continue
      const isOne = running.every((one) => one.method === first.method && one.path === first.path)
      if (isOne) return first
    }
  }
  return undefined
}
