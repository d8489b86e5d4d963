/**
 * Values kept as they are in an executor thread, so that the next task there need not decode them.
 * Only a cache: the store of the control thread has every value. The least recently used go first
 * when their bytes pass the limit.
 */
export class LiveValues {
  private readonly entries = new Map<number, { value: unknown; nbytes: number }>();
  private bytes = 0;
  private readonly limit: number;
  private gone: number[] = [];

  constructor(limit: number) {
    this.limit = limit;
  }

  has(tid: number): boolean {
    return this.entries.has(tid);
  }

  get(tid: number): unknown {
    const entry = this.entries.get(tid);
    if (entry === undefined) return undefined;
    this.entries.delete(tid);
    this.entries.set(tid, entry);
    return entry.value;
  }

  /** False when it is too large to be kept; it then counts as pushed out. */
  put(tid: number, value: unknown, nbytes: number): boolean {
    this.delete(tid);
    if (nbytes > this.limit) {
      this.gone.push(tid);
      return false;
    }
    this.entries.set(tid, { value, nbytes });
    this.bytes += nbytes;
    for (const [old, entry] of this.entries) {
      if (this.bytes <= this.limit) break;
      this.entries.delete(old);
      this.bytes -= entry.nbytes;
      this.gone.push(old);
    }
    return true;
  }

  delete(tid: number): void {
    const entry = this.entries.get(tid);
    if (entry === undefined) return;
    this.entries.delete(tid);
    this.bytes -= entry.nbytes;
  }

  /** Memory is short: all of them go. */
  clear(): void {
    for (const tid of this.entries.keys()) this.gone.push(tid);
    this.entries.clear();
    this.bytes = 0;
  }

  /** What has been pushed out since the last call. */
  takeEvicted(): number[] {
    const { gone } = this;
    if (gone.length > 0) this.gone = [];
    return gone;
  }
}
