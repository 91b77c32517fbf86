/** A first-in first-out line whose both ends cost O(1). */
export type Line<T> = {
  readonly length: number
  push(item: T): void
  shift(): T | undefined
  /** What is in it, in order. */
  list(): T[]
  clear(): void
}

export function createLine<T>(): Line<T> {
  let items: (T | undefined)[] = []
  let first = 0
  function clear(): void {
    items = []
    first = 0
  }
  return {
    get length() {
      return items.length - first
    },
    push(item) {
      items.push(item)
    },
    shift() {
      const item = items[first]
      if (item === undefined) return undefined
      items[first] = undefined
      first++
      if (first === items.length) clear()
      else if (first >= 64 && first * 2 > items.length) {
        items = items.slice(first)
        first = 0
      }
      return item
    },
    list: () => items.slice(first) as T[],
    clear,
  }
}
