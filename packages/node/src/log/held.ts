/**
 * Lines below the level, held in memory until the outcome of their unit of work is known: written
 * when it failed or was slow, dropped without a trace when not.
 */
import type { Unit } from '../context.js'

/** How many held lines of a unit fell out of its buffer. */
const overflow = new WeakMap<Unit, number>()

/** Holds a line; past `maxBytes` the oldest fall out and are counted. */
export function holdLine(unit: Unit, line: string, maxBytes: number): void {
  const bytes = Buffer.byteLength(line)
  unit.held ??= []
  unit.held.push(line)
  unit.heldBytes += bytes
  let fallen = 0
  while (unit.heldBytes > maxBytes && unit.held.length > 0) {
    unit.heldBytes -= Buffer.byteLength(unit.held.shift() as string)
    fallen++
  }
  if (fallen > 0) overflow.set(unit, (overflow.get(unit) ?? 0) + fallen)
}

/** Takes the held lines out of a unit, oldest first, with the number that fell out before. */
export function takeHeld(unit: Unit): {
  readonly lines: readonly string[]
  readonly fallen: number
} {
  const lines = unit.held ?? []
  const fallen = overflow.get(unit) ?? 0
  unit.held = undefined
  unit.heldBytes = 0
  if (fallen > 0) overflow.delete(unit)
  return { lines, fallen }
}
