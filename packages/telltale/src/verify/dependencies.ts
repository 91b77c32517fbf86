/** What the user says of dependencies, and what the environment says of them. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { UsageError, type VerifyOptions } from './options.js'
import type { DependencyProxy } from './proxy.js'

export type Led = {
  /** Variables whose URLs lead to the proxy now. */
  readonly env: Record<string, string>
  /** Passwords that the environment holds. */
  readonly secrets: { readonly place: string; readonly value: string }[]
}

/** Puts the proxy before the dependencies that the user names by variable, and names the others. */
export async function leadDependencies(
  options: VerifyOptions,
  proxy: DependencyProxy,
): Promise<Led> {
  const env: Record<string, string> = {}
  const secrets: { place: string; value: string }[] = []
  const dotenv = readDotenv(options.cwd)
  const variable = (name: string): string | undefined =>
    options.env[name] ?? process.env[name] ?? dotenv[name]
  for (const { name, address, variable: from } of options.dependencies) {
    if (address !== undefined) proxy.name(`${address.host}:${address.port}`, name)
    if (from === undefined) continue
    const value = variable(from)
    const match = /^([a-z][\w+.-]*:\/\/(?:[^@/]*@)?)(\[[^\]]+\]|[^:/?#]+)(?::(\d+))?/i.exec(
      value ?? '',
    )
    if (value === undefined || match === null) {
      throw new UsageError(
        `--dep ${name}=env:${from}: ${from} must hold a URL with a host, as postgres://127.0.0.1:5432/app.`,
      )
    }
    const host = (match[2] as string).replace(/^\[|\]$/g, '')
    const port = Number(match[3] ?? portOf(match[1] as string))
    const led = await proxy.lead(name, host, port)
    env[from] = `${match[1]}127.0.0.1:${led}${value.slice(match[0].length)}`
  }
  for (const [name, value] of Object.entries({ ...dotenv, ...process.env, ...options.env })) {
    const match = /^([a-z][\w+.-]*):\/\/([^:@/]*):([^@/]{4,})@(.*)$/is.exec(value ?? '')
    const [, scheme = '', user = '', password, rest = ''] = match ?? []
    if (password !== undefined) {
      // postgres://postgres:postgres@postgres/postgres: a word that stands everywhere is no secret.
      const words = [scheme, user, ...rest.split(/[/:?@]/)]
      if (words.some((word) => word.startsWith(password))) continue
      secrets.push({ place: `the password in ${name}`, value: decodeURIComponent(password) })
    } else if (/(?:PASSWORD|SECRET)$/.test(name) && (value ?? '').length >= 6) {
      secrets.push({ place: name, value: value as string })
    }
  }
  return { env, secrets }
}

function portOf(scheme: string): number {
  if (/^postgres/.test(scheme)) return 5432
  if (/^(?:mysql|mariadb)/.test(scheme)) return 3306
  if (/^mongodb/.test(scheme)) return 27017
  return /^rediss?:/.test(scheme) ? 6379 : 80
}

/** The variables of `.env`; only simple lines. */
function readDotenv(cwd: string): Record<string, string> {
  const file = join(cwd, '.env')
  if (!existsSync(file)) return {}
  const variables: Record<string, string> = {}
  for (const line of readFileSync(file, 'utf8').split('\n')) {
    const match = /^\s*(?:export\s+)?(\w+)\s*=\s*(.*?)\s*$/.exec(line)
    if (match !== null) {
      variables[match[1] as string] = (match[2] as string).replace(/^(['"])(.*)\1$/, '$2')
    }
  }
  return variables
}
