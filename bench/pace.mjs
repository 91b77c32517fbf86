// Asks at a steady rate, arrivals at random (Poisson), over kept connections; argv[2] is the plan in
// JSON. A request's time counts from when it was due, so that nobody is spared what he held up.
import { connect } from 'node:net'

const { port, path, rate, connections, seconds } = JSON.parse(process.argv[2])
const request = `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`
const free = []
const latencies = []
const due = []

function ask(socket, dueMs) {
  socket.dueMs = dueMs
  socket.write(request)
}

function onData(chunk) {
  if (!chunk.startsWith('HTTP/1.1 200')) throw new Error(`the server answered ${chunk}`)
  latencies.push(performance.now() - this.dueMs)
  if (due.length > 0) ask(this, due.shift())
  else free.push(this)
}

const sockets = Array.from({ length: connections }, () => connect(port, '127.0.0.1'))
for (const socket of sockets) {
  socket.setNoDelay(true).setEncoding('latin1').on('data', onData)
  await new Promise((resolve) => socket.once('connect', resolve))
  free.push(socket)
}
const endMs = performance.now() + seconds * 1000
let nextMs = performance.now()
/** Looks at the clock all the time: a timer's millisecond is longer than an answer takes. */
function tick() {
  const nowMs = performance.now()
  for (; nextMs <= nowMs && nextMs < endMs; nextMs -= (Math.log(1 - Math.random()) / rate) * 1000) {
    const socket = free.shift()
    if (socket === undefined) due.push(nextMs)
    else ask(socket, nextMs)
  }
  if (nowMs < endMs || free.length < connections) setImmediate(tick)
  else finish()
}

function finish() {
  latencies.sort((a, b) => a - b)
  const at = (share) => latencies[Math.floor(latencies.length * share)]
  console.log(JSON.stringify({ requests: latencies.length, p50: at(0.5), p99: at(0.99) }))
  for (const socket of sockets) socket.destroy()
}
tick()
