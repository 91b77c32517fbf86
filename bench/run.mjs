// npm run bench [-- --quick] [--json FILE] [--only express,telltale] [--stdout pipe|file] [--rounds N] [--seconds N]
// Each variant is a process of its own on one CPU, driven from another; rounds are interleaved and
// the variants that are not being measured are stopped, so that each pays for its own deferred work.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { bars, median, spread, summarise, table } from './figures.mjs'

const here = dirname(fileURLToPath(import.meta.url))
const FRAMEWORKS = { 'node:http': 'node-http', express: 'express', fastify: 'fastify' }
const VARIANTS = ['bare', 'telltale', 'hand-wired']
const WORKLOADS = { json: '/users/42', work: '/work/42' }
const CONNECTIONS = 50

function usage(message) {
  if (message) console.error(`bench: ${message}`)
  console.error(
    'usage: npm run bench -- [--quick] [--json FILE] [--only NAME[,NAME]] [--stdout pipe|file] [--rounds N] [--seconds N]\n' +
      `NAME is one of ${[...Object.keys(FRAMEWORKS), ...VARIANTS, ...Object.keys(WORKLOADS)].join(', ')}; bare always runs, for the ratios.`,
  )
  process.exit(message ? 2 : 0)
}

function readFlags() {
  let values
  try {
    values = parseArgs({
      options: {
        quick: { type: 'boolean' },
        json: { type: 'string' },
        only: { type: 'string' },
        stdout: { type: 'string', default: 'pipe' },
        rounds: { type: 'string' },
        seconds: { type: 'string' },
        help: { type: 'boolean' },
      },
    }).values
  } catch (error) {
    usage(error.message)
  }
  if (values.help) usage()
  if (!['pipe', 'file'].includes(values.stdout))
    usage(`--stdout takes pipe or file, got ${values.stdout}`)
  const names = values.only?.split(',') ?? []
  const known = [...Object.keys(FRAMEWORKS), ...VARIANTS, ...Object.keys(WORKLOADS)]
  for (const name of names) if (!known.includes(name)) usage(`--only does not know ${name}`)
  const chosen = (all) =>
    all.some((name) => names.includes(name)) ? all.filter((name) => names.includes(name)) : all
  const count = (text, fallback) => {
    if (text === undefined) return fallback
    const number = Number(text)
    if (!(number >= 1 && number <= 60)) usage(`a number from 1 to 60 is needed, got ${text}`)
    return number
  }
  return {
    json: values.json,
    stdout: values.stdout,
    rounds: count(values.rounds, values.quick ? 3 : 7),
    seconds: count(values.seconds, values.quick ? 2 : 4),
    frameworks: chosen(Object.keys(FRAMEWORKS)),
    variants: [...new Set(['bare', ...chosen(VARIANTS)])],
    workloads: chosen(Object.keys(WORKLOADS)),
  }
}

const has = (program) => spawnSync('sh', ['-c', `command -v ${program}`]).status === 0
const canPin = process.platform === 'linux' && availableParallelism() > 1 && has('taskset')
const pin = (cpu, command, args) =>
  canPin ? ['taskset', ['-c', String(cpu), command, ...args]] : [command, args]

/** The port a child tells on stderr; what it says later (faults, warnings) goes on to ours. */
function listening(child) {
  return new Promise((resolve, reject) => {
    let text = ''
    let isTold = false
    child.stderr.setEncoding('utf8').on('data', (part) => {
      if (isTold) return process.stderr.write(part)
      text += part
      const match = /listening (\d+)/.exec(text)
      if (match === null) return
      isTold = true
      resolve(Number(match[1]))
    })
    child.once('exit', () => reject(new Error(`it ended before it listened:\n${text}`)))
  })
}

function start(cpu, args, options = {}) {
  const [command, rest] = pin(cpu, process.execPath, args)
  return spawn(command, rest, { cwd: here, stdio: ['ignore', 'pipe', 'pipe'], ...options })
}

async function startVariant(framework, variant, sinkPort, flags) {
  const preload = variant === 'hand-wired' ? ['--import', './servers/sentry-preload.mjs'] : []
  const dsn = `http://abcdef0123456789abcdef0123456789@127.0.0.1:${sinkPort}/1`
  const file = join(
    tmpdir(),
    `telltale-bench-${process.pid}-${framework.replace(':', '-')}-${variant}.log`,
  )
  const stdout = flags.stdout === 'file' ? openSync(file, 'w') : 'pipe'
  const child = start(0, [...preload, `servers/${FRAMEWORKS[framework]}.mjs`, variant], {
    stdio: ['ignore', stdout, 'pipe'],
    env: {
      ...process.env,
      NODE_ENV: 'production',
      SENTRY_DSN: dsn,
      SENTRY_TRACES_SAMPLE_RATE: '0.2',
      LOG_LEVEL: 'info',
    },
  })
  let reader
  if (flags.stdout === 'pipe') {
    // A process of its own reads the lines, so that the load generator is not slowed by them.
    const [command, rest] = pin(1, 'cat', [])
    reader = spawn(command, rest, { stdio: [child.stdout, 'ignore', 'inherit'] })
  }
  return {
    framework,
    variant,
    child,
    port: await listening(child),
    file: flags.stdout === 'file' ? file : undefined,
    reader,
  }
}

/** User and system time of a process, microseconds; its resident memory, MB. Linux. */
function usage_of(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')
  const rss = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  return { cpuUs: (Number(fields[11]) + Number(fields[12])) * 10_000, rssMb: Number(rss[1]) / 1024 }
}

function milliseconds(text) {
  const [, number, unit] = /([\d.]+)(us|ms|s|m)/.exec(text)
  return Number(number) * { us: 0.001, ms: 1, s: 1000, m: 60_000 }[unit]
}

async function load(port, path, seconds) {
  const url = `http://127.0.0.1:${port}${path}`
  if (has('wrk')) {
    const [command, args] = pin(1, 'wrk', [
      '-t1',
      `-c${CONNECTIONS}`,
      `-d${seconds}`,
      '--latency',
      url,
    ])
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    let text = ''
    for await (const part of child.stdout) text += part
    if (/Non-2xx/.test(text)) throw new Error(`the server answered errors:\n${text}`)
    return {
      requests: Number(/(\d+) requests in/.exec(text)[1]),
      rps: Number(/Requests\/sec:\s+([\d.]+)/.exec(text)[1]),
      p50: milliseconds(/^\s+50%\s+(\S+)/m.exec(text)[1]),
      p99: milliseconds(/^\s+99%\s+(\S+)/m.exec(text)[1]),
    }
  }
  const [command, args] = pin(1, process.execPath, [
    join(here, 'node_modules/autocannon/autocannon.js'),
    '-j',
    '-c',
    String(CONNECTIONS),
    '-d',
    String(seconds),
    url,
  ])
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'ignore'] })
  let text = ''
  for await (const part of child.stdout) text += part
  const result = JSON.parse(text)
  if (result.non2xx > 0) throw new Error(`the server answered ${result.non2xx} errors`)
  return {
    requests: result.requests.total,
    rps: result.requests.average,
    p50: result.latency.p50,
    p99: result.latency.p99,
  }
}

async function measure(server, workload, round, seconds) {
  server.child.kill('SIGCONT')
  const before = usage_of(server.child.pid)
  const { requests, rps, p50, p99 } = await load(server.port, WORKLOADS[workload], seconds)
  const after = usage_of(server.child.pid)
  server.child.kill('SIGSTOP')
  return {
    framework: server.framework,
    workload,
    variant: server.variant,
    round,
    rps: Math.round(rps),
    p50_ms: p50,
    p99_ms: p99,
    cpu_us_per_request: Math.round(((after.cpuUs - before.cpuUs) / requests) * 100) / 100,
    rss_mb: Math.round(after.rssMb * 10) / 10,
  }
}

async function end(server) {
  server.child.kill('SIGCONT')
  server.child.kill('SIGUSR2')
  const timer = setTimeout(() => server.child.kill('SIGKILL'), 5000)
  if (server.child.exitCode === null && server.child.signalCode === null)
    await once(server.child, 'exit')
  clearTimeout(timer)
  if (server.file) rmSync(server.file, { force: true })
}

function report(rows, flags, colour) {
  const entries = []
  function overHand(framework, workload, variant) {
    const { ratios } = summarise(rows, { framework, workload, variant }, 'hand-wired')
    return ratios.length === 0 ? '–' : spread(ratios)
  }
  const lines = []
  for (const framework of flags.frameworks) {
    for (const workload of flags.workloads) {
      for (const variant of flags.variants) {
        const { own, ratios, added, p99 } = summarise(rows, { framework, workload, variant })
        if (own.length === 0) continue
        lines.push([
          framework,
          workload,
          variant,
          spread(own.map((row) => row.rps)),
          spread(ratios),
          overHand(framework, workload, variant),
          spread(own.map((row) => row.cpu_us_per_request)),
          spread(added),
          spread(own.map((row) => row.p50_ms)),
          spread(own.map((row) => row.p99_ms)),
          spread(p99),
          spread(own.map((row) => row.rss_mb)),
        ])
        entries.push({
          label: `${framework} ${workload} ${variant}`,
          variant,
          ratio: median(ratios),
        })
      }
    }
  }
  const heads = [
    'framework',
    'workload',
    'variant',
    'requests/s',
    'of bare',
    'of hand-wired',
    'CPU µs',
    'added µs',
    'p50 ms',
    'p99 ms',
    'p99 of bare',
    'RSS MB',
  ]
  console.log(
    `\n${table(heads, lines)}\n\nThroughput, bare = 1 (median of the rounds):\n${bars(entries, colour)}\n`,
  )
}

const flags = readFlags()
if (process.platform !== 'linux') usage('CPU and memory are read from /proc: Linux is needed')
if (!existsSync(join(here, '../packages/node/dist/esm/index.js')))
  usage('the kit is not built: run npm ci first')
if (!existsSync(join(here, 'node_modules/@sentry/node'))) {
  console.error('Installing what the kit is compared with …')
  const run = spawnSync('npm', ['ci', '--no-audit', '--no-fund'], { cwd: here, stdio: 'inherit' })
  if (run.status !== 0) process.exit(run.status ?? 1)
}

const version = (name) =>
  JSON.parse(readFileSync(join(here, 'node_modules', name, 'package.json'), 'utf8')).version
console.log(
  `Node ${process.version} · ${cpus()[0]?.model ?? 'unknown CPU'} × ${availableParallelism()}${canPin ? ', server on CPU 0, load on CPU 1' : ', not pinned'}\n` +
    `${['express', 'fastify', 'pino', 'pino-http', 'prom-client', '@sentry/node'].map((name) => `${name} ${version(name)}`).join(' · ')}\n` +
    `${flags.rounds} rounds of ${flags.seconds} s, ${CONNECTIONS} keep-alive connections by ${has('wrk') ? 'wrk' : 'autocannon'}, stdout to a ${flags.stdout}, 20 % of traces to a sink that parses them.\n` +
    'The first round warms up and is not counted.',
)
const colour = process.stdout.isTTY === true && !process.env.NO_COLOR
const sink = start(1, ['sink.mjs'])
const sinkPort = await listening(sink)
let received = ''
sink.stdout.setEncoding('utf8').on('data', (part) => {
  received += part
})
const rows = []
const servers = []
process.once('SIGINT', () => {
  for (const server of servers) server.child.kill('SIGKILL')
  sink.kill('SIGKILL')
  process.exit(130)
})
try {
  for (const framework of flags.frameworks) {
    for (const variant of flags.variants) {
      servers.push(await startVariant(framework, variant, sinkPort, flags))
      servers.at(-1).child.kill('SIGSTOP')
    }
    for (const workload of flags.workloads) {
      for (let round = 0; round <= flags.rounds; round++) {
        // Each round begins with another variant, so that none always follows the same one.
        for (let turn = 0; turn < servers.length; turn++) {
          const server = servers[(turn + round) % servers.length]
          const row = await measure(server, workload, round, round === 0 ? 1 : flags.seconds)
          if (round > 0) rows.push(row)
        }
        process.stderr.write(`\r${framework} ${workload} round ${round}/${flags.rounds}   `)
      }
    }
    process.stderr.write('\r\u001b[K')
    await Promise.all(servers.splice(0).map(end))
  }
} finally {
  await Promise.all(servers.map(end))
}
sink.kill('SIGUSR2')
await once(sink, 'exit')
const { posts, items } = JSON.parse(received || '{"posts":0,"items":0}')
if (items === 0 && flags.variants.length > 1) {
  console.error('bench: the sink received no traces, so the figures would flatter: not reported.')
  process.exit(1)
}
report(rows, flags, colour)
console.log(`The sink parsed ${items} items in ${posts} posts.\n`)
if (flags.json) {
  mkdirSync(dirname(flags.json), { recursive: true })
  writeFileSync(flags.json, `${JSON.stringify(rows, null, 1)}\n`)
  console.log(`${rows.length} rows in ${flags.json}`)
}
