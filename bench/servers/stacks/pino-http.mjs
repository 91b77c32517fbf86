// pino-http as its page shows it; on Fastify its own pino logger.
import pinoHttp from 'pino-http'

export const middleware = pinoHttp()
export const log = (event, fields, req) => req.log.info(fields, event)
export const fastify = { options: { logger: true, requestIdHeader: 'x-request-id' } }
