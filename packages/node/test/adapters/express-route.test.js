// Route templates of mounted routers: what a client writes must never become a label.
import assert from 'node:assert/strict'
import { afterEach, beforeEach, test } from 'node:test'
import express5 from 'express'
import express4 from 'express4'
import { serve, startKit } from '../kit/kit.js'

let running
beforeEach(() => {
  running = startKit()
})
afterEach(() => running.close())

for (const [name, express] of [
  ['Express 4', express4],
  ['Express 5', express5],
]) {
  test(`${name}: mount parameters are named, encoded, repeated or unknown ones included`, async () => {
    const app = express()
    const leaf = () => {
      const router = express.Router()
      router.get('/x', (_req, res) => res.send('ok'))
      router.get('/', (_req, res) => res.send('ok'))
      return router
    }
    app.use('/tenants/:tenant', leaf())
    app.use('/two/:a-:b', leaf())
    app.use('/static', leaf())
    const middle = express.Router()
    middle.use('/:inner', leaf())
    app.use('/deep/:outer', middle)
    const sub = express()
    sub.use('/:part', leaf())
    app.use('/sub/:app', sub)
    const hidden = leaf()
    app.use('/hidden/:user', (req, res, next) => hidden(req, res, next))
    const { port, close } = await serve(app)
    const routeOf = async (path) => {
      running.logs.clear()
      assert.equal((await fetch(`http://127.0.0.1:${port}${path}`)).status, 200, path)
      await new Promise(setImmediate)
      return running.logs.of('request_finished')[0].route
    }
    for (const [path, route] of [
      ['/static/x', '/static/x'],
      ['/static', '/static'],
      ['/tenants/acme/x', '/tenants/:tenant/x'],
      ['/tenants/a%20b/x', '/tenants/:tenant/x'],
      ['/tenants/Jos%C3%A9-42/x', '/tenants/:tenant/x'],
      ['/deep/one/two/x', '/deep/:outer/:inner/x'],
      ['/deep/a%2Fb/u/x', '/deep/:outer/:inner/x'],
      ['/sub/app1/part1/x', '/sub/:app/:part/x'],
    ])
      assert.equal(await routeOf(path), route)
    // What cannot be told apart is at least free of the value.
    for (const path of ['/two/secret1-secret2/x', '/hidden/secret1/x']) {
      assert.equal((await routeOf(path)).includes('secret'), false, path)
    }
    await close()
  })
}
