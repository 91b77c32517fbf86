// The tracker: it reads and parses all that it is sent and counts it by project (Sentry envelopes at
// /api/PROJECT/envelope/, OTLP protobuf at /PROJECT/v1/traces). GET /counts tells. `sink.mjs hang`
// takes requests and never answers them.
import { createServer } from 'node:http'
import { gunzipSync } from 'node:zlib'

const hangs = process.argv[2] === 'hang'
const projects = {}

function readEnvelope(body, counts) {
  const lines = body.toString('utf8').split('\n')
  JSON.parse(lines[0])
  for (let i = 1; i + 1 < lines.length; i += 2) {
    const { type } = JSON.parse(lines[i])
    const item = JSON.parse(lines[i + 1])
    if (type === 'event') counts.events++
    else if (type === 'transaction') {
      counts.traces++
      counts.spans += 1 + (item.spans?.length ?? 0)
    } else if (type === 'span') {
      for (const span of item.items) {
        counts.spans++
        if (span.is_segment) counts.traces++
      }
    }
  }
}

/** Calls `take` with the number and bytes of every field of a protobuf message. */
function eachField(message, take) {
  let at = 0
  const varint = () => {
    let value = 0
    for (let scale = 1; ; scale *= 128) {
      const byte = message[at++]
      value += (byte & 127) * scale
      if (byte < 128) return value
    }
  }
  while (at < message.length) {
    const key = varint()
    const wire = key & 7
    if (wire === 0) varint()
    else if (wire === 2) {
      const length = varint()
      take(key >>> 3, message.subarray(at, at + length))
      at += length
    } else at += wire === 1 ? 8 : 4
  }
}

/** ExportTraceServiceRequest: resource_spans 1 › scope_spans 2 › spans 2; a span's parent is field 4. */
function readOtlp(body, counts) {
  eachField(body, (field, resource) => {
    if (field !== 1) return
    eachField(resource, (field, scope) => {
      if (field !== 2) return
      eachField(scope, (field, span) => {
        if (field !== 2) return
        let isRoot = true
        eachField(span, (field, bytes) => {
          if (field === 4 && bytes.length > 0) isRoot = false
        })
        counts.spans++
        if (isRoot) counts.traces++
      })
    })
  })
}

const server = createServer((req, res) => {
  if (req.url === '/counts') return res.end(JSON.stringify(projects))
  const chunks = []
  req.on('data', (chunk) => chunks.push(chunk))
  req.on('end', () => {
    const raw = Buffer.concat(chunks)
    const body = req.headers['content-encoding'] === 'gzip' ? gunzipSync(raw) : raw
    const isOtlp = req.url.endsWith('/v1/traces')
    const project = req.url.split('/')[isOtlp ? 1 : 2]
    projects[project] ??= { posts: 0, bytes: 0, events: 0, traces: 0, spans: 0 }
    const counts = projects[project]
    counts.posts++
    counts.bytes += raw.length
    if (isOtlp) readOtlp(body, counts)
    else readEnvelope(body, counts)
    if (hangs) return
    res.setHeader('Content-Type', isOtlp ? 'application/x-protobuf' : 'application/json')
    res.end(isOtlp ? '' : '{}')
  })
})
server.listen(0, '127.0.0.1', () => process.stderr.write(`listening ${server.address().port}\n`))
process.on('SIGUSR2', () => process.exit(0))
