/** What all phases of a run share. */
import type { Canaries } from './canaries.js'
import type { Mark } from './evidence.js'
import type { Client, Exchange } from './http.js'
import type { VerifyOptions } from './options.js'
import type { DependencyProxy } from './proxy.js'
import type { Service } from './service.js'
import type { Tracker } from './tracker.js'

export type Stage = {
  readonly options: VerifyOptions
  readonly client: Client
  readonly service: Service
  readonly tracker: Tracker
  readonly proxy: DependencyProxy
  readonly canaries: Canaries
  readonly token: string
  /** A word that no other run has. */
  readonly run: string
  /** The service answers the verify routes. */
  readonly hasRoutes: boolean
  readonly live: string | undefined
  readonly ready: string | undefined
  now(): number
  /** As Pulse's, with the time scaled. */
  until(holds: () => boolean, timeoutMs: number): Promise<boolean>
  add(mark: Mark): void
  /** A path that the service cannot have, and no other request has. */
  missingPath(name: string): string
  mark(name: string): string
  /** Headers of the first or second user; none when the user gave none. */
  signedIn(user: number): Record<string, string>
  /** Asks the ready route; each answer is a piece of the readiness strip. */
  askReady(timeoutMs?: number): Promise<Exchange>
}
