/**
 * Turns console.* and Node's warnings into log lines, so that a third party's print is one JSON line
 * with the request's id. Undone by the returned function.
 */
import type { Encoder } from './encode.js'
import { format, shown } from './format.js'
import type { Logger } from './logger.js'

type Method = 'log' | 'info' | 'debug' | 'warn' | 'error' | 'trace' | 'dir' | 'dirxml'

const METHODS: Readonly<Record<Method, 'debug' | 'info' | 'warn' | 'error'>> = {
  log: 'info',
  info: 'info',
  dir: 'info',
  dirxml: 'info',
  trace: 'info',
  debug: 'debug',
  warn: 'warn',
  error: 'error',
}

/**
 * Replaces the methods of the global console, and Node's own printing of warnings. The text becomes
 * the line's event, an Error among the arguments its `error`. Returns what puts everything back.
 */
export function captureConsole(root: Logger, encoder: () => Encoder): () => void {
  const log = root.child({}, { name: 'console' })
  const warnings = root.child({}, { name: 'process' })
  const originals = new Map<Method, unknown>()

  function print(method: Method, args: readonly unknown[]): void {
    const texts: string[] = []
    let error: Error | undefined
    let at = 0
    while (at < args.length) {
      const value = args[at]
      if (error === undefined && value instanceof Error) {
        error = value
        at++
        continue
      }
      if (at === 0) {
        const formatted = format(method === 'dir' ? args.slice(0, 1) : args, 0, encoder())
        texts.push(formatted.text)
        at = formatted.next
        if (method === 'dir') break
      } else {
        texts.push(shown(value, encoder()))
        at++
      }
    }
    const event = texts.join(' ').trim() || error?.message || 'console'
    const level = METHODS[method]
    if (error !== undefined) log[level](event, error)
    else if (method === 'trace') log[level](event, { stack: new Error(event).stack })
    else log[level](event)
  }

  for (const method of Object.keys(METHODS) as Method[]) {
    originals.set(method, console[method])
    console[method] = (...args: unknown[]) => {
      try {
        print(method, args)
      } catch {
        log.info('console')
      }
    }
  }

  function onWarning(warning: Error): void {
    warnings.warn('node_warning', warning)
  }
  // Node prints warnings by a listener of its own; it is there unless warnings are turned off.
  const printers = process.listeners('warning').filter((each) => each.name === 'onWarning')
  for (const printer of printers) process.off('warning', printer)
  if (printers.length > 0) process.on('warning', onWarning)

  const ours = new Map([...originals.keys()].map((method) => [method, console[method]]))
  return () => {
    for (const [method, original] of originals)
      if (console[method] === ours.get(method)) console[method] = original as typeof console.log
    process.off('warning', onWarning)
    for (const printer of printers) process.on('warning', printer)
  }
}
