/**
 * The values a worker holds, as frames, by task number. It is the truth: what executors keep live
 * are copies. Whoever takes frames out must not write to them.
 */
import type { Family } from '../serialize/value.ts';

/** One value. */
export interface StoredValue {
  family: Family;
  frames: Uint8Array[];
  nbytes: number;
  type: string;
}

/** What the worker asks of its store; it never reads it but through this. */
export interface ValueStore {
  /** Bytes of all values. */
  readonly nbytes: number;
  /** Bytes of those that are not in memory. */
  readonly spilled: number;
  readonly size: number;
  has(tid: number): boolean;
  get(tid: number): StoredValue | undefined;
  put(tid: number, value: StoredValue): void;
  delete(tid: number): boolean;
}

/** All values in memory. */
export class MemoryStore implements ValueStore {
  private readonly values = new Map<number, StoredValue>();
  private bytes = 0;
  readonly spilled = 0;

  get nbytes(): number {
    return this.bytes;
  }

  get size(): number {
    return this.values.size;
  }

  has(tid: number): boolean {
    return this.values.has(tid);
  }

  get(tid: number): StoredValue | undefined {
    return this.values.get(tid);
  }

  put(tid: number, value: StoredValue): void {
    this.delete(tid);
    this.values.set(tid, value);
    this.bytes += value.nbytes;
  }

  delete(tid: number): boolean {
    const value = this.values.get(tid);
    if (value === undefined) return false;
    this.bytes -= value.nbytes;
    return this.values.delete(tid);
  }
}

/** Total length of frames. */
export function frameBytes(frames: readonly Uint8Array[]): number {
  let nbytes = 0;
  for (const frame of frames) nbytes += frame.length;
  return nbytes;
}
