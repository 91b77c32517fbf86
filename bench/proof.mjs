// Before anything is measured, the variant is seen doing its work: it answers what it should, prints
// what it should, counts what it should and sends what it should. A variant that does less would win.
import { randomUUID } from 'node:crypto'
import { request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { WORKLOADS } from './variants.mjs'

const PATIENCE_MS = 15_000

function get(port, path, headers = {}) {
  return new Promise((resolve, reject) => {
    const sent = request({ port, host: '127.0.0.1', path, headers, agent: false }, (res) => {
      let text = ''
      res.setEncoding('utf8').on('data', (part) => {
        text += part
      })
      res.on('end', () => resolve({ status: res.statusCode, headers: res.headers, text }))
    })
    sent.on('error', reject).end()
  })
}

/** Waits until `look` returns something true; undefined when it never did. */
async function until(look, patienceMs = PATIENCE_MS) {
  const end = performance.now() + patienceMs
  for (;;) {
    const found = await look()
    if (found) return found
    if (performance.now() > end) return undefined
    await sleep(10)
  }
}

function expect(isSo, server, what) {
  if (isSo) return
  throw new Error(
    `${server.framework} ${server.variant.name}: ${what}; not measured.\n${server.said()}`,
  )
}

/** The counter of the workload's route in GET /metrics. */
async function counted(server, workload) {
  const { text } = await get(server.port, '/metrics')
  const line = text
    .split('\n')
    .find(
      (line) =>
        line.startsWith(`${server.variant.metric}{`) &&
        line.includes(`"${WORKLOADS[workload]}:id"`),
    )
  return line === undefined ? 0 : Number(line.slice(line.indexOf('} ') + 2).split(' ')[0])
}

/** A few requests: answers, ids, lines, counters; returns how many. Throws when one is not as it should be. */
export async function proveRequests(server, workload, patienceMs) {
  const { variant, output } = server
  const before = variant.metric ? await counted(server, workload) : 0
  output.watch()
  const path = WORKLOADS[workload]
  const ids = Array.from({ length: 3 }, () => randomUUID())
  for (const id of ids) {
    const answer = await get(server.port, path + id, { 'X-Request-ID': id })
    expect(answer.status === 200, server, `GET ${path}${id} answered ${answer.status}`)
    expect(JSON.parse(answer.text).id === id, server, `it answered ${answer.text}`)
    if (variant.header)
      expect(answer.headers['x-request-id'] === id, server, 'it lost the request id')
  }
  const due = variant.lines[workload]
  for (const id of ids) {
    const find = () => {
      const lines = output.seen().split('\n').slice(0, -1)
      return lines.filter((line) => line.includes(id)).map((line) => JSON.parse(line))
    }
    await until(() => find().length >= due, patienceMs)
    const lines = find()
    expect(lines.length === due, server, `it printed ${lines.length} lines, not ${due}`)
    if (variant.hasIds)
      expect(
        lines.every((line) => line.request_id === id),
        server,
        'a line had no request_id',
      )
  }
  output.unwatch()
  if (variant.metric) {
    const after = await counted(server, workload)
    expect(
      after - before === ids.length,
      server,
      `it counted ${after - before} of ${ids.length} requests`,
    )
  }
  return ids.length
}

/** A failing request: 500, and where errors are tracked, an event at the sink. */
export async function proveErrors(server, sink) {
  const { status } = await get(server.port, '/fail')
  expect(status === 500, server, `GET /fail answered ${status}`)
  if (!server.variant.sends.includes('errors')) return
  const arrived = await until(async () => (await sink.counts(server.project)).events > 0)
  expect(arrived, server, 'the sink never got its error')
}

/** After a load: traces have come since `before`. */
export async function proveTraces(server, sink, before) {
  if (!server.variant.sends.includes('traces')) return
  const arrived = await until(async () => (await sink.counts(server.project)).traces > before)
  expect(arrived, server, 'the sink got none of its traces')
}
