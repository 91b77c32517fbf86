/**
 * The service alone, in the foreground, with JSON lines and nothing else on stdout: `npm run --silent
 * shop`. Without DATABASE_URL it brings its own PostgreSQL, in a child process.
 */
import { startBacking } from './start-backing.js'

process.env.TELLTALE_LOG_PRETTY = '0'
if (!process.env.DATABASE_URL) {
  const { databaseUrl } = await startBacking(['database'])
  process.env.DATABASE_URL = databaseUrl
}
await import('./main.js')
