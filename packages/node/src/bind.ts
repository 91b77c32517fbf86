/** Fields that stay with the current unit of work. */
import { currentContext, type Fields, storage } from './context.js'
import { reportFault } from './faults.js'

/**
 * Puts fields on every later line of the current request or job, on its request_finished and on
 * its error event. Later values replace earlier ones. Outside any unit it does nothing; after the
 * unit's end it is kept off the line that is already out, and told once a minute. Never throws.
 *
 * @example
 * bind({ tenant: req.params.tenant })
 */
export function bind(fields: Fields): void {
  const unit = currentContext()?.unit
  if (unit === undefined) return
  try {
    if (unit.ended) {
      reportFault('TELLTALE_E_BIND_AFTER_END', `Fields: ${Object.keys(Object(fields)).join(', ')}.`)
      return
    }
    unit.fields = { ...unit.fields, ...fields }
    unit.fieldsJson = undefined
  } catch (error) {
    reportFault('TELLTALE_E_LOG_ENCODE', error)
  }
}

/** Runs `work` in the context that was current when `keep` was called: for callbacks of emitters and queues. */
export function keepContext<Args extends unknown[], Result>(
  work: (...args: Args) => Result,
): (...args: Args) => Result {
  const context = currentContext()
  return context === undefined ? work : (...args) => storage.run(context, work, ...args)
}
