/** SARIF 2.1.0: a result for each failure, with a location when its place in the source is known. */

import { relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Place } from '../checks/check.js'
import type { Report } from './report.js'
import { detailOf } from './text.js'

export function renderSarif(report: Report): string {
  const { cwd } = report.service
  const failed = report.checks.filter(({ status }) => status === 'fail' || status === 'error')
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
        results: failed.map((check) => ({
          ruleId: check.id,
          level: 'error',
          message: { text: detailOf(check) },
          locations: check.cause === undefined ? [] : [locationOf(check.cause, cwd)],
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
