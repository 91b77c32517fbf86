/** Waiting for what publishes no event of its own: everything observed beats, every wait looks again. */

export type Pulse = {
  /** Tells that something was observed: a line, an event, a connection, an exit. */
  beat(): void
  /** True once `holds()` does; false when `timeoutMs` passed first. Looks after every beat. */
  until(holds: () => boolean, timeoutMs: number): Promise<boolean>
}

/** How often a wait looks although nothing beat: some conditions depend on the clock alone. */
const LOOK_MS = 50

export function createPulse(): Pulse {
  const waiting = new Set<() => void>()
  return {
    beat() {
      for (const look of waiting) look()
    },
    until(holds, timeoutMs) {
      if (holds()) return Promise.resolve(true)
      return new Promise((resolve) => {
        const end = performance.now() + timeoutMs
        const look = (): void => {
          const isTrue = holds()
          if (!isTrue && performance.now() < end) return
          waiting.delete(look)
          clearInterval(timer)
          resolve(isTrue)
        }
        const timer = setInterval(look, LOOK_MS)
        waiting.add(look)
      })
    },
  }
}

/** Resolves after `ms`. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
