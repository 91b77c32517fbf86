// The judges of an exposition: promtool, the OpenMetrics reference parser in Python, a real
// Prometheus, and a checker of what none of them sees.
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '../services/server.js'

/** A program from PATH or /usr/bin; fails with the Debian package that has it. */
function program(name, debianPackage) {
  for (const folder of [...(process.env.PATH ?? '').split(':'), '/usr/bin']) {
    if (existsSync(join(folder, name))) return join(folder, name)
  }
  throw new Error(`${name} is missing: install it with apt-get install ${debianPackage}`)
}

/** `promtool check metrics`; throws with its words when it is not content, about names only when `lints`. */
export function promtool(text, { lints = true } = {}) {
  const run = spawnSync(program('promtool', 'prometheus'), ['check', 'metrics'], {
    input: text,
    encoding: 'utf8',
  })
  if (run.status !== 0 && (lints || run.status !== 3)) {
    throw new Error(`promtool (${run.status}): ${run.stderr}${run.stdout}`)
  }
}

/** `promtool <args>` in a folder; answers its output, throws when it fails. */
export function promtoolRun(args, cwd) {
  const run = spawnSync(program('promtool', 'prometheus'), args, { cwd, encoding: 'utf8' })
  if (run.status !== 0)
    throw new Error(`promtool ${args.join(' ')} (${run.status}): ${run.stderr}${run.stdout}`)
  return run.stdout
}

const PARSE = `
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
n = 0
for family in text_string_to_metric_families(sys.stdin.read()):
    n += len(family.samples)
print(n)
`

/** The OpenMetrics reference parser; answers the number of samples. */
export function referenceParser(text) {
  // Debian's Python has the package; another one may come first on PATH.
  for (const python of ['/usr/bin/python3', 'python3']) {
    const run = spawnSync(python, ['-c', PARSE], { input: text, encoding: 'utf8' })
    if (run.status === 0) return Number(run.stdout)
    if (!/ModuleNotFoundError|ENOENT/.test(`${run.stderr}${run.error}`)) throw new Error(run.stderr)
  }
  throw new Error(
    'prometheus_client is missing: install it with apt-get install python3-prometheus-client',
  )
}

const SAMPLE =
  /^([a-zA-Z_:][\w:]*)(?:\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\})? (\S+)(?: -?[\d.]+)?( # \{.*\} \S+( \S+)?)?$/
const SUFFIXES = ['', '_total', '_bucket', '_sum', '_count', '_created', '_info']
const number = (text) => (/^[+]Inf$/.test(text) ? Number.POSITIVE_INFINITY : Number(text))

/** Throws when samples repeat, families interleave, buckets are wrong, or +Inf is not the count. */
export function checkExposition(text, { openMetrics = false } = {}) {
  if (!text.endsWith('\n')) throw new Error('the last line does not end')
  const lines = text.slice(0, -1).split('\n')
  const eof = lines.indexOf('# EOF')
  if (openMetrics ? eof !== lines.length - 1 : eof !== -1) throw new Error('# EOF is wrong')
  const seen = new Set()
  const closed = new Set()
  const buckets = new Map()
  const counts = new Map()
  let family
  for (const line of lines) {
    if (line === '# EOF') continue
    if (line.startsWith('# ')) {
      const name = line.split(' ')[2]
      if (name !== family) {
        if (closed.has(name)) throw new Error(`family ${name} comes twice`)
        if (family !== undefined) closed.add(family)
        family = name
      }
      continue
    }
    const match = SAMPLE.exec(line)
    if (match === null) throw new Error(`not a sample: ${line.slice(0, 200)}`)
    const [, name, labels = '', value] = match
    if (!SUFFIXES.some((suffix) => name === family + suffix)) {
      throw new Error(`${name} is outside its family ${family}`)
    }
    const key = `${name}{${labels}}`
    if (seen.has(key)) throw new Error(`sample twice: ${key}`)
    seen.add(key)
    if (Number.isNaN(number(value)) && value !== 'NaN') throw new Error(`not a number: ${line}`)
    const le = /(?:^|,)le="([^"]*)"/.exec(labels)
    const rest = labels.replace(/(?:^|,)le="[^"]*"/, '').replace(/^,/, '')
    if (name.endsWith('_bucket') && le !== null) {
      const series = `${name.slice(0, -7)}{${rest}}`
      const last = buckets.get(series) ?? { le: Number.NEGATIVE_INFINITY, value: 0 }
      const next = { le: number(le[1]), value: number(value) }
      if (!(next.le > last.le)) throw new Error(`bounds out of order in ${series}`)
      if (next.value < last.value) throw new Error(`buckets fall in ${series}`)
      buckets.set(series, next)
    } else if (name.endsWith('_count')) counts.set(`${name.slice(0, -6)}{${labels}}`, number(value))
  }
  for (const [series, last] of buckets) {
    if (last.le !== Number.POSITIVE_INFINITY) throw new Error(`no +Inf bucket in ${series}`)
    if (counts.get(series) !== last.value) throw new Error(`+Inf is not the count of ${series}`)
  }
}

function getJson(url) {
  return new Promise((resolve, reject) => {
    http
      .get(url, (res) => {
        let text = ''
        res.setEncoding('utf8').on('data', (part) => {
          text += part
        })
        res.on('end', () => {
          try {
            resolve(JSON.parse(text))
          } catch (error) {
            reject(error)
          }
        })
      })
      .on('error', reject)
  })
}

/** Starts a real Prometheus that scrapes `target` (host:port) every second, with exemplars. */
export async function startPrometheus(target) {
  const folder = mkdtempSync(join(tmpdir(), 'telltale-prometheus-'))
  const port = await freePort()
  writeFileSync(
    join(folder, 'prometheus.yml'),
    `global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs: [{job_name: kit, static_configs: [{targets: ['${target}']}]}]\n`,
  )
  const child = spawn(
    program('prometheus', 'prometheus'),
    [
      '--config.file=prometheus.yml',
      '--storage.tsdb.path=data',
      `--web.listen-address=127.0.0.1:${port}`,
      '--enable-feature=exemplar-storage',
      '--log.level=warn',
    ],
    { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] },
  )
  let stderr = ''
  child.stderr.on('data', (part) => {
    stderr += part
  })
  const api = (path) => getJson(`http://127.0.0.1:${port}/api/v1/${path}`)
  return {
    api,
    /** Asks until `holds` is true of the answer. */
    async until(path, holds, timeoutMs = 20_000) {
      const end = performance.now() + timeoutMs
      let last
      while (performance.now() < end) {
        try {
          last = await api(path)
          if (holds(last)) return last
        } catch (error) {
          last = error
        }
        await new Promise((resolve) => setTimeout(resolve, 200))
      }
      throw new Error(`Prometheus never said so: ${JSON.stringify(last)} ${last} ${stderr}`)
    },
    async stop() {
      const exited = new Promise((resolve) => child.once('exit', resolve))
      child.kill('SIGKILL')
      await exited
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
