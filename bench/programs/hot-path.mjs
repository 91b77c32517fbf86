// programs/hot-path.mjs bare|telltale COUNT: answers COUNT requests over a connection in memory, one
// after the other, each with two log calls; the same instructions and allocations at every run. Says
// how many bytes of heap the second half took.
import { createServer } from 'node:http'
import { Duplex } from 'node:stream'

const [variant, count] = [process.argv[2], Number(process.argv[3])]
let log = () => {}
if (variant === 'telltale') {
  const kit = await import('@telltale/node')
  const { eventLoop } = await import('@telltale/node/health')
  const { errors, metrics } = kit.init({
    service: 'bench',
    // Transactions are written and not sent: a network has a clock of its own.
    errors: {
      tracker: {
        name: 'nowhere',
        capture() {},
        transaction() {},
        flush: async () => true,
        close: async () => true,
      },
    },
    health: { checks: { event_loop: eventLoop() } },
  })
  // What comes a second after init comes now, where it is not counted.
  errors.prepare()
  metrics.prepare()
  log = (event, fields) => kit.log.info(event, fields)
}

const server = createServer((req, res) => {
  const id = req.url.slice(7)
  log('order_placed', { orderId: 7, tenant: 'north', amount: 12.5 })
  log('mail_sent', { to: id, tries: 1, ok: true })
  const text = JSON.stringify({ id, name: 'Ada', roles: ['admin', 'user'] })
  res.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': text.length })
  res.end(text)
})

class Connection extends Duplex {
  remoteAddress = '127.0.0.1'
  onAnswer = () => {}
  _read() {}
  _write(chunk, _encoding, done) {
    if (chunk.toString('latin1').startsWith('HTTP/1.1 200')) this.onAnswer()
    done()
  }
  setTimeout() {
    return this
  }
}

const connection = new Connection()
server.emit('connection', connection)
const request = Buffer.from(
  'GET /users/42 HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n',
)
async function answer(times) {
  for (let i = 0; i < times; i++) {
    await new Promise((resolve) => {
      connection.onAnswer = () => setImmediate(resolve)
      connection.push(request)
    })
  }
}

await answer(count / 2)
const before = process.memoryUsage().heapUsed
await answer(count / 2)
const bytes = process.memoryUsage().heapUsed - before
process.stderr.write(`\n${JSON.stringify({ bytes: bytes / (count / 2) })}\n`)
process.exit(0)
