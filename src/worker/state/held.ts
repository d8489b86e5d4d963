/**
 * What the memory state knows of one value, and the order in which values were last used: a list
 * linked through the records, so that a use costs the same however many there are.
 */

export class Held {
  readonly tid: number;
  readonly nbytes: number;
  inMemory = true;
  /** Who needs it in memory. */
  pins = 0;
  /** Number of its file; 0 = it has none. */
  file = 0;
  fileBytes = 0;
  busy: 'no' | 'write' | 'read' = 'no';
  /** Dropped while it was busy. */
  dropped = false;
  /** Neighbours in the list, when it is there. */
  older: Held | null = null;
  newer: Held | null = null;
  listed = false;

  constructor(tid: number, nbytes: number) {
    this.tid = tid;
    this.nbytes = nbytes;
  }
}

export class Recency {
  oldest: Held | null = null;
  private newest: Held | null = null;

  /** As the one used last. */
  add(held: Held): void {
    held.listed = true;
    held.older = this.newest;
    if (this.newest === null) this.oldest = held;
    else this.newest.newer = held;
    this.newest = held;
  }

  /** False when it is not in the list. */
  remove(held: Held): boolean {
    if (!held.listed) return false;
    if (held.older === null) this.oldest = held.newer;
    else held.older.newer = held.newer;
    if (held.newer === null) this.newest = held.older;
    else held.newer.older = held.older;
    held.listed = false;
    held.older = null;
    held.newer = null;
    return true;
  }

  *[Symbol.iterator](): Iterator<Held> {
    for (let held = this.oldest; held !== null; held = held.newer) yield held;
  }
}
