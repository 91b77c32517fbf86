import { stack } from './stack.mjs'
import { announce, fail, user, work } from './work.mjs'

const { createServer } = await import('node:http')
const { default: express } = await import('express')

const app = express()
if (stack.middleware) app.use(stack.middleware)
app.get('/users/:id', (req, res) => res.json(user(req.params.id)))
app.get('/work/:id', async (req, res) => res.json(await work(req.params.id, req)))
app.get('/fail', fail)
if (stack.metrics) app.get('/metrics', async (_req, res) => res.send(await stack.metrics()))
stack.expressErrors?.(app)
app.use((_error, _req, res, _next) => res.status(500).json({ title: 'Internal Server Error' }))
const server = createServer(app)
server.listen(0, '127.0.0.1', () => announce(server))
