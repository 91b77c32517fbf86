// 31: services that something else starts. The port is found, signals reach who listens, nothing stays.
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { freePort } from '../../node/test/services/server.js'
import { installPeers, PEERS } from './peers.js'
import { inTurns, start, statuses, verify } from './verify.js'

const NPM = mkdtempSync(join(tmpdir(), 'telltale-npm-'))
const TSC = ['node_modules/typescript/bin/tsc', '-p', '.']
before(async () => {
  await installPeers()
  const { status, stdout } = spawnSync(process.execPath, TSC, { cwd: PEERS, encoding: 'utf8' })
  assert.equal(status, 0, stdout)
  const script = `node "${join(PEERS, 'dist/service.js')}"`
  writeFileSync(join(NPM, 'package.json'), JSON.stringify({ scripts: { start: script } }))
})
after(() => rmSync(NPM, { recursive: true }))

/** What pm2 does with a crash is pm2's: its own listeners keep the kit's from ending the process. */
const LAUNCHERS = {
  'npm start': { cwd: NPM, command: ['npm', 'start'] },
  tsx: { command: ['tsx', 'src/service.ts'] },
  'ts-node': { command: ['ts-node', '--transpile-only', 'src/service.ts'] },
  'nest start': { cwd: join(PEERS, 'nest'), command: ['nest', 'start'] },
  'pm2-runtime': { command: ['pm2-runtime', 'dist/service.js'], only: 'boot,stop' },
  'a cluster of two': { command: ['node', 'cluster.js'] },
}

/** Processes that still carry this word in their environment. */
async function leftOvers(word) {
  const child = spawn('sh', ['-c', `grep -lsaz "${word}" /proc/[0-9]*/environ || true`])
  let text = ''
  child.stdout.on('data', (part) => {
    text += part
  })
  await once(child, 'close')
  return text.trim()
}

function isRefused(port) {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.on('connect', () => {
      socket.destroy()
      resolve(false)
    })
    socket.on('error', () => resolve(true))
  })
}

/** They wait more than they work. */
const turn = inTurns(3)

test('launchers', { concurrency: true }, async (t) => {
  const cases = []
  const add = (title, work) => cases.push(t.test(title, () => turn(work)))

  for (const [name, { command, cwd = PEERS, only = 'boot,stop,crash' }] of Object.entries(
    LAUNCHERS,
  )) {
    add(`31: ${name}: how the service itself ends is what is judged`, async () => {
      const word = `left-over-${process.pid}-${name.replaceAll(' ', '-')}`
      const { report, text } = await verify(['--only', only, '--', ...command], {
        cwd,
        env: { EXIT_CODE: '7', LEFT_OVER: word },
      })
      const graceful = report.checks.find(({ id }) => id === 'stop.graceful')
      // Nothing but the code: the signal reached who listens, and the request in flight was answered.
      assert.equal(graceful?.got, 'exit code 7', text + JSON.stringify(report.checks))
      const others = Object.entries(statuses(report)).filter(([id]) => id !== 'stop.graceful')
      assert.deepEqual(
        others.filter(([, status]) => status !== 'pass'),
        [],
        JSON.stringify(report.checks),
      )
      assert.ok(others.length >= 2)
      assert.equal(await leftOvers(`LEFT_OVER=${word}`), '')
    })

    add(`31: ${name}: Ctrl-C on verify leaves nothing of a service that does not end`, async () => {
      const word = `left-over-${process.pid}-interrupted-${name.replaceAll(' ', '-')}`
      const port = await freePort()
      const run = start(['--env', `PORT=${port}`, '--', ...command], {
        cwd,
        env: { LEFT_OVER: word, STUBBORN: '1' },
      })
      // In the middle of the run, when loops of it wait for the service.
      while (!run.output.stderr.includes('probes')) {
        assert.equal(run.child.exitCode, null, run.output.stderr)
        await Promise.race([once(run.child.stderr, 'data'), run.ended])
      }
      assert.equal(await isRefused(port), false)
      const sentAt = performance.now()
      run.child.kill('SIGINT')
      const { code } = await run.ended
      // Three seconds on a quiet machine.
      assert.ok(performance.now() - sentAt < 6000, `${performance.now() - sentAt} ms`)
      assert.equal(code, 130)
      assert.equal(await leftOvers(`LEFT_OVER=${word}`), '')
      assert.equal(await isRefused(port), true)
    })
  }
  await Promise.all(cases)
})
