/** A first-in first-out line whose both ends cost O(1). */
export type Line<T> = {
  readonly length: number
  push(item: T): void
  shift(): T | undefined
  /** What is in it, in order. */
  list(): T[]
  clear(): void
}

/** As many as wait in good times; a power of two, as every size after it. */
const FIRST_SIZE = 256

/** A circle of places that doubles when it is full, so that in good times no other code ever runs. */
export function createLine<T>(): Line<T> {
  let places: (T | undefined)[] = new Array(FIRST_SIZE)
  let first = 0
  let length = 0

  function list(): T[] {
    const end = first + length
    return [
      ...places.slice(first, end),
      ...places.slice(0, Math.max(0, end - places.length)),
    ] as T[]
  }

  function grow(): void {
    places = list()
    places.length = 2 * length
    first = 0
  }

  return {
    get length() {
      return length
    },
    push(item) {
      if (length === places.length) grow()
      places[(first + length) & (places.length - 1)] = item
      length++
    },
    shift() {
      if (length === 0) return undefined
      const item = places[first]
      places[first] = undefined
      first = (first + 1) & (places.length - 1)
      length--
      return item
    },
    list,
    clear() {
      places = new Array(FIRST_SIZE)
      first = 0
      length = 0
    },
  }
}
