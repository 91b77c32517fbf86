// The kit with everything on. Imported before the framework, as its guide says.
import { captureException, init, log as logger, setRoute, startSpan as start } from '@telltale/node'
import { eventLoop } from '@telltale/node/health'

init({ service: 'bench', health: { checks: { event_loop: eventLoop() } } })

export { captureException as capture, setRoute }
export const log = (event, fields) => logger.info(event, fields)
export const startSpan = (name, work) => start({ name }, work)
