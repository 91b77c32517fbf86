/** Tokens are stored as hashes, so that the table is of no use to a thief. */
import { createHash } from 'node:crypto'

/** The SHA-256 of a bearer token, in hex: what the users table holds. */
export function hashToken(token: string): string {
  return createHash('sha256').update(token).digest('hex')
}
