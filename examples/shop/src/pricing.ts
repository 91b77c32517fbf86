/** The second service: gives discounts. A process of its own, on node:http alone, observed by the same kit. */
import { init, log } from '@telltale/node'
import { eventLoop } from '@telltale/node/health'
import { host, port } from './config.js'
import { listen } from './listen.js'

init({ service: 'pricing', health: { checks: { event_loop: eventLoop() } } })

const { url } = await listen(
  (request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://pricing')
    if (pathname !== '/quote') {
      response.writeHead(404).end()
      return
    }
    const unitPriceCents = Number(searchParams.get('unit_price_cents'))
    const quantity = Number(searchParams.get('quantity'))
    const discountPercent = quantity >= 100 ? 20 : quantity >= 10 ? 10 : 0
    const total_cents = Math.round((unitPriceCents * quantity * (100 - discountPercent)) / 100)
    log.info('price_quoted', { quantity, discount_percent: discountPercent, total_cents })
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ total_cents }))
  },
  port,
  host,
)
log.info('pricing_listening', { url })
