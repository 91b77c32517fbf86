export { currentRequestId } from './context.js'
export { TelltaleError } from './faults.js'
