/** The report for people: one line per check, and all there is to know about what failed. */
import { printable, type Terminal } from '../../terminal.js'
import type { Status } from '../checks/check.js'
import { placeText } from '../checks/logs.js'
import type { Report, ReportedCheck } from './report.js'

const SIGNS: Readonly<Record<Status, string>> = {
  pass: '✔',
  fail: '✘',
  skip: '–',
  unproven: '?',
  error: '!',
}

export function renderPeople(report: Report, terminal: Terminal): string {
  const { bold, dim } = terminal
  const lines: string[] = ['']
  const { command, url, kit } = report.service
  lines.push(
    `  ${bold(command || url)} ${dim(`at ${url}${kit === undefined ? '' : `, ${kit}`}`)}`,
    '',
  )
  for (const group of ['recipe', 'beyond'] as const) {
    const checks = report.checks.filter((check) => check.group === group)
    if (checks.length === 0) continue
    lines.push(`  ${bold(group === 'recipe' ? 'The recipe' : 'Beyond')}`)
    for (const check of checks) lines.push(...renderCheck(check, report, terminal))
    lines.push('')
  }
  const { start } = report.service
  if (start !== undefined && report.checks.some(({ status }) => status === 'fail')) {
    lines.push(
      dim(
        '  To see a failure again: start the service as verify did, then run its reproduce line.',
      ),
    )
    lines.push(`    ${printable(start)}`, '')
  }
  lines.push(`  ${verdict(report, terminal)}`, '')
  return lines.join('\n')
}

function renderCheck(check: ReportedCheck, report: Report, terminal: Terminal): string[] {
  const { dim, width } = terminal
  const sign = colourOf(check.status, terminal)(SIGNS[check.status])
  const head = `  ${sign} ${check.title}`
  const id = check.status === 'pass' ? '' : `  ${dim(check.id)}`
  if (check.status !== 'fail') {
    const detail = printable(check.detail ?? '')
    if (detail === '') return [head + id]
    const room = width - check.title.length - 7
    if (check.status === 'pass') {
      return [room < 20 ? head : `${head}  ${dim(cut(detail, room))}`]
    }
    return [head + id, ...wrap(detail, width - 6).map((line) => `      ${dim(line)}`)]
  }
  const lines = [head + id]
  const add = (
    name: string,
    text: string,
    paint: (text: string) => string = (same) => same,
  ): void => {
    const [first = '', ...rest] = wrap(printable(text), width - 18)
    lines.push(`      ${dim(name.padEnd(10))}${paint(first)}`)
    for (const line of rest) lines.push(`${' '.repeat(16)}${paint(line)}`)
  }
  if (check.expected !== undefined) add('expected', check.expected)
  if (check.got !== undefined) add('got', check.got, terminal.red)
  for (const [index, text] of (check.evidence ?? []).entries()) {
    add(index === 0 ? 'evidence' : '', text)
  }
  if (check.cause !== undefined) add('cause', placeText(report.service.cwd, check.cause))
  if (check.fix !== undefined) add('fix', check.fix.text, terminal.green)
  // Not wrapped: it is there to be copied.
  if (check.reproduce !== undefined) {
    lines.push(`      ${dim('reproduce'.padEnd(10))}${printable(check.reproduce)}`)
  }
  return [...lines, '']
}

function verdict(report: Report, { bold, dim, green, red, yellow }: Terminal): string {
  const { pass, fail, skip, unproven, error } = report.summary
  const parts = [
    `${pass} passed`,
    ...(fail > 0 ? [`${fail} failed`] : []),
    ...(error > 0 ? [`${error} could not be judged`] : []),
    ...(unproven > 0 ? [`${unproven} unproven`] : []),
    ...(skip > 0 ? [`${skip} skipped`] : []),
  ]
  const paint = fail + error > 0 ? red : unproven > 0 ? yellow : green
  return `${bold(paint(parts.join(', ')))} ${dim(`in ${(report.durationMs / 1000).toFixed(1)} s`)}`
}

function colourOf(status: Status, { green, red, yellow, dim }: Terminal): (text: string) => string {
  if (status === 'pass') return green
  if (status === 'fail' || status === 'error') return red
  return status === 'unproven' ? yellow : dim
}

function cut(text: string, room: number): string {
  return text.length > room ? `${text.slice(0, room - 1)}…` : text
}

function wrap(text: string, width: number): string[] {
  return text.split('\n').flatMap((line) => {
    const lines: string[] = []
    let rest = line
    while (rest.length > width) {
      const space = rest.lastIndexOf(' ', width)
      const at = space > width / 2 ? space : width
      lines.push(rest.slice(0, at))
      rest = rest.slice(at).trimStart()
    }
    return [...lines, rest]
  })
}
