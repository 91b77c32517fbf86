// programs/burst.mjs DSN COUNT: so many different errors at once; how many were counted as lost.
import { captureException, flush, init } from '@telltale/node'

const [, , dsn, count] = process.argv
const { errors } = init({ service: 'bench', errors: { dsn } })
for (let i = 0; i < Number(count); i++) {
  // Different places, not only different messages: alike ones may be counted as a storm.
  const fail = new Function(`return function fail${i}() { throw new Error('failure ${i}') }`)()
  try {
    fail()
  } catch (error) {
    captureException(error)
  }
}
await flush(10_000)
const lost = Object.values(errors.losses()).reduce((sum, n) => sum + n, 0)
process.stderr.write(`\n${JSON.stringify({ lost })}\n`)
process.exit(0)
