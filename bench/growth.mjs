// How cost grows: Fastify under more lines, spans, routes and connections; a tracker that does not
// answer; a standard output that nobody reads. Each point is { curve, x, variant, round, figures… }.
import { setTimeout as sleep } from 'node:timers/promises'
import { load } from './load.mjs'
import { startServer, startSink } from './process.mjs'
import { proveRequests } from './proof.mjs'
import { measure } from './throughput.mjs'
import { variantOn } from './variants.mjs'

const users = '/users/42'
const CURVES = [
  { curve: 'log lines per request', xs: [1, 10, 100], plan: (x) => ({ path: `/lines/${x}` }) },
  { curve: 'spans per request', xs: [1, 10, 50], plan: (x) => ({ path: `/spans/${x}` }) },
  { curve: 'routes', xs: [10, 100, 2000], plan: (x) => ({ path: '/route0/7', routes: x }) },
  {
    curve: 'keep-alive connections',
    xs: [10, 100, 1000, 10_000],
    plan: (x) => ({ path: users, connections: x }),
  },
]
const COMPARED = ['bare', 'telltale', 'hand-wired']

const startFastify = async (name, sink, env) =>
  Object.assign(await startServer('fastify', variantOn('fastify', name), sink, env), {
    framework: 'fastify',
  })

/** The curves over x, for bare, the kit and the stack wired by hand. */
export async function measureGrowth({ rounds, seconds }, sink, progress) {
  const points = []
  const servers = []
  for (const name of COMPARED)
    servers.push(await startFastify(name, sink, { BENCH_ROUTES: '2000' }))
  for (const server of servers) {
    server.go()
    await proveRequests(server, 'json')
    await load({ port: server.port, path: users, seconds: 1 })
    server.stop()
  }
  for (const { curve, xs, plan } of CURVES) {
    // Each curve has code of its own to warm up.
    for (const server of servers) {
      server.go()
      await load({ port: server.port, seconds: 1, ...plan(xs[1]) })
      server.stop()
    }
    for (const x of xs) {
      progress(`${curve}: ${x.toLocaleString('en')}`)
      for (let round = 1; round <= rounds; round++) {
        for (let i = 0; i < servers.length; i++) {
          const server = servers[(i + round) % servers.length]
          server.go()
          // Ten thousand handshakes need their time before anything is answered.
          const longer = plan(x).connections > 1000 ? 2 : 0
          const { figures } = await measure(server, { seconds: seconds + longer, ...plan(x) })
          server.stop()
          points.push({ curve, x, variant: server.variant.name, round, ...figures })
        }
      }
    }
  }
  await Promise.all(servers.map((server) => server.end()))
  return points
}

/** The same service whose tracker answers, hangs, or refuses the connection; `warm` rounds do not count. */
export async function measureTracker({ warm, rounds, seconds, variants }, sink, progress) {
  const points = []
  const hanging = await startSink('hang')
  const refusing = { ...sink, dsn: (project) => sink.dsn(project).replace(/:\d+\//, ':9/') }
  const sinks = { answers: sink, hangs: hanging, refuses: refusing }
  for (const name of variants) {
    const servers = []
    for (const [x, its] of Object.entries(sinks)) {
      const server = await startFastify(name, its)
      server.go()
      await proveRequests(server, 'json')
      server.stop()
      servers.push([x, server])
    }
    for (let round = 1 - warm; round <= rounds; round++) {
      progress(`tracker: ${name} ${round < 1 ? 'warm-up' : `round ${round}/${rounds}`}`)
      for (let i = 0; i < servers.length; i++) {
        const [x, server] = servers[(i + round + warm) % servers.length]
        server.go()
        const { figures } = await measure(server, { path: users, seconds })
        server.stop()
        if (round >= 1) points.push({ curve: 'tracker', x, variant: name, round, ...figures })
      }
    }
    await Promise.all(servers.map(([, server]) => server.end()))
  }
  await hanging.end()
  return points
}

/** A window with a reader at the pipe, and one in which nobody reads; then what came after all. */
export async function measureStall({ seconds, variants }, sink, progress) {
  const points = []
  for (const name of variants) {
    progress(`stalled stdout: ${name}`)
    const server = await startFastify(name, sink)
    const { output, variant } = server
    server.go()
    await proveRequests(server, 'json')
    await load({ port: server.port, path: users, seconds: 1 })
    for (const x of ['read', 'stalled']) {
      await settle(output)
      const before = output.lines()
      output.stall(x === 'stalled')
      const { requests, figures } = await measure(server, { path: users, seconds })
      output.stall(false)
      await settle(output)
      const due = requests * variant.lines.json
      const lines = due === 0 ? null : Number(((output.lines() - before) / due).toFixed(3))
      points.push({ curve: 'stdout', x, variant: name, round: 1, ...figures, lines })
    }
    await server.end()
  }
  return points
}

/** Waits until nothing more comes: half a second without a line, at most ten. */
async function settle(output) {
  for (let i = 0, seen = -1; i < 20 && seen !== output.lines(); i++) {
    seen = output.lines()
    await sleep(500)
  }
}
