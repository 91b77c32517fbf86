// A request id through AsyncLocalStorage and in X-Request-ID, nothing else.
import { AsyncLocalStorage } from 'node:async_hooks'
import { randomUUID } from 'node:crypto'

const storage = new AsyncLocalStorage()

export function middleware(req, res, next) {
  const id = req.headers['x-request-id'] ?? randomUUID()
  res.setHeader('X-Request-ID', id)
  storage.run({ id }, next)
}

export const log = () => storage.getStore().id
