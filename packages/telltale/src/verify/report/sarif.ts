/** SARIF 2.1.0, for failures whose place in the source is known. */

import { relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Report } from './report.js'
import { detailOf } from './text.js'

export function renderSarif(report: Report): string {
  const { cwd } = report.service
  const placed = report.checks.filter(
    ({ status, cause }) => status === 'fail' && cause !== undefined,
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
        results: placed.map((check) => ({
          ruleId: check.id,
          level: 'error',
          message: { text: detailOf(check) },
          locations: [
            {
              physicalLocation: {
                artifactLocation: {
                  uri: encodeURI(relative(cwd, check.cause?.file ?? '')),
                  uriBaseId: 'PROJECT',
                },
                region: { startLine: check.cause?.line ?? 1 },
              },
            },
          ],
        })),
      },
    ],
  }
  return `${JSON.stringify(document, undefined, 2)}\n`
}
