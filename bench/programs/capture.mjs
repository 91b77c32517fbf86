// programs/capture.mjs WHO DSN BLOCKS: captures of 20 different errors at a time, each block
// flushed to the sink; µs of CPU per error, sending included, on standard output's last line.
const [, , who, dsn, blocks] = process.argv
const { captureException, flush } = await client()

async function client() {
  if (who !== 'telltale') {
    const Sentry = await import('@sentry/node')
    Sentry.init({ dsn })
    return Sentry
  }
  const kit = await import('@telltale/node')
  kit.init({ service: 'bench', errors: { dsn } })
  return kit
}

const words = (number) => String(number).replace(/\d/g, (digit) => 'abcdefghij'[digit])

const values = []
for (let block = -2; block < Number(blocks); block++) {
  const errors = Array.from(
    { length: 20 },
    // Different by words: messages that differ in numbers only are one error to the kit.
    (_, i) => new RangeError(`shelf ${words((block + 2) * 20 + i)} is empty`),
  )
  const before = process.cpuUsage()
  for (const error of errors) captureException(error)
  await flush(5000)
  const { user, system } = process.cpuUsage(before)
  if (block >= 0) values.push((user + system) / errors.length)
}
// Not by console, which the kit turns into lines of its own.
process.stdout.write(`\n${JSON.stringify(values)}\n`)
process.exit(0)
