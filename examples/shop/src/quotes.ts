/** Asks the pricing service, a process of its own, for prices. */
import { log } from '@telltale/node'
import { pricingUrl } from './config.js'
import { Problem } from './problem.js'

/** Total in cents for `quantity` pieces; list price when no pricing service is configured. 502 when it fails. */
export async function quote(unitPriceCents: number, quantity: number): Promise<number> {
  if (pricingUrl === '') return unitPriceCents * quantity
  try {
    // The kit adds traceparent and X-Request-ID: one trace across both processes.
    const response = await fetch(
      `${pricingUrl}/quote?unit_price_cents=${unitPriceCents}&quantity=${quantity}`,
      { signal: AbortSignal.timeout(2000) },
    )
    if (!response.ok) throw new Error(`The pricing service answered ${response.status}`)
    const { total_cents } = (await response.json()) as { total_cents: number }
    log.debug('price_quoted', { total_cents })
    return total_cents
  } catch (cause) {
    throw new Problem(502, 'The pricing service does not answer.', { cause })
  }
}
