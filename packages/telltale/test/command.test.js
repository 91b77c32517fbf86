// The command around the checks: what it starts and ends, how it is told, how it answers.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import * as zlib from 'node:zlib'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { createTerminal } from '../dist/terminal.js'
import { renderPeople } from '../dist/verify/report/people.js'
import { inTurns, start, statuses, verify } from './verify.js'

const schema = JSON.parse(
  readFileSync(new URL('../schema/verify-report.schema.json', import.meta.url), 'utf8'),
)
const isValid = new Ajv2020({ strict: false }).compile(schema)
const TINY = ['--', 'node', 'fixtures/odd/tiny.mjs']
/** Checks that need little: the runs here are about the command. */
const FEW = ['--only', 'boot,safety']

function assertValid(report) {
  assert.ok(isValid(report), JSON.stringify(isValid.errors))
}

/** Processes that still carry this word in their environment. */
function leftOvers(word) {
  return spawnOut('sh', ['-c', `grep -lsaz "${word}" /proc/[0-9]*/environ || true`])
}
async function spawnOut(program, args) {
  const child = spawn(program, args, { env: { PATH: process.env.PATH } })
  let text = ''
  child.stdout.on('data', (part) => {
    text += part
  })
  await once(child, 'close')
  return text.trim()
}

const turn = inTurns(2)

test('the command', { concurrency: true }, async (t) => {
  const cases = []
  const add = (title, work) => cases.push(t.test(title, () => turn(work)))

  for (const [mode, flags, code, said] of [
    ['never listens', ['--boot-timeout', '1'], 3, /did not listen within 1 s/],
    ['exits', [], 3, /exit code 3[\s\S]*the configuration is wrong/],
    ['dies', [], 3, /ended/],
    ['two servers', [], 4, /--port/],
  ]) {
    add(`26, 29: a service that ${mode}: exit ${code}, and nothing of it is left`, async () => {
      const word = `left-over-${process.pid}-${mode.replaceAll(' ', '-')}`
      const result = await verify([...FEW, ...flags, ...TINY], {
        env: { MODE: mode, LEFT_OVER: word },
      })
      assert.equal(result.code, code, result.text)
      assert.match(result.report.error.message, said)
      assertValid(result.report)
      assert.equal(await leftOvers(`LEFT_OVER=${word}`), '')
    })
  }

  for (const mode of ['own port', 'metrics beside', 'cluster']) {
    add(`29, 31: the port is found: ${mode}`, async () => {
      const word = `left-over-${process.pid}-${mode.replaceAll(' ', '-')}`
      const { report, text } = await verify([...FEW, ...TINY], {
        env: { MODE: mode, LEFT_OVER: word },
      })
      assert.equal(statuses(report)['boot.listening'], 'pass', text)
      assert.equal(await leftOvers(`LEFT_OVER=${word}`), '')
    })
  }

  add('29: a port that is taken is told as such', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { code, report } = await verify([
      ...FEW,
      ...['--env', `PORT=${server.address().port}`, ...TINY],
    ])
    assert.equal(code, 3)
    assert.match(report.error.message, /EADDRINUSE/)
    server.close()
  })

  add('27: no check left to run is exit 3, never 0', async () => {
    const { code, report } = await verify(['--only', 'nothing', ...TINY])
    assert.equal(code, 3)
    assert.match(report.error.message, /No check is left/)
    assertValid(report)
  })

  add('28: options of the command stand after --, and a hint says so', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'telltale-cli-'))
    writeFileSync(join(folder, '.env'), 'MODE=plain\n')
    const file = new URL('./fixtures/odd/tiny.mjs', import.meta.url).pathname
    const fine = start([...FEW, '--json', '--', 'node', '--env-file=.env', file], { cwd: folder })
    assert.equal((await fine.ended).code, 0)
    for (const args of [
      ['--env-file=.env', 'x.js'],
      ['node', 'x.js'],
    ]) {
      const { code, report } = await verify(args, { cwd: folder })
      assert.equal(code, 2)
      assert.match(report.error.message, /after --/)
      assertValid(report)
    }
    rmSync(folder, { recursive: true })
  })

  add('31: a start script that needs a shell: the service is found, judged and ended', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'telltale-cli-'))
    const word = `left-over-${process.pid}-shell`
    const file = new URL('./fixtures/odd/tiny.mjs', import.meta.url).pathname
    const script = `MODE=plain node '${file}' && echo never`
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ scripts: { start: script } }))
    const { report, text } = await verify(['--only', 'boot,safety,stop.twice'], {
      cwd: folder,
      env: { LEFT_OVER: word },
    })
    assert.equal(report.summary.pass, 3, text)
    assert.equal(await leftOvers(`LEFT_OVER=${word}`), '')
    rmSync(folder, { recursive: true })
  })

  add('a wrong option, a wrong value, and nothing to start are told with a remedy', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'telltale-cli-'))
    for (const [args, code, said] of [
      [[], 3, /no start script/],
      [['--port', '99999', '--', 'x'], 2, /1 to 65535/],
      [['--dep', 'database', '--', 'x'], 2, /NAME=HOST:PORT/],
      [['--auth', 'secret', '--', 'x'], 2, /Header: value/],
      [['--url', 'http://example.com'], 2, /not this machine/],
      [['--', 'no-such-program'], 3, /was not found/],
    ]) {
      const result = await verify(args, { cwd: folder })
      assert.equal(result.code, code, `${args}: ${result.text}`)
      assert.match(result.report.error.message, said)
      assertValid(result.report)
      assert.equal(result.report.exitCode, code)
    }
    rmSync(folder, { recursive: true })
  })

  for (const signal of ['SIGINT', 'SIGTERM']) {
    add(`31, 35: ${signal} to verify: exit 130, one document, nothing left`, async () => {
      const word = `left-over-${process.pid}-${signal}`
      const run = start(['--json', ...TINY], { env: { LEFT_OVER: word } })
      // Only once the service runs is there something to leave behind.
      while ((await leftOvers(`LEFT_OVER=${word}`)).split('\n').length < 2) {
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
      run.child.kill(signal)
      const { code, stdout } = await run.ended
      assert.equal(code, 130)
      assertValid(JSON.parse(stdout))
      assert.equal(await leftOvers(`LEFT_OVER=${word}`), '')
    })
  }

  add('32: a flood, a line of 5 MB and bytes that are no UTF-8 are taken in', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'telltale-cli-'))
    const { report } = await verify(['--only', 'logs.json', '--save', folder, ...TINY], {
      env: { MODE: 'flood' },
    })
    const [check] = report.checks
    assert.equal(check.status, 'fail')
    assert.match(check.got, /^1 of 100002 lines/)
    assert.equal(readFileSync(join(folder, 'stdout.log')).length > 5 * 1024 * 1024, true)
    rmSync(folder, { recursive: true })
  })

  add('33: events in zstd are read, or unproven where this Node cannot read them', async () => {
    const { report } = await verify(
      ['--only', 'err.event,err.once,secret.none', '--error-route', 'GET /fail', ...TINY],
      { env: { MODE: 'zstd' } },
    )
    const all = statuses(report)
    if ('zstdDecompress' in zlib) return assert.equal(all['err.event'], 'pass')
    assert.deepEqual(new Set(Object.values(all)), new Set(['unproven']))
    assert.match(report.checks[0].detail, /zstd.*Node 22\.15/)
  })

  add('35, 40: all reports tell the same, and hostile text stays text', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'telltale-cli-'))
    const file = (name) => join(folder, name)
    const run = start(
      [
        ...['--tap', '--junit', file('junit.xml'), '--ctrf', file('ctrf.json')],
        ...['--sarif', file('s.sarif'), '--save', folder, ...TINY],
      ],
      { env: { MODE: 'hostile' } },
    )
    const { stdout, code } = await run.ended
    assert.equal(code, 1)
    const read = (name) => readFileSync(file(name), 'utf8')
    const report = JSON.parse(read('report.json'))
    assertValid(report)
    const { pass, fail, skip, unproven, total } = report.summary

    const count = (text, pattern) => [...text.matchAll(pattern)].length
    assert.ok(fail > 0 && pass > 0 && unproven > 0)
    const evidence = report.checks.flatMap((check) => check.evidence ?? []).join('')
    assert.ok(evidence.includes('\u001b[31m') && evidence.includes(']]>'))

    assert.equal(count(stdout, /^ok \d+ - (?!.* # SKIP)/gm), pass)
    assert.equal(count(stdout, /^not ok /gm), fail)
    assert.equal(count(stdout, / # SKIP /g), skip + unproven)
    assert.match(stdout, new RegExp(`^1\\.\\.${total}$`, 'm'))

    const people = renderPeople(report, createTerminal({}, {}, true))
    assert.equal(count(people, /^ {2}✔ /gm), pass)
    assert.equal(count(people, /^ {2}✘ /gm), fail)
    assert.equal(count(people, /^ {2}\? /gm), unproven)
    assert.equal(count(people, /^ {2}– /gm), skip)
    assert.ok(people.includes(`${pass} passed, ${fail} failed, ${unproven} unproven in `))

    // A real parser, on the bytes as they are.
    const junit = JSON.parse(
      await spawnOut('python3', [
        '-c',
        `import json, sys, xml.etree.ElementTree as e
root = e.parse(sys.argv[1]).getroot()
print(json.dumps({
  "told": [dict(suite.attrib) for suite in [root, *root.iter("testsuite")]],
  "found": [len(list(root.iter(tag))) for tag in ("testcase", "failure", "error", "skipped")],
  "text": "".join(failure.text for failure in root.iter("failure")),
}))`,
        file('junit.xml'),
      ]),
    )
    assert.deepEqual(junit.found, [total, fail, 0, skip + unproven])
    const [all, ...suites] = junit.told
    for (const [name, n] of [
      ['tests', total],
      ['failures', fail],
      ['errors', 0],
      ['skipped', skip + unproven],
    ]) {
      assert.equal(Number(all[name]), n, name)
      const sum = suites.reduce((before, suite) => before + Number(suite[name]), 0)
      assert.equal(sum, n, `${name} of the suites`)
    }
    assert.ok(junit.text.includes(']]> & "quoted"'), 'the evidence, whole')
    assert.ok(junit.text.includes('\ufffd[31m'), 'what XML cannot hold is replaced')

    const ctrf = JSON.parse(read('ctrf.json')).results
    assert.deepEqual(
      [ctrf.summary.tests, ctrf.summary.passed, ctrf.summary.failed, ctrf.summary.skipped],
      [total, pass, fail, skip],
    )
    assert.equal(ctrf.summary.pending, unproven)
    for (const [status, n] of [
      ['passed', pass],
      ['failed', fail],
      ['pending', unproven],
    ]) {
      assert.equal(ctrf.tests.filter((one) => one.status === status).length, n, status)
    }

    const sarif = JSON.parse(read('s.sarif')).runs[0]
    assert.equal(sarif.tool.driver.rules.length, total)
    assert.deepEqual(
      sarif.results.map(({ ruleId }) => ruleId),
      report.checks
        .filter(({ status, cause }) => status === 'fail' && cause !== undefined)
        .map(({ id }) => id),
    )
    for (const { locations } of sarif.results) assert.equal(locations.length, 1)

    const html = read('report.html')
    assert.equal(html.includes('<script'), false)
    assert.ok(html.includes('&lt;script&gt;alert(1)'))
    assert.equal(
      /(?:src|href|url)\s*[=(]/i.test(html.replaceAll(/<(?:pre|dd|code|p)>[\s\S]*?<\//g, '')),
      false,
    )
    for (const check of report.checks.filter(({ status }) => status === 'fail')) {
      assert.ok(html.includes(`id="${check.id}"`))
    }
    rmSync(folder, { recursive: true })
  })

  add('annotations and SARIF name the place in the source, when there is one', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'telltale-cli-'))
    const sarif = ['--sarif', join(folder, 's.sarif')]
    const run = start(
      ['--only', 'logs.json', '--github', ...sarif, '--', 'node', 'fixtures/bare/server.mjs'],
      { env: { FORCE_COLOR: '0' } },
    )
    const { stdout } = await run.ended
    const { results } = JSON.parse(readFileSync(sarif[1], 'utf8')).runs[0]
    const [{ physicalLocation }] = results[0].locations
    assert.equal(physicalLocation.artifactLocation.uri, 'fixtures/bare/server.mjs')
    assert.ok(physicalLocation.region.startLine > 0)
    rmSync(folder, { recursive: true })
    assert.match(stdout, /^::error file=.*fixtures\/bare\/server\.mjs,line=\d+,title=logs\.json/m)
  })

  add('the report for people names what was expected, what came, the fix, and a curl', async () => {
    const run = start(['--only', 'recipe', ...TINY], { env: { NO_COLOR: '1' } })
    const { stdout, code } = await run.ended
    assert.equal(code, 1)
    for (const word of ['The recipe', 'expected', 'got', 'fix', 'reproduce curl -i ', ' failed']) {
      assert.ok(stdout.includes(word), word)
    }
    assert.equal(stdout.includes('\u001b'), false)
  })

  add(
    '36: attached to a running service, only what can be seen from outside is judged',
    async () => {
      const server = createServer((request, response) => {
        if (request.url === '/healthz') return response.end('{"status":"ok"}')
        response.writeHead(request.url === '/' ? 200 : 404).end()
      }).listen(0, '127.0.0.1')
      await once(server, 'listening')
      const { report, code } = await verify(['--url', `http://127.0.0.1:${server.address().port}`])
      const all = statuses(report)
      assert.equal(all['stop.graceful'], 'skip')
      assert.equal(all['logs.json'], 'skip')
      assert.equal(all['health.live'], 'pass')
      assert.equal(all['req.id.header'], 'fail')
      assert.equal(report.checks.find(({ id }) => id === 'crash.log').detail, 'attached')
      assert.equal(code, 1)
      server.closeAllConnections()
      server.close()
    },
  )

  add('a strict run does not let the unproven pass', async () => {
    const few = ['--only', 'boot,health.cut']
    assert.equal((await verify([...few, ...TINY])).code, 0)
    assert.equal((await verify([...few, '--ci', ...TINY])).code, 1)
  })

  await Promise.all(cases)
  assert.ok(existsSync(new URL('../bin/telltale.js', import.meta.url)))
})
