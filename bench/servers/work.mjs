// What every server does: a small JSON answer, or three asynchronous hops with two log calls.
import { setImmediate as hop } from 'node:timers/promises'

/** GET /users/:id, 129 bytes for an id of two digits. */
export function user(id) {
  return {
    id,
    name: 'Ada Lovelace',
    email: 'ada@example.org',
    roles: ['admin', 'author'],
    bio: 'first of her kind, read.',
    ok: true,
  }
}

/** GET /work/:id; `log` takes an event name and fields. */
export async function work(id, log) {
  await hop()
  log('order_loaded', { order_id: id, items: 3, total_cents: 4200 })
  await hop()
  log('stock_checked', { order_id: id, warehouse: 'north', available: true })
  await hop()
  return { id, done: true }
}

/** Tells the runner the port, on stderr, because stdout belongs to the logs. */
export function announce(server) {
  process.stderr.write(`listening ${server.address().port}\n`)
  process.on('SIGUSR2', () => process.exit(0))
}
