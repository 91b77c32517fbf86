/** Modules of Node's that are loaded at their first use: each costs a service's start a millisecond or more. */

import { fstatSync } from 'node:fs'

/**
 * What `load` makes, made at the first call and kept. Asking Node again costs a microsecond, and code
 * that asks is compiled anew again and again.
 */
export const once = <T>(load: () => T): (() => T) => {
  let kept: T | undefined
  return () => {
    kept ??= load()
    return kept
  }
}

export const crypto: () => typeof import('node:crypto') = once(() =>
  process.getBuiltinModule('node:crypto'),
)
export const perfHooks: () => typeof import('node:perf_hooks') = once(() =>
  process.getBuiltinModule('node:perf_hooks'),
)
export const tls: () => typeof import('node:tls') = once(() => process.getBuiltinModule('node:tls'))
const tty: () => typeof import('node:tty') = once(() => process.getBuiltinModule('node:tty'))
export const v8: () => typeof import('node:v8') = once(() => process.getBuiltinModule('node:v8'))
export const fsPromises: () => typeof import('node:fs/promises') = once(() =>
  process.getBuiltinModule('node:fs/promises'),
)
export const os: () => typeof import('node:os') = once(() => process.getBuiltinModule('node:os'))
export const workerThreads: () => typeof import('node:worker_threads') = once(() =>
  process.getBuiltinModule('node:worker_threads'),
)
export const zlib: () => typeof import('node:zlib') = once(() =>
  process.getBuiltinModule('node:zlib'),
)

/**
 * True in a thread that is not the main one. Node marks what a thread may not do; to ask
 * worker_threads would load it, which costs a service's start a millisecond.
 */
export const isThread: boolean = (process.abort as { disabled?: boolean }).disabled === true

/** True when standard output is a terminal; of a pipe or a file that is known without node:tty. */
export function writesToTerminal(): boolean {
  try {
    return fstatSync(1).isCharacterDevice() && tty().isatty(1)
  } catch {
    return false
  }
}
