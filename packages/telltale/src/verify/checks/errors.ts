/** The deliberate error at the tracker. */
import { isErrorLevel } from '../dialect.js'
import {
  byRequest,
  type Deliberate,
  type Evidence,
  exceptionsOf,
  requestIdOf,
  tagsOf,
} from '../evidence.js'
import type { Exchange } from '../http.js'
import { deadLimitMs, percentileMs } from '../phases/errors.js'
import { curlOf, programLine } from '../reproduce.js'
import type { Json, Mood, TrackerItem } from '../tracker.js'
import { type Check, count, edit, env, excerpt, fail, pass, unproven } from './check.js'
import { idTrouble } from './requests.js'

const NO_ROUTE =
  'no route is known that fails; name one with --error-route, or give the service the verify routes'

const MOOD_WORDS: Readonly<Record<Mood, string>> = {
  ok: 'is well',
  '429': 'answers 429',
  '500': 'answers 500',
  hang: 'accepts and never answers',
  reset: 'resets connections',
}

/** Events by the exchange that caused them: by id, else by the one event there is. */
function eventsOf(evidence: Evidence, { exchange }: Deliberate): TrackerItem[] {
  const events = evidence.tracker.events()
  const own =
    exchange.id === undefined ? [] : events.filter((item) => requestIdOf(item) === exchange.id)
  if (own.length > 0) return own
  return events.filter(
    (item) =>
      requestIdOf(item) === undefined &&
      item.at >= exchange.at &&
      pathOf(item) === exchange.path.split('?')[0],
  )
}

function pathOf(item: TrackerItem): string | undefined {
  const url = (item.payload?.request as Json | undefined)?.url
  return typeof url === 'string' && URL.canParse(url) ? new URL(url).pathname : undefined
}

/** Every event whose request id is this one's, or that names no request and came in its time. */
function firstEvent(evidence: Evidence): { made: Deliberate; item: TrackerItem } | undefined {
  for (const made of evidence.errors?.single ?? []) {
    const [item] = eventsOf(evidence, made)
    if (item !== undefined) return { made, item }
  }
  // An event without an id and without a URL: still an event.
  const [made] = evidence.errors?.single ?? []
  const item = evidence.tracker
    .events()
    .find(
      (one) =>
        made !== undefined &&
        one.at >= made.exchange.at &&
        one.at <= made.exchange.at + evidence.options.errorTimeoutMs,
    )
  return made === undefined || item === undefined ? undefined : { made, item }
}

/** Another tracker that the service tried to reach. */
function elsewhereOf({ reports, elsewhere }: Evidence): string | undefined {
  const refused = reports.find((report) => report.type === 'refused')
  return refused === undefined ? elsewhere[0]?.address : `${refused.host}:${refused.port}`
}

function show(item: TrackerItem): string {
  const { event_id, level, exception, request, user, tags, environment, release, transaction } =
    item.payload ?? {}
  const main = exceptionsOf({ exception }).at(-1) ?? {}
  const shown = {
    event_id,
    level,
    type: main.type,
    value: main.value,
    request,
    user,
    tags,
    environment,
    release,
    transaction,
  }
  return excerpt(JSON.stringify(shown), 1500)
}

function nothingCame(evidence: Evidence): string | undefined {
  return evidence.errors !== undefined && evidence.tracker.events().length === 0
    ? 'no event came; see err.event'
    : undefined
}

export const errors: readonly Check[] = [
  {
    id: 'err.event',
    title: 'A deliberate error reaches the tracker',
    criterion:
      'One event within --error-timeout: type, message and a stack with a frame of the project.',
    isRecipe: true,
    needsStart: true,
    needsEvents: true,
    run(evidence) {
      const { errors: made, tracker, base, options, dsns } = evidence
      if (made === undefined) {
        return evidence.kit === undefined && options.errorRoute === undefined
          ? unproven(NO_ROUTE)
          : unproven('no error was provoked')
      }
      const first = firstEvent(evidence)
      const [attempt] = made.single
      if (first === undefined) {
        const host = elsewhereOf(evidence)
        const cause = dsns.find((dsn) => host?.includes(dsn.host))?.place ?? dsns[0]?.place
        return fail({
          expected: `an event for the error of ${attempt?.exchange.path.split('?')[0]}`,
          got:
            host !== undefined
              ? `the event went elsewhere: the service tried ${host} and was kept from it`
              : tracker.requests > 0
                ? `${count(tracker.requests, 'request')} at the tracker, none with an event${tracker.refused.length > 0 ? ` (${tracker.refused[0]})` : ''}`
                : 'nothing at all at the tracker',
          evidence:
            attempt === undefined
              ? []
              : [excerpt(`HTTP ${attempt.exchange.status} ${attempt.exchange.body}`)],
          ...(cause !== undefined && { cause }),
          fix:
            host !== undefined
              ? env(
                  'Read the DSN from SENTRY_DSN of the environment: no DSN in code, and nothing in .env that overrides what is set already.',
                )
              : edit(
                  "Send errors to the DSN in SENTRY_DSN. With the kit: import { init } from '@telltale/node'; init({ service: 'name' }) before everything else.",
                ),
          ...(attempt !== undefined && { reproduce: curlOf(base, attempt.exchange) }),
        })
      }
      const event = first.item.payload ?? {}
      const main = exceptionsOf(event).at(-1)
      const frames = ((main?.stacktrace as Json | undefined)?.frames ?? []) as Json[]
      const own = frames.some((frame) => isOwnFrame(frame))
      const missing = [
        main?.type ? undefined : 'a type',
        main?.value ? undefined : 'a message',
        own ? undefined : 'a stack frame of the project',
      ].filter((one) => one !== undefined)
      if (missing.length === 0) {
        return pass(`${main?.type}: ${excerpt(String(main?.value), 80)}, ${frames.length} frames`)
      }
      return fail({
        expected: 'an event with type, message and a stack with a frame of the project',
        got: `without ${missing.join(', ')}`,
        evidence: [show(first.item)],
        fix: edit('Capture the Error object itself, not its text: captureException(error).'),
        reproduce: curlOf(base, first.made.exchange),
      })
    },
  },
  {
    id: 'err.context',
    title: 'The error says who, which request, and where',
    criterion:
      'user.id, request headers, URL, method; tags request_id, service; environment, release.',
    isRecipe: true,
    needsStart: true,
    needsEvents: true,
    run(evidence) {
      const { errors: made, base } = evidence
      if (made === undefined) return unproven(NO_ROUTE)
      const first = firstEvent(evidence)
      if (first === undefined) return unproven('no event came; see err.event')
      const trouble = idTrouble(evidence)
      if (trouble !== undefined) return unproven(trouble)
      // The worst of them counts: what a route of the service leaves out is left out.
      const candidates = made.single.flatMap((one) =>
        eventsOf(evidence, one)
          .slice(0, 1)
          .map((item) => ({ one, item })),
      )
      const judged = (
        candidates.length > 0 ? candidates : [{ one: first.made, item: first.item }]
      ).map(({ one, item }) => ({
        one,
        item,
        missing: missingContext(item, made.hasUser && one.user !== undefined),
      }))
      const worst = judged.reduce((a, b) => (b.missing.length > a.missing.length ? b : a))
      if (worst.missing.length === 0) {
        return made.hasUser
          ? pass('user, headers, url, method, tags, environment, release')
          : unproven('all is there but the user, and nobody was signed in; pass --auth')
      }
      return fail({
        expected:
          'user.id, request headers, url and method; tags request_id and service; environment; release',
        got: `without ${worst.missing.join(', ')}`,
        evidence: [show(worst.item)],
        fix: worst.missing.includes('user.id')
          ? edit('Call setUser({ id }) where the request is authenticated.')
          : edit(
              'Tag the scope of each request: request_id, service; pass environment and release to init.',
            ),
        reproduce: curlOf(base, worst.one.exchange),
      })
    },
  },
  {
    id: 'err.linked',
    title: 'Event, answer and lines have one id',
    criterion:
      "The event's request_id is the answer's X-Request-ID; its error line carries the event_id.",
    needsStart: true,
    needsEvents: true,
    needsLines: true,
    run(evidence) {
      const { errors: made, base, capture } = evidence
      if (made === undefined) return unproven(NO_ROUTE)
      const none = nothingCame(evidence) ?? idTrouble(evidence)
      if (none !== undefined) return unproven(none)
      const first = firstEvent(evidence)
      if (first === undefined) return unproven('no event came; see err.event')
      const { made: deliberate, item } = first
      const { exchange } = deliberate
      if (exchange.id === undefined) return unproven('the answer has no id; see req.id.header')
      const id = requestIdOf(item)
      if (id === undefined) return unproven('the event has no request_id; see err.context')
      if (id !== exchange.id) {
        return fail({
          expected: `request_id ${exchange.id}, as in the answer`,
          got: id,
          evidence: [show(item)],
          fix: edit("Tag the request's own scope, not a scope of the process."),
          reproduce: curlOf(base, exchange),
        })
      }
      if (capture.records().length === 0) return unproven('there are no JSON lines; see logs.json')
      const lines = byRequest(capture.records()).get(exchange.id) ?? []
      const errorLine = lines.find((line) => isErrorLevel(line.level))
      const withId = lines.find((line) => line.eventId === item.payload?.event_id)
      if (withId !== undefined) return pass(`event ${withId.eventId}, request ${id}`)
      return fail({
        expected: `an error line with event_id ${item.payload?.event_id}`,
        got:
          errorLine === undefined ? 'no error line for this request' : 'an error line without it',
        evidence: errorLine === undefined ? [] : [excerpt(errorLine.text)],
        fix: edit('Add what captureException returns to the line: log.error({ event_id, … }).'),
        reproduce: curlOf(base, exchange),
      })
    },
  },
  {
    id: 'err.once',
    title: 'One error is one event; a 404 is none',
    criterion: 'Each single error makes exactly one event; answers below 500 make none.',
    needsStart: true,
    needsEvents: true,
    run(evidence) {
      const { errors: made, traffic, base } = evidence
      if (made === undefined) return unproven(NO_ROUTE)
      const none = nothingCame(evidence) ?? idTrouble(evidence)
      if (none !== undefined) return unproven(none)
      if (evidence.tracker.events().every((item) => requestIdOf(item) === undefined)) {
        return unproven('the events name no request; see err.context')
      }
      for (const one of made.single) {
        const events = eventsOf(evidence, one)
        if (events.length < 2) continue
        return fail({
          expected: 'one event',
          got: `${events.length} events`,
          evidence: events.slice(0, 3).map(show),
          fix: edit(
            'Two places capture it: keep one (an error handler and a process-wide hook, for example).',
          ),
          reproduce: curlOf(base, one.exchange),
        })
      }
      const ids = new Map((traffic?.missing ?? []).map((exchange) => [exchange.id, exchange]))
      const stray = evidence.tracker.events().find((item) => {
        const id = requestIdOf(item)
        return id !== undefined && ids.has(id)
      })
      if (stray === undefined) {
        const seen = made.single.filter((one) => eventsOf(evidence, one).length === 1).length
        return seen > 0
          ? pass(
              `${count(seen, 'error')}, ${count(seen, 'event')}; ${ids.size} answers below 500, none`,
            )
          : unproven('no event could be told to belong to one of the errors')
      }
      return fail({
        expected: 'no event for a 404',
        got: 'one',
        evidence: [show(stray)],
        fix: edit('Capture from status 500 on; a 404 is the mistake of the client.'),
        reproduce: curlOf(base, ids.get(requestIdOf(stray)) as Exchange),
      })
    },
  },
  {
    id: 'err.response',
    title: "The client gets the application's own error answer",
    criterion:
      'Status and body of a failing route are the same with and without a tracker; no stack in them.',
    needsStart: true,
    run({ errors: made, untracked, base }) {
      const own = made?.single.findLast((one) => one.source === 'route')
      if (own === undefined)
        return unproven('no route of the service is known that fails; name one with --error-route')
      const leak = /(?:\n|\\n)\s+at \S|node_modules\//.exec(own.exchange.body)
      if (leak !== null) {
        return fail({
          expected: 'an answer without a stack trace',
          got: 'a stack trace',
          evidence: [excerpt(own.exchange.body)],
          fix: edit('Answer with a message and the request id; the stack belongs to the tracker.'),
          reproduce: curlOf(base, own.exchange),
        })
      }
      const without = untracked?.error
      if (without === undefined)
        return unproven(untracked?.failure ?? 'the service did not run without a tracker')
      if (
        without.status === own.exchange.status &&
        shape(without.body) === shape(own.exchange.body)
      ) {
        return pass(`${own.exchange.status} with and without a tracker`)
      }
      return fail({
        expected: `${without.status} ${excerpt(without.body, 100)}, as without a tracker`,
        got: `${own.exchange.status} ${excerpt(own.exchange.body, 100)}`,
        fix: edit('Let the handler of the tracker pass the error on to your own error handler.'),
        reproduce: curlOf(base, own.exchange),
      })
    },
  },
  {
    id: 'err.isolation',
    title: 'Two users at once are never mixed up',
    criterion: 'In 25 pairs of concurrent errors each event has the user of its own request.',
    needsStart: true,
    needsEvents: true,
    run(evidence) {
      const { errors: made } = evidence
      if (made === undefined) return unproven(NO_ROUTE)
      const none = nothingCame(evidence) ?? idTrouble(evidence)
      if (none !== undefined) return unproven(none)
      if (made.pairs.length === 0) return unproven('two users are needed: pass --auth twice')
      const owners = new Map<string, string>()
      for (const one of made.single) learn(evidence, one, owners)
      let judged = 0
      const events = new Map<string, TrackerItem>()
      for (const item of evidence.tracker.events()) {
        const id = requestIdOf(item)
        if (id !== undefined) events.set(id, item)
      }
      const users = new Set<string>()
      for (const one of made.pairs) {
        const item = one.exchange.id === undefined ? undefined : events.get(one.exchange.id)
        const user = item === undefined ? undefined : userOf(item)
        if (item === undefined || user === undefined) continue
        judged++
        users.add(user)
        const expected =
          one.source === 'verify' ? one.user?.replace('verify-', '') : owners.get(one.user ?? '')
        if (expected === undefined || expected === user) continue
        return fail({
          expected: `user ${expected}`,
          got: `user ${user}`,
          evidence: [show(item)],
          fix: edit(
            'Set the user on a scope of the request (withIsolationScope), not on the one of the process.',
          ),
        })
      }
      if (judged === 0 || users.size < 2) {
        return unproven('no events with two different users could be told apart; see err.context')
      }
      return pass(`${judged} events of ${users.size} users, none mixed up`)
    },
  },
  {
    id: 'err.nodsn',
    title: 'Without a DSN the service runs and says so',
    criterion: 'Without SENTRY_DSN it starts, connects to no tracker, and prints one notice.',
    needsStart: true,
    run({ untracked, errors: made, options }) {
      const reproduce = `env -u SENTRY_DSN ${programLine(options)}`
      if (untracked === undefined) return unproven('the service was not started without a DSN')
      if (!untracked.isUp) {
        return fail({
          expected: 'a service that runs without SENTRY_DSN',
          got: 'it does not',
          evidence: [excerpt(untracked.failure ?? '', 1500)],
          fix: edit('Treat a missing DSN as "tracking is off", not as an error.'),
          reproduce,
        })
      }
      if (untracked.refused.length > 0) {
        return fail({
          expected: 'no connection to a tracker',
          got: `connections to ${untracked.refused[0]}`,
          fix: env('Read the DSN from SENTRY_DSN alone.'),
          reproduce,
        })
      }
      if (untracked.notices.length > 0) return pass(excerpt(untracked.notices[0] as string, 160))
      return made === undefined
        ? unproven('it runs, but whether it has a tracker at all is not known')
        : fail({
            expected: 'one line that says that errors go nowhere',
            got: 'none',
            fix: edit('Log once at the start: error tracking is off, set SENTRY_DSN.'),
            reproduce,
          })
    },
  },
  {
    id: 'err.dead',
    title: 'A dead tracker costs nothing',
    criterion:
      'With a tracker that resets, fails, limits or hangs, p95 of failing requests stays near the baseline; no crash, no flood of warnings.',
    needsStart: true,
    run(evidence) {
      const { errors: made, capture, boot, base, options } = evidence
      if (made === undefined) return unproven(NO_ROUTE)
      const none = nothingCame(evidence)
      if (none !== undefined) return unproven(none)
      if (!made.isAliveAfter) {
        return fail({
          expected: 'a process that lives',
          got: 'it ended while the tracker was away',
          evidence: capture.lines.slice(-5).map(({ text }) => excerpt(text)),
          fix: edit('Catch what the delivery of events throws.'),
        })
      }
      const base95 = percentileMs(made.baseline, 0.95)
      const limit = deadLimitMs(made.baseline, options.scale)
      for (const { mood, exchanges } of made.moods) {
        const p95 = percentileMs(exchanges, 0.95)
        if (p95 <= limit) continue
        return fail({
          expected: `p95 below ${limit.toFixed(0)} ms (${base95.toFixed(0)} ms with a tracker that is well)`,
          got: `${p95.toFixed(0)} ms with a tracker that answers "${mood}"`,
          fix: edit('Never await the delivery of an event in a request: queue it, with a bound.'),
          reproduce: `${curlOf(base, exchanges[0] as Exchange)}   # with a tracker that ${MOOD_WORDS[mood]}`,
        })
      }
      const from = made.moods[0]?.from ?? 0
      const until = made.moods.at(-1)?.until ?? 0
      const warnings = capture.lines.filter(
        ({ at, text, record }) =>
          at >= from &&
          at <= until &&
          record?.requestId === undefined &&
          /tracker|sentry|ECONN|fetch failed/i.test(text),
      )
      if (warnings.length > made.moods.length + 1) {
        return fail({
          expected: 'at most one warning a minute',
          got: `${warnings.length} in ${((until - from) / 1000).toFixed(1)} s`,
          evidence: warnings.slice(0, 3).map(({ text }) => excerpt(text)),
          fix: edit('Report failing delivery once a minute, with a count.'),
        })
      }
      const worst = Math.max(...made.moods.map(({ exchanges }) => percentileMs(exchanges, 0.95)))
      return pass(
        `p95 ${worst.toFixed(0)} ms at worst, ${base95.toFixed(0)} ms with a tracker that is well; pid ${boot?.listener} lives`,
      )
    },
  },
]

function isOwnFrame(frame: Json): boolean {
  const file = String(frame.filename ?? frame.abs_path ?? '')
  if (frame.in_app === true) return true
  return frame.in_app === undefined && file !== '' && !/node_modules|node:|site-packages/.test(file)
}

function missingContext(item: TrackerItem, hasUser: boolean): string[] {
  const event = item.payload ?? {}
  const request = (event.request ?? {}) as Json
  const tags = tagsOf(event)
  const has = (value: unknown): boolean => value !== undefined && value !== null && value !== ''
  const headers = request.headers
  return [
    hasUser && userOf(item) === undefined ? 'user.id' : '',
    typeof headers === 'object' && headers !== null && Object.keys(headers).length > 0
      ? ''
      : 'request headers',
    has(request.url) ? '' : 'request url',
    has(request.method) ? '' : 'request method',
    requestIdOf(item) === undefined ? 'a request_id' : '',
    has(tags.service) || has(event.server_name) || has(tags['service.name']) ? '' : 'tag service',
    has(event.environment) ? '' : 'environment',
    has(event.release) ? '' : 'release',
  ].filter((name) => name !== '')
}

function userOf(item: TrackerItem): string | undefined {
  const id = (item.payload?.user as Json | undefined)?.id
  return id === undefined || id === null ? undefined : String(id)
}

function learn(evidence: Evidence, one: Deliberate, owners: Map<string, string>): void {
  const [item] = eventsOf(evidence, one)
  const user = item === undefined ? undefined : userOf(item)
  if (one.user !== undefined && user !== undefined) owners.set(one.user, user)
}

/** A body without what differs from request to request: ids, times, numbers of a long run. */
function shape(body: string): string {
  return body.replace(
    /[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{16,}|\d{4}-\d\d-\d\dT[\d:.]+Z?|\d{6,}/gi,
    '…',
  )
}
