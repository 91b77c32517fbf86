/** A report that takes its time: the slow route. */
import { log } from '@telltale/node'
import { pool } from './database.js'
import { quote } from './quotes.js'

export type StockReport = { readonly products: number; readonly value_cents: number }

/** What the goods in stock would bring. `pg_sleep` stands for the joins that a real report makes. */
export async function reportStock(): Promise<StockReport> {
  const { rows } = await pool.query<StockReport>(
    'SELECT count(*)::int AS products, sum(price_cents)::int AS value_cents, pg_sleep(0.4) FROM products WHERE stock > 0',
  )
  const { products, value_cents } = rows[0] as StockReport
  const discounted = await quote(value_cents, 100)
  log.info('stock_reported', { products, value_cents: discounted })
  return { products, value_cents: discounted }
}
