/** Starts the child of backing.ts. */
import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Backing } from './backing.js'

/**
 * Resolves with the URLs once everything asked for is up; rejects when the child ends before. The
 * child neither keeps this process alive nor outlives it.
 */
export async function startBacking(wanted: readonly ('database' | 'redis')[]): Promise<Backing> {
  if (wanted.length === 0) return {}
  const child = fork(fileURLToPath(new URL('./backing.js', import.meta.url)), wanted, {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    execArgv: [],
  })
  const backing = await new Promise<Backing>((resolve, reject) => {
    child.once('message', (message) => resolve(message as Backing))
    child.once('error', reject)
    child.once('exit', (code) =>
      reject(new Error(`The embedded database ended with code ${code}.`)),
    )
  })
  child.unref()
  child.channel?.unref()
  return backing
}
