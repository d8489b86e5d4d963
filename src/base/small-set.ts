/**
 * Sets that mostly hold none or one: a field that is null, the one item, or a Set. A million tasks
 * have a few of these each, so the empty ones must cost nothing.
 */
export type SmallSet<T extends object> = null | T | Set<T>;

export function smallAdd<T extends object>(set: SmallSet<T>, item: T): SmallSet<T> {
  if (set === null) return item;
  if (set instanceof Set) return set.add(item);
  return set === item ? set : new Set([set, item]);
}

export function smallDelete<T extends object>(set: SmallSet<T>, item: T): SmallSet<T> {
  if (set === item) return null;
  if (!(set instanceof Set)) return set;
  set.delete(item);
  return set.size === 0 ? null : set;
}

export function smallHas<T extends object>(set: SmallSet<T>, item: T): boolean {
  return set === item || (set instanceof Set && set.has(item));
}

/** The items; changing the set while walking this list is safe. */
export function smallList<T extends object>(set: SmallSet<T>): T[] {
  return set === null ? [] : set instanceof Set ? [...set] : [set];
}

export function smallFirst<T extends object>(set: SmallSet<T>): T | null {
  if (set === null || !(set instanceof Set)) return set;
  for (const item of set) return item;
  return null;
}
