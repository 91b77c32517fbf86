// Check 25: a service with one fault fails exactly the check that is about it.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { startPostgres } from '../../node/test/services/postgres.js'
import { startProxy } from '../../node/test/services/proxy.js'
import { CHECKS } from '../dist/verify/checks/index.js'
import { assertTold, reproduce } from './reproduce.js'
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

/** What the reproduce line of a mutant's check has to show, as the report's `got` does. */
const has = (event, name) => JSON.stringify(event ?? {}).includes(name)
const finished = ({ lines }) => lines.filter(({ message }) => message === 'request_finished')
const ids = (answer) => [...answer.matchAll(/^x-request-id: (\S+)/gim)].map(([, id]) => id)
const SHOWN = {
  'console.log line': ({ texts }) => texts.some((text) => text.startsWith('serving ')),
  'pretty logger': ({ texts, lines }) => texts.length > 0 && lines.length === 0,
  'id missing on 404': ({ answer }) => / 404 /.test(answer) && ids(answer).length === 0,
  'id shared across requests': ({ answer }) =>
    ids(answer).length === 2 && new Set(ids(answer)).size === 1,
  'ALS lost after body': ({ lines }) =>
    lines.some(({ message, request_id }) => message === 'work_body' && request_id === undefined),
  'header absent on 500': ({ answer }) => / 500 /.test(answer) && ids(answer).length === 0,
  'latency in seconds': (seen) => finished(seen)[0].latency_ms < 1,
  'double finished line': (seen) => finished(seen).length === 2,
  'event twice': ({ events }) => events.length === 2,
  'no user': ({ events }) => events.length === 1 && events[0].user === undefined,
  'no tags': ({ events }) => events.length === 1 && events[0].tags === undefined,
  'password in body log': ({ texts }) => texts.some((text) => text.includes('canary')),
  'token in query': ({ texts }) => texts.some((text) => text.includes('canary')),
  'Authorization in event': ({ events }) => has(events[0], 'canary'),
  'DB password in ready body': ({ answer }) => answer.includes('hunter2-secret'),
  'ready always 200': ({ answer }) => / 200 /.test(answer),
  'ready hangs on stall': ({ answer }) => /timed out/i.test(answer),
  'live touches DB': ({ askedDatabase }) => askedDatabase,
  'never recovers': ({ answer }) => / 503 /.test(answer),
  'log lost at crash': ({ lines }) => lines.filter(({ mark }) => mark === 'again').length < 500,
  'exit 0 on crash': ({ answer }) => answer.includes('exit code 0'),
  'SIGTERM ignored': ({ answer }) => answer.includes('running'),
  'in-flight dropped': ({ answer }) => !/ 200 /.test(answer),
  'ready 200 while draining': ({ answer }) => [...answer.matchAll(/HTTP\/1.1 200 /g)].length === 2,
  'verify route open without token': ({ answer }) => answer.includes('"kit"'),
  'time without zone': ({ lines }) => lines.some(({ timestamp }) => !timestamp.endsWith('Z')),
  'line breaks in lines': ({ texts, lines }) => texts.length > lines.length,
  'console.error line': ({ stderr }) => stderr.includes('serving '),
  'ids cross': ({ lines }) => {
    const begun = new Map(lines.map(({ message, request_id: id }) => [`${message} ${id}`, id]))
    const count = (name) => [...begun.keys()].filter((key) => key.startsWith(name)).length
    return count('work_end') < count('work_begin')
  },
  'any id is echoed': ({ answer, check }) =>
    check.got.includes(`(${ids(answer)[0].length} characters)`),
  'event without stack': ({ events }) =>
    events.length === 1 && events[0].exception.values[0].stacktrace.frames.length === 0,
  'line without event': (seen) =>
    seen.events.length === 1 && finished(seen)[0].event_id === undefined,
  'stack in the answer': ({ answer }) => / at \S+/.test(answer),
  'delivery is awaited': (seen) => finished(seen)[0].latency_ms > 1,
  'ready names nothing': ({ answer, check }) => answer.includes(check.got),
  'probes are logged': (seen) => finished(seen).length === 1,
  'crash without event': ({ events, answer }) => events.length === 0 && /exit code 1/.test(answer),
  'second signal hangs': ({ answer }) => answer.includes('running'),
  'metrics by path': ({ answer, check }) =>
    [...answer.matchAll(/telltale-verify\/series\//g)].length >= Number(check.got),
}
/** What takes a whole run to see, or a service that starts and stays. */
const BY_COMMAND = {
  'user leaks between requests':
    /^npx telltale verify .*--error-route 'GET \/fail'.*--auth 'X-User: ada'.* --only err\.isolation -- node /,
  'crash on cut': /^npx telltale verify .* --only health\.cut\.alive -- node /,
  'silent without tracker': /^env -u SENTRY_DSN node fixtures\/reference\/service\.mjs$/,
}

async function assertReproduced(mutant, report, check) {
  if (BY_COMMAND[mutant] !== undefined) return assert.match(check.reproduce, BY_COMMAND[mutant])
  const proxy = await startProxy(postgres.port)
  const url = new URL(postgres.url)
  url.port = proxy.port
  let asked = 0
  const ask = async () => (await fetch(`${report.service.url}/health/ready`)).text()
  const seen = await reproduce(report, check, {
    cwd: import.meta.dirname,
    env: { DATABASE_URL: url.href, MUTANT: mutant },
    isTracked: mutant !== 'second signal hangs',
    async before() {
      if (mutant === 'ready hangs on stall') await proxy.mode('stall')
      if (mutant === 'ready always 200') {
        await proxy.mode('refuse')
        proxy.cut()
      }
      // With a connection that would hold the process.
      if (mutant === 'second signal hangs') await ask()
      if (mutant === 'never recovers') {
        await proxy.mode('refuse')
        proxy.cut()
        await ask()
        await proxy.mode('pass')
      }
      asked = proxy.accepted
    },
  })
  const askedDatabase = proxy.accepted > asked
  await proxy.close()
  assert.ok(
    SHOWN[mutant]({ ...seen, check, askedDatabase }),
    `${mutant}: ${check.reproduce}\nshows no "${check.got}":\n${JSON.stringify(seen, undefined, 1)}`,
  )
}
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
  for (const check of failed) {
    assertTold(report, check)
    assert.equal(JSON.stringify(report).includes('hunter2-secret'), false, 'no password is told')
    await assertReproduced(mutant, report, check)
  }
  assert.equal(code, 1)
}

function eachMutant(t, mutants) {
  const turn = inTurns(3)
  return Promise.all(
    Object.entries(mutants).map(([mutant, expected]) =>
      t.test(
        `25, 40: "${mutant}" fails ${expected} and nothing else, and its command shows it`,
        () => turn(() => assertFailsOnly(mutant, expected)),
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
