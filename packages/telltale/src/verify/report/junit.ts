/** JUnit XML: one suite per group, one case per check. */
import type { Report, ReportedCheck } from './report.js'
import { detailOf } from './text.js'

export function renderJunit(report: Report): string {
  const { summary, durationMs, startedAt } = report
  const suites = (['recipe', 'beyond'] as const).map((group) => {
    const checks = report.checks.filter((check) => check.group === group)
    const number = (...statuses: string[]): number =>
      checks.filter(({ status }) => statuses.includes(status)).length
    return [
      `  <testsuite name="${group}" tests="${checks.length}" failures="${number('fail')}" errors="${number('error')}" skipped="${number('skip', 'unproven')}" timestamp="${startedAt}">`,
      ...checks.map(renderCase),
      '  </testsuite>',
    ].join('\n')
  })
  return `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="telltale verify" tests="${summary.total}" failures="${summary.fail}" errors="${summary.error}" skipped="${summary.skip + summary.unproven}" time="${(durationMs / 1000).toFixed(3)}">
${suites.join('\n')}
</testsuites>
`
}

function renderCase(check: ReportedCheck): string {
  const head = `    <testcase classname="telltale.${check.group}" name="${xml(`${check.id}: ${check.title}`)}"`
  const body = xml(detailOf(check))
  if (check.status === 'pass') return `${head}/>`
  if (check.status === 'fail') {
    return `${head}>\n      <failure message="${xml(check.got ?? '')}">${body}</failure>\n    </testcase>`
  }
  if (check.status === 'error')
    return `${head}>\n      <error message="error">${body}</error>\n    </testcase>`
  return `${head}>\n      <skipped message="${xml(`${check.status}: ${check.detail ?? ''}`)}"/>\n    </testcase>`
}

/** Escapes for text and attributes; characters that XML 1.0 cannot hold become U+FFFD. */
export function xml(text: string): string {
  return text
    .toWellFormed()
    .replace(/[^\P{Cc}\t\n\r]|[\ufffe\uffff]/gu, '\ufffd')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll('\n', '&#10;')
    .replaceAll('\r', '&#13;')
    .replaceAll('\t', '&#9;')
}
