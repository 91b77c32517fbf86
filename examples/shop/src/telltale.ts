/** Makes this service observable. Imported before everything else. */
import { init, type Telltale } from '@telltale/node'
import { postgres, redis } from '@telltale/node/health'
import { cache, closeCache } from './cache.js'
import { pool } from './database.js'

export const telltale: Telltale = init({
  service: 'shop',
  health: {
    // Ready once the tables exist; until then the probe answers 503.
    waitForStarted: true,
    checks: {
      database: postgres(pool),
      // Without its cache the shop is slower, not broken: degraded, still 200.
      ...(cache === undefined ? {} : { cache: { check: redis(cache), critical: false } }),
    },
  },
  shutdown: { closers: [() => pool.end(), closeCache] },
})
