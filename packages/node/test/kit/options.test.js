import assert from 'node:assert/strict'
import { test } from 'node:test'
import { resolveOptions } from '../../dist/esm/options.js'

/** Values that each option must refuse, by path. */
const BAD = {
  service: ['', 7, 'x'.repeat(1025)],
  environment: ['', 7],
  release: [7],
  enabled: ['yes', 1],
  log: [[], 'x', 7],
  'log.level': ['loud', 30],
  'log.preset': ['bunyan'],
  'log.pretty': ['yes'],
  'log.maxLineBytes': [1023, 1_048_577, '2048', Number.NaN],
  'log.maxBufferBytes': [1],
  'log.sync': [1],
  'log.captureConsole': ['no'],
  'log.holdDebug': ['yes', 7],
  'log.holdDebug.level': ['silent'],
  'log.holdDebug.slowMs': [0],
  'log.holdDebug.maxBytes': [1],
  'request.trustRequestId': ['sometimes', true],
  'request.quietPaths': ['/a', ['a'], [7]],
  'request.sampleRate': [1.1, -0.1, '0.5'],
  'request.slowMs': [0],
  'request.propagateRequestIdTo': ['a', [7]],
  'request.propagateTraceTo': ['a', [7], false],
  'redact.keys': ['a', [7]],
  'redact.allow': [[{}]],
  'redact.patterns': [['a'], /a/],
  'errors.dsn': ['sentry', 'https://key@host', 'https://host/1', 7, true],
  'errors.sampleRate': [2],
  'errors.sendDefaultPii': ['true'],
  'errors.allowHeaders': ['a'],
  'errors.beforeSend': [{}],
  'errors.ignoreErrors': [[7], 'a'],
  'errors.captureLogged': [0],
  'errors.sessions': ['yes'],
  'errors.captureCrashes': [0],
  'errors.maxQueueBytes': [1],
  'errors.spoolDir': [7, true],
  'errors.contextLines': [21, -1],
  'errors.serverName': [7],
  'errors.tracker': [null, 7, {}, [{}], { capture: 7, name: 'x' }],
  'trace.sampleRate': [20, '20%'],
  'trace.sampler': [0.5],
  'trace.format': ['static'],
  'health.enabled': ['no'],
  'health.basePath': ['health', '/a b', '/a?b'],
  'health.checks': ['x', null],
  'health.intervalMs': [99],
  'health.waitForStarted': [1],
  'health.token': [7],
  'metrics.enabled': [1],
  'metrics.path': ['metrics', '/', true],
  'metrics.token': [7],
  'metrics.maxSeries': [9],
  'metrics.runtime': [1],
  'metrics.registries': [[{}], {}],
  'shutdown.enabled': [1],
  'shutdown.drainDelayMs': [-1],
  'shutdown.timeoutMs': [99],
  'shutdown.closers': [[7], () => {}],
  'management.port': [65_536, '9090'],
  'management.host': [7],
}

function withValue(path, value) {
  return path.split('.').reduceRight((inner, key) => ({ [key]: inner }), value)
}

function faultsOf(options, env = {}) {
  try {
    resolveOptions(options, env)
  } catch (error) {
    return error.faults
  }
  return []
}

for (const [path, values] of Object.entries(BAD)) {
  test(`options.${path} refuses what it cannot use, naming the value and the remedy`, () => {
    for (const value of values) {
      const faults = faultsOf(withValue(path, value))
      assert.equal(faults.length, 1, `${path}: ${String(value)}`)
      const [{ code, message, remedy }] = faults
      assert.equal(code, 'TELLTALE_E_OPTION')
      assert.ok(message.startsWith(`options.${path}`), message)
      assert.match(message, /, got /)
      assert.ok(remedy.length > 10, remedy)
    }
  })
}

test('an unknown option is refused in every part, with the known ones', () => {
  const parts = Object.keys(BAD).filter((path) => !path.includes('.'))
  assert.ok(parts.length > 0)
  for (const part of ['', 'log.', 'request.', 'errors.', 'trace.', 'health.', 'metrics.']) {
    const [fault] = faultsOf(withValue(`${part}sampelRate`, 1))
    assert.equal(fault.message, `options.${part}sampelRate is not an option.`)
    assert.match(fault.remedy, /^Known here: /)
  }
})

test('every fault of options and environment is told at once', () => {
  const faults = faultsOf(
    { log: { level: 'loud' }, trace: { sampleRate: 20 }, metrics: { path: 'x' } },
    { SENTRY_DSN: 'nonsense', TELLTALE_LOG_PRETTY: 'maybe' },
  )
  assert.equal(faults.length, 5)
})

test('a fault never shows the key of a DSN', () => {
  const [fault] = faultsOf({ errors: { dsn: 'https://abcdef0123456789@host/x' } })
  assert.ok(!JSON.stringify(fault).includes('abcdef0123456789'))
})

test('options beat the environment, which beats the defaults; an empty variable is none', () => {
  const env = {
    LOG_LEVEL: 'DEBUG',
    SENTRY_TRACES_SAMPLE_RATE: '0.5',
    OTEL_SERVICE_NAME: 'env',
    SENTRY_ENVIRONMENT: 'staging',
    NODE_ENV: 'production',
    SENTRY_RELEASE: '1',
    SENTRY_DSN: '',
    TELLTALE_METRICS: 'off',
    SENTRY_TRACE_LIFECYCLE: 'stream',
  }
  const fromEnv = resolveOptions({}, env)
  assert.equal(fromEnv.log.level, 'debug')
  assert.equal(fromEnv.trace.sampleRate, 0.5)
  assert.equal(fromEnv.trace.format, 'stream')
  assert.equal(fromEnv.service, 'env')
  assert.equal(fromEnv.environment, 'staging')
  assert.equal(fromEnv.release, '1')
  assert.equal(fromEnv.errors.dsn, '')
  assert.equal(fromEnv.metrics.enabled, false)
  const options = {
    service: 'mine',
    environment: 'test',
    log: { level: 'warn' },
    trace: { sampleRate: 0, format: 'transaction' },
    metrics: { enabled: true },
  }
  const both = resolveOptions(options, env)
  assert.equal(both.log.level, 'warn')
  assert.equal(both.trace.sampleRate, 0)
  assert.equal(both.trace.format, 'transaction')
  assert.equal(both.service, 'mine')
  assert.equal(both.environment, 'test')
  assert.equal(both.metrics.enabled, true)
})

test('the defaults are the documented ones, and the settings are frozen', () => {
  const settings = resolveOptions({}, {})
  assert.equal(settings.environment, 'development')
  assert.equal(settings.log.level, 'info')
  assert.equal(settings.log.maxLineBytes, 16_384)
  assert.equal(settings.trace.sampleRate, 0.2)
  assert.equal(settings.trace.format, 'transaction')
  assert.equal(settings.health.basePath, '/api/v1/health')
  assert.equal(settings.health.intervalMs, 5000)
  assert.equal(settings.metrics.path, '/metrics')
  assert.equal(settings.shutdown.drainDelayMs, 0)
  assert.equal(settings.management, undefined)
  assert.equal(settings.debugError, true)
  assert.equal(resolveOptions({ environment: 'production' }, {}).debugError, false)
  assert.equal(resolveOptions({}, { KUBERNETES_SERVICE_HOST: 'x' }).shutdown.drainDelayMs, 5000)
  assert.ok(Object.isFrozen(settings) && Object.isFrozen(settings.log))
})

test('a variable in blank space is refused like any other bad number', () => {
  const [fault] = faultsOf({}, { SENTRY_TRACES_SAMPLE_RATE: ' ' })
  assert.match(fault?.message ?? '', /^SENTRY_TRACES_SAMPLE_RATE must be a number from 0 to 1/)
})

test('TELLTALE_SPOOL_DIR=false turns the spool off and is no folder of that name', (t) => {
  process.env.TELLTALE_SPOOL_DIR = 'false'
  t.after(() => delete process.env.TELLTALE_SPOOL_DIR)
  assert.equal(resolveOptions({ service: 'shop' }).errors.spoolDir, false)
})
