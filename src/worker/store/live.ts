/**
 * The store of a worker whose executors keep results as live objects. Such a value is a third place
 * beside memory and disk: it is serialised only when somebody else needs it (another executor,
 * worker or client), or when memory is short and it has to go to disk. It is lost with its executor.
 */
import type { StoredValue, ValueStore } from '../store.ts';

/** An executor that holds values. */
export interface LiveHolder {
  /** Serialises a value; `drop`: lets go of it then. null: it could not, or is gone. */
  fetch(handle: number, drop: boolean): Promise<StoredValue | null>;
  /** Nobody wants them any more. */
  drop(handles: number[], fns: number[]): void;
}

/** One value, and where it is. */
export interface LiveValue {
  nbytes: number;
  type: string;
  holder: LiveHolder;
  /** Its number there. */
  handle: number;
}

export interface LiveStoreOptions {
  /** Bytes of values in memory from which on live ones are given to the store below; 0 = never. */
  target: number;
  /** Held no more: the executor has died, or could not serialise them. */
  onLost(tids: number[]): void;
}

export class LiveStore implements ValueStore {
  private readonly inner: ValueStore;
  private readonly options: LiveStoreOptions;
  /** The least recently put or used first. */
  private readonly live = new Map<number, LiveValue>();
  private readonly coming = new Map<number, Promise<void>>();
  private liveBytes = 0;
  private leavingBytes = 0;

  constructor(inner: ValueStore, options: LiveStoreOptions) {
    this.inner = inner;
    this.options = options;
  }

  get nbytes(): number {
    return this.inner.nbytes + this.liveBytes;
  }
  get spilled(): number {
    return this.inner.spilled;
  }
  get leaving(): number {
    return this.inner.leaving + this.leavingBytes;
  }
  get size(): number {
    return this.inner.size + this.live.size;
  }

  has(tid: number): boolean {
    return this.live.has(tid) || this.inner.has(tid);
  }

  sizeOf(tid: number): number {
    return this.live.get(tid)?.nbytes ?? this.inner.sizeOf(tid);
  }

  get(tid: number): StoredValue | undefined {
    return this.inner.get(tid);
  }

  put(tid: number, value: StoredValue): void {
    this.forget(tid, true);
    this.inner.put(tid, value);
    this.makeRoom();
  }

  putLive(tid: number, value: LiveValue): void {
    this.delete(tid);
    this.live.set(tid, value);
    this.liveBytes += value.nbytes;
    this.makeRoom();
  }

  delete(tid: number): boolean {
    return this.forget(tid, true) || this.inner.delete(tid);
  }

  pin(tids: readonly number[]): Promise<void> | null {
    const there = this.inner.pin(tids);
    const coming = tids.filter(tid => this.live.has(tid)).map(tid => this.bring(tid, false));
    if (coming.length === 0) return there;
    return Promise.all([there, ...coming]).then(() => undefined);
  }

  unpin(tids: readonly number[]): void {
    this.inner.unpin(tids);
  }

  lend(tid: number): StoredValue | undefined {
    return this.inner.lend(tid);
  }

  giveBack(value: StoredValue): void {
    this.inner.giveBack(value);
  }

  /** The executor has died: what only it held is lost. */
  lose(holder: LiveHolder): void {
    const lost = this.heldBy(holder);
    for (const tid of lost) this.forget(tid, false);
    if (lost.length > 0) this.options.onLost(lost);
  }

  /** The executor is about to be ended: its values are brought here first. */
  async rescue(holder: LiveHolder): Promise<void> {
    await Promise.all(this.heldBy(holder).map(tid => this.bring(tid, true)));
  }

  /** The process and its executors use too much: live values go the way of all others. */
  relieve(bytes: number): void {
    let left = bytes - this.leavingBytes;
    for (const [tid, { nbytes }] of this.live) {
      if (left <= 0) return;
      if (this.coming.has(tid)) continue;
      left -= nbytes;
      void this.bring(tid, true);
    }
  }

  private heldBy(holder: LiveHolder): number[] {
    return [...this.live].filter(([, value]) => value.holder === holder).map(([tid]) => tid);
  }

  private makeRoom(): void {
    const { target } = this.options;
    if (target === 0 || this.live.size === 0) return;
    const over = this.nbytes - this.inner.spilled - this.inner.leaving - target;
    if (over > 0) this.relieve(over);
  }

  /** Serialises a value into the store below. */
  private bring(tid: number, drop: boolean): Promise<void> {
    const under = this.coming.get(tid);
    if (under !== undefined) return under;
    const value = this.live.get(tid) as LiveValue;
    this.leavingBytes += value.nbytes;
    const coming = value.holder.fetch(value.handle, drop).then(stored => {
      this.coming.delete(tid);
      this.leavingBytes -= value.nbytes;
      // Deleted meanwhile, or lost with its executor.
      if (this.live.get(tid) !== value) return stored?.discard?.();
      this.forget(tid, false);
      if (stored === null) return this.options.onLost([tid]);
      stored.type = value.type;
      this.inner.put(tid, stored);
    });
    this.coming.set(tid, coming);
    return coming;
  }

  private forget(tid: number, tell: boolean): boolean {
    const value = this.live.get(tid);
    if (value === undefined) return false;
    this.live.delete(tid);
    this.liveBytes -= value.nbytes;
    if (tell) value.holder.drop([value.handle], []);
    return true;
  }
}
