import { createServer } from 'node:http'
import { announce, user, work } from './work.mjs'

const variant = process.argv[2]
const kit = variant === 'telltale' ? await import('./kit.mjs') : undefined
const hand = variant === 'hand-wired' ? await import('./hand-wired.mjs') : undefined
const log = kit?.log ?? hand?.log ?? (() => {})

const { default: express } = await import('express')
const app = express()
if (hand !== undefined) {
  app.use((req, res, next) =>
    hand.withRequest(req, res, () => req.route?.path ?? 'unmatched', next),
  )
  app.use(hand.httpLogger)
}
app.get('/users/:id', (req, res) => res.json(user(req.params.id)))
app.get('/work/:id', async (req, res) => res.json(await work(req.params.id, log)))
if (hand !== undefined) hand.Sentry.setupExpressErrorHandler(app)
const server = createServer(app)
server.listen(0, '127.0.0.1', () => announce(server))
