// Check 25: a service with one fault fails exactly the check that is about it.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { startPostgres } from '../../node/test/services/postgres.js'
import { CHECKS } from '../dist/verify/checks/index.js'
import { inTurns, statuses, verify } from './verify.js'

const MUTANTS = {
  'console.log line': 'logs.json',
  'pretty logger': 'logs.json',
  'id missing on 404': 'req.id.header',
  'id shared across requests': 'req.id.unique',
  'ALS lost after body': 'req.id.body',
  'header absent on 500': 'req.id.header',
  'latency in seconds': 'req.finished',
  'double finished line': 'req.finished',
  'event twice': 'err.once',
  'no user': 'err.context',
  'no tags': 'err.context',
  'user leaks between requests': 'err.isolation',
  'password in body log': 'secret.none',
  'token in query': 'secret.none',
  'Authorization in event': 'secret.none',
  'DB password in ready body': 'secret.none',
  'ready always 200': 'health.cut.reset',
  'ready hangs on stall': 'health.cut.stall',
  'live touches DB': 'health.live',
  'never recovers': 'health.recover',
  'crash on cut': 'health.cut.alive',
  'log lost at crash': 'crash.log',
  'exit 0 on crash': 'crash.exit',
  'SIGTERM ignored': 'stop.graceful',
  'in-flight dropped': 'stop.graceful',
  'ready 200 while draining': 'stop.graceful',
  'verify route open without token': 'safety.hidden',
}

/** The checks that none of the 27 is about: each can fail too. */
const MORE_MUTANTS = {
  'time without zone': 'logs.schema',
  'line breaks in lines': 'logs.single-line',
  'console.error line': 'logs.stderr',
  'ids cross': 'req.id.shared',
  'any id is echoed': 'req.id.inbound',
  'event without stack': 'err.event',
  'line without event': 'err.linked',
  'stack in the answer': 'err.response',
  'silent without tracker': 'err.nodsn',
  'delivery is awaited': 'err.dead',
  'ready names nothing': 'health.ready',
  'probes are logged': 'health.open',
  'crash without event': 'crash.event',
  'second signal hangs': 'stop.twice',
  'metrics by path': 'metrics',
}

let postgres
before(async () => {
  postgres = await startPostgres({ maxConnections: 100 })
})
after(() => postgres.stop())

const FLAGS = ['--error-route', 'GET /fail', '--auth', 'X-User: ada', '--auth', 'X-User: grace']
const COMMAND = ['node', 'fixtures/reference/service.mjs']

async function run(mutant, flags = []) {
  return await verify([...FLAGS, ...flags, '--', ...COMMAND], {
    env: { DATABASE_URL: postgres.url, MUTANT: mutant },
  })
}

test('24: a service that keeps every promise passes every check', async () => {
  const { report, code, text } = await run('')
  assert.deepEqual(
    report.checks.filter(({ status }) => status !== 'pass'),
    [],
    text,
  )
  assert.equal(code, 0)
})

test('36: attached with its lines and its token, the same service passes what can be judged', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'telltale-attach-'))
  const logs = join(folder, 'lines.log')
  const token = '0123456789abcdef0123456789abcdef'
  const service = spawn(process.execPath, [join(import.meta.dirname, COMMAND[1])], {
    env: { ...process.env, DATABASE_URL: postgres.url, TELLTALE_VERIFY_TOKEN: token, PORT: '0' },
    stdio: ['ignore', openSync(logs, 'w'), 'inherit'],
  })
  let port
  while (port === undefined) {
    await new Promise((resolve) => setTimeout(resolve, 20))
    port = /"port":(\d+)/.exec(readFileSync(logs, 'utf8'))?.[1]
  }
  const { report, code, text } = await verify(
    ['--url', `http://127.0.0.1:${port}`, '--logs', logs],
    { env: { TELLTALE_VERIFY_TOKEN: token } },
  )
  service.kill('SIGKILL')
  const all = statuses(report)
  for (const id of [
    ...['logs.json', 'logs.single-line', 'logs.schema', 'req.id.shared', 'req.id.body'],
    ...['req.finished', 'req.id.inbound', 'health.live', 'health.ready', 'metrics', 'secret.none'],
  ]) {
    assert.equal(
      all[id],
      'pass',
      `${id}: ${text}${JSON.stringify(report.checks.find((c) => c.id === id))}`,
    )
  }
  assert.deepEqual(
    report.checks.filter(({ status }) => status === 'fail'),
    [],
  )
  assert.equal(all['health.cut.reset'], 'skip')
  assert.equal(code, 0)
  rmSync(folder, { recursive: true })
})

test('31: a worker of a cluster that dies of a cut is seen, though it is replaced', async () => {
  const { report, text } = await verify(
    ['--only', 'health.cut.alive', '--', 'node', 'fixtures/reference/cluster.mjs'],
    { env: { DATABASE_URL: postgres.url, MUTANT: 'crash on cut' } },
  )
  const [check] = report.checks
  assert.equal(check.status, 'fail', text)
  assert.match(check.got, /ended \(code 1\) when .* was cut/)
})

async function assertFailsOnly(mutant, expected) {
  const flags = expected === 'health.recover' ? ['--recover-timeout', '4'] : []
  const { report, code, text } = await run(mutant, flags)
  const failed = report.checks.filter(({ status }) => ['fail', 'error'].includes(status))
  assert.deepEqual(
    failed.map(({ id }) => id),
    [expected].flat(),
    `${JSON.stringify(failed, undefined, 2)}\n${text}`,
  )
  for (const { fix, expected: wanted, got, reproduce } of failed) {
    assert.ok(fix.text && wanted && got && reproduce, 'a failure says what to do')
  }
  assert.equal(code, 1)
}

function eachMutant(t, mutants) {
  const turn = inTurns(3)
  return Promise.all(
    Object.entries(mutants).map(([mutant, expected]) =>
      t.test(`25: "${mutant}" fails ${expected} and nothing else`, () =>
        turn(() => assertFailsOnly(mutant, expected)),
      ),
    ),
  )
}

test('25: 27 mutants, and each fails exactly its own check', { concurrency: true }, async (t) => {
  assert.equal(Object.keys(MUTANTS).length, 27)
  await eachMutant(t, MUTANTS)
})

test('every other check can fail too', { concurrency: true }, async (t) => {
  await eachMutant(t, MORE_MUTANTS)
  const ids = new Set([...Object.values(MUTANTS), ...Object.values(MORE_MUTANTS)].flat())
  // It was started, and overhead never fails.
  for (const { id } of CHECKS) {
    if (!['boot.listening', 'overhead'].includes(id)) assert.ok(ids.has(id), `${id} has no mutant`)
  }
})
