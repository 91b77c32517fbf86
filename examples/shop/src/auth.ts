/** Sign-in by bearer token. */
import { setUser } from '@telltale/node'
import type { RequestHandler, Response } from 'express'
import { pool } from './database.js'
import { Problem } from './problem.js'
import { hashToken } from './tokens.js'

export type ShopUser = { readonly id: number; readonly name: string; readonly email: string }

/** Finds out who asks. No token: nobody in particular. A wrong one: 401. */
export const identify: RequestHandler = async (request, response, next) => {
  const header = request.get('authorization')
  if (header === undefined) return next()
  const token = /^Bearer +([\w.~+/-]+=*)$/i.exec(header)?.[1]
  const found =
    token === undefined
      ? undefined
      : await pool.query<ShopUser>('SELECT id, name, email FROM users WHERE token_hash = $1', [
          hashToken(token),
        ])
  const user = found?.rows[0]
  if (user === undefined) return next(refuse(response, 'The bearer token is not known.'))
  // From here on every error of this request says whose it was.
  setUser({ id: user.id, username: user.name })
  response.locals.user = user
  next()
}

/** The user of this request; 401 when nobody signed in. */
export function signedIn(response: Response): ShopUser {
  const user = response.locals.user as ShopUser | undefined
  if (user === undefined) throw refuse(response, 'Send "Authorization: Bearer demo-ada".')
  return user
}

function refuse(response: Response, detail: string): Problem {
  response.setHeader('WWW-Authenticate', 'Bearer')
  return new Problem(401, detail)
}
