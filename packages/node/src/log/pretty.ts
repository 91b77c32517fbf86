/** Lines for people: one record readable at a glance, coloured where the terminal shows colours. */
import { RESERVED } from '../fields.js'
import { LEVELS } from './level.js'

type Json = Readonly<Record<string, unknown>>

const COLOURS: Readonly<Record<string, string>> = {
  trace: '90',
  debug: '36',
  info: '32',
  warn: '33',
  error: '31',
  fatal: '41;97',
}
const HEAD = new Set<string>([...RESERVED, 'logger', 'error'])

/** An object with a longer text gets lines of its own. */
const INLINE_CHARS = 60

/** True when the environment wants colours (no-color.org, force-color.org), else when a terminal shows. */
export function wantsColour(
  env: Readonly<Record<string, string | undefined>>,
  isTerminal: boolean,
): boolean {
  if (env.NO_COLOR !== undefined && env.NO_COLOR !== '') return false
  if (env.FORCE_COLOR !== undefined) return env.FORCE_COLOR !== '0' && env.FORCE_COLOR !== 'false'
  return isTerminal && env.TERM !== 'dumb'
}

/** Makes the function that turns a JSON line of the `telltale` preset into text for a terminal. */
export function createPretty(hasColour: boolean): (line: string) => string {
  const paint = (code: string, text: string): string =>
    hasColour ? `\u001b[${code}m${text}\u001b[0m` : text
  const dim = (text: string): string => paint('90', text)

  function errorText(error: Json, indent: string, depth: number): string {
    const stack = typeof error.stack === 'string' ? error.stack : ''
    const title = `${error.type ?? 'Error'}: ${error.message ?? ''}`
    const first = stack === '' || !stack.includes('\n') ? title : stack
    let text = ''
    for (const [at, row] of first.split('\n').entries()) {
      const clean = printable(row.trim())
      text += `${indent}${at === 0 ? paint('31', clean) : dim(`  ${clean}`)}\n`
    }
    if (error.code !== undefined)
      text += `${indent}${dim('code')} ${printable(String(error.code))}\n`
    if (depth < 6) {
      if (isJson(error.cause))
        text += `${indent}${dim('caused by')}\n${errorText(error.cause, `${indent}  `, depth + 1)}`
      if (Array.isArray(error.errors))
        for (const inner of error.errors)
          if (isJson(inner)) text += errorText(inner, `${indent}  `, depth + 1)
    }
    return text
  }

  /** An object too long for the line: a row for each of its entries. */
  function block(name: string, value: Json): string {
    const width = Math.max(...Object.keys(value).map((key) => key.length))
    let text = `    ${dim(printable(name))}\n`
    for (const [key, entry] of Object.entries(value)) {
      const shown = typeof entry === 'string' ? printable(entry) : valueText(entry)
      text += `      ${dim(printable(key.padEnd(width)))}  ${shown}\n`
    }
    return text
  }

  return (line) => {
    let json: Json
    try {
      json = JSON.parse(line)
    } catch {
      return line
    }
    const level = String(json.level)
    const time = String(json.timestamp).slice(11, 23)
    const known = level in LEVELS
    let text = `${dim(time)} ${paint(known ? (COLOURS[level] ?? '0') : '0', level.toUpperCase().padEnd(5))} `
    if (typeof json.logger === 'string') text += dim(`[${printable(json.logger)}] `)
    text += paint('1', printable(String(json.event)))
    let blocks = ''
    for (const name of Object.keys(json)) {
      if (HEAD.has(name)) continue
      const value = json[name]
      if (isJson(value) && JSON.stringify(value).length > INLINE_CHARS) {
        blocks += block(name, value)
        continue
      }
      text += ` ${dim(`${printable(name)}=`)}${valueText(value)}`
    }
    if (typeof json.request_id === 'string')
      text += dim(` ${printable(json.request_id).slice(0, 8)}`)
    text += `\n${blocks}`
    if (isJson(json.error)) text += errorText(json.error, '    ', 0)
    return text
  }
}

function isJson(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function valueText(value: unknown): string {
  if (typeof value !== 'string') return printable(JSON.stringify(value))
  return /^[^\s"=]+$/.test(value) ? printable(value) : printable(JSON.stringify(value))
}

/** Control characters of untrusted text move a terminal's cursor, colours and title: shown as escapes. */
function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is neutralised
  const control = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g
  return text.replace(control, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}
