/** Made-up secrets that are planted in requests and must come out nowhere: never real ones. */
import { randomBytes } from 'node:crypto'

export type Canary = {
  /** Where it was planted, in the report's words. */
  readonly place: string
  readonly value: string
}

export type Canaries = {
  readonly all: readonly Canary[]
  /** Headers that carry them; `authorization` is left out where the user signs in with it. */
  headers(hasOwnAuthorization: boolean): Record<string, string>
  readonly query: string
  readonly body: string
}

export function createCanaries(): Canaries {
  const secret = (): string => `canary${randomBytes(9).toString('hex')}`
  const values = {
    authorization: secret(),
    cookie: secret(),
    apiKey: secret(),
    password: secret(),
    token: secret(),
    card: luhn(`400000${String(randomBytes(6).readUIntBE(0, 6)).padStart(9, '7').slice(0, 9)}`),
    nested: secret(),
    query: secret(),
    queryKey: secret(),
    ssn: secret(),
    jwt: [
      base64url('{"alg":"HS256","typ":"JWT"}'),
      base64url(`{"sub":"${secret()}"}`),
      randomBytes(32).toString('base64url'),
    ].join('.'),
    secretKey: secret(),
  }
  return {
    all: [
      { place: 'the Authorization header', value: values.authorization },
      { place: 'the Cookie header', value: values.cookie },
      { place: 'the X-Api-Key header', value: values.apiKey },
      { place: '"password" in the body', value: values.password },
      { place: '"token" in the body', value: values.token },
      { place: '"card_number" in the body', value: values.card },
      { place: '"user.credentials.password" in the body', value: values.nested },
      { place: '"client_secret" in the body', value: values.secretKey },
      { place: '"token" in the query', value: values.query },
      { place: '"user.profile.ssn" in the body', value: values.ssn },
      { place: '"api_key" in the query', value: values.queryKey },
      { place: 'a JWT in a header', value: values.jwt },
    ],
    headers: (hasOwnAuthorization) => ({
      ...(!hasOwnAuthorization && { authorization: `Bearer ${values.authorization}` }),
      cookie: `session=${values.cookie}`,
      'x-api-key': values.apiKey,
      'x-auth-token': values.jwt,
    }),
    query: `token=${values.query}&api_key=${values.queryKey}`,
    body: JSON.stringify({
      username: 'telltale',
      password: values.password,
      token: values.token,
      card_number: values.card,
      client_secret: values.secretKey,
      user: { credentials: { password: values.nested }, profile: { ssn: values.ssn } },
    }),
  }
}

/** True for a header that carries a planted secret and nothing else of use. */
export function isPlanted(value: string): boolean {
  return /canary[0-9a-f]{18}|^eyJ[\w-]+\.eyJ[\w-]+\./.test(value)
}

/** The forms in which a secret may come out: as it is, base64 (at each offset), URL-encoded. */
export function formsOf(value: string): string[] {
  const forms = new Set([value, encodeURIComponent(value)])
  for (const lead of ['', 'a', 'ab']) {
    const text = Buffer.from(lead + value).toString('base64')
    // The ends depend on what stands beside it.
    forms.add(text.slice(lead === '' ? 0 : 4, -4))
  }
  return [...forms].filter((form) => form.length >= 8)
}

const base64url = (text: string): string => Buffer.from(text).toString('base64url')

function luhn(digits: string): string {
  const sum = [...digits].reverse().reduce((total, digit, index) => {
    const value = Number(digit) * (index % 2 === 0 ? 2 : 1)
    return total + (value > 9 ? value - 9 : value)
  }, 0)
  return digits + String((10 - (sum % 10)) % 10)
}
