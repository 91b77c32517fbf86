// Logging of the test's own process, its lines caught in memory.
import { Context, storage, Unit } from '../../dist/esm/context.js'
import { logging } from '../../dist/esm/log/logger.js'
import { resolveOptions } from '../../dist/esm/options.js'
import { createRedactor } from '../../dist/esm/redact.js'

/** Configures the process's logging for one test; undone after it. `lines()` parses what was written. */
export function configure(t, options = {}, hooks = {}) {
  const settings = resolveOptions(
    { service: 'test', ...options, log: { captureConsole: false, ...options.log } },
    {},
  )
  const raw = []
  const stop = logging.capture((line) => raw.push(line))
  logging.configure(settings, createRedactor(settings.redact), hooks)
  t.after(() => {
    stop()
    logging.close()
  })
  return { raw, lines: () => raw.map((line) => JSON.parse(line)), log: logging.log, settings }
}

export function makeUnit(requestId = 'request-0001') {
  return new Unit(
    'request',
    requestId,
    'a'.repeat(32),
    'b'.repeat(16),
    '',
    false,
    Date.now(),
    performance.now(),
  )
}

export function inUnit(unit, run) {
  const context = new Context(unit, unit.spanId, undefined)
  return storage.run(context, () => run(context))
}

export function record(unit, more = {}) {
  return {
    context: new Context(unit, unit.spanId, undefined),
    unit,
    method: 'GET',
    path: '/orders/7',
    route: '/orders/:id',
    statusCode: 200,
    aborted: false,
    reason: '',
    latencyMs: 12.345,
    quiet: false,
    upgraded: false,
    ...more,
  }
}

/**
 * Reads JSON text and fails on a key that stands twice in one object, which JSON.parse would hide.
 * Returns the keys of the outermost object in the order of the text.
 */
export function keysOf(text) {
  let at = 0
  const outer = []
  const fail = (what) => {
    throw new Error(`${what} at ${at} in ${text.slice(0, 500)}`)
  }
  const string = () => {
    const start = at++
    while (text[at] !== '"') at += text[at] === '\\' ? 2 : 1
    return JSON.parse(text.slice(start, ++at))
  }
  const value = (depth) => {
    if (text[at] === '{') {
      const keys = new Set()
      at++
      while (text[at] !== '}') {
        const key = string()
        if (keys.has(key)) fail(`key ${key} stands twice`)
        keys.add(key)
        if (depth === 0) outer.push(key)
        if (text[at++] !== ':') fail('no colon')
        value(depth + 1)
        if (text[at] === ',') at++
      }
      at++
    } else if (text[at] === '[') {
      at++
      while (text[at] !== ']') {
        value(depth + 1)
        if (text[at] === ',') at++
      }
      at++
    } else if (text[at] === '"') string()
    else {
      const scalar = /^(?:-?[\d.eE+-]+|true|false|null)/.exec(text.slice(at, at + 40))
      if (scalar === null) fail('no value')
      at += scalar[0].length
    }
  }
  value(0)
  JSON.parse(text)
  return outer
}
