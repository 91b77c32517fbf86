import { AsyncLocalStorage } from 'node:async_hooks'
import { subscribe } from 'node:diagnostics_channel'
const storage = new AsyncLocalStorage()
subscribe('http.server.request.start', () => storage.enterWith({ id: 1 }))
