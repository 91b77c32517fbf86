// programs/calls.mjs BLOCKS: nanoseconds of single calls, all contenders in turn in one process; the
// lines go to standard output, which the runner points at /dev/null, the result to standard error.
// Calls come in bursts of 50 with a turn of the event loop between them, as in a server, so that the
// writes a logger has put off are part of its time. Each begins with an empty young generation.
import { AsyncLocalStorage } from 'node:async_hooks'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { configure, getJsonLinesFormatter, getLogger, withContext } from '@logtape/logtape'
import { PrometheusExporter } from '@opentelemetry/exporter-prometheus'
import { MeterProvider } from '@opentelemetry/sdk-metrics'
import { histogram, init, log, runWith } from '@telltale/node'
import pino from 'pino'
import client from 'prom-client'
import winston from 'winston'

const BURST = 50
const blocks = Number(process.argv[2])
const nextTurn = () => new Promise(setImmediate)
setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc')
/** What one contender left is not for the next to clear away. Twice, as the first time only moves it. */
function collect() {
  gc({ type: 'minor' })
  gc({ type: 'minor' })
}

init({ service: 'bench' })
const storage = new AsyncLocalStorage()
const mixin = () => ({ request_id: storage.getStore()?.id })
const pinoLog = pino({ mixin })
const pinoRedacting = pino({
  mixin,
  redact: ['password', 'token', 'user.password', 'headers.authorization', 'headers.cookie'],
})
const addId = winston.format((info) => Object.assign(info, mixin()))
const winstonLog = winston.createLogger({
  format: winston.format.combine(
    addId(),
    winston.format.timestamp(),
    winston.format.errors({ stack: true }),
    winston.format.json(),
  ),
  transports: [new winston.transports.Console()],
})
const format = getJsonLinesFormatter()
const out = (record) => process.stdout.write(format(record))
await configure({
  sinks: { out },
  loggers: [
    { category: 'bench', lowestLevel: 'info', sinks: ['out'] },
    { category: ['logtape', 'meta'], lowestLevel: 'error', sinks: ['out'] },
  ],
  contextLocalStorage: new AsyncLocalStorage(),
})
const logTape = getLogger('bench')

const results = []
async function compare(what, calls, contenders) {
  const values = Object.fromEntries(Object.keys(contenders).map((name) => [name, []]))
  for (let block = -4; block < blocks; block++) {
    for (const [name, call] of Object.entries(contenders)) {
      await nextTurn()
      collect()
      const start = process.hrtime.bigint()
      for (let done = 0; done < calls; done += BURST) {
        for (let i = 0; i < BURST; i++) call()
        await nextTurn()
      }
      const ns = Number(process.hrtime.bigint() - start) / calls
      if (block >= 0) values[name].push(Number(ns.toPrecision(4)))
    }
  }
  for (const who of Object.keys(contenders))
    results.push({ what, who, unit: 'ns', values: values[who] })
}
/** For calls of a few nanoseconds: no turns between them. */
async function compareTight(what, calls, contenders) {
  const values = Object.fromEntries(Object.keys(contenders).map((name) => [name, []]))
  for (let block = -2; block < blocks; block++) {
    for (const [name, call] of Object.entries(contenders)) {
      const start = process.hrtime.bigint()
      for (let i = 0; i < calls; i++) call()
      const ns = Number(process.hrtime.bigint() - start) / calls
      if (block >= 0) values[name].push(Number(ns.toPrecision(4)))
      await nextTurn()
    }
  }
  for (const who of Object.keys(contenders))
    results.push({ what, who, unit: 'ns', values: values[who] })
}

const fields = { order_id: 7, sku: 'compass', total_cents: 2490 }
const error = new Error('out of stock')
const secrets = {
  user: { name: 'ada', password: 'analytical' },
  headers: { authorization: 'Bearer abcdef0123456789', accept: '*/*' },
}
async function logging() {
  await compare('a log call, 3 fields, in a request', 5000, {
    telltale: () => log.info('order_placed', fields),
    pino: () => pinoLog.info(fields, 'order_placed'),
    winston: () => winstonLog.info('order_placed', fields),
    LogTape: () => logTape.info('order_placed', fields),
  })
  await compare('a log call with an Error', 2000, {
    telltale: () => log.info('order_failed', { error }),
    pino: () => pinoLog.info({ err: error }, 'order_failed'),
    winston: () => winstonLog.info(error),
    LogTape: () => logTape.info('order_failed', { error }),
  })
  await compare('a log call with two secrets masked', 2000, {
    telltale: () => log.info('signed_in', secrets),
    pino: () => pinoRedacting.info(secrets, 'signed_in'),
  })
  await compareTight('a disabled log call', 100_000, {
    telltale: () => log.debug('order_placed', fields),
    pino: () => pinoLog.debug(fields, 'order_placed'),
    winston: () => winstonLog.debug('order_placed', fields),
    LogTape: () => logTape.debug('order_placed', fields),
  })
}
const id = '0b9e2c1e-7a54-4f3e-9d10-0123456789ab'
await runWith({ name: 'bench', requestId: id }, () =>
  storage.run({ id }, () => withContext({ request_id: id }, logging)),
)

const metric = { name: 'bench_seconds', help: 'Bench.', labelNames: ['method', 'route', 'status'] }
const own = histogram(metric)
const theirs = new client.Histogram(metric)
// Without a reader the SDK would record nothing.
const readers = [new PrometheusExporter({ preventServerStart: true })]
const otel = new MeterProvider({ readers }).getMeter('bench').createHistogram('bench_seconds')
const labels = Array.from({ length: 240 }, (_, i) => ({
  method: i % 2 ? 'GET' : 'POST',
  route: `/r${i >> 3}/:id`,
  status: String(200 + (i % 8)),
}))
let turn = 0
const next = () => {
  turn = turn === 239 ? 0 : turn + 1
  return labels[turn]
}
const series = own.labels(labels[0])
await compareTight('a histogram observation, 240 label sets', 20_000, {
  telltale: () => own.observe(next(), 0.02),
  'telltale, series kept': () => series.observe(0.02),
  'prom-client': () => theirs.observe(next(), 0.02),
  OpenTelemetry: () => otel.record(0.02, next()),
})
process.stderr.write(`\n${JSON.stringify(results)}\n`)
process.exit(0)
