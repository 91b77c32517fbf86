/** `--save DIR`: everything captured, as it came, and the HTML report. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Evidence } from '../evidence.js'
import { renderHtml } from './html.js'
import type { Report, Timeline } from './report.js'

export function saveRun(
  folder: string,
  report: Report,
  timeline: Timeline,
  { capture, tracker, exchanges, metrics, crashes }: Evidence,
): void {
  mkdirSync(folder, { recursive: true })
  const write = (name: string, text: string): void => writeFileSync(join(folder, name), text)
  const jsonLines = (values: readonly unknown[]): string =>
    values.map((value) => `${JSON.stringify(value)}\n`).join('')
  write('report.html', renderHtml(report, timeline))
  write('report.json', `${JSON.stringify(report, undefined, 2)}\n`)
  for (const stream of ['stdout', 'stderr'] as const) {
    const own = capture.lines.filter((line) => line.stream === stream)
    write(`${stream}.log`, own.map(({ text }) => `${text}\n`).join(''))
  }
  write('requests.jsonl', jsonLines(exchanges))
  write(
    'tracker.jsonl',
    jsonLines(tracker.items.map(({ type, at, mood, payload }) => ({ type, at, mood, payload }))),
  )
  if (metrics !== undefined) write('metrics.txt', metrics.afterMissing)
  for (const { kind, records } of crashes ?? []) {
    write(`crash-${kind}.log`, records.map(({ text }) => `${text}\n`).join(''))
  }
}
