/** Live and ready: while all is well, while a dependency is away, and after it came back. */
import type { Cut, Evidence } from '../evidence.js'
import type { Exchange } from '../http.js'
import { percentile } from '../percentile.js'
import { ANSWER_MS, hasNoticed, isAway, NOTICE_MS, nameOf } from '../phases/cut.js'
import { curlOf } from '../reproduce.js'
import {
  type Check,
  count,
  edit,
  excerpt,
  fail,
  manual,
  pass,
  unproven,
  type Verdict,
} from './check.js'

const LIVE_MS = 1000
const READY_MS = 2000

/** What the paths answered that were tried. */
const triedAnswers = ({ exchanges }: Evidence): string[] => {
  const answers = exchanges
    .filter(({ purpose }) => purpose === 'discovery')
    .map(({ path, status, failure }) => `${path} ${status || failure}`)
  return [[...new Set(answers)].join(', ')]
}

const NO_LIVE = (evidence: Evidence): Verdict =>
  fail({
    expected: 'a live route that answers 200',
    got: 'none',
    evidence: triedAnswers(evidence),
    fix: edit(
      'Serve /api/v1/health/live/ with 200, before all middleware. The kit does; or name yours with --live.',
    ),
    reproduce: `curl -i ${evidence.base}/api/v1/health/live/`,
  })

const NO_READY = (evidence: Evidence): Verdict =>
  fail({
    expected: 'a ready route that answers 200',
    got: 'none',
    evidence: triedAnswers(evidence),
    fix: edit(
      'Serve /api/v1/health/ready/: 200 when every critical dependency answers, else 503. The kit does; or name yours with --ready.',
    ),
    reproduce: `curl -i ${evidence.base}/api/v1/health/ready/`,
  })

/** Answers of live or ready that are not what they should be; a loaded machine gets one late answer. */
function wrong(answers: readonly Exchange[], limitMs: number): Exchange | undefined {
  const bad = answers.find(({ status }) => status !== 200)
  if (bad !== undefined) return bad
  const late = answers.filter(({ ms }) => ms > limitMs)
  return late.length > 1 || (late.length === 1 && answers.length === 1) ? late[0] : undefined
}

/** The cuts of one mode, or why there are none. */
function cutsOf(evidence: Evidence, mode: Cut['mode']): readonly Cut[] | Verdict {
  const { cuts, noCut, health } = evidence
  if (cuts === undefined) {
    if (health?.ready === undefined) return unproven('there is no ready route; see health.ready')
    return unproven(noCut ?? 'nothing was cut')
  }
  const own = cuts.filter((cut) => cut.mode === mode)
  return own.length > 0
    ? own
    : unproven('the reset before it was not noticed or not survived; see health.cut.reset')
}

const isVerdict = (value: readonly Cut[] | Verdict): value is Verdict => !Array.isArray(value)

function judgeCut(evidence: Evidence, mode: Cut['mode']): Verdict {
  const cuts = cutsOf(evidence, mode)
  if (isVerdict(cuts)) return cuts
  const { base, health, options } = evidence
  const told: string[] = []
  for (const cut of cuts) {
    const name = nameOf(cut.target)
    if (!cut.isAlive && !hasNoticed(cut))
      return unproven('the process died of it; see health.cut.alive')
    const first = cut.ready.find((answer) => isAway(cut, answer))
    const reproduce = `curl -i --max-time 5 ${base}${health?.ready}   # after ${mode === 'reset' ? 'stopping' : 'pausing (docker pause)'} ${cut.target.address}`
    const limit = ANSWER_MS * options.scale
    const late = cut.ready.find(({ ms, failure }) => ms > limit || failure === 'timeout')
    if (late !== undefined) {
      return fail({
        expected: `each answer of ${health?.ready} within ${limit / 1000} s`,
        got:
          late.failure === 'timeout'
            ? `no answer within ${(late.ms / 1000).toFixed(1)} s`
            : `one after ${(late.ms / 1000).toFixed(1)} s`,
        evidence: [
          `${name} ${mode === 'stall' ? 'accepts connections and answers nothing' : 'resets every connection'}`,
        ],
        fix: edit(
          'Give the check of the ready route a time limit of its own, one second for example, and cancel it then.',
        ),
        reproduce,
      })
    }
    if (first === undefined) {
      const last = cut.ready.at(-1)
      return fail({
        expected:
          cut.role === 'cache'
            ? `503, or an answer that says that ${name} is missing`
            : `503 within ${NOTICE_MS / 1000} s of the cut`,
        got:
          cut.attempts === 0
            ? `${last?.status ?? 'nothing'}, and no new connection was tried: ready does not look at ${name}`
            : `${last?.status || last?.failure}`,
        evidence: last === undefined ? [] : [excerpt(`HTTP ${last.status} ${last.body}`)],
        fix: edit(
          'Ask the dependency in the ready route (SELECT 1, PING), with a time limit; answer 503 when it fails.',
        ),
        reproduce,
      })
    }
    const noticedMs = first.at + first.ms - cut.at
    if (noticedMs > NOTICE_MS * options.scale) {
      return fail({
        expected: `503 within ${NOTICE_MS / 1000} s of the cut`,
        got: `after ${(noticedMs / 1000).toFixed(1)} s`,
        fix: edit(
          'Ask the dependency more often, or when ready is asked; keep a verdict for a second at most.',
        ),
        reproduce,
      })
    }
    // When it is not named while all is well either, health.ready tells.
    if (namesIt(cut, cut.before) && !namesIt(cut, first)) {
      return fail({
        expected: `an answer that names ${name}`,
        got: first.body === '' ? 'an empty body' : excerpt(first.body),
        fix: edit(
          'Say in the body which dependency is away: {"checks":{"database":{"status":"fail"}}}.',
        ),
        reproduce,
      })
    }
    const word = first.status === 503 ? '503' : 'told as degraded'
    told.push(`${name}: ${word} after ${(noticedMs / 1000).toFixed(1)} s`)
  }
  return pass(told.join('; '))
}

const SYNONYMS: Readonly<Record<string, RegExp>> = {
  database: /database|\bdb\b|postgres|\bpg\b|mysql|maria|mongo|sql|prisma|knex|typeorm/i,
  cache: /cache|redis|valkey|memcache/i,
  other: /./,
}

function namesIt(cut: Cut, answer: Exchange): boolean {
  return (
    answer.body.includes(cut.target.address) ||
    (cut.target.isNamed && answer.body.toLowerCase().includes(cut.target.name.toLowerCase())) ||
    (SYNONYMS[cut.role]?.test(answer.body) ?? false)
  )
}

export const health: readonly Check[] = [
  {
    id: 'health.live',
    title: 'Live is 200, whatever is away',
    criterion:
      '200 within 1 s, under 100 parallel requests and during every cut; no work for the database.',
    isRecipe: true,
    run(evidence) {
      const { health: paths, probes, cuts, base } = evidence
      if (paths?.live === undefined) return NO_LIVE(evidence)
      const limit = LIVE_MS * evidence.options.scale
      const asked = [...(probes?.live ?? [])]
      const parallel = probes?.liveParallel ?? []
      const bad =
        wrong(asked, limit) ??
        wrong(
          parallel.filter(({ status }) => status !== 200),
          limit,
        )
      const reproduce = `curl -i ${base}${paths.live}`
      const slow = percentile(
        parallel.map(({ ms }) => ms),
        0.5,
      )
      if (bad !== undefined || slow > limit) {
        return fail({
          expected: '200 within 1 s',
          got:
            bad === undefined
              ? `${slow.toFixed(0)} ms under 100 parallel requests`
              : `${bad.status || bad.failure} after ${bad.ms.toFixed(0)} ms`,
          fix: edit(
            'Answer live at once and look at nothing: the process runs, that is all it says.',
          ),
          reproduce,
        })
      }
      if (probes !== undefined && probes.askedByLive > asked.length / 2) {
        return fail({
          expected: 'no work for a dependency',
          got: `${probes.askedByLive} questions to databases and caches for ${asked.length} requests`,
          fix: edit(
            'Look at dependencies in ready, not in live: else the orchestrator restarts a healthy process when the database is away.',
          ),
          reproduce,
        })
      }
      for (const cut of (cuts ?? []).filter(({ isAlive }) => isAlive)) {
        const failed = cut.live.find(({ status }) => status !== 200)
        if (failed === undefined) continue
        const word = cut.mode === 'reset' ? 'stopping' : 'pausing (docker pause)'
        return fail({
          expected: `200 while ${nameOf(cut.target)} is away (${cut.mode})`,
          got: `${failed.status || failed.failure}`,
          evidence: [excerpt(failed.body)],
          fix: edit('Look at dependencies in ready, not in live.'),
          reproduce: `curl -i --max-time 5 ${base}${paths.live}   # after ${word} ${cut.target.address}`,
        })
      }
      return pass(
        `${paths.live}: ${count(asked.length + parallel.length, 'request')}, median ${percentile(
          asked.map(({ ms }) => ms),
          0.5,
        ).toFixed(1)} ms`,
      )
    },
  },
  {
    id: 'health.ready',
    title: 'Ready is 200 and names each dependency',
    criterion: '200 within 2 s while all is well; the body lists the dependencies.',
    isRecipe: true,
    run(evidence) {
      const { health: paths, probes, base, boot } = evidence
      if (paths?.ready === undefined) return NO_READY(evidence)
      const reproduce = `curl -i ${base}${paths.ready}`
      const answers = probes?.ready ?? []
      const bad = wrong(answers, READY_MS * evidence.options.scale)
      if (bad !== undefined || answers.length === 0 || boot?.isReady === false) {
        return fail({
          expected: '200 within 2 s',
          got:
            bad === undefined
              ? 'no answer'
              : `${bad.status || bad.failure} after ${bad.ms.toFixed(0)} ms`,
          evidence: bad === undefined ? [] : [excerpt(bad.body)],
          fix: edit('Bound and share the checks behind ready; look at what it says is missing.'),
          reproduce,
        })
      }
      const cut = (evidence.cuts ?? [])[0]
      const body = answers[0]?.body ?? ''
      if (cut !== undefined && !namesIt(cut, answers[0] as Exchange)) {
        return fail({
          expected: `a body that lists ${nameOf(cut.target)}`,
          got: body === '' ? 'an empty body' : excerpt(body),
          fix: edit(
            'List each dependency with its status: {"checks":{"database":{"status":"ok"}}}.',
          ),
          reproduce,
        })
      }
      return pass(`${paths.ready}: ${excerpt(body, 120)}`)
    },
  },
  {
    id: 'health.cut.reset',
    title: 'Ready turns 503 when the database is gone',
    criterion: '503 within 5 s of the cut, each answer within 2 s, naming the dependency.',
    isRecipe: true,
    needsStart: true,
    run: (evidence) => judgeCut(evidence, 'reset'),
  },
  {
    id: 'health.cut.stall',
    title: 'Ready turns 503 when the database is silent',
    criterion: 'The same when connections stay open and nothing is answered.',
    needsStart: true,
    run: (evidence) => judgeCut(evidence, 'stall'),
  },
  {
    id: 'health.cut.alive',
    title: 'The process survives the loss of its dependencies',
    criterion: 'During and after every cut the same process runs and nothing was uncaught.',
    needsStart: true,
    run({ cuts, noCut, capture, boot }) {
      if (cuts === undefined) return unproven(noCut ?? 'nothing was cut')
      const died = cuts.find((cut) => !cut.isAlive)
      const uncaught = capture
        .records()
        .find(
          (record) =>
            record.at >= (cuts[0]?.at ?? 0) &&
            record.at <= (cuts.at(-1)?.restoredAt ?? 0) &&
            /uncaught|unhandled/i.test(record.message ?? ''),
        )
      if (died === undefined && uncaught === undefined) {
        return pass(`${count(cuts.length, 'cut')}, pid ${boot?.listener} lives`)
      }
      const last = capture.lines.filter(({ at }) => died !== undefined && at >= died.at)
      return fail({
        expected: 'a process that lives through a cut',
        got:
          died === undefined
            ? `an uncaught error: ${uncaught?.message}`
            : `it ended (${died.exit?.signal ?? `code ${died.exit?.code}`}) when ${nameOf(died.target)} was cut (${died.mode})`,
        evidence: (uncaught === undefined
          ? last.slice(0, 8).map(({ text }) => text)
          : [uncaught.text]
        ).map((text) => excerpt(text)),
        fix: edit(
          "Listen to 'error' of the pool and of the client: an idle connection that breaks must not end the process.",
        ),
      })
    },
  },
  {
    id: 'health.recover',
    title: 'Ready comes back by itself',
    criterion: '200 within --recover-timeout after the dependency is back, in the same process.',
    isRecipe: true,
    needsStart: true,
    run(evidence) {
      const { cuts, noCut, options, base, health: paths } = evidence
      if (cuts === undefined) return unproven(noCut ?? 'nothing was cut')
      const noticed = cuts.filter(hasNoticed)
      if (noticed.length === 0)
        return unproven('ready never went away, so it could not come back; see health.cut.reset')
      const lost = noticed.find((cut) => {
        const last = cut.recovered.at(-1)
        return cut.isAlive && (last === undefined || last.status !== 200 || isAway(cut, last))
      })
      if (lost !== undefined) {
        const last = lost.recovered.at(-1)
        return fail({
          expected: `200 within ${options.recoverTimeoutMs / 1000} s of the return of ${nameOf(lost.target)}`,
          got: `${last?.status || last?.failure} for ${options.recoverTimeoutMs / 1000} s`,
          evidence: [excerpt(last?.body ?? '')],
          fix: edit(
            'Open a new connection for the check when the old one broke; a client that gave up must be replaced.',
          ),
          reproduce: `curl -i --max-time 5 ${base}${paths?.ready}   # after ${lost.target.address} was away, was asked for, and came back`,
        })
      }
      if (noticed.some((cut) => !cut.isAlive))
        return unproven('the process died; see health.cut.alive')
      const times = noticed.map((cut) => {
        const last = cut.recovered.at(-1) as Exchange
        return `${((last.at + last.ms - cut.restoredAt) / 1000).toFixed(1)} s after ${cut.mode}`
      })
      return pass(times.join(', '))
    },
  },
  {
    id: 'health.open',
    title: 'Probes are open, unlimited and quiet',
    criterion: '200 calls without credentials, none refused, none logged at info.',
    run(evidence) {
      const { health: paths, probes, capture, base } = evidence
      if (paths?.live === undefined || probes === undefined)
        return unproven('there is no live route; see health.live')
      const calls = [
        ...probes.live,
        ...probes.liveParallel,
        ...(probes.liveWithBadAuth === undefined ? [] : [probes.liveWithBadAuth]),
      ]
      const refused = calls.find(({ status }) => [401, 403, 429].includes(status))
      if (refused !== undefined) {
        return fail({
          expected: '200 for everyone, however often',
          got: `${refused.status}`,
          evidence: [excerpt(refused.body)],
          fix: edit('Mount the probes before sign-in and rate limit.'),
          reproduce: curlOf(base, refused),
        })
      }
      const path = paths.live.split('?')[0]
      const loud = capture
        .records()
        .filter(
          (record) =>
            record.at >= probes.from &&
            record.at <= probes.until &&
            record.isFinished &&
            record.path?.split('?')[0] === path &&
            !/^(?:debug|trace)$/i.test(String(record.level)) &&
            !(typeof record.level === 'number' && record.level < 30),
        )
      if (loud.length > 0) {
        return fail({
          expected: 'no line at info for a probe that succeeds',
          got: `${count(loud.length, 'line')} for ${calls.length} probes`,
          evidence: loud.slice(0, 2).map((record) => excerpt(record.text)),
          fix: manual(
            'Leave probes out of the request log, or log them at debug: they come every second, for ever.',
          ),
          reproduce: `curl -i ${base}${paths.live}`,
        })
      }
      return pass(`${calls.length} calls`)
    },
  },
]
