// Check 37: verify again and again on a correct service while the machine is busy. One line a run; at
// the end how many had a failure, and of which checks. Exit code 1 when there was one.
//   node packages/telltale/test/repeat.mjs [runs, 30] [burners, 2]
import { spawn } from 'node:child_process'
import { startPostgres } from '../../node/test/services/postgres.js'
import { startRedis } from '../../node/test/services/redis.js'
import { verify } from './verify.js'

const [runs = 30, burners = 2] = process.argv.slice(2).map(Number)
if (![runs, burners].every((number) => Number.isInteger(number) && number > 0)) {
  console.error(
    `Runs and burners are whole numbers above 0, got "${process.argv.slice(2).join(' ')}".`,
  )
  process.exit(2)
}
/** A burner that is forgotten ends by itself. */
const BURN_MS = runs * 120_000

const burning = Array.from({ length: burners }, () =>
  spawn(
    process.execPath,
    ['-e', `const end = Date.now() + ${BURN_MS}; while (Date.now() < end);`],
    {
      stdio: 'ignore',
    },
  ),
)
const cool = () => {
  for (const burner of burning) burner.kill('SIGKILL')
}
process.on('exit', cool)
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130))

const FLAGS = [
  ...['--error-route', 'GET /fail', '--route', 'GET /rows'],
  ...['--auth', 'X-User: ada', '--auth', 'X-User: grace'],
  ...['--', 'node', 'fixtures/kit/express.mjs'],
]
const [postgres, redis] = await Promise.all([startPostgres(), startRedis()])
const failed = new Map()
let bad = 0
try {
  for (let run = 1; run <= runs; run++) {
    const begin = performance.now()
    const { report, code, text } = await verify(FLAGS, {
      env: { DATABASE_URL: postgres.url, REDIS_URL: redis.url },
    })
    const { pass, fail, error, unproven, skip } = report.summary
    const seconds = ((performance.now() - begin) / 1000).toFixed(1)
    console.log(
      `run ${run}: ${seconds} s, ${pass} pass, ${fail} fail, ${error} error, ${unproven} unproven, ${skip} skip`,
    )
    if (code === 0 && fail + error === 0) continue
    bad++
    const wrong = report.checks.filter(({ status }) => status === 'fail' || status === 'error')
    for (const { id, got, detail, evidence } of wrong) {
      failed.set(id, (failed.get(id) ?? 0) + 1)
      console.log(`  ${id}: ${got ?? detail}\n    ${(evidence ?? []).join('\n    ')}`)
    }
    if (wrong.length === 0) {
      failed.set('the run itself', (failed.get('the run itself') ?? 0) + 1)
      console.log(`  exit code ${code}: ${text}`)
    }
  }
} finally {
  cool()
  await Promise.all([postgres.stop(), redis.stop()])
}
const which = [...failed].map(([id, times]) => `${id} ${times}`).join(', ')
console.log(`${bad} of ${runs} runs had a failure${which === '' ? '' : `: ${which}`}`)
process.exit(bad > 0 ? 1 : 0)
