// That lines come out whatever ends the process or reads its output, through init.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { request } from '../contract/harness.js'
import { run, startService } from './process.js'

const COUNT = 20_000
const event = (name) => (line) => line.event === name

function assertWhole(lines, count = COUNT) {
  const numbers = lines.filter(event('line')).map((line) => line.i)
  assert.equal(numbers.length, count)
  assert.ok(numbers.every((n, i) => n === i))
  assert.ok(lines.every((line) => line.unparsable === undefined))
}

const burst = (end, count = COUNT) =>
  run(['fixtures/bursts.mjs'], { env: { LIFE_COUNT: `${count}`, LIFE_END: end } })

describe('delivery', { concurrency: 4 }, () => {
  test('50: 20,000 lines are out after process.exit(0) into a pipe whose reader sleeps 2 s', async () => {
    const fixture = fileURLToPath(new URL('fixtures/bursts.mjs', import.meta.url))
    // A shell's pipe, as in production; Node gives its children a socket.
    const script = '("$0" "$1"; echo "exit $?" >&2) | (sleep 2; exec cat)'
    const child = spawn('sh', ['-c', script, process.execPath, fixture], {
      env: { ...process.env, SENTRY_DSN: '', LIFE_COUNT: `${COUNT}`, LIFE_END: 'exit' },
    })
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('utf8').on('data', (part) => {
      stdout += part
    })
    child.stderr.setEncoding('utf8').on('data', (part) => {
      stderr += part
    })
    await once(child, 'close')
    assert.match(stderr, /^exit 0$/m)
    assertWhole(stdout.trimEnd().split('\n').map(JSON.parse))
  })

  test('53: SIGTERM in the turn of 20,000 lines: all are out, exit 0', async () => {
    const { code, lines } = await burst('sigterm').ended
    assert.equal(code, 0)
    assertWhole(lines)
    assert.equal(lines.at(-1).event, 'shutdown_finished')
  })

  for (const [end, name] of [
    ['throw', 'uncaught_exception'],
    ['reject', 'unhandled_rejection'],
  ]) {
    test(`54: ${end} after 20,000 lines: all are out and the fatal line after them, exit 1`, async () => {
      const { code, lines } = await burst(end).ended
      assert.equal(code, 1)
      assertWhole(lines)
      assert.deepEqual([lines.at(-1).event, lines.at(-1).level], [name, 'fatal'])
    })
  }

  test('55: the error line before a SIGKILL in the same turn is out', async () => {
    const { signal, lines } = await burst('sigkill', 100).ended
    assert.equal(signal, 'SIGKILL')
    assertWhole(lines, 100)
    assert.equal(lines.at(-1).event, 'last_words')
    assert.equal(lines.at(-1).error.message, 'the end')
  })

  for (const [end, last, code] of [
    ['exit', undefined, 3],
    ['throw', 'uncaught_exception', 1],
    ['sigkill', 'last_words', null],
  ]) {
    test(`a request that ended in the turn of the process's ${end} has its line, before what came after it`, async () => {
      const result = await run(['fixtures/turn.mjs'], { env: { TURN_END: end } }).ended
      assert.equal(result.code, code)
      const events = result.lines.map((line) => line.event)
      const expected = ['telltale_started', 'request_finished', last].filter(Boolean)
      assert.deepEqual(events.slice(0, expected.length), expected)
    })
  }

  test('52: the reader closes: the server lives, counts what it lost, and exits 0', async () => {
    const service = await startService()
    await request(service.port, '/ok')
    service.child.stdout.destroy()
    await sleep(50)
    for (let i = 0; i < 20; i++) assert.equal((await request(service.port, '/ok')).status, 200)
    const { body } = await request(service.port, '/metrics')
    const lost = Number(/^telltale_log_lines_dropped_total (\d+)$/m.exec(body)?.[1])
    assert.ok(lost > 0 && lost <= 22, `${lost}`)
    service.kill()
    const { code, stderr } = await service.ended
    assert.equal(code, 0)
    assert.match(stderr, /TELLTALE_E_LOG_WRITE/)
  })

  test('56: a reader that stalls neither stops the server nor its shutdown', async () => {
    const service = await startService({ options: { shutdown: { timeoutMs: 1000 } } })
    service.child.stdout.pause()
    await request(service.port, '/flood?lines=20000')
    const startMs = performance.now()
    for (let i = 0; i < 50; i++) assert.equal((await request(service.port, '/ok')).status, 200)
    assert.ok(performance.now() - startMs < 5000)
    service.kill()
    // The writer waits at most five seconds for a reader that makes no progress.
    const [code] = await once(service.child, 'exit')
    assert.equal(code, 0)
    assert.ok(performance.now() - startMs < 20_000)
    service.child.stdout.resume()
    await service.ended
  })
})
