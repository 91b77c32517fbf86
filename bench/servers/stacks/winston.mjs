// winston in JSON with timestamps, and one line when a response has been sent.
import winston from 'winston'

const { combine, errors, json, timestamp } = winston.format
const logger = winston.createLogger({
  format: combine(timestamp(), errors({ stack: true }), json()),
  transports: [new winston.transports.Console()],
})

export function middleware(req, res, next) {
  const url = req.originalUrl ?? req.url
  const start = performance.now()
  res.once('finish', () =>
    logger.info('request_finished', {
      method: req.method,
      url,
      status_code: res.statusCode,
      latency_ms: performance.now() - start,
    }),
  )
  next()
}

export const log = (event, fields) => logger.info(event, fields)
