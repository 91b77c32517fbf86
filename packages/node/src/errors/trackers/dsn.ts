/** A Sentry DSN taken apart: where envelopes go and the key that goes with them. */
import { crypto } from '../../builtin.js'
import { DSN_PATTERN } from '../../options.js'

/** The parts of a DSN that sending needs. */
export type Dsn = {
  readonly secure: boolean
  /** Name or address to connect to; an IPv6 address without brackets. */
  readonly host: string
  readonly port: number
  /** Value of the Host header: brackets kept, the protocol's own port left out. */
  readonly authority: string
  /** `/<prefix>/api/<project>/envelope/`. */
  readonly path: string
  readonly publicKey: string
  /** 16 hex digits that tell DSNs apart without giving the key away; names spool files. */
  hash(): string
}

/** Takes a DSN apart; undefined when it is not one. Never throws. */
export function parseDsn(text: string): Dsn | undefined {
  const match = DSN_PATTERN.exec(text)
  if (match === null) return undefined
  const [, protocol, publicKey = '', , host = '', portText, prefix = '', project = ''] = match
  const secure = protocol === 'https'
  const standard = secure ? 443 : 80
  const port = portText === undefined ? standard : Number(portText)
  if (port < 1 || port > 65_535) return undefined
  return {
    secure,
    host: host.startsWith('[') ? host.slice(1, -1) : host,
    port,
    authority: port === standard ? host : `${host}:${port}`,
    path: `${prefix}/api/${project}/envelope/`,
    publicKey,
    hash: () => crypto().createHash('sha256').update(text).digest('hex').slice(0, 16),
  }
}
