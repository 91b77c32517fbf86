// Each flag does what docs/verify.md says, and a wrong value is answered with the value and a remedy.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { freePort } from '../../node/test/services/server.js'
import { choose } from '../dist/verify/checks/index.js'
import { HELP, readOptions, UsageError } from '../dist/verify/options.js'
import { inTurns, start, verify } from './verify.js'

const read = (...args) => readOptions([...args, '--', 'node', 'x.js'], tmpdir())

test('a wrong value: exit 2, the flag or what it is, the value, and what it must be', () => {
  for (const [args, said] of [
    [['--port', '0'], /whole number from 1 to 65535, got "0"/],
    [['--port', 'http'], /whole number from 1 to 65535, got "http"/],
    [['--route', 'GET'], /--route must be a method and a path, as "GET \/path", got "GET"/],
    [['--error-route', 'fail'], /--error-route must be .* as "GET \/path", got "fail"/],
    [['--slow-route', 'GET slow'], /--slow-route must be .*, got "GET slow"/],
    [['--body-route', 'POST'], /--body-route must be .*, got "POST"/],
    [['--crash-route', '5'], /--crash-route must be .*, got "5"/],
    [['--auth', 'token'], /--auth must be "Header: value", got "token"/],
    [['--live', 'health'], /--live must be a path, as \/health\/live, got "health"/],
    [['--ready', 'http://x/ready'], /--ready must be a path.*got "http:\/\/x\/ready"/],
    [['--metrics', ''], /--metrics must be a path.*got ""/],
    [['--dep', 'database'], /--dep must be NAME=HOST:PORT or NAME=env:VARIABLE.*got "database"/],
    [['--dep', 'database=env:'], /--dep must be .*got "database=env:"/],
    [['--dep', 'database=127.0.0.1:99999'], /1 to 65535, got "99999"/],
    [['--env', 'NAME'], /--env must be NAME=VALUE.*got "NAME"/],
    [['--timeout-scale', '0'], /--timeout-scale must be a number above 0, got "0"/],
    [['--boot-timeout', '-1'], /--boot-timeout|'--boot-timeout' argument is ambiguous/],
    [['--boot-timeout=-1'], /--boot-timeout must be a number above 0, got "-1"/],
    [['--error-timeout', '5s'], /--error-timeout must be a number above 0, got "5s"/],
    [['--recover-timeout', 'NaN'], /--recover-timeout must be a number above 0, got "NaN"/],
    [['--url', 'localhost:3000'], /--url must be an http URL.*got "localhost:3000"/],
    [['--url', 'https://127.0.0.1'], /--url must be an http URL.*got "https/],
    [['--url', 'http://192.0.2.1'], /192\.0\.2\.1 is not this machine.*--i-know/],
    [['--logs', 'x.log'], /--logs x\.log.*--url/],
    [['--save'], /--save/],
    [['--no-such'], /--no-such.*after --/],
  ]) {
    assert.throws(
      () => read(...args),
      (error) => {
        assert.ok(error instanceof UsageError, `${args}: ${error.stack}`)
        assert.match(error.message, said)
        assert.equal(error.exitCode, 2)
        return true
      },
      String(args),
    )
  }
  for (const flag of ['only', 'skip']) {
    assert.throws(
      () => choose(read(`--${flag}`, 'logs,logs.jsn')),
      /"logs\.jsn" is no check.*logs\.json/,
    )
  }
})

test('every flag of the code stands in the help, and every flag of the help is one', () => {
  const names = new Set([...HELP.matchAll(/--([a-z][\w-]*)/g)].map(([, name]) => name))
  const source = readFileSync(new URL('../dist/verify/options.js', import.meta.url), 'utf8')
  const flags = source.slice(
    source.indexOf('const FLAGS'),
    source.indexOf('};', source.indexOf('const FLAGS')),
  )
  const known = [...flags.matchAll(/^ {4}'?([\w-]+)'?: \{/gm)].map(([, name]) => name)
  assert.ok(known.length > 25)
  assert.deepEqual(
    known.filter((name) => !names.has(name) && name !== 'help'),
    [],
  )
  assert.deepEqual(
    [...names].filter((name) => !known.includes(name)),
    [],
  )
})

test('a report that cannot be written: exit 3, one document, and the place', async () => {
  const result = await verify([
    ...['--only', 'boot', '--timeout-scale', '0.3', '--junit', '/dev/null/junit.xml'],
    ...['--', 'node', 'fixtures/odd/tiny.mjs'],
  ])
  assert.equal(result.code, 3)
  assert.match(
    result.report.error.message,
    /could not be written to \/dev\/null\/junit\.xml: E[A-Z]+/,
  )
})

test('choices: --only and --skip by id, by group, and the recipe', () => {
  const ids = (...args) => choose(read(...args)).map(({ id }) => id)
  assert.deepEqual(ids('--only', 'health.cut,metrics', '--skip', 'health.cut.stall'), [
    'health.cut.reset',
    'health.cut.alive',
    'metrics',
  ])
  assert.ok(ids('--only', 'recipe').every((id) => !id.startsWith('crash')))
  assert.equal(ids('--skip', 'recipe').includes('logs.json'), false)
  const { scale, bootTimeoutMs } = read('--timeout-scale', '2', '--boot-timeout', '10')
  assert.deepEqual([scale, bootTimeoutMs], [2, 20_000])
})

const turn = inTurns(2)
test('flags, in whole runs', { concurrency: true }, async (t) => {
  const broker = createServer((socket) => {
    socket.on('error', () => {})
    socket.on('data', () => socket.write('well.'))
  }).listen(0, '127.0.0.1')
  await once(broker, 'listening')
  const address = `127.0.0.1:${broker.address().port}`
  const flags = [
    ...['--live', '/my/live', '--ready', '/my/ready', '--metrics', '/my/metrics'],
    ...['--body-route', 'POST /body', '--route', 'GET /ordinary', '--timeout-scale', '0.5'],
  ]
  const command = ['--', 'node', 'fixtures/odd/flags.mjs']
  const check = ({ report }, id) => report.checks.find((one) => one.id === id)
  const cases = []
  const add = (title, work) => cases.push(t.test(title, () => turn(work)))

  add(
    '--port, --live, --ready, --metrics, --body-route, --dep NAME=HOST:PORT, --env, --skip',
    async () => {
      const port = String(await freePort())
      const result = await verify(
        [
          ...flags,
          ...['--port', port, '--env', `LISTEN_AT=${port}`, '--env', `BROKER=${address}`],
          ...['--dep', `queue=${address}`, '--skip', 'err,crash,stop', ...command],
        ],
        {},
      )
      const { report } = result
      assert.equal(report.service.url, `http://127.0.0.1:${port}`)
      assert.match(check(result, 'health.live').detail, /^\/my\/live: /)
      assert.match(check(result, 'health.ready').detail, /^\/my\/ready: /)
      assert.match(check(result, 'metrics').detail, /40 requests sent, 40 counted/)
      assert.deepEqual(
        [check(result, 'req.id.body').status, check(result, 'req.id.body').detail],
        ['pass', 'JSON'],
      )
      for (const id of ['health.cut.reset', 'health.cut.stall']) {
        assert.equal(check(result, id).status, 'pass', JSON.stringify(check(result, id)))
        assert.ok(check(result, id).detail.startsWith(`queue ${address}: 503 after `))
      }
      assert.equal(check(result, 'health.recover').status, 'pass')
      assert.equal(
        report.checks.some(({ id }) => /^(?:err|crash|stop)\./.test(id)),
        false,
      )
    },
  )

  add(
    '--no-hook, --dep NAME=env:VARIABLE, --quiet, --save; a lost id is found through --body-route',
    async () => {
      const folder = mkdtempSync(join(tmpdir(), 'telltale-flags-'))
      const port = String(await freePort())
      const run = start(
        [
          ...flags,
          ...['--quiet', '--no-hook', '--port', port, '--env', `LISTEN_AT=${port}`],
          ...['--dep', 'queue=env:BROKER_URL', '--env', 'SAID=a=b c', '--save', folder, ...command],
        ],
        { env: { BROKER_URL: `amqp://user:password-1234@${address}/x`, LOSES_ID: '1' } },
      )
      const { code, stderr } = await run.ended
      assert.equal(stderr, '', 'quiet')
      assert.equal(code, 1)
      const result = { report: JSON.parse(readFileSync(join(folder, 'report.json'), 'utf8')) }
      assert.equal(
        JSON.parse(readFileSync(join(folder, 'stdout.log'), 'utf8').split('\n')[0]).said,
        'a=b c',
      )
      const body = check(result, 'req.id.body')
      assert.equal(body.status, 'fail', JSON.stringify(body))
      assert.match(body.got, /no line of it with this id/)
      assert.match(
        body.reproduce,
        /^curl -i -X POST -H 'content-type: application\/json' --data-binary '\{"text":"x{1000}"\}' http/,
      )
      assert.equal(check(result, 'health.cut.reset').status, 'pass')
      assert.match(check(result, 'health.cut.reset').detail, /^queue 127/)
      rmSync(folder, { recursive: true })
    },
  )

  await Promise.all(cases)
  broker.close()
})
