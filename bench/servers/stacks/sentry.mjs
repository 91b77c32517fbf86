// The official SDK, started by sentry-preload.mjs; on Fastify it listens by itself.
import * as Sentry from '@sentry/node'

export const expressErrors = (app) => Sentry.setupExpressErrorHandler(app)
export const capture = (error) => Sentry.captureException(error)
