// programs/probes.mjs: 1,000 readiness probes at once; how many queries its one check made of 5 ms.
import { createServer, get } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { init } from '@telltale/node'

let queries = 0
init({
  service: 'bench',
  health: {
    checks: {
      database: async () => {
        queries++
        await sleep(5)
      },
    },
  },
})
const server = createServer((_req, res) => res.end()).listen(0, '127.0.0.1')
await new Promise((resolve) => server.once('listening', resolve))
const { port } = server.address()
// The verdict of the start has expired by then, so that the probes do ask.
await sleep(1500)
queries = 0
const statuses = await Promise.all(
  Array.from(
    { length: 1000 },
    () =>
      new Promise((resolve, reject) => {
        const url = `http://127.0.0.1:${port}/api/v1/health/ready/`
        get(url, { agent: false }, (res) => resolve(res.resume().statusCode)).on('error', reject)
      }),
  ),
)
if (statuses.some((status) => status !== 200)) throw new Error('a probe was not answered 200')
process.stderr.write(`\n${JSON.stringify({ queries })}\n`)
process.exit(0)
