// What every server does, whatever observes it.
import { setImmediate as hop } from 'node:timers/promises'
import { stack } from './stack.mjs'

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

/** GET /work/:id: three asynchronous hops and two log calls. */
export async function work(id, req) {
  await hop()
  stack.log('order_loaded', { order_id: id, items: 3, total_cents: 4200 }, req)
  await hop()
  stack.log('stock_checked', { order_id: id, warehouse: 'north', available: true }, req)
  await hop()
  return { id, done: true }
}

/** GET /lines/:count: one hop, `count` log calls. */
export async function lines(count, req) {
  await hop()
  for (let i = 0; i < count; i++) stack.log('step_done', { step: i, took_ms: 3, done: true }, req)
  return { count: Number(count) }
}

/** GET /spans/:count: `count` spans, one after the other. */
export async function spans(count) {
  for (let i = 0; i < count; i++) await stack.startSpan('step', hop)
  return { count: Number(count) }
}

/** GET /fail. */
export function fail() {
  throw new Error('out of stock')
}

/** How many routes /route0/:id, /route1/:id … there are besides. */
export const EXTRA_ROUTES = Number(process.env.BENCH_ROUTES ?? 0)

/** Tells the runner the port, on stderr, because stdout belongs to the logs. */
export function announce(server) {
  process.stderr.write(`listening ${server.address().port}\n`)
  process.on('SIGUSR2', () => process.exit(0))
}
