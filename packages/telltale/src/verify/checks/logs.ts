/** What the service prints. */
import { basename } from 'node:path'
import { instantOf, isLevel } from '../dialect.js'
import type { Evidence } from '../evidence.js'
import { curlOf, requestDuring } from '../reproduce.js'
import { findInSource } from '../source.js'
import { type Check, count, edit, excerpt, fail, pass, unproven } from './check.js'

const ARRIVAL_MS = 5000

/** Lines of stdout that are no JSON objects. */
export function textLines({ capture }: Evidence): Evidence['capture']['lines'] {
  return capture.lines.filter(({ stream, record }) => stream === 'stdout' && record === undefined)
}

/** Why lines cannot be judged, when they are text; undefined when there are records. */
export function withoutRecords(evidence: Evidence): string | undefined {
  if (evidence.capture.records().length > 0) return undefined
  const texts = textLines(evidence)
  return texts.length > 0
    ? 'the lines are text, so nothing in them can be told for certain; see logs.json'
    : undefined
}

export const logs: readonly Check[] = [
  {
    id: 'logs.json',
    title: 'Every line on stdout is one JSON object',
    criterion: 'Each non-empty line of stdout parses as a JSON object; there is at least one.',
    isRecipe: true,
    needsLines: true,
    run(evidence) {
      const { capture, options } = evidence
      const stdout = capture.lines.filter(({ stream }) => stream === 'stdout')
      if (stdout.length === 0) {
        return fail({
          expected: 'lines on stdout, at least one for each request',
          got: 'not a single line',
          fix: edit(
            "Log to stdout as JSON. With the kit: import { init } from '@telltale/node'; init({ service: 'name' }) before everything else.",
          ),
        })
      }
      // What hostile values do to lines, logs.single-line tells.
      const burst = evidence.traffic?.burst
      const bad = stdout.filter(
        ({ at, record, isUtf8 }) =>
          (record === undefined || !isUtf8) &&
          !(burst !== undefined && at >= burst.from && at <= burst.until),
      )
      const [first] = bad
      if (first === undefined) return pass(`${count(stdout.length, 'line')}`)
      const cause = findInSource(options.cwd, first.text)
      return fail({
        expected: 'one JSON object a line',
        got: `${bad.length} of ${count(stdout.length, 'line')} are something else`,
        evidence: bad.slice(0, 5).map(({ text }) => excerpt(text)),
        ...(cause !== undefined && { cause }),
        fix:
          bad.length === stdout.length
            ? edit(
                'Turn the readable format off in production: one JSON object a line, no colours.',
              )
            : edit('Write this through the logger instead of console.log or print.'),
        ...reproduceLine(evidence, bad),
      })
    },
  },
  {
    id: 'logs.single-line',
    title: 'Whatever is logged stays one line',
    criterion:
      'Line breaks, U+2028, 1 MB, lone surrogates, BigInt, circular values and errors with causes make one line each.',
    needsLines: true,
    run(evidence) {
      const { traffic, capture } = evidence
      const text = withoutRecords(evidence)
      if (text !== undefined) return unproven(text)
      if (traffic?.burst === undefined) {
        return unproven('the service has no verify route that logs hostile values')
      }
      const { mark, lines } = traffic.burst
      const own = capture.records().filter((record) => record.raw.mark === mark)
      if (own.length === lines) return pass(`${lines} hostile values, ${lines} lines`)
      return fail({
        expected: `${lines} lines, one for each hostile value`,
        got: `${count(own.length, 'whole line')}`,
        evidence: textLines(evidence)
          .slice(0, 5)
          .map((line) => excerpt(line.text)),
        fix: edit(
          'Encode values with a serializer that escapes line breaks and survives any value.',
        ),
        reproduce: curlOf(evidence.base, traffic.burst.exchange),
      })
    },
  },
  {
    id: 'logs.schema',
    title: 'Every line says when, how bad, what, and who',
    criterion:
      'A timestamp with zone (or epoch) within 5 s of its arrival, a level, a message, a service.',
    needsLines: true,
    run(evidence) {
      const { capture, startedAt } = evidence
      const text = withoutRecords(evidence)
      if (text !== undefined) return unproven(text)
      const records = capture.records()
      if (records.length === 0) {
        return fail({
          expected: 'timestamp, level, message and service on every line',
          got: 'no line at all',
          fix: edit('Log one JSON line for each request and each thing that matters.'),
        })
      }
      const faults = new Map<string, string[]>()
      const add = (fault: string, line: string): void => {
        const list = faults.get(fault)
        if (list === undefined) faults.set(fault, [line])
        else list.push(line)
      }
      for (const record of records) {
        const instant = instantOf(record.timestamp)
        if (record.timestamp === undefined) add('no timestamp', record.text)
        else if (Number.isNaN(instant)) add('a timestamp without zone', record.text)
        else if (Math.abs(instant - startedAt.getTime() - record.at) > ARRIVAL_MS) {
          add('a timestamp more than 5 s off', record.text)
        }
        if (!isLevel(record.level)) add('no known level', record.text)
        if (record.message === undefined) add('no message', record.text)
        if (record.service === undefined) add('no service', record.text)
      }
      if (faults.size === 0) return pass(`${count(records.length, 'line')}`)
      return fail({
        expected: 'timestamp, level, message and service on every line',
        got: [...faults]
          .map(([fault, lines]) => `${fault} on ${count(lines.length, 'line')}`)
          .join(', '),
        evidence: [...faults.values()].slice(0, 4).map((lines) => excerpt(lines[0] as string)),
        fix: edit(
          'Give the logger a base with the service name, level names, and ISO timestamps in UTC.',
        ),
        ...reproduceLine(
          evidence,
          records.filter(({ text }) => [...faults.values()].some((list) => list.includes(text))),
        ),
      })
    },
  },
  {
    id: 'logs.stderr',
    title: 'Nothing but warnings of the runtime on stderr',
    criterion: "The listening process writes nothing to stderr but the runtime's own warnings.",
    needsLines: true,
    needsStart: true,
    run(evidence) {
      const { capture, reports, boot, cuts, errors } = evidence
      // What another process of the tree wrote, a launcher for one, is not the service's.
      const others = reports
        .flatMap((report) =>
          report.type === 'stderr' && report.pid !== boot?.listener ? [report.text] : [],
        )
        .join('')
      const own = capture.lines.filter(
        ({ stream, text }) =>
          stream === 'stderr' && !isRuntimeWarning(text) && !others.includes(text) && text.trim(),
      )
      // What a process writes that a cut killed, or about the tracker that we made fail, those checks tell.
      const died = cuts?.find((cut) => !cut.isAlive)
      const failing = errors?.moods[0]?.from ?? Number.POSITIVE_INFINITY
      const counted = own.filter(
        ({ at, text }) =>
          at < (died?.at ?? Number.POSITIVE_INFINITY) &&
          !(at >= failing && /tracker|sentry|127\.0\.0\.1/i.test(text)),
      )
      if (counted.length === 0) return pass()
      return fail({
        expected: 'an empty stderr',
        got: count(counted.length, 'line'),
        evidence: counted.slice(0, 5).map(({ text }) => excerpt(text)),
        fix: edit('Write these through the logger, so that they have a level, a time and an id.'),
        ...reproduceLine(evidence, counted),
      })
    },
  },
]

/** The request that made the service write such lines, when it can be told. */
function reproduceLine(
  evidence: Evidence,
  lines: readonly { readonly at: number }[],
): { readonly reproduce?: string } {
  const exchange = requestDuring(evidence, lines)
  return exchange === undefined ? {} : { reproduce: curlOf(evidence.base, exchange) }
}

function isRuntimeWarning(text: string): boolean {
  return (
    /^\(node:\d+\)|^\(Use `node --trace-|^Debugger |^For help, see: https:\/\/nodejs|^\s*at .*node:internal/.test(
      text,
    ) || /ExperimentalWarning|DeprecationWarning/.test(text)
  )
}

/** `src/app.ts:12` for the report. */
export function placeText(cwd: string, place: { file: string; line: number }): string {
  const file = place.file.startsWith(`${cwd}/`)
    ? place.file.slice(cwd.length + 1)
    : basename(place.file)
  return `${file}:${place.line}`
}
