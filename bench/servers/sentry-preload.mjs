// The official SDK, loaded by --import as its documentation asks.
import * as Sentry from '@sentry/node'

Sentry.init({ dsn: process.env.SENTRY_DSN, tracesSampleRate: 0.2 })
