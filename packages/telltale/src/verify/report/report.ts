/** A run, judged: the one document that every report is made from. */

import { VERSION } from '../../version.js'
import { formsOf } from '../canaries.js'
import type { Status, Verdict } from '../checks/check.js'
import type { Result } from '../checks/index.js'
import type { Evidence, Mark } from '../evidence.js'
import { startLine } from '../reproduce.js'

export type ReportedCheck = Verdict & {
  readonly id: string
  readonly group: 'recipe' | 'beyond'
  readonly title: string
  readonly criterion: string
  readonly information?: true
}

export type Report = {
  readonly schemaVersion: 1
  readonly tool: { readonly name: 'telltale verify'; readonly version: string }
  readonly startedAt: string
  readonly durationMs: number
  readonly service: {
    readonly command: string
    readonly url: string
    readonly kit?: string
    readonly cwd: string
    /** Starts it as verify did, for the reproduce lines; absent when verify attached. */
    readonly start?: string
  }
  readonly summary: Readonly<Record<Status | 'total', number>>
  readonly exitCode: number
  /** What the run did when, in milliseconds since its start. */
  readonly phases: readonly { readonly name: string; readonly at: number; readonly ms: number }[]
  readonly checks: readonly ReportedCheck[]
  /** Why there are no checks: the run could not take place. */
  readonly error?: { readonly message: string }
}

/** What is drawn: not part of the JSON document. */
export type Timeline = {
  readonly durationMs: number
  readonly marks: readonly Mark[]
  readonly requests: readonly {
    readonly at: number
    readonly ms: number
    readonly status: number
    readonly purpose: string
    readonly what: string
  }[]
  readonly events: readonly { readonly at: number; readonly what: string }[]
}

export function makeReport(
  evidence: Evidence,
  results: readonly Result[],
  durationMs: number,
): Report {
  const { options, startedAt, base, kit } = evidence
  const conceal = concealer(evidence.knownSecrets.map(({ value }) => value))
  const checks = results.map(({ check, status, ...rest }) => ({
    id: check.id,
    group: check.isRecipe === true ? ('recipe' as const) : ('beyond' as const),
    title: check.title,
    criterion: check.criterion,
    status,
    ...(check.isInformation === true && { information: true as const }),
    ...conceal(rest),
  }))
  const { command, isStrict } = options
  return {
    schemaVersion: 1,
    tool: { name: 'telltale verify', version: VERSION },
    startedAt: startedAt.toISOString(),
    durationMs: Math.round(durationMs),
    service: {
      command: typeof command === 'string' ? command : command.join(' '),
      url: base,
      cwd: options.cwd,
      ...(kit !== undefined && { kit }),
      ...(options.url === undefined && { start: startLine(options, base, evidence.token) }),
    },
    summary: summarize(checks),
    exitCode: exitCodeOf(checks, isStrict),
    phases: evidence.marks
      .filter(({ kind }) => kind === 'phase')
      .map(({ label, at, until = at }) => ({
        name: label,
        at: Math.round(at),
        ms: Math.round(until - at),
      })),
    checks,
  }
}

/** Takes passwords of the environment out of what is told: whoever reads the report need not know them. */
function concealer(secrets: readonly string[]): <T>(value: T) => T {
  const forms = secrets.flatMap(formsOf)
  const conceal = (value: unknown): unknown => {
    if (typeof value === 'string') {
      return forms.reduce((text, form) => text.replaceAll(form, '[concealed]'), value)
    }
    if (Array.isArray(value)) return value.map(conceal)
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, conceal(one)]))
  }
  return forms.length === 0 ? (value) => value : <T>(value: T): T => conceal(value) as T
}

/** The report of a run that could not take place. */
export function makeErrorReport(message: string, exitCode: number, startedAt: Date): Report {
  return {
    schemaVersion: 1,
    tool: { name: 'telltale verify', version: VERSION },
    startedAt: startedAt.toISOString(),
    durationMs: Date.now() - startedAt.getTime(),
    service: { command: '', url: '', cwd: process.cwd() },
    summary: summarize([]),
    exitCode,
    phases: [],
    checks: [],
    error: { message },
  }
}

function summarize(checks: readonly ReportedCheck[]): Report['summary'] {
  const summary = { pass: 0, fail: 0, skip: 0, unproven: 0, error: 0, total: checks.length }
  for (const { status } of checks) summary[status]++
  return summary
}

/** 1 when something failed (strict: or was not judged), 3 when nothing was judged at all. */
function exitCodeOf(checks: readonly ReportedCheck[], isStrict: boolean): number {
  const judged = checks.filter(({ information }) => information !== true)
  if (judged.some(({ status }) => status === 'fail' || status === 'error')) return 1
  if (!judged.some(({ status }) => status === 'pass')) return 3
  return isStrict && judged.some(({ status }) => status !== 'pass') ? 1 : 0
}

export function makeTimeline(evidence: Evidence, durationMs: number): Timeline {
  return {
    durationMs,
    marks: evidence.marks,
    requests: evidence.exchanges.map(({ at, ms, status, purpose, method, path }) => ({
      at,
      ms,
      status,
      purpose,
      what: `${method} ${path}`,
    })),
    events: evidence.tracker.items
      .filter(({ type }) => type === 'event')
      .map(({ at, payload }) => {
        const values = (
          payload?.exception as { values?: { type?: string; value?: string }[] } | undefined
        )?.values
        const main = values?.at(-1)
        return { at, what: `${main?.type ?? 'event'}: ${main?.value ?? ''}` }
      }),
  }
}
