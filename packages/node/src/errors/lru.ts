/** A map bounded by the weight of its values; what was used longest ago leaves first. */
export type Lru<V> = {
  get(key: string): V | undefined
  /** `weight` in any unit, the same for all; a value heavier than the whole bound is not kept. */
  set(key: string, value: V, weight: number): void
}

/** Creates an Lru that holds at most `maxWeight` in total. */
export function createLru<V>(maxWeight: number): Lru<V> {
  const entries = new Map<string, { value: V; weight: number }>()
  let total = 0

  function remove(key: string): void {
    const entry = entries.get(key)
    if (entry === undefined) return
    entries.delete(key)
    total -= entry.weight
  }

  return {
    get(key) {
      const entry = entries.get(key)
      if (entry === undefined) return undefined
      entries.delete(key)
      entries.set(key, entry)
      return entry.value
    },
    set(key, value, weight) {
      remove(key)
      if (weight > maxWeight) return
      entries.set(key, { value, weight })
      total += weight
      for (const oldest of entries.keys()) {
        if (total <= maxWeight) break
        remove(oldest)
      }
    },
  }
}
