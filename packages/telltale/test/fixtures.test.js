// Services of every style, whole runs: the kit, wired by hand, bare, another language; real databases.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import mysql from 'mysql2/promise'
import pg from 'pg'
import { startMariadb } from '../../node/test/services/mariadb.js'
import { startPostgres } from '../../node/test/services/postgres.js'
import { startRedis } from '../../node/test/services/redis.js'
import { installPeers, PEERS } from './peers.js'
import { assertTold, reproduce } from './reproduce.js'
import { inTurns, start, statuses, verify } from './verify.js'

const ERROR = ['--error-route', 'GET /fail']
const USERS = ['--auth', 'X-User: ada', '--auth', 'X-User: grace']
const HERE = dirname(fileURLToPath(import.meta.url))
const SHOP = join(HERE, '../../../examples/shop')
const TSX = join(PEERS, 'node_modules/.bin/tsx')

let postgres
let mariadb
let redis
before(async () => {
  compileFixtures()
  await installPeers()
  ;[postgres, mariadb, redis] = await Promise.all([startPostgres(), startMariadb(), startRedis()])
})
after(() => Promise.all([postgres.stop(), mariadb.stop(), redis.stop()]))

/** The fixtures in TypeScript, by the workspace's own compiler, with source maps. */
function compileFixtures() {
  const tsc = join(
    dirname(createRequire(import.meta.url).resolve('typescript/package.json')),
    'bin/tsc',
  )
  const { status, stdout } = spawnSync(process.execPath, [tsc, '-p', join(HERE, 'fixtures/kit')], {
    encoding: 'utf8',
  })
  assert.equal(status, 0, stdout)
}

function assertAllPass({ report, code, text }) {
  const notPassed = report.checks.filter(({ status }) => status !== 'pass')
  assert.equal(notPassed.length, 0, JSON.stringify(notPassed, undefined, 2) + text)
  assert.equal(code, 0, text)
  // 40 s on a quiet machine; far more and something waited for its timeout.
  assert.ok(report.durationMs < 150_000, `${report.durationMs} ms`)
}

/** What the command of each failure of the bare service has to show. */
const withoutId = ({ answer }) => /^HTTP\/1\.1 /m.test(answer) && !/^x-request-id:/im.test(answer)
const missing = ({ answer }) => answer.includes('not found')
const BARE = {
  'logs.json': ({ texts, lines }) => texts.length > 0 && lines.length === 0,
  'logs.stderr': ({ stderr }) => stderr.includes('something broke'),
  'req.id.header': withoutId,
  'req.id.unique': withoutId,
  'req.id.inbound': withoutId,
  'err.event': ({ answer, events }) => / 500 /.test(answer) && events.length === 0,
  'health.live': missing,
  'health.ready': missing,
  metrics: missing,
  // 128 + 15: it died of the signal.
  'stop.graceful': ({ answer }) => answer.includes('exit code 143'),
}

/** Two at a time: more would only make noise. */
const turn = inTurns(2)

test('whole runs', { concurrency: true }, async (t) => {
  const cases = []
  const add = (title, work) => cases.push(t.test(title, () => turn(work)))

  add('24: the kit on Express, ESM, with PostgreSQL and Redis passes everything', async () => {
    const client = new pg.Client({ connectionString: postgres.url })
    await client.connect()
    await client.query('CREATE TABLE kept AS SELECT generate_series(1, 100) AS n')
    const result = await verify(
      [...ERROR, ...USERS, '--route', 'GET /rows', '--', 'node', 'fixtures/kit/express.mjs'],
      { env: { DATABASE_URL: postgres.url, REDIS_URL: redis.url } },
    )
    assertAllPass(result)
    assert.equal(result.report.service.kit.startsWith('@telltale/node'), true)
    const { rows } = await client.query('SELECT count(*)::int AS n FROM kept')
    assert.equal(rows[0].n, 100, '30: the rows are as before')
    await client.end()
  })

  add(
    '24, 29, 30: Express, CommonJS, MariaDB by host and port, a port variable of its own',
    async () => {
      const { hostname, port, username, password } = new URL(mariadb.url)
      const connection = await mysql.createConnection({ uri: mariadb.url })
      await connection.query('CREATE TABLE kept (n INT)')
      await connection.query('INSERT INTO kept VALUES (1), (2), (3)')
      const result = await verify([...ERROR, ...USERS, '--', 'node', 'fixtures/kit/express.cjs'], {
        env: {
          APP_PORT: '0',
          DB_HOST: hostname,
          DB_PORT: port,
          DB_USER: username,
          DB_PASSWORD: decodeURIComponent(password),
        },
      })
      assertAllPass(result)
      const [rows] = await connection.query('SELECT count(*) AS n FROM kept')
      assert.equal(rows[0].n, 3)
      const stall = result.report.checks.find(({ id }) => id === 'health.cut.stall')
      assert.match(stall.detail, /mysql/)
      await connection.end()
    },
  )

  for (const [title, command] of [
    ['Fastify, CommonJS', ['node', 'fixtures/kit/fastify.cjs']],
    ['Express, TypeScript through tsx', [TSX, 'fixtures/kit/src/express.ts']],
    ['node:http, ESM', ['node', 'fixtures/kit/http.mjs']],
  ]) {
    add(`24: the kit on ${title}, with PostgreSQL passes everything`, async () => {
      assertAllPass(
        await verify([...ERROR, ...USERS, '--', ...command], {
          env: { DATABASE_URL: postgres.url },
        }),
      )
    })
  }

  add('24: the kit on Fastify, compiled TypeScript, with Redis passes everything', async () => {
    const kept = mkdtempSync(join(tmpdir(), 'telltale-ts-'))
    assertAllPass(
      await verify(
        [...ERROR, ...USERS, '--save', kept, '--', 'node', 'fixtures/kit/dist/fastify.js'],
        { env: { REDIS_URL: redis.url } },
      ),
    )
    const events = readFileSync(join(kept, 'tracker.jsonl'), 'utf8')
    assert.match(events, /kit\/src\/fastify\.ts"/, 'the stack names the source, not what it became')
    rmSync(kept, { recursive: true })
  })

  add('24: the kit on Fastify, ESM, with Redis passes everything', async () => {
    assertAllPass(
      await verify([...ERROR, ...USERS, '--', 'node', 'fixtures/kit/fastify.mjs'], {
        env: { REDIS_URL: redis.url },
      }),
    )
  })

  add(
    '33: pino and the official Sentry SDK, wired by hand: what is missing is what fails',
    async () => {
      const { report, code } = await verify(
        [
          ...ERROR,
          ...['--auth', 'X-User: ada', '--slow-route', 'GET /slow', '--crash-route', 'GET /crash'],
          ...['--', 'node', 'fixtures/hand-wired/server.mjs'],
        ],
        { env: { DATABASE_URL: postgres.url } },
      )
      const failed = report.checks.filter(({ status }) => status === 'fail')
      assert.deepEqual(
        failed.map(({ id }) => id),
        ['metrics'],
        JSON.stringify(failed, undefined, 2),
      )
      assert.equal(code, 1)
      const all = statuses(report)
      for (const id of [
        'err.event',
        'err.context',
        'err.linked',
        'crash.event',
        'health.cut.stall',
      ]) {
        assert.equal(all[id], 'pass', id)
      }
    },
  )

  add('Python, standard library only: the cache is cut through its URL', async () => {
    const { report, code } = await verify(
      [
        ...ERROR,
        ...USERS,
        ...['--slow-route', 'GET /slow', '--dep', 'cache=env:REDIS_URL'],
        ...['--', 'python3', 'fixtures/python/service.py'],
      ],
      { env: { REDIS_URL: redis.url } },
    )
    const notPassed = Object.entries(statuses(report)).filter(([, status]) => status !== 'pass')
    assert.deepEqual(
      notPassed.sort(),
      ['crash.event', 'crash.exit', 'crash.log', 'logs.single-line', 'req.id.body'].map((id) => [
        id,
        'unproven',
      ]),
      JSON.stringify(report.checks, undefined, 2),
    )
    assert.equal(code, 0)
  })

  add(
    '38, 40: a bare service fails honestly, and each failure says what to do and shows it again',
    async () => {
      const { report, code } = await verify([...ERROR, '--', 'node', 'fixtures/bare/server.mjs'])
      assert.equal(code, 1)
      assert.equal(report.summary.error, 0)
      const all = statuses(report)
      for (const id of [
        ...['logs.json', 'req.id.header', 'req.id.unique', 'err.event', 'health.live'],
        ...['health.ready', 'metrics', 'stop.graceful'],
      ]) {
        assert.equal(all[id], 'fail', id)
      }
      for (const check of report.checks.filter(({ status }) => status === 'fail')) {
        assert.ok(check.expected && check.got && check.fix.text && check.reproduce, check.id)
        assertTold(report, check)
        if (check.id === 'err.nodsn') {
          assert.equal(check.reproduce, 'env -u SENTRY_DSN node fixtures/bare/server.mjs')
          continue
        }
        const seen = await reproduce(report, check, {
          cwd: dirname(fileURLToPath(import.meta.url)),
        })
        const shown = BARE[check.id]
        assert.ok(shown?.(seen), `40: ${check.reproduce}: ${JSON.stringify(seen, undefined, 1)}`)
      }
      for (const check of report.checks.filter(({ status }) => status === 'unproven')) {
        assert.ok(check.detail, `${check.id} says why`)
      }
    },
  )

  add('the shop passes everything, started by its own start script', async () => {
    const run = start(['--json'], { cwd: SHOP })
    const { code, stdout, stderr } = await run.ended
    assertAllPass({ report: JSON.parse(stdout), code, text: stderr })
  })
  await Promise.all(cases)
})
