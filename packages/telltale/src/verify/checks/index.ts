/** All checks, in the order of the report: the recipe first. */
import type { Evidence } from '../evidence.js'
import type { VerifyOptions } from '../options.js'
import { UsageError } from '../options.js'
import { rerunLine } from '../reproduce.js'
import { boot } from './boot.js'
import { type Check, skip, unproven, unreadReason, type Verdict } from './check.js'
import { crash } from './crash.js'
import { errors } from './errors.js'
import { health } from './health.js'
import { logs } from './logs.js'
import { metrics } from './metrics.js'
import { overhead } from './overhead.js'
import { requests } from './requests.js'
import { safety } from './safety.js'
import { secrets } from './secrets.js'
import { stop } from './stop.js'

const ALL: readonly Check[] = [
  ...boot,
  ...logs,
  ...requests,
  ...errors,
  ...health,
  ...crash,
  ...stop,
  ...secrets,
  ...metrics,
  ...safety,
  ...overhead,
]

/** The recipe, then the rest, each in the order of its group. */
export const CHECKS: readonly Check[] = [
  ...ALL.filter((check) => check.isRecipe === true),
  ...ALL.filter((check) => check.isRecipe !== true),
]

export type Result = Verdict & { readonly check: Check }

/** The checks that the options choose. Throws UsageError 3 when none is left: nothing judged is not well. */
export function choose({ only, skip: left }: VerifyOptions): readonly Check[] {
  const matches = (id: string, names: readonly string[]): boolean =>
    names.some(
      (name) => id === name || id.startsWith(`${name}.`) || (name === 'recipe' && isRecipe(id)),
    )
  const unknown = [...only, ...left].find((name) => !CHECKS.some(({ id }) => matches(id, [name])))
  const chosen = CHECKS.filter(
    ({ id }) => (only.length === 0 || matches(id, only)) && !matches(id, left),
  )
  if (chosen.length > 0 && unknown !== undefined) {
    throw new UsageError(
      `"${unknown}" is no check and no group. Known: recipe, ${CHECKS.map(({ id }) => id).join(', ')}.`,
    )
  }
  if (chosen.length > 0) return chosen
  throw new UsageError(
    `No check is left to run. Known: recipe, ${CHECKS.map(({ id }) => id).join(', ')}.`,
    3,
  )
}

const isRecipe = (id: string): boolean =>
  CHECKS.some((check) => check.id === id && check.isRecipe === true)

/** A failure that no single request shows is shown by a run of its check alone. */
function withReproduction(check: Check, verdict: Verdict, { options }: Evidence): Verdict {
  if (verdict.status !== 'fail' || verdict.reproduce !== undefined) return verdict
  return { ...verdict, reproduce: rerunLine(options, check.id) }
}

/** Judges a run. A check that throws is an error of ours, never a pass. */
export function judge(evidence: Evidence, checks: readonly Check[]): Result[] {
  const isAttached = evidence.options.url !== undefined
  return checks.map((check) => {
    if (isAttached && check.needsStart === true) return { check, ...skip('attached') }
    if (isAttached && check.needsLines === true && evidence.options.logs === undefined) {
      return { check, ...skip('attached, and no --logs was given') }
    }
    if (
      isAttached &&
      evidence.traffic === undefined &&
      evidence.options.isRemoteAllowed &&
      !/^health/.test(check.id)
    ) {
      return { check, ...skip('not on a service elsewhere') }
    }
    const unread = unreadReason(evidence)
    if (check.needsEvents === true && unread !== undefined) return { check, ...unproven(unread) }
    try {
      return { check, ...withReproduction(check, check.run(evidence), evidence) }
    } catch (error) {
      return {
        check,
        status: 'error',
        detail: `this check failed itself: ${(error as Error).stack}`,
      }
    }
  })
}
