// programs/startup.mjs WHO, its lines to a pipe: milliseconds of import and init, and resident MB after them.
const dsn = 'http://abcdef0123456789abcdef0123456789@127.0.0.1:9/1'
const start = performance.now()
await import('node:http')
if (process.argv[2] === 'telltale') {
  const { init } = await import('@telltale/node')
  init({ service: 'bench', errors: { dsn } })
} else if (process.argv[2] === '@sentry/node') {
  const Sentry = await import('@sentry/node')
  Sentry.init({
    dsn,
    tracesSampleRate: 0.2,
  })
}
const ms = performance.now() - start
await new Promise(setImmediate)
const mb = process.memoryUsage.rss() / 1048576
process.stdout.write(`\n${JSON.stringify({ ms, mb })}\n`)
process.exit(0)
