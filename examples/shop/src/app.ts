/** The routes. */
import express, { type Express } from 'express'
import { identify, signedIn } from './auth.js'
import { placeOrder, readOrder } from './orders.js'
import { notFound, problemHandler } from './problem.js'
import { findProduct, listProducts, readProductId, renderLabel } from './products.js'
import { reportStock } from './reports.js'

export function createApp(): Express {
  const app = express()
  app.disable('x-powered-by')
  app.use(identify)

  app.get('/products', async (_request, response) => {
    response.json({ products: await listProducts() })
  })

  app.get('/products/:id', async (request, response) => {
    const { product, fromCache } = await findProduct(readProductId(request.params.id))
    response.set('X-Cache', fromCache ? 'hit' : 'miss').json(product)
  })

  app.get('/products/:id/label', async (request, response) => {
    const { product } = await findProduct(readProductId(request.params.id))
    response.type('text').send(renderLabel(product))
  })

  app.post('/orders', express.json({ limit: '10kb' }), async (request, response) => {
    const user = signedIn(response)
    response.status(201).json(await placeOrder(user, readOrder(request.body)))
  })

  app.get('/slow', async (_request, response) => {
    response.json(await reportStock())
  })

  app.use(notFound)
  app.use(problemHandler)
  return app
}
