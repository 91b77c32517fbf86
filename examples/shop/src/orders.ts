/** Placing orders. */
import { bind, log } from '@telltale/node'
import type { ShopUser } from './auth.js'
import { transaction } from './database.js'
import { Problem } from './problem.js'
import { findProduct, forgetProduct, readProductId, takeFromStock } from './products.js'
import { quote } from './quotes.js'

export type OrderRequest = { readonly product_id: number; readonly quantity: number }
export type Order = OrderRequest & { readonly id: number; readonly total_cents: number }

/** Reads the body of POST /orders; 400 says what is wrong with it. */
export function readOrder(body: unknown): OrderRequest {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw new Problem(400, 'Send a JSON object: { "product_id": 1, "quantity": 2 }.')
  }
  const { product_id, quantity } = body as Record<string, unknown>
  if (!Number.isInteger(quantity) || (quantity as number) < 1 || (quantity as number) > 100) {
    throw new Problem(400, '"quantity" must be a whole number from 1 to 100.')
  }
  return { product_id: readProductId(product_id), quantity: quantity as number }
}

/** Stores the order and takes the goods out of stock, both or neither. */
export async function placeOrder(user: ShopUser, request: OrderRequest): Promise<Order> {
  const { product_id, quantity } = request
  bind({ product_id, quantity })
  const { product } = await findProduct(product_id)
  // Asked before the transaction: no database connection waits for another service.
  const total_cents = await quote(product.price_cents, quantity)
  const id = await transaction(async (client) => {
    await takeFromStock(client, product_id, quantity)
    const { rows } = await client.query<{ id: number }>(
      'INSERT INTO orders (user_id, product_id, quantity, total_cents) VALUES ($1, $2, $3, $4) RETURNING id',
      [user.id, product_id, quantity, total_cents],
    )
    return (rows[0] as { id: number }).id
  })
  await forgetProduct(product_id)
  bind({ order_id: id })
  log.info('order_placed', { total_cents })
  return { id, product_id, quantity, total_cents }
}
