/**
 * SARIF 2.1.0: a result for each failure whose place in the source is known. Without a place GitHub's
 * code scanning refuses the document.
 */
import { relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Place } from '../checks/check.js'
import type { Report } from './report.js'
import { detailOf } from './text.js'

export function renderSarif(report: Report): string {
  const { cwd } = report.service
  const placed = report.checks.flatMap((check) =>
    (check.status === 'fail' || check.status === 'error') && check.cause !== undefined
      ? [{ check, cause: check.cause }]
      : [],
  )
  const document = {
    $schema: 'https://json.schemastore.org/sarif-2.1.0.json',
    version: '2.1.0',
    runs: [
      {
        tool: {
          driver: {
            name: report.tool.name,
            version: report.tool.version,
            rules: report.checks.map(({ id, title, criterion }) => ({
              id,
              shortDescription: { text: title },
              fullDescription: { text: criterion },
            })),
          },
        },
        originalUriBaseIds: { PROJECT: { uri: `${pathToFileURL(cwd)}/` } },
        results: placed.map(({ check, cause }) => ({
          ruleId: check.id,
          level: 'error',
          message: { text: detailOf(check) },
          locations: [locationOf(cause, cwd)],
        })),
      },
    ],
  }
  return `${JSON.stringify(document, undefined, 2)}\n`
}

function locationOf(cause: Place, cwd: string): object {
  return {
    physicalLocation: {
      artifactLocation: { uri: encodeURI(relative(cwd, cause.file)), uriBaseId: 'PROJECT' },
      region: { startLine: cause.line },
    },
  }
}
