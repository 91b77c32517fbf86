// Single calls, scrapes, start-up, captures, and the promises that have a number. Each measurement is
// { what, who, unit, values }, one value a block, scrape or process.
import { once } from 'node:events'
import { get } from 'node:http'
import { median } from './figures.mjs'
import { openPipe, run, SERVER_CPU, startListening, startNode } from './process.mjs'

const lastJson = (text) => JSON.parse(text.trim().split('\n').at(-1))
const short = (value) => Number(value.toPrecision(4))

function body(url) {
  return new Promise((resolve, reject) => {
    get(url, { agent: false }, (res) => {
      let bytes = 0
      let text = ''
      res.on('data', (chunk) => {
        bytes += chunk.length
        if (bytes < 100) text += chunk
      })
      res.on('end', () => resolve({ bytes, text }))
    }).on('error', reject)
  })
}

async function scrapes(who, sets, count) {
  const server = await startListening(SERVER_CPU, ['programs/scrape.mjs', who, String(sets)])
  const url = `http://127.0.0.1:${server.port}`
  const took = []
  const blocked = []
  for (let i = -1; i < count; i++) {
    await body(`${url}/block`)
    const start = performance.now()
    const { bytes } = await body(`${url}/metrics`)
    const ms = performance.now() - start
    if (bytes < sets * 500) throw new Error(`${who} answered ${bytes} bytes for ${sets} label sets`)
    // A turn of the loop, so that the last piece of work is in the longest too.
    await new Promise((resolve) => setTimeout(resolve, 5))
    const { text } = await body(`${url}/block`)
    if (i < 0) continue
    took.push(short(ms))
    blocked.push(short(Number(text)))
  }
  await server.end()
  const name = `scrape of ${sets.toLocaleString('en')} label sets`
  return [
    { what: name, who, unit: 'ms', values: took },
    { what: `${name}: longest loop block`, who, unit: 'ms', values: blocked },
  ]
}

async function startups(count) {
  const runs = { node: [], telltale: [], '@sentry/node': [] }
  for (let i = -1; i < count; i++) {
    for (const who of Object.keys(runs)) {
      // A second each: every other time is enough.
      if (who === '@sentry/node' && i % 2 !== 0) continue
      const found = lastJson(await run('startup', [who]))
      if (i >= 0) runs[who].push(found)
    }
  }
  const base = {
    ms: median(runs.node.map(({ ms }) => ms)),
    mb: median(runs.node.map(({ mb }) => mb)),
  }
  return ['telltale', '@sentry/node'].flatMap((who) => [
    {
      what: 'import + init',
      who,
      unit: 'ms',
      values: runs[who].map(({ ms }) => short(ms - base.ms)),
    },
    {
      what: 'RSS added by it',
      who,
      unit: 'MB',
      values: runs[who].map(({ mb }) => short(mb - base.mb)),
    },
  ])
}

/** Projects of the sink, one a program; the servers have the small numbers. */
let project = 900_000
const nextProject = () => String(++project)

async function captures(sink, blocks) {
  const found = []
  for (const who of ['telltale', '@sentry/node']) {
    const own = nextProject()
    const values = lastJson(await run('capture', [who, sink.dsn(own), blocks]))
    const { events } = await sink.counts(own)
    // Two blocks of twenty warm up. Errors that are not sent would be cheap.
    if (events < (blocks + 2) * 20) throw new Error(`${who} sent ${events} errors only`)
    const what = 'capture of one error, sent'
    found.push({ what, who, unit: 'CPU µs', values: values.map(short) })
  }
  return found
}

async function bursts(sink, count) {
  const values = []
  for (let i = 0; i < count; i++) {
    const own = nextProject()
    const { lost } = lastJson(await run('burst', [sink.dsn(own), 500], { quiet: true }))
    values.push((await sink.counts(own)).events + lost)
  }
  return [
    {
      what: '500 different errors at once: delivered or counted',
      who: 'telltale',
      unit: '',
      values,
    },
  ]
}

async function probes(count) {
  const values = []
  for (let i = 0; i < count; i++)
    values.push(lastJson(await run('probes', [], { quiet: true })).queries)
  return [{ what: '1,000 concurrent probes: queries', who: 'telltale', unit: '', values }]
}

async function endings(count) {
  const found = []
  for (const [how, due] of Object.entries({
    exit: 20_000,
    SIGTERM: 20_000,
    crash: 20_000,
    SIGKILL: 1,
  })) {
    const values = []
    for (let i = 0; i < count; i++) {
      const output = openPipe()
      output.watch()
      const child = startNode(SERVER_CPU, ['programs/lines.mjs', how, String(due)], {
        stdio: ['ignore', output.fd, 'ignore'],
        env: { PATH: process.env.PATH, TELLTALE_ENVIRONMENT: 'production' },
      })
      output.started()
      await once(child, 'exit')
      await output.ended
      values.push(
        output
          .seen()
          .split('\n')
          .filter((line) => line.includes('"counted"')).length,
      )
    }
    const what =
      how === 'SIGKILL'
        ? 'error lines out after SIGKILL, of 1'
        : `lines out after ${how}, of 20,000`
    found.push({ what, who: 'telltale', unit: '', values })
  }
  return found
}

/** Everything, in about two minutes; with `isQuick` what the budgets need, in about half a one. */
export async function measureMicro(isQuick, sink, progress) {
  const found = []
  const part = async (name, measuring) => {
    progress(name)
    found.push(...(await measuring()))
  }
  await part('single calls', async () =>
    lastJson(await run('calls', [isQuick ? 5 : 15], { quiet: true })),
  )
  const rivals = isQuick ? ['prom-client'] : ['prom-client', 'OpenTelemetry']
  for (const sets of isQuick ? [5000] : [100, 1000, 5000])
    for (const who of ['telltale', ...rivals])
      await part(`scrape by ${who}`, () => scrapes(who, sets, isQuick ? 5 : 11))
  await part('start-up', () => startups(isQuick ? 5 : 9))
  if (!isQuick) await part('captures', () => captures(sink, 15))
  await part('a burst of errors', () => bursts(sink, isQuick ? 1 : 3))
  await part('probes', () => probes(isQuick ? 1 : 3))
  await part('endings', () => endings(isQuick ? 1 : 3))
  return found
}
