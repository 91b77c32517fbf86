/** Common Test Report Format, https://ctrf.io. */
import type { Status } from '../checks/check.js'
import type { Report } from './report.js'
import { detailOf } from './text.js'

const STATUS: Readonly<Record<Status, string>> = {
  pass: 'passed',
  fail: 'failed',
  error: 'failed',
  skip: 'skipped',
  unproven: 'pending',
}

export function renderCtrf(report: Report): string {
  const start = Date.parse(report.startedAt)
  const { pass, fail, error, skip, unproven, total } = report.summary
  const document = {
    reportFormat: 'CTRF',
    specVersion: '0.0.0',
    results: {
      tool: { name: report.tool.name, version: report.tool.version },
      summary: {
        tests: total,
        passed: pass,
        failed: fail + error,
        skipped: skip,
        pending: unproven,
        other: 0,
        start,
        stop: start + report.durationMs,
      },
      tests: report.checks.map((check) => ({
        name: `${check.id}: ${check.title}`,
        status: STATUS[check.status],
        rawStatus: check.status,
        duration: 0,
        suite: [check.group],
        ...(check.status === 'fail' && { message: check.got, trace: detailOf(check) }),
        ...(check.detail !== undefined && check.status !== 'pass' && { message: check.detail }),
        ...(check.cause !== undefined && { filePath: check.cause.file, line: check.cause.line }),
      })),
    },
  }
  return `${JSON.stringify(document, undefined, 2)}\n`
}
