/** TAP version 14. */
import type { Report } from './report.js'
import { detailOf } from './text.js'

export function renderTap(report: Report): string {
  const lines = ['TAP version 14', `1..${report.checks.length}`]
  for (const [index, check] of report.checks.entries()) {
    const isOk = check.status !== 'fail' && check.status !== 'error'
    const name = oneLine(`${check.id}: ${check.title}`)
    const directive =
      check.status === 'skip' || check.status === 'unproven'
        ? ` # SKIP ${oneLine(`${check.status}: ${check.detail ?? ''}`)}`
        : ''
    lines.push(`${isOk ? 'ok' : 'not ok'} ${index + 1} - ${name}${directive}`)
    if (isOk) continue
    lines.push('  ---', `  message: ${JSON.stringify(detailOf(check).toWellFormed())}`, '  ...')
  }
  return `${lines.join('\n')}\n`
}

/** One line, without what TAP would read as a directive. */
function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').replace(/[\\#]/g, '\\$&')
}
