import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import http from 'node:http'
import { join } from 'node:path'
import { after, test } from 'node:test'
import express from 'express4'
import pg from 'pg'
import pino from 'pino'
import { createLogger, format, transports } from 'winston'
import { observe as observeExpress } from '../dist/esm/adapters/express.js'
import { observe as observeHandler } from '../dist/esm/adapters/node.js'
import { bind, close, init, log, setRoute, startSpan } from '../dist/esm/index.js'
import { pinoMixin } from '../dist/esm/log/pino.js'
import { winstonFormat } from '../dist/esm/log/winston.js'
import { captureLogs, createMemoryTracker } from '../dist/esm/testing.js'

const source = join(import.meta.dirname, '../src')
const AsyncFunction = (async () => {}).constructor

/** Every `@example` of the source with the file and the function it stands above. */
function* examples() {
  for (const file of readdirSync(source, { recursive: true })) {
    if (!file.endsWith('.ts')) continue
    const text = readFileSync(join(source, file), 'utf8')
    for (const [, code, name] of text.matchAll(
      /^ \* @example\n((?: \*(?!\/).*\n)+) \*\/\nexport function (\w+)/gm,
    ))
      yield { title: `${file} ${name}`, code: code.replace(/^ \* ?/gm, '') }
  }
}

async function failingRequest() {
  const server = http.createServer(
    observeHandler(async () => {
      setRoute('/orders/:id')
      throw new Error('out of stock')
    }),
  )
  await once(server.listen(0, '127.0.0.1'), 'listening')
  await (await fetch(`http://127.0.0.1:${server.address().port}/orders/7`)).text()
  server.close()
}

const metrics = () => init({ service: 'shop', errors: { dsn: false } }).metrics
/** What the examples take for granted. */
const AROUND = {
  'log/pino.ts pinoMixin': { pino, pinoMixin },
  'log/winston.ts winstonFormat': {
    createLogger: (options) => createLogger({ ...options, transports: [new transports.Console()] }),
    format,
    winstonFormat,
  },
  'trace/database.ts observe': async () => ({
    observe: (await import('../dist/esm/trace/database.js')).observe,
    pg,
  }),
  'trace/span.ts startSpan': { startSpan, items: [1, 2], sum: (list) => list.length },
  'bind.ts bind': { bind, req: { params: { tenant: 'acme' } } },
  'metrics/metrics.ts createMetrics': () => ({ metrics: metrics() }),
  'telltale.ts init': { init },
  'testing.ts createMemoryTracker': { createMemoryTracker, init, assert, failingRequest },
  'testing.ts captureLogs': () => {
    init({ service: 'shop' })
    return { captureLogs, assert, placeOrder: async () => log.info('order_placed') }
  },
  'adapters/express.ts observe': { observe: observeExpress, express },
  'adapters/node.ts observe': { http, observe: observeHandler },
}

const found = [...examples()]
after(() => close())

test('every example has what it takes for granted here', () => {
  const tagged = readdirSync(source, { recursive: true })
    .filter((file) => file.endsWith('.ts'))
    .reduce(
      (sum, file) => sum + readFileSync(join(source, file), 'utf8').split('@example').length - 1,
      0,
    )
  assert.equal(found.length, tagged)
  assert.deepEqual(found.map(({ title }) => title).sort(), Object.keys(AROUND).sort())
})

for (const { title, code } of found)
  test(`the example of ${title} runs`, async () => {
    const around = AROUND[title]
    const names = typeof around === 'function' ? await around() : around
    const body = code
      .replaceAll('export const', 'const')
      .replace(/^\/\/ … a request that fails …$/m, 'await failingRequest()')
      .replaceAll('…', '')
    try {
      await new AsyncFunction(...Object.keys(names), body)(...Object.values(names))
    } finally {
      await close()
    }
  })
