// node bench/micro.mjs: one log call, one disabled call, one histogram observation, against pino and
// prom-client in the same run; import + init in fresh processes. Medians of several blocks, nanoseconds.
import { AsyncLocalStorage } from 'node:async_hooks'
import { spawnSync } from 'node:child_process'
import { openSync } from 'node:fs'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { histogram, init, log, runWith, setLevel } from '@telltale/node'
import pino from 'pino'
import client from 'prom-client'
import { median, table } from './figures.mjs'

const here = dirname(fileURLToPath(import.meta.url))
if (process.argv[2] !== 'inner') {
  // The lines go to /dev/null; what is printed here goes to stderr of the inner run.
  const sink = openSync('/dev/null', 'w')
  const run = spawnSync(process.execPath, [fileURLToPath(import.meta.url), 'inner'], {
    stdio: ['ignore', sink, 'pipe'],
    env: { ...process.env, SENTRY_DSN: '', TELLTALE_LOG_PRETTY: '0' },
    encoding: 'utf8',
  })
  process.stdout.write(run.stderr)
  process.exit(run.status ?? 1)
}

init({
  service: 'bench',
  log: { captureConsole: false },
  health: { enabled: false },
  shutdown: { enabled: false },
})
const storage = new AsyncLocalStorage()
const other = pino(
  { mixin: () => ({ request_id: storage.getStore()?.id }) },
  pino.destination('/dev/null'),
)
const fields = { order_id: 7, sku: 'compass', total_cents: 2490 }
const own = histogram({
  name: 'bench_seconds',
  help: 'Bench.',
  labelNames: ['method', 'route', 'status'],
})
const theirs = new client.Histogram({
  name: 'bench_seconds',
  help: 'Bench.',
  labelNames: ['method', 'route', 'status'],
})
const labels = { method: 'GET', route: '/users/:id', status: '200' }

/** Nanoseconds of one call: the blocks of all contenders in turn, the median block of each. */
async function compare(contenders, calls) {
  const times = new Map(Object.keys(contenders).map((name) => [name, []]))
  for (let block = 0; block < 9; block++) {
    for (const [name, run] of Object.entries(contenders)) {
      const start = process.hrtime.bigint()
      for (let i = 0; i < calls; i++) run()
      times.get(name).push(Number(process.hrtime.bigint() - start) / calls)
      await new Promise(setImmediate)
    }
  }
  return Object.fromEntries([...times].map(([name, values]) => [name, median(values.slice(2))]))
}

const rows = []
function row(what, figures, reference) {
  for (const [name, ns] of Object.entries(figures)) {
    rows.push([what, name, ns.toFixed(ns < 100 ? 1 : 0), (ns / figures[reference]).toFixed(2)])
  }
}

await runWith({ name: 'bench' }, () =>
  storage.run({ id: '0b9e2c1e-7a54-4f3e-9d10-0123456789ab' }, async () => {
    row(
      'a log call, 3 fields, in a request',
      await compare(
        {
          telltale: () => log.info('order_placed', fields),
          pino: () => other.info(fields, 'order_placed'),
        },
        20_000,
      ),
      'pino',
    )
    row(
      'a disabled log call',
      await compare(
        {
          telltale: () => log.debug('order_placed', fields),
          pino: () => other.debug(fields, 'order_placed'),
        },
        1_000_000,
      ),
      'pino',
    )
  }),
)
row(
  'a histogram observation, 3 labels',
  await compare(
    {
      telltale: () => own.observe(labels, 0.02),
      'prom-client': () => theirs.observe(labels, 0.02),
    },
    100_000,
  ),
  'prom-client',
)
setLevel('silent')
console.error(table(['what', 'who', 'ns', 'ratio'], rows))

const probe = (code) => {
  const runs = Array.from({ length: 7 }, () =>
    JSON.parse(
      spawnSync(process.execPath, ['--input-type=module', '-e', code], {
        cwd: here,
        encoding: 'utf8',
      })
        .stderr.trim()
        .split('\n')
        .at(-1),
    ),
  )
  return { ms: median(runs.map((r) => r.ms)), mb: median(runs.map((r) => r.mb)) }
}
const tail =
  'process.stderr.write(JSON.stringify({ ms: performance.now() - start, mb: process.memoryUsage.rss() / 1048576 }) + "\\n"); process.exit(0)'
const bare = probe(
  `const start = performance.now(); await import('node:http'); await new Promise(setImmediate); ${tail}`,
)
const kit = probe(
  `const start = performance.now(); await import('node:http'); const { init } = await import('@telltale/node'); init({ service: 'x' }); await new Promise(setImmediate); ${tail}`,
)
console.error(
  `\nimport + init: ${(kit.ms - bare.ms).toFixed(1)} ms and ${(kit.mb - bare.mb).toFixed(1)} MB more than node:http alone (median of 7 processes)`,
)
process.exit(0)
