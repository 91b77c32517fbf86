/** Modules of Node's that are loaded at their first use: each costs a service's start a millisecond or more. */

export const crypto = (): typeof import('node:crypto') => process.getBuiltinModule('node:crypto')
export const perfHooks = (): typeof import('node:perf_hooks') =>
  process.getBuiltinModule('node:perf_hooks')
export const tls = (): typeof import('node:tls') => process.getBuiltinModule('node:tls')
export const v8 = (): typeof import('node:v8') => process.getBuiltinModule('node:v8')
export const zlib = (): typeof import('node:zlib') => process.getBuiltinModule('node:zlib')
