/**
 * Uncaught exceptions and unhandled rejections. Node decides whether the process lives; the kit
 * listens. The monitor event never changes that decision; a handler of the kit's is added while an
 * exception is under way, and only when nobody else handles it, to hold the process for the flush.
 * https://nodejs.org/api/process.html#event-uncaughtexceptionmonitor
 */
import { inspect } from 'node:util'
import { isThread } from '../builtin.js'
import { guarded } from '../faults.js'
import type { Errors } from './errors.js'
import { errorMessage, errorStack } from './exception.js'
import { framesOf, readCode } from './stack.js'

export type CrashOrigin = 'uncaughtException' | 'unhandledRejection'

export type CrashDeps = {
  readonly errors: Pick<Errors, 'captureException' | 'flush' | 'spoolSync'>
  /** Called once when the process is about to die, before the flush. */
  onCrash?(error: unknown, origin: CrashOrigin): void
  /** Milliseconds for the flush. Default 2,000. */
  readonly timeoutMs?: number
}

/** Installs the handlers; the answer takes them away again. */
export function installCrashHandlers(deps: CrashDeps): () => void {
  const timeoutMs = deps.timeoutMs ?? 2000
  const mode = rejectionMode()
  let isDying = false

  function capture(error: unknown, origin: CrashOrigin, level: 'fatal' | 'error'): void {
    guarded(() => {
      deps.errors.captureException(error, {
        level,
        mechanism: { type: `on${origin.toLowerCase()}`, handled: false },
      })
    })
  }

  function onMonitor(error: unknown, origin: CrashOrigin): void {
    if (isDying) return
    const isHandled =
      process.listenerCount('uncaughtException') > 0 ||
      process.hasUncaughtExceptionCaptureCallback()
    capture(error, origin, isHandled ? 'error' : 'fatal')
    if (isHandled) return
    isDying = true
    guarded(() => deps.onCrash?.(error, origin))
    // Where exiting by ourselves would differ from Node's own end, the disk has to do.
    if (isThread || process.execArgv.includes('--abort-on-uncaught-exception')) {
      guarded(() => deps.errors.spoolSync())
      return
    }
    process.on('uncaughtException', die)
  }

  let isEnding = false
  function die(error: unknown): void {
    // What else fails while the flush runs is a consequence.
    if (isEnding) return
    isEnding = true
    process.exitCode = 1
    guarded(() => printLikeNode(error))
    const end = (): void => {
      clearTimeout(timer)
      process.exit(1)
    }
    const timer = setTimeout(end, timeoutMs)
    guarded(() => void deps.errors.flush(timeoutMs).then(end, end))
  }

  function onRejection(reason: unknown): void {
    if (!isDying) capture(reason, 'unhandledRejection', 'error')
  }

  /**
   * A listener changes what Node does with a rejection, except in the modes warn and none. So ours
   * stands only beside one of the application's.
   */
  let isListening = false
  const needsCompany = mode !== 'warn' && mode !== 'none'
  function listen(): void {
    if (isListening) return
    isListening = true
    process.on('unhandledRejection', onRejection)
  }
  function onNewListener(name: string | symbol, listener: unknown): void {
    if (name === 'unhandledRejection' && listener !== onRejection) listen()
  }
  function onRemoveListener(name: string | symbol, listener: unknown): void {
    if (name !== 'unhandledRejection' || listener === onRejection || !isListening) return
    if (process.listenerCount('unhandledRejection') > 1) return
    isListening = false
    process.removeListener('unhandledRejection', onRejection)
  }

  process.on('uncaughtExceptionMonitor', onMonitor)
  if (!needsCompany || process.listenerCount('unhandledRejection') > 0) listen()
  if (needsCompany) {
    process.on('newListener', onNewListener)
    process.on('removeListener', onRemoveListener)
  }

  return () => {
    process.removeListener('newListener', onNewListener)
    process.removeListener('removeListener', onRemoveListener)
    process.removeListener('uncaughtExceptionMonitor', onMonitor)
    process.removeListener('unhandledRejection', onRejection)
    process.removeListener('uncaughtException', die)
  }
}

/** Node's --unhandled-rejections, from the command line or NODE_OPTIONS. */
function rejectionMode(): string {
  const options = [...(process.env.NODE_OPTIONS ?? '').split(/\s+/), ...process.execArgv].join(' ')
  return (
    options
      .match(/--unhandled-rejections[= ]([\w-]+)/g)
      ?.at(-1)
      ?.split(/[= ]/)[1] ?? 'throw'
  )
}

/**
 * Prints what Node prints on its way out: the place, the error, the version. Node takes the place
 * from the throw statement, which only it knows; the top of the stack is the same place unless the
 * error was made elsewhere, and Node's own files are left out.
 */
function printLikeNode(error: unknown): void {
  const stack = errorStack(error)
  const colors = process.stderr.isTTY === true && process.stderr.hasColors?.() === true
  const text = inspect(error, { colors })
  const told =
    stack === ''
      ? `Uncaught:\n${text}\n(Use \`node --trace-uncaught ...\` to show where the exception was thrown)`
      : `${sourceExcerpt(framesOf(stack, errorMessage(error)))}${text}`
  process.stderr.write(`${told}\n\nNode.js ${process.version}\n`)
}

/** `file:line`, the line and a caret, as Node shows where an error was thrown; '' for Node's own files. */
function sourceExcerpt(stack: string): string {
  const place = /\n {4}at (?:.*? \()?((?:file:\/\/)?\/?[^()\n]+?):(\d+):(\d+)\)?(?:\n|$)/.exec(
    stack,
  )
  if (place === null) return ''
  const [, script = '', line = '0', column = '1'] = place
  try {
    const path = script.startsWith('file://') ? decodeURIComponent(script.slice(7)) : script
    const text = readCode(path).split('\n')[Number(line) - 1]
    if (text === undefined || text.length > 200) return ''
    // Node's caret stands under `throw`, the stack's column under the error that is thrown.
    const before = text.slice(0, Number(column) - 1)
    const caret = before.replace(/\bthrow\s+$/, '').replace(/\S/g, ' ')
    return `${script}:${line}\n${text}\n${caret}^\n\n`
  } catch {
    return ''
  }
}
