// What a run leaves alone, and where it works: no network, proxies, colours, other users.
import assert from 'node:assert/strict'
import {
  chmodSync,
  chownSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { startSentryReceiver } from '../../node/test/receivers/sentry.js'
import { assertStayed, withoutNetwork } from './no-network.js'
import { inTurns, start, statuses, verify } from './verify.js'

const here = import.meta.dirname
const KEY = '0123456789abcdef0123456789abcdef'
const DEAD = 'http://127.0.0.1:9'
const PROXIES = { HTTP_PROXY: DEAD, HTTPS_PROXY: DEAD, http_proxy: DEAD, https_proxy: DEAD }
const TINY = ['--', 'node', 'fixtures/odd/tiny.mjs']
const FEW = ['--only', 'boot,safety']

const turn = inTurns(2)

test('safety', { concurrency: true }, async (t) => {
  const cases = []
  const add = (title, work) =>
    cases.push(
      t.test(title, () =>
        turn(async () => {
          const folder = mkdtempSync(join(tmpdir(), 'telltale-safety-'))
          try {
            await work(folder)
          } finally {
            rmSync(folder, { recursive: true, force: true })
          }
        }),
      ),
    )

  /** The service with a DSN of its own, in a project of its own. */
  async function runElsewhere(folder, dsn, place) {
    const code = readFileSync(join(here, 'fixtures/elsewhere/server.mjs'), 'utf8')
    const isCode = place !== '.env'
    writeFileSync(
      join(folder, 'server.mjs'),
      isCode ? code.replace("HARD_CODED = ''", `HARD_CODED = '${dsn}'`) : code,
    )
    if (!isCode) writeFileSync(join(folder, '.env'), `A=1\nSENTRY_DSN=${dsn}\n`)
    return await verify(
      [
        ...['--only', 'err.event,err.nodsn', '--error-route', 'GET /fail', '--error-timeout', '1'],
        ...['--timeout-scale', '0.5', '--', 'node', 'server.mjs'],
      ],
      { cwd: folder, through: place === 'loopback' ? [] : withoutNetwork(join(folder, 'trace')) },
    )
  }

  function assertElsewhere({ report, code }, folder, host, file) {
    const [event, nodsn] = report.checks
    assert.equal(code, 1)
    assert.equal(event.status, 'fail')
    assert.match(event.got, /the event went elsewhere: the service tried /)
    assert.ok(event.got.includes(host), event.got)
    assert.equal(event.fix.kind, 'env')
    assert.match(event.fix.text, /SENTRY_DSN.*\.env/)
    assert.equal(event.cause.file, join(folder, file))
    assert.equal(
      readFileSync(event.cause.file, 'utf8').split('\n')[event.cause.line - 1].includes(KEY),
      true,
    )
    assert.equal(nodsn.status, 'fail')
    assert.ok(nodsn.got.includes(host), nodsn.got)
  }

  for (const [place, file, host] of [
    ['.env', '.env', 'errors.example.test'],
    ['code', 'server.mjs', 'o7.ingest.us.sentry.io'],
  ]) {
    add(`34: a DSN of ${host} in ${place}: told, and no packet leaves loopback`, async (folder) => {
      const result = await runElsewhere(folder, `https://${KEY}@${host}/7`, place)
      assertElsewhere(result, folder, host, file)
      assertStayed(join(folder, 'trace'))
    })
  }

  add(
    '34: a DSN of another tracker on this machine: told, and nothing reaches it',
    async (folder) => {
      const receiver = await startSentryReceiver()
      try {
        const { port } = new URL(receiver.dsn)
        const result = await runElsewhere(folder, `http://${KEY}@127.0.0.1:${port}/1`, 'loopback')
        assertElsewhere(result, folder, `127.0.0.1:${port}`, 'server.mjs')
        assert.equal(receiver.requests.length, 0)
      } finally {
        await receiver.close()
      }
    },
  )

  add('39: a whole run without a network, behind proxies that are dead', async (folder) => {
    const trace = join(folder, 'trace')
    const { report, code, text } = await verify(['--', 'node', 'fixtures/kit/plain.mjs'], {
      env: PROXIES,
      through: withoutNetwork(trace),
    })
    const notPassed = report.checks.filter(({ status }) => status !== 'pass')
    assert.deepEqual(
      notPassed.filter(({ status }) => status !== 'unproven'),
      [],
      text,
    )
    assert.deepEqual(
      notPassed.map(({ id }) => id).sort(),
      [
        'err.response',
        'health.cut.alive',
        'health.cut.reset',
        'health.cut.stall',
        'health.recover',
      ],
      JSON.stringify(notPassed),
    )
    assert.equal(code, 0)
    assertStayed(trace)
  })

  add('39: a client that heeds HTTP_PROXY reaches the tracker: the official SDK', async () => {
    const { report, text } = await verify(
      [
        ...['--only', 'err.event', '--error-route', 'GET /fail'],
        ...['--', 'node', 'fixtures/hand-wired/server.mjs'],
      ],
      { env: { ...PROXIES, DATABASE_URL: 'postgres://127.0.0.1:9/none' } },
    )
    assert.equal(statuses(report)['err.event'], 'pass', `${JSON.stringify(report.checks)}${text}`)
  })

  add(
    '39: NODE_OPTIONS is kept, of the environment and of --env, and the hook is added',
    async (folder) => {
      for (const [index, [env, flags]] of [
        [{ NODE_OPTIONS: '--max-old-space-size=512' }, []],
        [{}, ['--env', 'NODE_OPTIONS=--max-old-space-size=512']],
      ].entries()) {
        const save = join(folder, String(index))
        const run = await verify(
          [...FEW, ...flags, '--timeout-scale', '0.3', '--save', save, ...TINY],
          {
            env: { MODE: 'environment', ...env, NO_COLOR: '1', FORCE_COLOR: '1' },
          },
        )
        assert.equal(run.code, 0, run.text)
        const [line] = readFileSync(join(save, 'stdout.log'), 'utf8').split('\n')
        const told = JSON.parse(line)
        assert.match(told.NODE_OPTIONS, /^--max-old-space-size=512 --require .*hook\.cjs/)
        assert.ok(told.heapMb > 400 && told.heapMb < 700, `${told.heapMb}`)
        // These are about verify's own output.
        assert.equal('NO_COLOR' in told || 'FORCE_COLOR' in told, false)
      }
    },
  )

  add('39: on a terminal: no escape byte at all with NO_COLOR, colours without it', async () => {
    const onTerminal = (env) =>
      start(['--only', 'logs.json', '--timeout-scale', '0.3', ...TINY], {
        env: { MODE: 'hostile', TERM: 'xterm', ...env },
        through: ['sh', '-c', `exec script -qec "$(printf "'%s' " "$@")" /dev/null`, 'sh'],
      }).ended
    const [plain, coloured] = await Promise.all([
      onTerminal({ NO_COLOR: '1', FORCE_COLOR: '1' }),
      onTerminal({ NO_COLOR: undefined, FORCE_COLOR: undefined }),
    ])
    assert.ok(plain.stdout.includes('\\x1b[31m'), `the evidence, made visible: ${plain.stdout}`)
    assert.equal(plain.stdout.includes('\u001b'), false)
    assert.ok(coloured.stdout.includes('\u001b[31m✘'), coloured.stdout)
  })

  add('39: another user, in a project that is read-only for it', async (folder) => {
    const isRoot = process.getuid() === 0
    const as = isRoot ? { uid: 65534, gid: 65534 } : {}
    // The folder of the tests may be closed to others: they stay beside what they may read.
    const open = isRoot ? mkdtempSync('/tmp/telltale-nobody-') : folder
    try {
      chmodSync(open, 0o755)
      const command = join(open, 'command')
      for (const name of ['bin', 'dist', 'package.json']) {
        cpSync(join(here, '..', name), join(command, name), { recursive: true })
      }
      const project = join(open, 'project')
      mkdirSync(project)
      cpSync(join(here, 'fixtures/odd/tiny.mjs'), join(project, 'tiny.mjs'))
      writeFileSync(
        join(project, 'package.json'),
        JSON.stringify({ scripts: { start: 'node tiny.mjs' } }),
      )
      const temporary = join(open, 'tmp')
      mkdirSync(temporary)
      if (isRoot) chownSync(temporary, as.uid, as.gid)
      chmodSync(project, 0o555)
      const run = start(['--json', ...FEW, '--save', join(temporary, 'saved')], {
        as,
        cwd: project,
        bin: join(command, 'bin/telltale.js'),
        env: { MODE: 'environment', TMPDIR: temporary, HOME: '/nonexistent' },
      })
      const { code, stdout, stderr } = await run.ended
      assert.equal(code, 0, `${stdout}${stderr}`)
      const [line] = readFileSync(join(temporary, 'saved/stdout.log'), 'utf8').split('\n')
      assert.deepEqual(
        JSON.parse(line).writes,
        'EACCES',
        'the project is read-only for the service',
      )
      assert.equal(JSON.parse(line).uid, isRoot ? 65534 : process.getuid())
      assert.deepEqual(readdirSync(project).sort(), ['package.json', 'tiny.mjs'])
      assert.deepEqual(readdirSync(temporary), ['saved'], 'nothing is left in the temporary folder')
      chmodSync(project, 0o755)
    } finally {
      if (isRoot) rmSync(open, { recursive: true, force: true })
    }
  })

  await Promise.all(cases)
})
