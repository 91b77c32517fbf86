/** The service. */
import './telltale.js'
import { setTimeout as wait } from 'node:timers/promises'
import { log } from '@telltale/node'
import { createApp } from './app.js'
import { databaseUrl, host, port, pricingUrl, redisUrl } from './config.js'
import { prepareDatabase } from './database.js'
import { listen } from './listen.js'
import { telltale } from './telltale.js'

if (databaseUrl === '') {
  await fail(
    new Error('DATABASE_URL is not set. Example: postgres://user:password@127.0.0.1:5432/shop'),
  )
}

// The port opens first: probes get an answer while the database is still starting.
try {
  const { url } = await listen(createApp(), port, host)
  log.info('shop_listening', { url, cache: redisUrl !== '', pricing: pricingUrl !== '' })
} catch (error) {
  await fail(error)
}

for (let attempt = 1; ; attempt++) {
  try {
    await prepareDatabase()
    break
  } catch (error) {
    log.warn('database_not_ready', { attempt, reason: (error as Error).message })
    await wait(Math.min(attempt * 250, 2000), undefined, { ref: false })
  }
}
telltale.started()
log.info('shop_ready')

async function fail(error: unknown): Promise<never> {
  log.fatal('shop_not_started', { error })
  await telltale.close()
  process.exit(1)
}
