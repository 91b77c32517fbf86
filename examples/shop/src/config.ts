/** What the environment decides. Everything else about observing is read by the kit itself. */

const env = process.env

/** TCP port, 0 to 65,535; 0 takes a free one. PORT. Default 3000. */
export const port: number = readPort(env.PORT)
/** Address to listen on. HOST. Default 127.0.0.1; a container sets 0.0.0.0. */
export const host: string = env.HOST || '127.0.0.1'
/** PostgreSQL. DATABASE_URL. Required. */
export const databaseUrl: string = env.DATABASE_URL ?? ''
/** Redis. REDIS_URL. Empty: the shop works without a cache. */
export const redisUrl: string = env.REDIS_URL ?? ''
/** The pricing service. PRICING_URL. Empty: list prices apply. */
export const pricingUrl: string = (env.PRICING_URL ?? '').replace(/\/+$/, '')

function readPort(value: string | undefined): number {
  const port = Number(value || 3000)
  if (Number.isInteger(port) && port >= 0 && port <= 65_535) return port
  throw new Error(`PORT must be a whole number from 0 to 65535, got "${value}".`)
}
