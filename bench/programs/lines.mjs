// programs/lines.mjs HOW COUNT: writes so many lines in one turn and ends at once: exit, SIGTERM,
// crash, or SIGKILL right after one line of level error.
import { init, log } from '@telltale/node'

init({ service: 'bench' })
const [, , how, count] = process.argv
const end = {
  exit: () => process.exit(0),
  SIGTERM: () => process.kill(process.pid, 'SIGTERM'),
  crash: () => {
    throw new Error('the end')
  },
  SIGKILL: () => process.kill(process.pid, 'SIGKILL'),
}
setImmediate(() => {
  if (how === 'SIGKILL') log.error('counted', { line: 0 })
  else for (let i = 0; i < Number(count); i++) log.info('counted', { line: i })
  end[how]()
})
setTimeout(() => {}, 60_000)
