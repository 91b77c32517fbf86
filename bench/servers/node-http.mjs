import { stack } from './stack.mjs'
import { announce, fail, user, work } from './work.mjs'

const { createServer } = await import('node:http')

function named(req, template) {
  req.template = template
  stack.setRoute(template)
}

async function answer(req) {
  const path = req.url
  if (path.startsWith('/users/')) {
    named(req, '/users/:id')
    return user(path.slice(7))
  }
  if (path.startsWith('/work/')) {
    named(req, '/work/:id')
    return work(path.slice(6), req)
  }
  named(req, '/fail')
  return fail()
}

async function handle(req, res) {
  if (req.url === '/metrics') return res.end(await stack.metrics())
  let status = 200
  let body
  try {
    body = await answer(req)
  } catch (error) {
    stack.capture(error)
    status = 500
    body = { title: 'Internal Server Error' }
  }
  const text = JSON.stringify(body)
  res.writeHead(status, {
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(text),
  })
  res.end(text)
}

const { middleware } = stack
const server = createServer(
  middleware === undefined ? handle : (req, res) => middleware(req, res, () => handle(req, res)),
)
server.listen(0, '127.0.0.1', () => announce(server))
