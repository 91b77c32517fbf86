// A receiver that speaks Sentry's envelope protocol and keeps the events.
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'

export async function startTracker(t) {
  const events = []
  const waiting = new Set()
  const server = createServer(async (request, response) => {
    const chunks = []
    for await (const chunk of request) chunks.push(chunk)
    const body = Buffer.concat(chunks)
    const isGzip = request.headers['content-encoding'] === 'gzip'
    for (const { header, payload } of items(isGzip ? gunzipSync(body) : body)) {
      if (header.type === 'event') events.push(JSON.parse(payload))
    }
    for (const look of waiting) look()
    response.setHeader('content-type', 'application/json')
    response.end('{}')
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const folder = mkdtempSync(join(tmpdir(), 'shop-spool-'))
  t.after(async () => {
    server.closeAllConnections()
    server.close()
    rmSync(folder, { recursive: true, force: true })
  })
  return {
    dsn: `http://0123456789abcdef0123456789abcdef@127.0.0.1:${server.address().port}/1`,
    folder,
    events,
    event: (matches, timeoutMs = 20_000) =>
      new Promise((resolve, reject) => {
        const timer = setTimeout(() => {
          waiting.delete(look)
          reject(
            new Error(`no such event among ${events.length}: ${JSON.stringify(events.at(-1))}`),
          )
        }, timeoutMs)
        const look = () => {
          const found = events.find(matches)
          if (found === undefined) return
          clearTimeout(timer)
          waiting.delete(look)
          resolve(found)
        }
        waiting.add(look)
        look()
      }),
  }
}

/** The items of an envelope: header lines and payloads, with or without a length. */
function* items(body) {
  let at = body.indexOf(10) + 1
  while (at > 0 && at < body.length) {
    const headerEnd = endOfLine(body, at)
    const text = body.toString('utf8', at, headerEnd)
    if (text === '') return
    const header = JSON.parse(text)
    const start = headerEnd + 1
    const end = header.length === undefined ? endOfLine(body, start) : start + header.length
    yield { header, payload: body.toString('utf8', start, end) }
    at = end + 1
  }
}

function endOfLine(body, from) {
  const end = body.indexOf(10, from)
  return end === -1 ? body.length : end
}
