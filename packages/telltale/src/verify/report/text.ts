/** All that is known of a check, as plain lines. */
import type { ReportedCheck } from './report.js'

export function detailOf(check: ReportedCheck): string {
  const { detail, expected, got, evidence, cause, fix, reproduce } = check
  return [
    detail,
    expected === undefined ? undefined : `expected: ${expected}`,
    got === undefined ? undefined : `got: ${got}`,
    ...(evidence ?? []).map((text) => `evidence: ${text}`),
    cause === undefined ? undefined : `cause: ${cause.file}:${cause.line}`,
    fix === undefined ? undefined : `fix: ${fix.text}`,
    reproduce === undefined ? undefined : `reproduce: ${reproduce}`,
  ]
    .filter((line) => line !== undefined)
    .join('\n')
}
