/**
 * Secrets by key and by value. One set of rules for log lines, error events, URLs and jobs.
 *
 * Keys are compared by whole words at their end, so that `userPassword`, `x-api-key` and `API_KEY`
 * are secrets while `passwordResetSent` and `tokenCount` are not.
 */
import type { Settings } from './options.js'

/** What stands in the place of a secret. */
export const MASK = '[REDACTED]'

/** Finds and masks secrets. Its functions never throw and take time linear in the text. */
export type Redactor = {
  /** True when a value under this key is a secret: any case, any separators (apiKey, x-api-key). */
  isSecretKey(key: string): boolean
  /** Masks Bearer and Basic credentials, JWTs, card numbers, URL userinfo, secret `key=value` pairs. */
  text(value: string): string
  /**
   * As `text`, for an ASCII text without control characters, long runs of digits, `eyJ`, and `Bearer `
   * or `Basic `: no regular expression is compiled for it.
   */
  pairs(value: string): string
  /** Removes userinfo, masks the values of secret query keys; the keys stay. */
  url(value: string): string
  /**
   * The element of an array at `at`, its secret masked when its name stands beside it: as a pair
   * (`{ name: 'authorization', value }`, also with `key` or `header`), or in a flat list of header
   * names and values in turn, as Node's `rawHeaders`. `list` is only read at `at` and before it.
   */
  element(list: readonly unknown[], at: number): unknown
  /** True when the user gave patterns of their own, so that every string has to go through `text`. */
  readonly patterned?: boolean
}

const SECRET_NAMES = [
  'password passwd pwd passphrase passcode secret token jwt bearer authorization cookie cookies',
  'apikey apitoken apisecret accesskey accesskeyid secretkey secretaccesskey privatekey signingkey',
  'encryptionkey masterkey sshkey authkey clientsecret accesstoken refreshtoken idtoken authtoken',
  'sessiontoken csrftoken xsrftoken sessionid sessid sessionkey phpsessid jsessionid sid csrf xsrf',
  'xapikey xauthtoken xcsrftoken xxsrftoken setcookie proxyauthorization authheader credential',
  'credentials cardnumber cardnum ccnumber ccnum creditcard creditcardnumber debitcard cvv cvc cvv2',
  'cvc2 ssn otp totp connectionstring mysqlpwd pgpassword userpassword dbpassword',
]
  .join(' ')
  .split(' ')

/** Words after a secret's name that do not change what it is: passwordHash, token2, secret_value. */
const TAIL = new Set(
  'hash hashed digest confirm confirmation confirmed repeat again old new current value text plain raw header string'.split(
    ' ',
  ),
)

/**
 * Query keys that are secrets though their names do not say so: the signatures of pre-signed URLs,
 * which OpenTelemetry's `url.query` redacts by default.
 */
const QUERY_ONLY = new Set(
  'sig signature awsaccesskeyid xgoogsignature xamzsignature xamzcredential xamzsecuritytoken'.split(
    ' ',
  ),
)

/** What may be a header's name in a flat list: words alone, such as `password`, are a list of fields. */
const HEADER_NAME = /^(?:authorization|cookie|[a-z]\w*(?:-\w+)+)$/i
const MAX_HEADER_NAME = 64

/** Header names whose value runs to the end of the line in a text. */
const HEADER_LINE = /^(?:proxy-)?authorization$|^(?:set-)?cookie$|^x-(?:api-key|auth-token)$/i

const USERINFO = /([a-z][a-z0-9+.-]{0,20}:\/\/)[^\s/?#"'<>]*@/gi
const CREDENTIALS = /\b(bearer|basic)(\s+)([A-Za-z0-9._~+/=-]{4,})/gi
const DOTTED = /[A-Za-z0-9_.-]+/g
/** Runs of digit groups that stand alone; a UUID is taken whole, so that its digits are no card. */
const DIGITS =
  /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|(?<![0-9a-z])\d[\d -]{11,}\d(?![0-9a-z])/gi
const UUID_LETTER_OR_SHAPE = /[a-f]|^.{8}-.{4}-.{4}-.{4}-.{12}$/i
const PROSE =
  /^(?:auth|authentication|authorization|credentials?|errors?|formats?|headers?|required|realm|scheme|tokens?|usage|plan|types?)$/i

const MAX_CACHED_KEYS = 4096

function words(key: string): string[] {
  const found = key.slice(0, 256).match(/[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+/g)
  return found === null ? [] : found.map((word) => word.toLowerCase())
}

/** Most keys: nothing to take apart. */
function isOneWord(key: string): boolean {
  for (let i = 0; i < key.length; i++) {
    const code = key.charCodeAt(i)
    if (code < 97 || code > 122) return false
  }
  return key.length <= 256
}

/** Compiles the redaction rules: the built-in lists and the user's own. */
export function createRedactor(settings: Settings['redact']): Redactor {
  const names = new Set(SECRET_NAMES)
  for (const key of settings.keys) names.add(words(key).join(''))
  names.delete('')
  const allowed = new Set(settings.allow.map((key) => words(key).join('')))
  const patterns = settings.patterns.map(
    (pattern) => new RegExp(pattern.source, [...new Set(`${pattern.flags}g`)].join('')),
  )
  const known = new Map<string, boolean>()

  function judge(key: string): boolean {
    if (isOneWord(key)) return names.has(key) && !allowed.has(key)
    const parts = words(key)
    if (parts.length === 0 || allowed.has(parts.join(''))) return false
    let end = parts.length
    if (names.has(parts.join(''))) return true
    while (end > 1) {
      const last = parts[end - 1] as string
      if (!TAIL.has(last) && !(last.charCodeAt(0) <= 57)) break
      end--
    }
    let joined = ''
    for (let i = end - 1; i >= 0 && i >= end - 4; i--) {
      joined = parts[i] + joined
      if (names.has(joined)) return true
    }
    return false
  }

  function isSecretKey(key: string): boolean {
    let answer = known.get(key)
    if (answer === undefined) {
      answer = judge(key)
      if (known.size >= MAX_CACHED_KEYS) known.clear()
      if (key.length <= 256) known.set(key, answer)
    }
    return answer
  }

  function isSecretName(name: string, inQuery: boolean): boolean {
    let plain = name
    if (name.includes('%')) {
      try {
        plain = decodeURIComponent(name)
      } catch {
        // not an escape: judged as it stands
      }
    }
    return isSecretKey(plain) || (inQuery && QUERY_ONLY.has(words(plain).join('')))
  }

  function pairs(value: string): string {
    const out = value.includes('=') || value.includes(':') ? maskPairs(value) : value
    return out.includes('@') && out.includes('://') ? out.replace(USERINFO, `$1${MASK}@`) : out
  }

  function maskPairs(text: string): string {
    let out = ''
    let copied = 0
    for (let i = 1; i < text.length; i++) {
      const mark = text.charCodeAt(i)
      if (mark !== 61 && mark !== 58) continue
      let nameEnd = i
      let quoted = false
      if (isQuote(text.charCodeAt(nameEnd - 1))) {
        quoted = true
        nameEnd--
        if (text.charCodeAt(nameEnd - 1) === 92) nameEnd--
      }
      let nameStart = nameEnd
      while (nameStart > copied && nameEnd - nameStart < 64 && isName(text, nameStart - 1))
        nameStart--
      if (nameStart === nameEnd) continue
      const name = text.slice(nameStart, nameEnd)
      const before = text.charCodeAt(nameStart - 1)
      const inQuery = mark === 61 && (before === 63 || before === 38 || before === 35)
      if (!isSecretName(name, inQuery)) continue
      const end = valueEnd(text, i + 1, mark === 61, quoted, name)
      if (end.to <= end.from) continue
      out += text.slice(copied, end.from) + MASK
      copied = end.to
      i = end.to - 1
    }
    return copied === 0 ? text : out + text.slice(copied)
  }

  function text(value: string): string {
    let out = pairs(value).replace(CREDENTIALS, maskCredentials)
    if (out.includes('eyJ')) out = out.replace(DOTTED, maskJwt)
    out = out.replace(DIGITS, maskCards)
    for (const pattern of patterns) {
      pattern.lastIndex = 0
      out = out.replace(pattern, MASK)
    }
    return out
  }

  function url(value: string): string {
    return text(value.replace(/^([a-z][a-z0-9+.-]*:)?\/\/[^/?#]*@/i, '$1//'))
  }

  function element(list: readonly unknown[], at: number): unknown {
    const value = list[at]
    if (at % 2 === 1 && list.length % 2 === 0 && isSecretHeader(list[at - 1])) return MASK
    return typeof value === 'object' && value !== null ? pair(value) : value
  }

  /** Not kept among the known keys: lists hold any text. */
  function isSecretHeader(name: unknown): boolean {
    if (typeof name !== 'string' || name.length > MAX_HEADER_NAME) return false
    return HEADER_NAME.test(name) && (known.get(name) ?? judge(name))
  }

  function pair(value: object): object {
    try {
      const { name, key, header, value: secret } = value as Readonly<Record<string, unknown>>
      if (secret === undefined) return value
      for (const one of [name, key, header])
        if (typeof one === 'string' && isSecretKey(one)) return { ...value, value: MASK }
    } catch {
      // a hostile object: whoever writes it meets that itself
    }
    return value
  }

  return { isSecretKey, text, pairs, url, element, patterned: patterns.length > 0 }
}

function isQuote(code: number): boolean {
  return code === 34 || code === 39
}

/** Letters, digits, _ - . % and the brackets of `user[password]`. */
function isName(text: string, at: number): boolean {
  const code = text.charCodeAt(at)
  return (
    (code >= 97 && code <= 122) ||
    (code >= 65 && code <= 90) ||
    (code >= 48 && code <= 57) ||
    code === 95 ||
    code === 45 ||
    code === 46 ||
    code === 37 ||
    code === 91 ||
    code === 93
  )
}

/** Where the value after `=` or `:` begins and ends; an empty range when it is prose. */
function valueEnd(
  text: string,
  start: number,
  isPair: boolean,
  quoted: boolean,
  name: string,
): { from: number; to: number } {
  let from = start
  while (from < text.length && text.charCodeAt(from) === 32) from++
  if (isPair && from > start) return { from, to: from }
  const escaped = text.charCodeAt(from) === 92 && isQuote(text.charCodeAt(from + 1))
  const quote = text.charCodeAt(escaped ? from + 1 : from)
  // Masked before: a text may pass here twice.
  if (text.startsWith(MASK, from)) return { from, to: from }
  if (isQuote(quote)) {
    from += escaped ? 2 : 1
    let to = from
    while (to < text.length) {
      const code = text.charCodeAt(to)
      if (escaped && code === 92 && text.charCodeAt(to + 1) === quote) break
      if (!escaped && code === quote) break
      to += !escaped && code === 92 ? 2 : 1
    }
    return { from, to: Math.min(to, text.length) }
  }
  let to = from
  if (isPair) {
    while (to < text.length && !/[\s&;,"'<>)\]}#]/.test(text.charAt(to))) to++
  } else if (HEADER_LINE.test(name)) {
    while (to < text.length && text.charCodeAt(to) !== 10 && text.charCodeAt(to) !== 13) to++
  } else if (quoted) {
    while (to < text.length && !/[\s,}\]{[]/.test(text.charAt(to))) to++
  }
  return { from, to }
}

/** Masks a JSON Web Token from its header on: base64url of `{"`, a dot, and more. */
function maskJwt(run: string): string {
  let at = run.indexOf('eyJ')
  while (at !== -1) {
    const dot = run.indexOf('.', at)
    if (dot === -1) return run
    if (dot - at >= 8 && run.length - dot > 5) return run.slice(0, at) + MASK
    at = run.indexOf('eyJ', dot)
  }
  return run
}

function maskCredentials(whole: string, scheme: string, space: string, secret: string): string {
  if (PROSE.test(secret)) return whole
  if (scheme.length === 5 && !Buffer.from(secret, 'base64').includes(58)) return whole
  return `${scheme}${space}${MASK}`
}

/** Masks each run of digit groups that is a card number: 13 to 19 digits, 2–6 first, Luhn holds. */
function maskCards(region: string): string {
  if (UUID_LETTER_OR_SHAPE.test(region)) return region
  const groups = region.split(/[ -]+/)
  if (groups.length > 4096) return region
  let out = ''
  let cursor = 0
  for (let i = 0; i < groups.length; i++) {
    const at = region.indexOf(groups[i] as string, cursor)
    let digits = ''
    let end = at
    let found = -1
    let last = i
    for (let j = i; j < groups.length && digits.length < 19; j++) {
      const group = groups[j] as string
      end = region.indexOf(group, end) + group.length
      digits += group
      if (isCard(digits)) {
        found = end
        last = j
      }
    }
    if (found === -1) {
      const next = at + (groups[i] as string).length
      out += region.slice(cursor, next)
      cursor = next
    } else {
      out += region.slice(cursor, at) + MASK
      cursor = found
      i = last
    }
  }
  return out + region.slice(cursor)
}

function isCard(digits: string): boolean {
  if (digits.length < 13 || digits.length > 19) return false
  const first = digits.charCodeAt(0)
  if (first < 50 || first > 54) return false
  let sum = 0
  for (let i = 0; i < digits.length; i++) {
    let digit = digits.charCodeAt(digits.length - 1 - i) - 48
    if (i % 2 === 1) {
      digit *= 2
      if (digit > 9) digit -= 9
    }
    sum += digit
  }
  return sum % 10 === 0
}
