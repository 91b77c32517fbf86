// The HTML report, looked at by a browser.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { chromium } from 'playwright-core'
import { findProgram } from '../../node/test/services/server.js'
import { renderHtml } from '../dist/verify/report/html.js'

const BROWSERS = ['chromium', 'chromium-browser', 'google-chrome']
const HOSTILE = `</pre></style><script>document.title = 'hacked'</script><img src="http://127.0.0.1:9/x" onerror="document.title = 'hacked'">\u001b[31m`

const check = (status, rest = {}) => ({
  id: `logs.${status}`,
  group: 'recipe',
  title: `A check that is ${status}`,
  criterion: 'Something holds.',
  status,
  ...rest,
})
const report = {
  schemaVersion: 1,
  tool: { name: 'telltale verify', version: '0' },
  startedAt: '2026-01-02T03:04:05.678Z',
  durationMs: 10_000,
  service: { command: HOSTILE, url: 'http://127.0.0.1:1', cwd: '/x', kit: HOSTILE },
  summary: { pass: 1, fail: 1, skip: 0, unproven: 1, error: 0, total: 3 },
  exitCode: 1,
  phases: [],
  checks: [
    check('pass', { detail: HOSTILE }),
    check('unproven', { detail: HOSTILE }),
    check('fail', {
      expected: HOSTILE,
      got: HOSTILE,
      evidence: [HOSTILE, 'x'.repeat(2000)],
      cause: { file: '/x/<b>.js', line: 1 },
      fix: { kind: 'edit', text: HOSTILE },
      reproduce: HOSTILE,
    }),
  ],
}
const timeline = {
  durationMs: 10_000,
  marks: [
    { at: 0, until: 4000, kind: 'phase', label: HOSTILE },
    { at: 4000, until: 6000, kind: 'cut', label: HOSTILE },
    { at: 9000, kind: 'signal', label: 'SIGTERM' },
  ],
  requests: [
    { at: 1000, ms: 3, status: 200, purpose: 'ready', what: HOSTILE },
    { at: 5000, ms: 900, status: 503, purpose: 'ready', what: 'GET /ready' },
    { at: 6000, ms: 9000, status: 0, purpose: 'missing', what: 'GET /x' },
  ],
  events: [{ at: 2000, what: HOSTILE }],
}

test('the report needs no network, runs nothing, and keeps hostile text as text', async () => {
  const executablePath = findProgram(BROWSERS, [], 'chromium')
  const folder = mkdtempSync(join(tmpdir(), 'telltale-html-'))
  const file = join(folder, 'report.html')
  writeFileSync(file, renderHtml(report, timeline))
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] })
  try {
    for (const [width, colorScheme] of [
      [1200, 'light'],
      [400, 'dark'],
    ]) {
      const page = await browser.newPage({ viewport: { width, height: 800 }, colorScheme })
      const asked = []
      page.on('request', (request) => asked.push(request.url()))
      await page.goto(pathToFileURL(file).href)
      assert.deepEqual(asked, [pathToFileURL(file).href])
      assert.match(await page.title(), /1 of 3 promises broken/)
      assert.equal(await page.locator('script, img').count(), 0)
      assert.ok((await page.locator('li.fail pre').first().textContent()).includes('<script>'))
      assert.equal(await page.locator('svg rect.up').count(), 1)
      assert.equal(await page.locator('svg rect.down').count(), 1)
      assert.equal(await page.locator('svg rect.cut').count(), 1)
      assert.equal(await page.locator('svg circle').count(), 3)
      // Nothing sticks out: the figure scrolls by itself.
      assert.equal(
        await page.evaluate('document.documentElement.scrollWidth <= innerWidth'),
        true,
        `at ${width}`,
      )
      await page.close()
    }
  } finally {
    await browser.close()
    rmSync(folder, { recursive: true })
  }
})
