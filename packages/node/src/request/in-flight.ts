/** The units in flight, as a linked list through the units themselves: adding and removing costs nothing. */
import type { Unit } from '../context.js'

export type InFlight = {
  readonly count: number
  add(unit: Unit): void
  remove(unit: Unit): void
  /** Calls `visit` for each unit, oldest first; the unit may be removed meanwhile. */
  each(visit: (unit: Unit) => void): void
}

export function createInFlight(): InFlight {
  let first: Unit | undefined
  let last: Unit | undefined
  let count = 0
  return {
    get count() {
      return count
    },
    add(unit) {
      unit.previous = last
      if (last === undefined) first = unit
      else last.next = unit
      last = unit
      count++
    },
    remove(unit) {
      if (unit.previous === undefined) {
        if (first !== unit) return
        first = unit.next
      } else unit.previous.next = unit.next
      if (unit.next === undefined) last = unit.previous
      else unit.next.previous = unit.previous
      unit.previous = undefined
      unit.next = undefined
      count--
    },
    each(visit) {
      let unit = first
      while (unit !== undefined) {
        const next: Unit | undefined = unit.next
        visit(unit)
        unit = next
      }
    },
  }
}
