// Plain node:http with a router of its own; the kit's handler wrapper catches what it throws.
import { createServer } from 'node:http'
import { setRoute } from '@telltale/node'
import { observe } from '@telltale/node/http'
import { rawRoutes, routes } from './routes.mjs'
import { announce } from './start.mjs'
import { serveUpgrades } from './upgrades.mjs'

const table = []
const add = (prefix, [method, path, handle], raw) => {
  const names = []
  const pattern = (prefix + path).replace(/:(\w+)/g, (_all, name) => {
    names.push(name)
    return '([^/]+)'
  })
  table.push({
    method,
    template: prefix + path,
    pattern: new RegExp(`^${pattern}$`),
    names,
    handle,
    raw,
  })
}
for (const prefix of ['', '/api', '/tenants/:tenant'])
  for (const route of routes) add(prefix, route, false)
for (const route of rawRoutes) add('', route, true)
add('', [
  'GET',
  '/handled',
  ({ json, fail }) => {
    fail(new Error('handled by the application'), () => json(500, { error: 'sorry' }))
  },
])
add('', [
  'GET',
  '/error-in-handler',
  () => {
    throw new Error('first')
  },
])

function send(res, status, body) {
  res.writeHead(status, { 'content-type': 'application/json' })
  res.end(JSON.stringify(body))
}

const server = createServer(
  { requestTimeout: 2500, headersTimeout: 2000, connectionsCheckingInterval: 50 },
  observe((req, res) => {
    const path = (req.url ?? '/').split('?')[0]
    for (const { method, template, pattern, names, handle, raw } of table) {
      const match = pattern.exec(path)
      if (match === null || (method !== req.method && !(req.method === 'HEAD' && method === 'GET')))
        continue
      setRoute(template)
      if (raw) return handle(req, res)
      const params = Object.fromEntries(names.map((name, i) => [name, match[i + 1]]))
      return handle({
        req,
        res,
        params,
        json: (status, body) => send(res, status, body),
        fail(error) {
          throw error
        },
      })
    }
    send(res, 404, { error: 'not found' })
  }),
)
serveUpgrades(server)
server.listen(0, '127.0.0.1', () => announce(server, () => server.close()))
