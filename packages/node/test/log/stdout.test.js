import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const fixture = (name) => fileURLToPath(new URL(`./fixtures/${name}.mjs`, import.meta.url))

/**
 * Starts a fixture. Node's own 'pipe' is a socket; 'fifo' is a pipe made by a shell, whose reader
 * begins when a line arrives on descriptor 3.
 */
function start(name, env, stdout = 'pipe') {
  if (stdout === 'fifo') {
    const script = 'exec 4<&0; ("$0" "$1" <&4; echo $? >&5) | (read go <&3; exec cat)'
    return spawn('sh', ['-c', script, process.execPath, fixture(name)], {
      stdio: ['pipe', 'pipe', 'pipe', 'pipe', 'ignore', 'pipe'],
      env: { ...process.env, ...env },
    })
  }
  return spawn(process.execPath, [fixture(name)], {
    stdio: ['pipe', stdout, 'pipe'],
    env: { ...process.env, ...env },
  })
}

async function text(stream) {
  const chunks = []
  for await (const chunk of stream) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}

/** Runs a fixture to its end, reading stdout from `afterMs` on. */
async function run(name, env, afterMs = 0) {
  const child = start(name, env)
  const exit = once(child, 'exit')
  const stderr = text(child.stderr)
  if (afterMs > 0) await sleep(afterMs)
  const stdout = await text(child.stdout)
  const [code, signal] = await exit
  return { code, signal, stdout, stderr: await stderr, lines: parse(stdout) }
}

function parse(stdout) {
  assert.ok(stdout === '' || stdout.endsWith('\n'), 'ends in a newline')
  return stdout
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line))
}

const numbers = (lines) => lines.filter((line) => line.event === 'line').map((line) => line.i)
const upTo = (count) => Array.from({ length: count }, (_, i) => i)

test('50: 20,000 lines are out after process.exit over a pipe whose reader sleeps', async () => {
  const child = start('burst', { COUNT: '20000', END: 'exit' }, 'fifo')
  await sleep(2000)
  child.stdio[3].end('go\n')
  const lines = parse(await text(child.stdout))
  assert.deepEqual(numbers(lines), upTo(20000))
  assert.equal(await text(child.stdio[5]), '0\n')
})

test('50: 20,000 lines are out after process.exit over a socket whose reader sleeps', async () => {
  const { code, lines } = await run('burst', { COUNT: '20000', END: 'exit' }, 2000)
  assert.equal(code, 0)
  assert.deepEqual(numbers(lines), upTo(20000))
})

test('51: a slow reader of a non-blocking pipe gets every line, whole and in order', async () => {
  const child = start('burst', { COUNT: '3000', END: 'exit' })
  let got = ''
  for await (const chunk of child.stdout) {
    got += chunk
    await sleep(2)
  }
  assert.deepEqual(numbers(parse(got)), upTo(3000))
})

for (const kind of ['fifo', 'pipe']) {
  test(`51: lines larger than a ${kind} holds arrive whole, cut at any byte on the way`, async () => {
    const options = JSON.stringify({ log: { maxLineBytes: 1_048_576 } })
    const env = { MODE: 'cluster', WRITERS: '1', SIZE: '100000', COUNT: '6', CHAR: '漢' }
    const child = start('writers', { ...env, FIXTURE_OPTIONS: options }, kind)
    if (kind === 'fifo') child.stdio[3].end('go\n')
    const chunks = []
    for await (const chunk of child.stdout) {
      chunks.push(chunk)
      await sleep(1)
    }
    const lines = parse(Buffer.concat(chunks).toString())
    assert.deepEqual(numbers(lines), upTo(6))
    assert.ok(lines.every((line) => line.text === '漢'.repeat(100_000)))
  })
}

test('52: the process lives on and counts when its reader goes away', async () => {
  const child = start('broken', {})
  const exit = once(child, 'exit')
  const stderr = text(child.stderr)
  await once(child.stdout, 'data')
  child.stdout.destroy()
  assert.deepEqual(await exit, [0, null])
  const rows = (await stderr).trim().split('\n')
  assert.ok(JSON.parse(rows.at(-1)).dropped > 0)
  assert.equal(rows.filter((row) => row.includes('TELLTALE_E_LOG_WRITE')).length, 1)
})

for (const [end, code, signal] of [
  ['return', 0, null],
  ['sigterm', null, 'SIGTERM'],
  ['sigterm-handled', 7, null],
]) {
  test(`53: lines of the same turn are out when the process ends by ${end}`, async () => {
    const result = await run('burst', { COUNT: '500', END: end })
    assert.deepEqual([result.code, result.signal], [code, signal])
    assert.deepEqual(numbers(result.lines), upTo(500))
    if (end === 'sigterm-handled') assert.equal(result.lines.at(-1).event, 'handler')
  })
}

for (const end of ['throw', 'reject']) {
  test(`54: lines of the same turn are out after an uncaught ${end}, the exit code stays 1`, async () => {
    const result = await run('burst', { COUNT: '500', END: end })
    assert.equal(result.code, 1)
    assert.deepEqual(numbers(result.lines), upTo(500))
  })
}

test('55: an error line and all before it survive SIGKILL in the same turn', async () => {
  const result = await run('burst', { COUNT: '100', END: 'sigkill' })
  assert.equal(result.signal, 'SIGKILL')
  assert.deepEqual(numbers(result.lines), upTo(100))
  assert.equal(result.lines.at(-1).event, 'last_words')
  assert.equal(result.lines.at(-1).error.message, 'fatal fault')
})

test('55: with sync every line survives SIGKILL in the same turn', async () => {
  const options = JSON.stringify({ log: { sync: true } })
  const env = { COUNT: '100', END: 'sigkill-silent', FIXTURE_OPTIONS: options }
  assert.deepEqual(numbers((await run('burst', env)).lines), upTo(100))
})

for (const [kind, seconds] of [
  ['fifo', 60],
  ['pipe', 8],
]) {
  test(`56: a reader (${kind}) that stalls ${seconds} s blocks nothing, memory is bounded, the loss is told`, async (t) => {
    const child = start('stalled', { SECONDS: String(seconds) }, kind)
    const rows = []
    while (!rows.join('').includes('p99Ms'))
      rows.push(String((await once(child.stderr, 'data'))[0]))
    const figures = JSON.parse(rows.join('').trim().split('\n').at(-1))
    t.diagnostic(JSON.stringify(figures))
    const reading = text(child.stdout)
    child.stdin.end('go\n')
    if (kind === 'fifo') child.stdio[3].end('go\n')
    const lines = parse(await reading)
    const loss = lines.filter((line) => line.event === 'log_lines_dropped')
    const told = loss.reduce((sum, line) => sum + line.count, 0)
    const errors = lines.filter((line) => line.event === 'important')
    assert.equal(errors.length, figures.errors, 'the least severe were dropped first')
    const infos = lines.filter((line) => line.event === 'stalled').length
    assert.ok(figures.dropped > 0, 'the buffer was too small for everything')
    assert.equal(told, figures.sent - infos, 'what is missing is what was told')
    assert.equal(loss.length, 1)
    assert.deepEqual(Object.keys(loss[0].by_level), ['info'])
    assert.ok(figures.rssBytes < 64 * 1024 * 1024, `RSS grew by ${figures.rssBytes} bytes`)
    // A writer that waits for its reader would block for seconds; the rest is the machine's noise.
    assert.ok(figures.maxMs < 2000 && figures.p99Ms < 200, `event loop delay ${figures.p99Ms} ms`)
  })
}

for (const mode of ['cluster', 'threads']) {
  for (const kind of ['fifo', 'pipe']) {
    test(`57: lines up to 4 KB from four writers (${mode}, ${kind}) are never torn`, async () => {
      const child = start('writers', { MODE: mode, SIZE: '3500', COUNT: '150' }, kind)
      if (kind === 'fifo') child.stdio[3].end('go\n')
      let got = ''
      for await (const chunk of child.stdout) {
        got += chunk
        await sleep(1)
      }
      assert.equal(numbers(parse(got)).length, 600)
    })
  }
}

test('57: lines beyond 64 KB from four processes on one file are never torn', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'telltale-log-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'out.log')
  const fd = openSync(file, 'a')
  const options = JSON.stringify({ log: { maxLineBytes: 131_072 } })
  const child = start(
    'writers',
    { MODE: 'cluster', SIZE: '70000', COUNT: '40', FIXTURE_OPTIONS: options },
    fd,
  )
  closeSync(fd)
  await once(child, 'exit')
  const lines = parse(readFileSync(file, 'utf8'))
  assert.equal(lines.length, 160)
  assert.ok(lines.every((line) => line.text.length === 70000 && line.truncated === undefined))
})

test('60: a file gets every line', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'telltale-log-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const fd = openSync(join(folder, 'out.log'), 'w')
  const child = start('burst', { COUNT: '2000', END: 'exit' }, fd)
  closeSync(fd)
  assert.deepEqual(await once(child, 'exit'), [0, null])
  assert.deepEqual(numbers(parse(readFileSync(join(folder, 'out.log'), 'utf8'))), upTo(2000))
})

test('60: a full device loses lines, counted, and nothing else', async () => {
  const fd = openSync('/dev/full', 'w')
  const child = start('broken', {}, fd)
  closeSync(fd)
  const exit = once(child, 'exit')
  const rows = (await text(child.stderr)).trim().split('\n')
  assert.deepEqual(await exit, [0, null])
  assert.equal(JSON.parse(rows.at(-1)).dropped, 20 * 51 + 1)
  assert.equal(rows.length, 2)
  assert.match(rows[0], /TELLTALE_E_LOG_WRITE.*ENOSPC/)
})

test('60: a closed descriptor loses lines, counted, and nothing else', async () => {
  const child = start('broken', { CLOSE: '1' })
  const exit = once(child, 'exit')
  const rows = (await text(child.stderr)).trim().split('\n')
  assert.deepEqual(await exit, [0, null])
  assert.equal(JSON.parse(rows.at(-1)).dropped, 20 * 51 + 1)
})

test('60: a terminal gets every line', async () => {
  // script(1) runs the program on a pseudo terminal.
  const child = spawn('script', ['-qec', `${process.execPath} ${fixture('burst')}`, '/dev/null'], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      ...process.env,
      COUNT: '200',
      FIXTURE_OPTIONS: JSON.stringify({ log: { pretty: false } }),
    },
  })
  const lines = parse((await text(child.stdout)).replaceAll('\r\n', '\n'))
  assert.deepEqual(numbers(lines), upTo(200))
})
