/**
 * The routes that a service may offer to verify, below `/__telltale/verify/`: the kit has them when it
 * is started with TELLTALE_VERIFY_TOKEN, and any service may. docs/verify.md describes them.
 */
import type { Ask } from './http.js'

export const TOKEN_VARIABLE = 'TELLTALE_VERIFY_TOKEN'
export const TOKEN_HEADER = 'x-telltale-verify'
export const USER_HEADER = 'x-telltale-verify-user'
export const BASE = '/__telltale/verify/'

type Parameters = Readonly<Record<string, string | number>>

/** A request to one of them. */
export function verifyRoute(
  token: string,
  name: 'whoami' | 'work' | 'throw' | 'burst' | 'crash',
  parameters: Parameters = {},
  rest: Partial<Ask> = {},
): Ask {
  const query = new URLSearchParams(
    Object.entries(parameters).map(([key, value]): [string, string] => [key, String(value)]),
  ).toString()
  return {
    purpose: name,
    path: `${BASE}${name}${query === '' ? '' : `?${query}`}`,
    ...rest,
    headers: { [TOKEN_HEADER]: token, ...rest.headers },
  }
}
