/** What the shop sells. */
import { log } from '@telltale/node'
import { cacheDrop, cacheGet, cachePut } from './cache.js'
import { pool, type Queryable } from './database.js'
import { Problem } from './problem.js'

export type Product = {
  readonly id: number
  readonly name: string
  /** Euro cents, without discount. */
  readonly price_cents: number
  readonly stock: number
  readonly barcode: string
}

const COLUMNS = 'id, name, price_cents, stock, barcode'
const CACHE_SECONDS = 30
const cacheKey = (id: number): string => `product:${id}`

/** All products, by id. */
export async function listProducts(): Promise<Product[]> {
  return (await pool.query<Product>(`SELECT ${COLUMNS} FROM products ORDER BY id`)).rows
}

/** One product, from the cache when it is there; 404 when there is none. */
export async function findProduct(id: number): Promise<{ product: Product; fromCache: boolean }> {
  const kept = await cacheGet<Product>(cacheKey(id))
  if (kept !== undefined) return { product: kept, fromCache: true }
  const { rows } = await pool.query<Product>(`SELECT ${COLUMNS} FROM products WHERE id = $1`, [id])
  const product = rows[0]
  if (product === undefined) throw noSuchProduct(id)
  await cachePut(cacheKey(id), product, CACHE_SECONDS)
  log.debug('product_loaded', { product_id: id })
  return { product, fromCache: false }
}

/** Takes `quantity` pieces out of stock; 409 when there are not enough. */
export async function takeFromStock(
  client: Queryable,
  id: number,
  quantity: number,
): Promise<void> {
  const taken = await client.query(
    'UPDATE products SET stock = stock - $2 WHERE id = $1 AND stock >= $2',
    [id, quantity],
  )
  if (taken.rowCount === 0) throw new Problem(409, `Product ${id} is out of stock.`)
}

/** To be called after a change of a product is committed. */
export function forgetProduct(id: number): Promise<void> {
  return cacheDrop(cacheKey(id))
}

/** The text of a shelf label. Fails for a product without barcode, as real code does one day. */
export function renderLabel(product: Product): string {
  try {
    const groups = product.barcode.match(/\d{1,4}/g) ?? []
    return `${product.name} | ${groups.join(' ')}`
  } catch (cause) {
    throw new Error(`The label of product ${product.id} could not be rendered`, { cause })
  }
}

/** Reads a product id from a path or a body; 400 when it is none. */
export function readProductId(value: unknown): number {
  const id = typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value
  if (Number.isInteger(id) && (id as number) > 0 && (id as number) <= 2_147_483_647)
    return id as number
  throw new Problem(400, 'A product id is a whole number from 1.')
}

function noSuchProduct(id: number): Problem {
  return new Problem(404, `There is no product ${id}.`)
}
