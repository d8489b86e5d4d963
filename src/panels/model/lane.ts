/**
 * The rectangles of one lane (an executor slot of a worker), in order of their start: the index
 * that makes hit tests and views cost a binary search. It holds ring slots, not rectangles.
 *
 * Bars of one lane seldom overlap and arrive nearly in order, so an insertion is nearly always an
 * append. `reach` is the running maximum of ends: monotone, hence searchable, even when a long
 * bar covers later short ones.
 */

/** What a lane needs to know of the ring that owns the rectangles. */
export interface Times {
  readonly start: Float64Array;
  readonly duration: Float32Array;
}

export class Lane {
  /** Feed number of the worker. */
  readonly worker: number;
  /** Slot of that worker, from 0. */
  readonly lane: number;
  #slots = new Uint32Array(64);
  #reach = new Float64Array(64);
  #head = 0;
  #tail = 0;

  constructor(worker: number, lane: number) {
    this.worker = worker;
    this.lane = lane;
  }

  /** How many rectangles it holds. */
  get length(): number {
    return this.#tail - this.#head;
  }

  /** Ring slot of the i-th rectangle by start. */
  at(index: number): number {
    return this.#slots[this.#head + index] as number;
  }

  add(slot: number, times: Times): void {
    if (this.#tail === this.#slots.length) this.#makeRoom();
    const start = times.start[slot] as number;
    let place = this.#tail;
    while (
      place > this.#head &&
      (times.start[this.#slots[place - 1] as number] as number) > start
    ) {
      this.#slots[place] = this.#slots[place - 1] as number;
      place -= 1;
    }
    this.#slots[place] = slot;
    this.#tail += 1;
    this.#reachFrom(place, times);
  }

  /** Forgets a slot that the ring is about to overwrite. Call it while `times` still holds it. */
  remove(slot: number, times: Times): void {
    let place = this.#head;
    while (place < this.#tail && this.#slots[place] !== slot) place += 1;
    if (place === this.#tail) return;
    if (place === this.#head) {
      this.#head += 1;
      return;
    }
    this.#slots.copyWithin(place, place + 1, this.#tail);
    this.#tail -= 1;
    this.#reachFrom(place, times);
  }

  /** Indices [from, to) of rectangles that may touch the time range. */
  range(t0: number, t1: number, times: Times): { from: number; to: number } {
    let low = this.#head;
    let high = this.#tail;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#reach[middle] as number) < t0) low = middle + 1;
      else high = middle;
    }
    const from = low;
    high = this.#tail;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((times.start[this.#slots[middle] as number] as number) <= t1) low = middle + 1;
      else high = middle;
    }
    return { from: from - this.#head, to: low - this.#head };
  }

  #reachFrom(place: number, times: Times): void {
    let reach = place > this.#head ? (this.#reach[place - 1] as number) : -Infinity;
    for (let i = place; i < this.#tail; i++) {
      const slot = this.#slots[i] as number;
      reach = Math.max(reach, (times.start[slot] as number) + (times.duration[slot] as number));
      this.#reach[i] = reach;
    }
  }

  #makeRoom(): void {
    const live = this.#tail - this.#head;
    if (this.#head > this.#slots.length / 2) {
      this.#slots.copyWithin(0, this.#head, this.#tail);
      this.#reach.copyWithin(0, this.#head, this.#tail);
    } else {
      const slots = new Uint32Array(this.#slots.length * 2);
      slots.set(this.#slots.subarray(this.#head, this.#tail));
      this.#slots = slots;
      const reach = new Float64Array(this.#reach.length * 2);
      reach.set(this.#reach.subarray(this.#head, this.#tail));
      this.#reach = reach;
    }
    this.#head = 0;
    this.#tail = live;
  }
}
