// Route templates of mounted routers: what a client writes must never become a label.
import assert from 'node:assert/strict'
import { afterEach, beforeEach, test } from 'node:test'
import express5 from 'express'
import express4 from 'express4'
import { observe } from '../../dist/esm/adapters/express.js'
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

for (const [name, make] of [
  ['Express 4', () => observe(express4())],
  ['Express 5', () => express5()],
]) {
  for (const [ending, end] of [
    ['its final handler', () => {}],
    ['a handler of the application', (app) => app.use((_req, res) => res.status(404).json({}))],
    [
      'an error handler of the application',
      (app) => {
        app.use((_req, _res, next) => next(Object.assign(new Error('none'), { status: 404 })))
        app.use((error, _req, res, _next) => res.status(error.status).json({}))
      },
    ],
  ]) {
    test(`5: ${name}: a 404 by ${ending}, after a route handed the request on, has no route`, async () => {
      const app = make()
      app.get('/items/:id', (_req, _res, next) => next('route'))
      app.get('/plain/:id', (_req, _res, next) => next())
      app.get(['/one/:id', '/other/:id'], (_req, res) => res.status(404).json({}))
      app.get('/twice/:id', (_req, _res, next) => next('route'))
      app.get('/twice/:it', (_req, res) => res.status(404).json({}))
      app.get('/found/:id', (_req, res) => setImmediate(() => res.status(404).json({})))
      app.get('/after/:id', (_req, _res, next) => next())
      app.get('/error/:id', (_req, _res, next) =>
        next(Object.assign(new Error('no such'), { status: 404 })),
      )
      const router = (name === 'Express 4' ? express4 : express5).Router()
      router.get('/:id', (_req, _res, next) => next('route'))
      router.get('/own/:id', (_req, res) => res.status(404).json({}))
      app.use('/mounted', router)
      app.use('/after', (_req, res) => res.json({}))
      end(app)
      const { port, close } = await serve(app)
      const seen = {}
      for (const path of [
        '/items/1',
        '/plain/1',
        '/one/1',
        '/other/1',
        '/twice/1',
        '/found/1',
        '/mounted/1',
        '/mounted/own/1',
        '/after/1',
        '/error/1',
      ]) {
        running.logs.clear()
        await (await fetch(`http://127.0.0.1:${port}${path}`)).text()
        await new Promise(setImmediate)
        const [line] = running.logs.of('request_finished')
        seen[path] = line.route
      }
      await close()
      assert.deepEqual(seen, {
        '/items/1': null,
        '/plain/1': null,
        '/one/1': '/one/:id,/other/:id',
        '/other/1': '/one/:id,/other/:id',
        '/twice/1': '/twice/:it',
        '/found/1': '/found/:id',
        '/mounted/1': null,
        '/mounted/own/1': '/mounted/own/:id',
        '/after/1': '/after/:id',
        '/error/1': '/error/:id',
      })
    })
  }
}
