// A tracker that reads and parses what it is sent, as the tests' receiver does, and counts it.
import { createServer } from 'node:http'
import { gunzipSync } from 'node:zlib'

let posts = 0
let items = 0
const server = createServer((req, res) => {
  const chunks = []
  req.on('data', (chunk) => chunks.push(chunk))
  req.on('end', () => {
    posts++
    const raw = Buffer.concat(chunks)
    const body = (req.headers['content-encoding'] === 'gzip' ? gunzipSync(raw) : raw).toString(
      'utf8',
    )
    for (const line of body.split('\n').slice(2)) if (line !== '' && JSON.parse(line)) items++
    res.setHeader('Content-Type', 'application/json')
    res.end('{}')
  })
})
server.listen(0, '127.0.0.1', () => process.stderr.write(`listening ${server.address().port}\n`))
process.on('SIGUSR2', () => {
  process.stdout.write(`${JSON.stringify({ posts, items })}\n`)
  process.exit(0)
})
