// A tracker that keeps what it receives, and what createErrors needs, made of real parts.
import { Context, storage, Unit } from '../../dist/esm/context.js'
import { createErrors } from '../../dist/esm/errors/errors.js'

export function createMemoryTracker() {
  const events = []
  const checkIns = []
  return {
    name: 'memory',
    events,
    checkIns,
    capture: (event) => events.push(JSON.parse(JSON.stringify(event))),
    checkIn: (json) => checkIns.push(JSON.parse(json)),
    flush: async () => true,
    close: async () => true,
  }
}

const SECRET_KEY = /pass(word|wd)?$|secret|token|authorization|api[-_]?key|card/i

export const redactor = {
  isSecretKey: (key) => SECRET_KEY.test(key),
  element: (list, at) => list[at],
  text: (value) =>
    value
      .replace(/Bearer\s+\S+/gi, 'Bearer [REDACTED]')
      .replace(/\b(?:\d[ -]?){15}\d\b/g, '[REDACTED]')
      .replace(/\b(password|token)=[^&\s]+/gi, '$1=[REDACTED]'),
  url: (value) => value.replace(/([?&](?:password|token)=)[^&#]*/gi, '$1[REDACTED]'),
}

export function settingsWith(errors = {}) {
  return {
    service: 'shop',
    environment: 'test',
    release: 'shop@1',
    errors: {
      sampleRate: 1,
      sendDefaultPii: false,
      allowHeaders: [],
      beforeSend: undefined,
      ignoreErrors: [],
      contextLines: 5,
      serverName: 'host-1',
      ...errors,
    },
  }
}

/** createErrors with a memory tracker; closed when the test ends. */
export function setUp(t, options) {
  const tracker = createMemoryTracker()
  const errors = createErrors(settingsWith(options), { redactor, trackers: [tracker] })
  t.after(() => errors.close(1000))
  return { errors, tracker, events: tracker.events }
}

/** A word for a number, without digits: errors named by it are of different kinds. */
export const word = (n) => [...String(n)].map((digit) => 'abcdefghij'[digit]).join('')

let nextId = 0
export function createUnit(kind = 'request') {
  const id = String(++nextId)
  const unit = new Unit(
    kind,
    `request-${id}`,
    id.padStart(32, '0'),
    id.padStart(16, '0'),
    '',
    false,
    Date.now(),
    performance.now(),
  )
  unit.method = 'GET'
  return unit
}

export function runInUnit(unit, work) {
  return storage.run(new Context(unit, unit.spanId, undefined), work)
}
