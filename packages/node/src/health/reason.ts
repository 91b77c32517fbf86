/** Why a dependency is not usable: a few classes that are safe to show to anyone. */

/** The classes that the kit itself gives; a check may answer with a word of its own as well. */
export type Reason =
  | 'refused'
  | 'timeout'
  | 'auth'
  | 'dns'
  | 'loading'
  | 'readonly'
  | 'refused_capacity'
  | 'pool_busy'
  | 'pool_stuck'
  | 'closed'
  | 'error'
  | 'stale'
  | 'starting'
  | 'draining'

/**
 * Error codes by class: Node's system errors, PostgreSQL's SQLSTATEs (PostgreSQL manual, appendix A),
 * MySQL's error names (MySQL server error reference).
 */
const CODES: readonly (readonly [Reason, string])[] = [
  ['refused', 'ECONNREFUSED ECONNRESET EPIPE EHOSTUNREACH EHOSTDOWN ENETUNREACH ENETDOWN'],
  ['refused', '57P01 57P02 08001 08004 08006 PROTOCOL_CONNECTION_LOST ER_SERVER_SHUTDOWN'],
  ['timeout', 'ETIMEDOUT ESOCKETTIMEDOUT 57014 PROTOCOL_SEQUENCE_TIMEOUT'],
  ['dns', 'ENOTFOUND EAI_AGAIN EAI_FAIL EAI_NODATA EAI_NONAME ENODATA ESERVFAIL'],
  ['auth', '28P01 28000 42501 ER_ACCESS_DENIED_ERROR ER_DBACCESS_DENIED_ERROR'],
  ['auth', 'ER_ACCESS_DENIED_NO_PASSWORD_ERROR AUTH_SWITCH_PLUGIN_ERROR'],
  ['auth', 'ER_HOST_NOT_PRIVILEGED ER_ACCOUNT_HAS_BEEN_LOCKED ER_MUST_CHANGE_PASSWORD'],
  ['loading', '57P03'],
  ['readonly', '25006 ER_OPTION_PREVENTS_STATEMENT ER_READ_ONLY_MODE'],
  ['readonly', 'ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION'],
  ['refused_capacity', '53000 53100 53200 53300 ER_CON_COUNT_ERROR ER_USER_LIMIT_REACHED'],
  ['refused_capacity', 'ER_TOO_MANY_USER_CONNECTIONS ER_OUT_OF_RESOURCES'],
]

/** First words of Redis error replies, and the messages of drivers that give no code. */
const MESSAGES: readonly (readonly [RegExp, Reason])[] = [
  [/^(LOADING|MASTERDOWN|BUSY)\b/, 'loading'],
  [/^(NOAUTH|WRONGPASS|NOPERM|DENIED)\b|^ERR invalid password|^ERR AUTH\b/, 'auth'],
  [/^(READONLY|MISCONF|NOREPLICAS)\b/, 'readonly'],
  [/^ERR max number of clients|^OOM\b/, 'refused_capacity'],
  [/^Connection terminated|^Connection lost|^Connection is closed/, 'refused'],
  [/^SASL|password must be a string|^SCRAM-/i, 'auth'],
]

/** The class of an error. Never throws, whatever was thrown; `error` when nothing is known. */
export function reasonOf(error: unknown): Reason {
  try {
    return classify(error, 0)
  } catch {
    return 'error'
  }
}

function classify(error: unknown, depth: number): Reason {
  if (typeof error !== 'object' || error === null || depth > 4) return 'error'
  const { code, name, message, cause, errors, syscall } = error as Record<string, unknown>
  // A missing or forbidden Unix socket; the same codes mean something else for files.
  if (syscall === 'connect' && (code === 'ENOENT' || code === 'EACCES')) return 'refused'
  if (typeof code === 'string') {
    for (const [reason, codes] of CODES) if (codes.split(' ').includes(code)) return reason
  }
  if (name === 'TimeoutError') return 'timeout'
  if (typeof message === 'string') {
    for (const [pattern, reason] of MESSAGES) if (pattern.test(message)) return reason
  }
  if (Array.isArray(errors) && errors.length > 0) return classify(errors[0], depth + 1)
  return classify(cause, depth + 1)
}

/** A word that a check may give as its reason: what else it says could name a host or a user. */
export function isPublicReason(value: unknown): value is string {
  return typeof value === 'string' && /^[a-z][a-z0-9_]{0,63}$/.test(value)
}
