// Express 4 and 5: `node express.mjs 4|5`.
import { createServer } from 'node:http'
import { rawRoutes, routes } from './routes.mjs'
import { announce, log } from './start.mjs'
import { serveUpgrades } from './upgrades.mjs'

const version = process.argv[2]
const { default: express } = await import(version === '4' ? 'express4' : 'express')
let app = express()
if (version === '4') app = (await import('@telltale/node/express')).observe(app)

const mounted = express.Router()
const tenants = express.Router()

function register(router, list) {
  for (const [method, path, handle] of list) {
    router[method.toLowerCase()](path, (req, res, next) => {
      const json = (status, body) => res.status(status).json(body)
      const result = handle({ req, res, params: req.params, json, fail: next })
      // Express 4 leaves rejections to the handler.
      if (version === '4') result?.catch?.(next)
      return result
    })
  }
}
register(app, routes)
register(mounted, routes)
register(tenants, routes)
for (const [method, path, handle] of rawRoutes) app[method.toLowerCase()](path, handle)
app.use('/api', mounted)
app.use('/tenants/:tenant', tenants)
app.get('/handled', () => {
  throw new Error('handled by the application')
})
app.get('/error-in-handler', () => {
  throw new Error('first')
})
app.use((error, req, res, next) => {
  if (req.path === '/handled') return res.status(500).json({ error: 'sorry' })
  if (req.path === '/error-in-handler') throw new Error('second')
  next(error)
})
app.on('close', () => log.info('closed'))

const server = createServer(
  { requestTimeout: 2500, headersTimeout: 2000, connectionsCheckingInterval: 50 },
  app,
)
serveUpgrades(server)
server.listen(0, '127.0.0.1', () => announce(server, () => server.close()))
