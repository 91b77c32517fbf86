/** PostgreSQL: the pool, the tables, the demo rows. */
import { log, observe } from '@telltale/node'
import pg from 'pg'
import { databaseUrl } from './config.js'
import { hashToken } from './tokens.js'

/** What runs a query: the pool, or one connection inside a transaction. */
export type Queryable = Pick<pg.Pool, 'query'>

// Watched, so that a request's line says how many queries it made and how long they took.
export const pool: pg.Pool = observe(
  new pg.Pool({
    connectionString: databaseUrl,
    application_name: 'shop',
    max: 10,
    // Each wait has an end, so that a database that hangs cannot hold requests for ever.
    connectionTimeoutMillis: 2000,
    query_timeout: 5000,
  }),
)

// An idle connection that breaks is replaced by the pool; without this listener it would end the process.
pool.on('error', (error) => log.warn('database_connection_lost', { error }))

/** Runs `work` in one transaction: committed when it resolves, rolled back when it throws. */
export async function transaction<T>(work: (client: Queryable) => Promise<T>): Promise<T> {
  const client = await pool.connect()
  let broken: Error | undefined
  try {
    await client.query('BEGIN')
    const result = await work(client)
    await client.query('COMMIT')
    return result
  } catch (error) {
    // A connection that cannot even roll back is thrown away instead of going back to the pool.
    await client.query('ROLLBACK').catch((failure: Error) => {
      broken = failure
    })
    throw error
  } finally {
    client.release(broken)
  }
}

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS users (
    id integer PRIMARY KEY,
    name text NOT NULL,
    email text NOT NULL,
    token_hash text NOT NULL UNIQUE
  );
  CREATE TABLE IF NOT EXISTS products (
    id integer PRIMARY KEY,
    name text NOT NULL,
    price_cents integer NOT NULL CHECK (price_cents >= 0),
    stock integer NOT NULL CHECK (stock >= 0),
    barcode text
  );
  CREATE TABLE IF NOT EXISTS orders (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id integer NOT NULL REFERENCES users,
    product_id integer NOT NULL REFERENCES products,
    quantity integer NOT NULL CHECK (quantity > 0),
    total_cents integer NOT NULL,
    placed_at timestamptz NOT NULL DEFAULT now()
  );
`

const USERS = [
  { id: 1, name: 'Ada', email: 'ada@example.com', token: 'demo-ada' },
  { id: 2, name: 'Grace', email: 'grace@example.com', token: 'demo-grace' },
]

const PRODUCTS = [
  { id: 1, name: 'Compass', price_cents: 2490, stock: 1000, barcode: '4006381333931' },
  { id: 2, name: 'Storm lantern', price_cents: 3900, stock: 1000, barcode: '9780201379624' },
  // No barcode: what the label route stumbles over.
  { id: 3, name: 'Wind vane', price_cents: 12_900, stock: 1000, barcode: null },
  { id: 4, name: 'Brass bell', price_cents: 5900, stock: 0, barcode: '5901234123457' },
]

/** Creates the tables and the demo rows. Changes nothing that exists; several processes may run it at once. */
export async function prepareDatabase(): Promise<void> {
  await transaction(async (client) => {
    await client.query('SELECT pg_advisory_xact_lock(20260101)')
    await client.query(SCHEMA)
    for (const { id, name, email, token } of USERS) {
      await client.query(
        'INSERT INTO users (id, name, email, token_hash) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING',
        [id, name, email, hashToken(token)],
      )
    }
    for (const { id, name, price_cents, stock, barcode } of PRODUCTS) {
      await client.query(
        'INSERT INTO products (id, name, price_cents, stock, barcode) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING',
        [id, name, price_cents, stock, barcode],
      )
    }
  })
}
