// The kit with everything on. Imported before the framework, as its guide says.
import { init, log as logger } from '@telltale/node'

init({ service: 'bench' })
export const log = (event, fields) => logger.info(event, fields)
