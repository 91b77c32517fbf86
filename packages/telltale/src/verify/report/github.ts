/** Annotations of GitHub Actions: workflow commands on standard output. */
import { relative } from 'node:path'
import type { Report } from './report.js'
import { detailOf } from './text.js'

export function renderGithub(report: Report): string {
  return report.checks
    .filter(({ status }) => status === 'fail' || status === 'error')
    .map((check) => {
      const { cause } = check
      const place =
        cause === undefined
          ? ''
          : `file=${property(relative(process.env.GITHUB_WORKSPACE ?? report.service.cwd, cause.file))},line=${cause.line},`
      return `::error ${place}title=${property(`${check.id}: ${check.title}`)}::${data(detailOf(check))}\n`
    })
    .join('')
}

const data = (text: string): string =>
  text.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A')

const property = (text: string): string => data(text).replaceAll(':', '%3A').replaceAll(',', '%2C')
