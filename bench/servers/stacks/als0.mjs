import { AsyncLocalStorage } from 'node:async_hooks'
const storage = new AsyncLocalStorage()
export function middleware(req, res, next) { storage.run({ id: 1 }, next) }
