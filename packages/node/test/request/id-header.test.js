// X-Request-ID on the wire and as the response's methods tell of it, whichever way an answer is made.
import assert from 'node:assert/strict'
import { createServer, get, ServerResponse } from 'node:http'
import { after, before, test } from 'node:test'
import { serve, startKit } from '../kit/kit.js'

const ID = 'incoming-id-1'
const HEADERS = { 'x-request-id': ID }
let kit
before(() => {
  kit = startKit()
})
after(() => kit.close())

/** What a server answers: the values of X-Request-ID as they came, one by one, and the body. */
async function ask(port) {
  const response = await new Promise((resolve, reject) => {
    get({ port, host: '127.0.0.1', headers: HEADERS }, resolve).on('error', reject)
  })
  const ids = []
  for (let i = 0; i < response.rawHeaders.length; i += 2) {
    if (response.rawHeaders[i].toLowerCase() === 'x-request-id')
      ids.push(response.rawHeaders[i + 1])
  }
  let body = ''
  for await (const part of response.setEncoding('utf8')) body += part
  return { ids, body, response }
}

const ANSWERS = {
  end: (res) => res.end('ok'),
  write: (res) => res.write('o') && res.end('k'),
  setHeader: (res) => res.setHeader('X-Other', '1').end('ok'),
  flushHeaders: (res) => res.flushHeaders() ?? res.end('ok'),
  'writeHead without headers': (res) => res.writeHead(200).end('ok'),
  'writeHead with an object': (res) => res.writeHead(200, { 'X-Other': '1' }).end('ok'),
  'writeHead with a reason': (res) => res.writeHead(200, 'Fine', { 'X-Other': '1' }).end('ok'),
  'writeHead with a list': (res) => res.writeHead(200, ['X-Other', 'x-request-id']).end('ok'),
  'setHeader and writeHead': (res) =>
    res.setHeader('X-A', '1').writeHead(200, { b: '2' }).end('ok'),
}
for (const [way, answer] of Object.entries(ANSWERS)) {
  test(`the id goes out once: ${way}`, async () => {
    const service = await serve((_req, res) => answer(res))
    const { ids, body } = await ask(service.port)
    assert.deepEqual([ids, body], [[ID], 'ok'])
    await service.close()
  })
}

const OWN = {
  setHeader: (res) => res.setHeader('x-Request-Id', 'own').end(),
  'writeHead with an object': (res) => res.writeHead(200, { 'x-request-ID': 'own' }).end(),
  'writeHead with a list': (res) => res.writeHead(200, ['X-A', '1', 'X-Request-Id', 'own']).end(),
  'setHeader and writeHead': (res) =>
    res.setHeader('X-A', '1').writeHead(200, { 'X-REQUEST-ID': 'own' }).end(),
}
for (const [way, answer] of Object.entries(OWN)) {
  test(`the application's own id wins: ${way}`, async () => {
    const service = await serve((_req, res) => answer(res))
    assert.deepEqual((await ask(service.port)).ids, ['own'])
    await service.close()
  })
}

test('the response tells of the id before it is answered, and can be without', async () => {
  const service = await serve((_req, res) => {
    res.setHeader('X-Other', '1')
    const seen = () => [
      res.getHeader('x-Request-ID'),
      res.hasHeader('X-REQUEST-ID'),
      res.getHeaderNames().sort(),
      { ...res.getHeaders() },
    ]
    const first = seen()
    res.removeHeader('X-Request-Id')
    res.end(JSON.stringify([first, [...seen()]]))
  })
  const { ids, body } = await ask(service.port)
  assert.deepEqual(JSON.parse(body), [
    [ID, true, ['x-other', 'x-request-id'], { 'x-other': '1', 'x-request-id': ID }],
    [null, false, ['x-other'], { 'x-other': '1' }],
  ])
  assert.deepEqual(ids, [])
  await service.close()
})

test('a response class of the application keeps its methods', async () => {
  class Answer extends ServerResponse {
    getHeader(name) {
      return name === 'x-class' ? 'own' : super.getHeader(name)
    }
  }
  const server = createServer({ ServerResponse: Answer }, (_req, res) =>
    res.end(`${res.getHeader('x-class')} ${res.getHeader('X-Request-ID')}`),
  )
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { ids, body } = await ask(server.address().port)
  assert.deepEqual([ids, body], [[ID], `own ${ID}`])
  server.closeAllConnections()
  server.close()
})

test('a server that changes the prototype of its responses answers the id', async () => {
  const changed = Object.create(ServerResponse.prototype)
  const service = await serve((_req, res) => {
    Object.setPrototypeOf(res, changed)
    res.setHeader('X-Seen', res.getHeader('x-request-id')).end('ok')
  })
  const { ids, response } = await ask(service.port)
  assert.deepEqual([ids, response.headers['x-seen']], [[ID], ID])
  await service.close()
})
