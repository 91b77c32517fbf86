/** Request ids and the line that tells how a request ended. */
import { detectUnit, type LogRecord, latencyMs } from '../dialect.js'
import { byRequest, type Evidence, finishedOf, pathname } from '../evidence.js'
import type { Exchange } from '../http.js'
import { curlOf, headerOf, quote } from '../reproduce.js'
import { BASE, TOKEN_HEADER } from '../verify-routes.js'
import { type Check, count, edit, excerpt, fail, pass, unproven } from './check.js'
import { withoutRecords } from './logs.js'

const ID = /^[A-Za-z0-9._-]{16,}$/
const ID_FIX = edit(
  'Give each request an id at the door, before all middleware, and carry it in an AsyncLocalStorage. The kit does both: init() first.',
)

/** Exchanges that were answered and belong to one request each. */
function answered(evidence: Evidence): Exchange[] {
  const { traffic } = evidence
  return [...(traffic?.ordinary ?? []), ...(traffic?.missing ?? [])].filter(
    ({ status }) => status > 0,
  )
}

/** Ids that more than one answer carries. */
function sharedIds(exchanges: readonly Exchange[]): Set<string> {
  const seen = new Set<string>()
  const twice = new Set<string>()
  for (const { id } of exchanges) {
    if (id === undefined) continue
    if (seen.has(id)) twice.add(id)
    seen.add(id)
  }
  return twice
}

/** The id each record of these exchanges has to have cannot be told when ids are missing or shared. */
export function idTrouble(evidence: Evidence): string | undefined {
  const exchanges = answered(evidence)
  if (sharedIds(exchanges).size > 0) return 'ids are shared between requests; see req.id.unique'
  return undefined
}

export const requests: readonly Check[] = [
  {
    id: 'req.id.unique',
    title: 'Every request has an id of its own',
    criterion: '200 requests, 200 ids, each 16 or more of A-Z a-z 0-9 . _ -',
    run(evidence) {
      const exchanges = answered(evidence)
      if (exchanges.length === 0) return unproven('no request was answered')
      // What a header lacks is told by req.id.header; here the logs may know the id.
      const ids = exchanges.map((exchange) => exchange.id ?? logId(evidence, exchange))
      const known = ids.filter((id) => id !== undefined)
      if (known.length === 0) {
        return fail({
          expected: `an id for each of ${exchanges.length} requests`,
          got: 'none, neither in an answer nor in a line',
          fix: ID_FIX,
          reproduce: curlOf(evidence.base, exchanges[0] as Exchange),
        })
      }
      const distinct = new Set(known)
      const weak = [...distinct].filter((id) => !ID.test(id))
      if (distinct.size === known.length && weak.length === 0) {
        return pass(`${known.length} requests, ${distinct.size} ids`)
      }
      return fail({
        expected: `${known.length} different ids of 16 or more characters`,
        got:
          weak.length > 0
            ? `${count(weak.length, 'weak id')}, such as ${excerpt(weak[0] as string, 60)}`
            : `${count(distinct.size, 'id')} for ${known.length} requests`,
        evidence: [...sharedIds(exchanges)].slice(0, 3),
        fix: edit(
          'Make a new random id for each request (crypto.randomUUID()), not one per process or connection.',
        ),
        // Twice, in one command.
        reproduce: `${curlOf(evidence.base, exchanges[0] as Exchange)} ${quote(evidence.base + (exchanges[0] as Exchange).path)}`,
      })
    },
  },
  {
    id: 'req.id.shared',
    title: 'All lines of a request share its id',
    criterion:
      'Lines written while a request runs carry exactly its id; 50 interleaved slow requests, none crossed.',
    isRecipe: true,
    needsLines: true,
    run(evidence) {
      const text = withoutRecords(evidence) ?? idTrouble(evidence)
      if (text !== undefined) return unproven(text)
      const { traffic, capture, base } = evidence
      const records = capture.records()
      const interleaved = traffic?.interleaved ?? []
      if (interleaved.length > 0) {
        const marks = byMark(records)
        for (const { mark, exchange } of interleaved) {
          if (exchange.id === undefined) continue
          const own = marks.get(mark) ?? []
          const crossed = own.find((record) => record.requestId !== exchange.id)
          if (own.length > 0 && crossed === undefined) continue
          return fail({
            expected: `every line of this request with request_id ${exchange.id}`,
            got:
              crossed === undefined
                ? 'no line of its handler'
                : `a line with ${crossed.requestId ?? 'no id'}`,
            evidence: own.slice(0, 3).map((record) => excerpt(record.text)),
            fix: ID_FIX,
            reproduce: `curl -sZ --parallel-max 50 ${headerOf(TOKEN_HEADER, evidence.token)} '${base}${BASE}work?mark=again&ms=[20-69]'`,
          })
        }
        const lines = interleaved.reduce((sum, { mark }) => sum + (marks.get(mark)?.length ?? 0), 0)
        return pass(`${interleaved.length} interleaved requests, ${lines} lines, none crossed`)
      }
      // Without a handler of ours: every request of the run has a line with the id of its answer.
      const exchanges = answered(evidence)
      const ids = byRequest(records)
      const lost = exchanges.filter(({ id }) => id === undefined || !ids.has(id))
      const [first] = lost
      if (first !== undefined && lost.length === exchanges.length) {
        return fail({
          expected: 'lines that carry the id of their request',
          got:
            records.length === 0
              ? 'no line at all'
              : first.id === undefined
                ? 'answers without an id'
                : `no line with ${first.id}`,
          evidence: records.slice(-2).map((record) => excerpt(record.text)),
          fix: ID_FIX,
          reproduce: curlOf(base, first),
        })
      }
      const most = Math.max(0, ...[...ids.values()].map((list) => list.length))
      return most > 1
        ? pass(`${exchanges.length - lost.length} requests, each with its id in its lines`)
        : unproven(
            'each request wrote one line only, so there is nothing to share; name a --route whose handler logs',
          )
    },
  },
  {
    id: 'req.id.body',
    title: 'The id survives bodies and waits',
    criterion:
      'Lines written after a JSON, urlencoded, multipart or 1 MB body and after waits carry it.',
    needsLines: true,
    run(evidence) {
      const text = withoutRecords(evidence) ?? idTrouble(evidence)
      if (text !== undefined) return unproven(text)
      const { traffic, capture, base } = evidence
      const bodies = traffic?.bodies ?? []
      if (bodies.length === 0) {
        return unproven('no handler is known that reads a body; name one with --body-route')
      }
      const records = capture.records()
      const marks = byMark(records)
      for (const { kind, mark, exchange } of bodies) {
        const own = mark === '' ? finishedOf(records, exchange) : (marks.get(mark) ?? [])
        const wrong = own.find((record) => record.requestId !== exchange.id)
        if (own.length > 0 && wrong === undefined && exchange.id !== undefined) continue
        if (exchange.id === undefined) continue
        return fail({
          expected: `lines after a ${kind} body with request_id ${exchange.id}`,
          got:
            own.length > 0
              ? `a line with ${wrong?.requestId ?? 'no id'}`
              : `no line of it with ${mark === '' ? 'this id' : 'its mark'}`,
          evidence: own.slice(0, 3).map((record) => excerpt(record.text)),
          fix: edit(
            'The context is lost in the body parser. Enter it with AsyncLocalStorage.run around the whole request, or bind the request to it (AsyncResource.bind on its events).',
          ),
          reproduce: curlOf(base, exchange),
        })
      }
      return pass(bodies.map(({ kind }) => kind).join(', '))
    },
  },
  {
    id: 'req.id.header',
    title: 'Every answer carries the id that its lines have',
    criterion:
      'X-Request-ID in 2xx, 404, 500, HEAD, OPTIONS and streams; the same id as in the logs.',
    isRecipe: true,
    run(evidence) {
      const { traffic, base, capture, errors } = evidence
      const answers = [
        ...(traffic?.answers ?? []),
        ...(errors?.single ?? []).map(({ exchange }) => ({ kind: 'an error', exchange })),
      ].filter(({ exchange }) => exchange.status > 0)
      const without = answers.filter(({ exchange }) => exchange.id === undefined)
      const [first] = without
      if (first !== undefined) {
        return fail({
          expected: 'X-Request-ID in every answer',
          got: `none in ${[...new Set(without.map(({ kind }) => kind))].join(', ')}`,
          evidence: [
            excerpt(`HTTP ${first.exchange.status} ${JSON.stringify(first.exchange.headers)}`),
          ],
          fix: edit(
            'Set the header where the request comes in, on the raw response, before any routing: then 404s and errors have it too.',
          ),
          reproduce: curlOf(base, first.exchange),
        })
      }
      const records = capture.records()
      const ids = byRequest(records)
      const strangers = (traffic?.missing ?? []).filter(
        (exchange) =>
          exchange.id !== undefined &&
          !ids.has(exchange.id) &&
          finishedOf(records, exchange).some((record) => record.requestId !== exchange.id),
      )
      const [stranger] = strangers
      if (stranger !== undefined) {
        return fail({
          expected: `the id of the answer, ${stranger.id}, in its lines`,
          got: `${finishedOf(records, stranger)[0]?.requestId ?? 'no id'}`,
          evidence: finishedOf(records, stranger).map((record) => excerpt(record.text)),
          fix: edit('Use one id for both: the header and the log context.'),
          reproduce: curlOf(base, stranger),
        })
      }
      return pass(answers.map(({ kind, exchange }) => `${kind} (${exchange.status})`).join(', '))
    },
  },
  {
    id: 'req.id.inbound',
    title: "A client's id is kept when it is fine and never echoed when it is not",
    criterion:
      'A valid inbound id is kept; 10 KB, empty, non-ASCII, quoted, doubled ones are replaced.',
    run({ traffic, base }) {
      const inbound = traffic?.inbound ?? []
      const seen = inbound.filter(({ exchange }) => exchange.id !== undefined)
      if (seen.length === 0) {
        return inbound.length === 0
          ? unproven('nothing was sent')
          : fail({
              expected: 'an X-Request-ID in the answer, the one that was sent',
              got: 'no id in any answer',
              fix: ID_FIX,
              reproduce: `curl -i -H 'X-Request-ID: telltale-0000-0001' ${base}/`,
            })
      }
      for (const { kind, isValid, sent, exchange } of inbound) {
        const headers = [sent, ...(kind === 'two headers' ? ['second-id-of-two-1'] : [])]
        const reproduce = `curl -i ${headers.map((value) => headerOf('X-Request-ID', value)).join(' ')} ${quote(base + exchange.path)}`
        // A server that refuses such a request altogether is on the safe side.
        if (exchange.status === 400 || exchange.status === 431 || exchange.status === 0) continue
        const id = exchange.id ?? ''
        if (isValid && id !== sent && id !== '') {
          return fail({
            expected: `the id that was sent, ${sent}`,
            got: id,
            fix: edit('Take X-Request-ID of the request when it matches ^[A-Za-z0-9._-]{8,64}$.'),
            reproduce,
          })
        }
        const isEchoed =
          !isValid && id !== '' && (id === sent || !ID.test(id) || id.includes('first-id-of-two'))
        const isInjected = exchange.headers['x-injected'] !== undefined
        if (!isEchoed && !isInjected) continue
        return fail({
          expected: `${kind}: a new id`,
          got: isInjected ? 'a header of the attacker in the answer' : excerpt(id, 100),
          fix: edit('Accept only ids that match ^[A-Za-z0-9._-]{8,64}$; make a new one otherwise.'),
          reproduce,
        })
      }
      return pass(`1 kept, ${inbound.length - 1} hostile ones replaced or refused`)
    },
  },
  {
    id: 'req.finished',
    title: 'One line tells how each request ended',
    criterion:
      'Exactly one line per request with method, path, status as on the wire, and the latency; abandoned ones too.',
    isRecipe: true,
    needsLines: true,
    run(evidence) {
      const text = withoutRecords(evidence) ?? idTrouble(evidence)
      if (text !== undefined) return unproven(text)
      const { traffic, capture, base } = evidence
      const records = capture.records()
      const finished = byRequest(records.filter((record) => record.isFinished))
      const exchanges = answered(evidence)
      const route = (exchange: Exchange): LogRecord[] =>
        exchange.id !== undefined && finished.has(exchange.id)
          ? (finished.get(exchange.id) as LogRecord[])
          : finishedOf(records, exchange)
      for (const exchange of exchanges) {
        const own = route(exchange)
        const [line] = own
        const wrong = line === undefined ? undefined : faultOf(line, exchange)
        if (own.length === 1 && wrong === undefined) continue
        return fail({
          expected: `one line for ${exchange.method} ${exchange.path.split('?')[0]} with its method, path, status ${exchange.status} and latency`,
          got:
            own.length === 1
              ? (wrong as string)
              : own.length === 0
                ? 'none'
                : `${own.length} lines`,
          evidence: own.slice(0, 3).map((record) => excerpt(record.text)),
          fix:
            own.length > 1
              ? edit(
                  'Two loggers write it: keep one (a middleware and the framework, for example).',
                )
              : edit(
                  'Write one line when the response closes: { method, path, route, status_code, latency_ms }. The kit does.',
                ),
          reproduce: curlOf(base, exchange),
        })
      }
      const { slow, aborted } = traffic ?? {}
      if (slow === undefined || slow.ms < 90) {
        return unproven(
          'every request has its line, but none took long enough to judge the latency; name a --slow-route',
        )
      }
      const [line] = route(slow)
      if (line?.latency === undefined) {
        return fail({
          expected: `a line for ${slow.path} with its latency`,
          got: 'none',
          fix: edit('Write the line when the response closes, with latency_ms.'),
          reproduce: curlOf(base, slow),
        })
      }
      const unit = detectUnit(line.latency, slow.ms)
      const told = latencyMs(line.latency, unit)
      const limit = Math.max(25, slow.ms * 0.3)
      if (Math.abs(told - slow.ms) > limit) {
        return fail({
          expected: `${line.latency.field} of about ${Math.round(slow.ms)} ms, as the client measured`,
          got: `${line.latency.value}, which is ${told} ms`,
          evidence: [excerpt(line.text)],
          fix: edit(
            'Measure with a monotonic clock (performance.now()) and write what the name says: latency_ms in milliseconds.',
          ),
          reproduce: curlOf(base, slow),
        })
      }
      if (aborted !== undefined) {
        const told = records.find(
          (record) =>
            record.isFinished &&
            (record.isAborted || record.status === 499) &&
            (record.path === undefined || pathname(record.path) === aborted.path.split('?')[0]),
        )
        if (told === undefined) {
          return fail({
            expected: 'a line with aborted: true or status 499 for a request whose client left',
            got: 'none',
            fix: edit(
              "Write the line at the response's close event, not at finish: close comes for both.",
            ),
            reproduce: `${curlOf(base, aborted)} --max-time 0.1`,
          })
        }
      }
      return pass(
        `${exchanges.length} requests, one line each; ${line.latency.field} ${told.toFixed(0)} ms for a request of ${slow.ms.toFixed(0)} ms`,
      )
    },
  },
]

function faultOf(line: LogRecord, exchange: Exchange): string | undefined {
  if (line.status !== exchange.status) return `status ${line.status}`
  if (line.method === undefined) return 'no method'
  if (line.method.toUpperCase() !== exchange.method) return `method ${line.method}`
  if (line.path === undefined && line.route === undefined) return 'no path and no route'
  if (line.path !== undefined && pathname(line.path) !== exchange.path.split('?')[0]) {
    return `path ${excerpt(line.path, 100)}`
  }
  return undefined
}

function byMark(records: readonly LogRecord[]): Map<string, LogRecord[]> {
  const map = new Map<string, LogRecord[]>()
  for (const record of records) {
    const { mark } = record.raw
    if (typeof mark !== 'string') continue
    map.set(mark, [...(map.get(mark) ?? []), record])
  }
  return map
}

/** The id that the lines of an exchange have, when they can be told by their path. */
function logId(evidence: Evidence, exchange: Exchange): string | undefined {
  return finishedOf(evidence.capture.records(), exchange)[0]?.requestId
}
