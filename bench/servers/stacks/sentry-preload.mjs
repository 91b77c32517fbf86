// The official SDK, loaded by --import as its documentation asks. BENCH_TRACES is its sample rate;
// without one tracing is off.
import * as Sentry from '@sentry/node'

const rate = process.env.BENCH_TRACES
Sentry.init({
  dsn: process.env.BENCH_DSN,
  ...(rate === undefined ? {} : { tracesSampleRate: Number(rate) }),
})
