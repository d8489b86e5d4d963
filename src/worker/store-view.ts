/**
 * The store under the numbers of one scheduler. Values outlive their scheduler, its numbers do not:
 * each scheduler after the first gets a view of its own, in which a value that it took over has its
 * number and every other number leads to a place of its own. Whoever still works under the numbers
 * of the one before keeps that view, and finds what it put there.
 */
import type { LiveHolder, LiveValue } from './store/live.ts';
import type { StoredValue, ValueStore } from './store.ts';

/** Task numbers of one scheduler are below this. */
const NUMBERS = 2 ** 32;

export class StoreView implements ValueStore {
  private readonly inner: ValueStore;
  /** Schedulers before this one. */
  private readonly age: number;
  /** Where values lie that were taken over, by this scheduler's numbers. */
  private readonly places: Map<number, number>;
  /** The same the other way round, once somebody has asked. */
  private numbers: Map<number, number> | null = null;

  constructor(inner: ValueStore, age = 0, places = new Map<number, number>()) {
    this.inner = inner;
    this.age = age;
    this.places = places;
  }

  /** The view of the next scheduler. `numbers`: of this one's, those of the next. */
  next(numbers: ReadonlyMap<number, number>): StoreView {
    const places = new Map<number, number>();
    for (const [before, after] of numbers) places.set(after, this.place(before));
    return new StoreView(this.inner, this.age + 1, places);
  }

  private place(tid: number): number {
    if (this.age === 0) return tid;
    return this.places.get(tid) ?? this.age * NUMBERS + tid;
  }

  /** Numbers of what lies at these places, as far as this scheduler has any. */
  numbersOf(places: readonly number[]): number[] {
    if (this.age === 0) return [...places];
    const first = this.age * NUMBERS;
    if (this.numbers === null) {
      this.numbers = new Map();
      for (const [tid, place] of this.places) this.numbers.set(place, tid);
    }
    const found: number[] = [];
    for (const place of places) {
      const tid = place >= first ? place - first : this.numbers.get(place);
      if (tid !== undefined) found.push(tid);
    }
    return found;
  }

  get nbytes(): number {
    return this.inner.nbytes;
  }
  get spilled(): number {
    return this.inner.spilled;
  }
  get leaving(): number {
    return this.inner.leaving;
  }
  get size(): number {
    return this.inner.size;
  }

  has(tid: number): boolean {
    return this.inner.has(this.place(tid));
  }

  sizeOf(tid: number): number {
    return this.inner.sizeOf(this.place(tid));
  }

  get(tid: number): StoredValue | undefined {
    return this.inner.get(this.place(tid));
  }

  put(tid: number, value: StoredValue): void {
    this.inner.put(this.place(tid), value);
  }

  delete(tid: number): boolean {
    const place = this.place(tid);
    if (this.places.delete(tid)) this.numbers?.delete(place);
    return this.inner.delete(place);
  }

  pin(tids: readonly number[]): Promise<void> | null {
    return this.inner.pin(this.placesOf(tids));
  }

  unpin(tids: readonly number[]): void {
    this.inner.unpin(this.placesOf(tids));
  }

  lend(tid: number): StoredValue | undefined {
    return this.inner.lend(this.place(tid));
  }

  giveBack(value: StoredValue): void {
    this.inner.giveBack(value);
  }

  putLive(tid: number, value: LiveValue): void {
    this.inner.putLive?.(this.place(tid), value);
  }

  lose(holder: LiveHolder): void {
    this.inner.lose?.(holder);
  }

  async rescue(holder: LiveHolder): Promise<void> {
    await this.inner.rescue?.(holder);
  }

  private placesOf(tids: readonly number[]): readonly number[] {
    return this.age === 0 ? tids : tids.map(tid => this.place(tid));
  }
}
