/** What `telltale verify` is told: flags, then `telltale.verify` of package.json, then defaults. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

/** A method and a path, as in `--error-route "GET /fail"`. */
export type Route = { readonly method: string; readonly path: string }

/** A dependency that the user names: an address, or the variable that holds its URL. */
export type Dependency = {
  readonly name: string
  readonly address?: { readonly host: string; readonly port: number }
  readonly variable?: string
}

export type VerifyOptions = {
  readonly cwd: string
  /** The flags that say what the service is and how to judge it, as they were given. */
  readonly given: readonly string[]
  /** Argv of the service, or one line for the shell. */
  readonly command: readonly string[] | string
  readonly url: URL | undefined
  readonly logs: string | undefined
  readonly port: number | undefined
  readonly routes: readonly Route[]
  readonly errorRoute: Route | undefined
  readonly slowRoute: Route | undefined
  readonly bodyRoute: Route | undefined
  readonly crashRoute: Route | undefined
  /** Header lines; two of them are two users. */
  readonly auth: readonly { readonly name: string; readonly value: string }[]
  readonly live: string | undefined
  readonly ready: string | undefined
  readonly metrics: string | undefined
  readonly dependencies: readonly Dependency[]
  readonly env: Readonly<Record<string, string>>
  readonly bootTimeoutMs: number
  readonly errorTimeoutMs: number
  readonly recoverTimeoutMs: number
  /** Multiplies every wait and limit: slow machines. */
  readonly scale: number
  readonly only: readonly string[]
  readonly skip: readonly string[]
  /** Skipped and unproven checks fail too. */
  readonly isStrict: boolean
  readonly isRemoteAllowed: boolean
  readonly hasHook: boolean
  readonly json: boolean
  readonly tap: boolean
  readonly github: boolean
  readonly quiet: boolean
  readonly junit: string | undefined
  readonly ctrf: string | undefined
  readonly sarif: string | undefined
  readonly save: string | undefined
}

/** A mistake in how the command was called: exit code 2, or 4 when a decision is missing. */
export class UsageError extends Error {
  readonly exitCode: 2 | 3 | 4
  constructor(message: string, exitCode: 2 | 3 | 4 = 2) {
    super(message)
    this.exitCode = exitCode
  }
}

export const HELP = `telltale verify [options] [-- command …]

Starts a service, plays its error tracker, cuts its database, kills it, and judges what came out.
Without a command: the start script of package.json.

Which service
  --url URL                 a service that runs already; checks that need its start are skipped
  --logs FILE               with --url: where its lines are written (- reads standard input)
  --port N                  the port it listens on, when it is not PORT and no hook can tell
  --env NAME=VALUE          for its environment (repeatable)
  --no-hook                 nothing is preloaded into Node; then name --port and --dep
  --dep NAME=HOST:PORT      a dependency to cut, by address (repeatable)
  --dep NAME=env:VARIABLE   … by the variable that holds its URL; for what is not Node

What it can do
  --route "GET /path"       an ordinary route that changes nothing (repeatable)
  --error-route "GET /x"    one that fails with 5xx
  --slow-route "GET /x"     one that takes 100 ms or more
  --body-route "POST /x"    one that reads a JSON body and changes nothing
  --crash-route "GET /x"    one that ends the process by an uncaught error
  --auth "Header: value"    a signed-in user; twice for a second one
  --live, --ready, --metrics PATH

How to judge
  --only IDS, --skip IDS    checks by id, separated by commas; a group name takes its checks
  --ci, --strict            what is skipped or unproven fails too
  --timeout-scale X         multiplies every wait and limit
  --boot-timeout S (30)  --error-timeout S (5)  --recover-timeout S (30)
  --i-know                  allow a --url that is not loopback; then only harmless checks run

Reports
  --json  --tap  --github   on standard output instead of the report for people
  --junit, --ctrf, --sarif FILE
  --save DIR                everything captured, and report.html
  --quiet                   no progress on standard error

Exit codes: 0 all well · 1 a check failed · 2 usage · 3 could not run · 4 needs a decision · 130 interrupted
All of these can stand in package.json: "telltale": { "verify": { "errorRoute": "GET /fail" } }`

const FLAGS = {
  url: { type: 'string' },
  logs: { type: 'string' },
  port: { type: 'string' },
  env: { type: 'string', multiple: true },
  dep: { type: 'string', multiple: true },
  route: { type: 'string', multiple: true },
  'error-route': { type: 'string' },
  'slow-route': { type: 'string' },
  'body-route': { type: 'string' },
  'crash-route': { type: 'string' },
  auth: { type: 'string', multiple: true },
  live: { type: 'string' },
  ready: { type: 'string' },
  metrics: { type: 'string' },
  only: { type: 'string', multiple: true },
  skip: { type: 'string', multiple: true },
  ci: { type: 'boolean' },
  strict: { type: 'boolean' },
  'timeout-scale': { type: 'string' },
  'boot-timeout': { type: 'string' },
  'error-timeout': { type: 'string' },
  'recover-timeout': { type: 'string' },
  'i-know': { type: 'boolean' },
  'no-hook': { type: 'boolean' },
  json: { type: 'boolean' },
  tap: { type: 'boolean' },
  github: { type: 'boolean' },
  quiet: { type: 'boolean' },
  junit: { type: 'string' },
  ctrf: { type: 'string' },
  sarif: { type: 'string' },
  save: { type: 'string' },
  help: { type: 'boolean', short: 'h' },
} as const

type Given = { [key: string]: string | boolean | (string | boolean)[] | undefined }

/** Reads the arguments after `verify`; 'help' when they ask for it. Throws UsageError. */
export function readOptions(argv: readonly string[], cwd: string): VerifyOptions | 'help' {
  const dashes = argv.indexOf('--')
  const own = dashes === -1 ? argv : argv.slice(0, dashes)
  const command = dashes === -1 ? [] : argv.slice(dashes + 1)
  let flags: Given
  try {
    const parsed = parseArgs({ args: [...own], options: FLAGS, allowPositionals: true })
    flags = parsed.values
    if (parsed.positionals.length > 0) {
      throw new UsageError(
        `Unexpected "${parsed.positionals[0]}". The command of the service stands after --: telltale verify -- ${parsed.positionals.join(' ')}`,
      )
    }
  } catch (error) {
    if (error instanceof UsageError) throw error
    throw new UsageError(
      `${(error as Error).message.split('. To specify')[0]}. Options of the service's own command stand after --: telltale verify -- node --env-file=.env server.js`,
    )
  }
  if (flags.help === true) return 'help'

  const manifest = readManifest(cwd)
  const config = readConfig(manifest)
  const given = (name: string): string | boolean | (string | boolean)[] | undefined =>
    flags[name] ?? config[camel(name)]
  const text = (name: string): string | undefined => {
    const value = given(name)
    if (value === undefined || typeof value === 'string') return value
    return String(value)
  }
  const list = (name: string, plural = `${name}s`): string[] => {
    const value = flags[name] ?? config[plural] ?? config[camel(name)] ?? []
    return (Array.isArray(value) ? value : [value]).map(String)
  }
  const number = (name: string, fallback: number): number => {
    const value = Number(text(name) ?? fallback)
    if (value > 0 && Number.isFinite(value)) return value
    throw new UsageError(`--${name} must be a number above 0, got "${text(name)}".`)
  }
  const route = (name: string): Route | undefined => {
    const value = text(name)
    return value === undefined ? undefined : readRoute(value, name)
  }
  const path = (name: string): string | undefined => {
    const value = text(name)
    if (value === undefined || /^\/\S*$/.test(value)) return value
    const usual = name === 'metrics' ? '/metrics' : `/health/${name}`
    throw new UsageError(`--${name} must be a path, as ${usual}, got "${value}".`)
  }
  const ids = (name: string): string[] => list(name, name).flatMap((value) => value.split(','))

  const scale = number('timeout-scale', 1)
  const url = text('url')
  const port = text('port')
  return {
    cwd,
    given: givenFlags(flags),
    command: url !== undefined ? [] : command.length > 0 ? command : startCommand(config, manifest),
    url: url === undefined ? undefined : readUrl(url, flags['i-know'] === true),
    logs: readLogs(text('logs'), url),
    port: port === undefined ? undefined : readPort(port),
    routes: list('route').map((value) => readRoute(value, 'route')),
    errorRoute: route('error-route'),
    slowRoute: route('slow-route'),
    bodyRoute: route('body-route'),
    crashRoute: route('crash-route'),
    auth: list('auth', 'auth').map(readHeader),
    live: path('live'),
    ready: path('ready'),
    metrics: path('metrics'),
    dependencies: list('dep').map(readDependency),
    env: Object.fromEntries(list('env', 'env').map(readVariable)),
    bootTimeoutMs: number('boot-timeout', 30) * 1000 * scale,
    errorTimeoutMs: number('error-timeout', 5) * 1000 * scale,
    recoverTimeoutMs: number('recover-timeout', 30) * 1000 * scale,
    scale,
    only: ids('only'),
    skip: ids('skip'),
    isStrict: given('ci') === true || given('strict') === true,
    isRemoteAllowed: flags['i-know'] === true,
    hasHook: flags['no-hook'] !== true,
    json: flags.json === true,
    tap: flags.tap === true,
    github: flags.github === true || (process.env.GITHUB_ACTIONS === 'true' && flags.json !== true),
    quiet: flags.quiet === true,
    junit: text('junit'),
    ctrf: text('ctrf'),
    sarif: text('sarif'),
    save: text('save'),
  }
}

/** Flags again as arguments, without reports and without the choice of checks. */
function givenFlags(flags: Given): string[] {
  const left = ['only', 'skip', 'json', 'tap', 'github', 'quiet', 'junit', 'ctrf', 'sarif', 'save']
  return Object.entries(flags)
    .filter(([name]) => !left.includes(name))
    .flatMap(([name, value]) =>
      (Array.isArray(value) ? value : [value]).flatMap((one) =>
        one === true ? [`--${name}`] : [`--${name}`, String(one)],
      ),
    )
}

const camel = (name: string): string =>
  name.replace(/-([a-z])/g, (_all, letter: string) => letter.toUpperCase())

type Manifest = { readonly scripts?: Record<string, string>; readonly telltale?: unknown }

function readManifest(cwd: string): Manifest | undefined {
  const file = join(cwd, 'package.json')
  if (!existsSync(file)) return undefined
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Manifest
  } catch (error) {
    throw new UsageError(`${file} is no JSON: ${(error as Error).message}`, 3)
  }
}

function readConfig(manifest: Manifest | undefined): Given {
  const config = (manifest?.telltale as { verify?: Given } | undefined)?.verify ?? {}
  const known = new Set([...Object.keys(FLAGS).map(camel), 'command', 'routes', 'deps'])
  const unknown = Object.keys(config).find((key) => !known.has(key))
  if (unknown !== undefined) {
    throw new UsageError(
      `package.json: telltale.verify.${unknown} is not an option. Known: ${[...known].join(', ')}.`,
    )
  }
  return config
}

function startCommand(config: Given, manifest: Manifest | undefined): readonly string[] | string {
  const script = config.command ?? manifest?.scripts?.start
  if (typeof script === 'string' && script.trim() !== '') return plainCommand(script)
  throw new UsageError(
    'There is nothing to start here: package.json has no start script. Name the command: telltale verify -- node server.js',
    3,
  )
}

/** The argv of a script that needs no shell; the script itself when it does. */
function plainCommand(script: string): readonly string[] | string {
  const words = script.trim().replace(/^exec\s+/, '')
  return /[^\w\s./@:=,+-]|^\w+=/.test(words) ? script : words.split(/\s+/)
}

function readLogs(file: string | undefined, url: string | undefined): string | undefined {
  if (file === undefined || url !== undefined) return file
  throw new UsageError(
    `--logs ${file} is for a service that runs already: pass --url too. Of one that verify starts the lines are read anyway.`,
  )
}

function readRoute(value: string, flag: string): Route {
  const match = /^(?:([A-Za-z]+)\s+)?(\/\S*)$/.exec(value.trim())
  if (match === null) {
    throw new UsageError(`--${flag} must be a method and a path, as "GET /path", got "${value}".`)
  }
  return { method: (match[1] ?? 'GET').toUpperCase(), path: match[2] as string }
}

function readHeader(value: string): { name: string; value: string } {
  const match = /^([\w-]+):\s*(.+)$/.exec(value)
  if (match === null) throw new UsageError(`--auth must be "Header: value", got "${value}".`)
  return { name: match[1] as string, value: match[2] as string }
}

function readVariable(value: string): [string, string] {
  const at = value.indexOf('=')
  if (at < 1) throw new UsageError(`--env must be NAME=VALUE, got "${value}".`)
  return [value.slice(0, at), value.slice(at + 1)]
}

function readDependency(value: string): Dependency {
  const match = /^([\w.-]+)=(?:env:(\w+)|\[?([^\]]+?)\]?:(\d+))$/.exec(value)
  if (match === null) {
    throw new UsageError(
      `--dep must be NAME=HOST:PORT or NAME=env:VARIABLE, as database=127.0.0.1:5432, got "${value}".`,
    )
  }
  const name = match[1] as string
  if (match[2] !== undefined) return { name, variable: match[2] }
  return { name, address: { host: match[3] as string, port: readPort(match[4] as string) } }
}

function readPort(value: string): number {
  const port = Number(value)
  if (Number.isInteger(port) && port > 0 && port <= 65_535) return port
  throw new UsageError(`A port is a whole number from 1 to 65535, got "${value}".`)
}

/** True for this machine's own addresses. */
export function isLoopback(host: string): boolean {
  return /^(?:localhost|127(?:\.\d+){3}|\[?::1\]?)$/.test(host)
}

function readUrl(value: string, isRemoteAllowed: boolean): URL {
  if (!URL.canParse(value) || new URL(value).protocol !== 'http:') {
    throw new UsageError(`--url must be an http URL, as http://127.0.0.1:3000, got "${value}".`)
  }
  const url = new URL(value)
  if (!isLoopback(url.hostname) && !isRemoteAllowed) {
    throw new UsageError(
      `${url.hostname} is not this machine. verify sends hostile requests; --i-know allows it, and then only harmless checks run.`,
    )
  }
  return url
}
