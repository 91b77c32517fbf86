import { createServer } from 'node:http'
import { announce, user, work } from './work.mjs'

const variant = process.argv[2]
const kit = variant === 'telltale' ? await import('./kit.mjs') : undefined
const hand = variant === 'hand-wired' ? await import('./hand-wired.mjs') : undefined
const log = kit?.log ?? hand?.log ?? (() => {})

async function handle(req, res) {
  const path = req.url
  const body = path.startsWith('/work/') ? await work(path.slice(6), log) : user(path.slice(7))
  const text = JSON.stringify(body)
  res.writeHead(200, {
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(text),
  })
  res.end(text)
}

const listener =
  hand === undefined
    ? handle
    : (req, res) =>
        hand.withRequest(
          req,
          res,
          () => (req.url.startsWith('/work/') ? '/work/:id' : '/users/:id'),
          () => {
            hand.httpLogger(req, res)
            handle(req, res)
          },
        )
const server = createServer(listener)
server.listen(0, '127.0.0.1', () => announce(server))
