// The tracker: it reads and parses all that it is sent and counts it by project (Sentry envelopes at
// /api/PROJECT/envelope/, OTLP protobuf at /PROJECT/v1/traces). GET /counts tells. `sink.mjs hang`
// takes requests and never answers them.
import { createServer } from 'node:net'
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

/** The body of a chunked message that begins at `at`, and where it ends; undefined while it is not all here. */
function readChunks(bytes, at) {
  const parts = []
  for (;;) {
    const lineEnd = bytes.indexOf('\r\n', at)
    if (lineEnd === -1) return undefined
    const length = Number.parseInt(bytes.latin1Slice(at, lineEnd), 16)
    const end = lineEnd + 2 + length + 2
    if (end > bytes.length) return undefined
    if (length === 0) return { raw: Buffer.concat(parts), end }
    parts.push(bytes.subarray(lineEnd + 2, end - 2))
    at = end
  }
}

/** The first request of `bytes` from `at` on; undefined while it is not all here. */
function readRequest(bytes, at) {
  const headEnd = bytes.indexOf('\r\n\r\n', at)
  if (headEnd === -1) return undefined
  const head = bytes.latin1Slice(at, headEnd)
  const path = head.slice(head.indexOf(' ') + 1, head.indexOf(' HTTP/1.1\r\n'))
  const isZipped = /\r\ncontent-encoding: *gzip/i.test(head)
  const start = headEnd + 4
  if (/\r\ntransfer-encoding: *chunked/i.test(head)) {
    const body = readChunks(bytes, start)
    return body && { path, isZipped, ...body }
  }
  const end = start + Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0)
  return end > bytes.length ? undefined : { path, isZipped, raw: bytes.subarray(start, end), end }
}

function take({ path, isZipped, raw }) {
  const body = isZipped ? gunzipSync(raw) : raw
  const isOtlp = path.endsWith('/v1/traces')
  const project = path.split('/')[isOtlp ? 1 : 2]
  projects[project] ??= { posts: 0, bytes: 0, events: 0, traces: 0, spans: 0 }
  const counts = projects[project]
  counts.posts++
  counts.bytes += raw.length
  if (isOtlp) readOtlp(body, counts)
  else readEnvelope(body, counts)
  return isOtlp ? answer('application/x-protobuf', '') : answer('application/json', '{}')
}

const answer = (type, text) =>
  `HTTP/1.1 200 OK\r\nContent-Type: ${type}\r\nContent-Length: ${text.length}\r\n\r\n${text}`

// On bare sockets: Node's HTTP server takes thrice the CPU, and the load generator needs that CPU.
const server = createServer((socket) => {
  let rest = Buffer.alloc(0)
  socket.on('data', (chunk) => {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    let at = 0
    let answers = ''
    for (;;) {
      const request = readRequest(bytes, at)
      if (request === undefined) break
      at = request.end
      if (request.path === '/counts')
        answers += answer('application/json', JSON.stringify(projects))
      else {
        const text = take(request)
        if (!hangs) answers += text
      }
    }
    rest = bytes.subarray(at)
    if (answers !== '') socket.write(answers)
  })
  socket.on('error', () => {})
})
server.listen(0, '127.0.0.1', () => process.stderr.write(`listening ${server.address().port}\n`))
process.on('SIGUSR2', () => process.exit(0))
