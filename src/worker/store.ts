/**
 * The values a worker holds, as frames, by task number. It is the truth: what executors keep live
 * are copies. Whoever takes frames out must not write to them.
 */
import type { Family } from '../serialize/value.ts';
import type { LiveHolder, LiveValue } from './store/live.ts';

/** One value. */
export interface StoredValue {
  family: Family;
  readonly frames: Uint8Array[];
  nbytes: number;
  type: string;
  /** Bytes that it takes in files in memory, if that is where it is (store/filed.ts). */
  readonly fileBytes?: number;
  /** Its frames, when asking for `frames` would read them while everything waits. */
  read?(): Promise<Uint8Array[]>;
  /** Nobody will ask for it any more; called by stores. */
  discard?(): void;
}

/** What the worker asks of its store; it never reads it but through this. */
export interface ValueStore {
  /** Bytes of all values. */
  readonly nbytes: number;
  /** Bytes of those that are not in memory. */
  readonly spilled: number;
  /** Bytes that will soon not be in memory. */
  readonly leaving: number;
  readonly size: number;
  /** It is held, in memory or not. */
  has(tid: number): boolean;
  /** Bytes of a value; 0 when it is not held. */
  sizeOf(tid: number): number;
  /** A value that is in memory. */
  get(tid: number): StoredValue | undefined;
  put(tid: number, value: StoredValue): void;
  delete(tid: number): boolean;
  /**
   * Keeps values in memory until as many calls of `unpin`. Null when all that are held are there;
   * else a promise for when they are, or are known to be lost.
   */
  pin(tids: readonly number[]): Promise<void> | null;
  unpin(tids: readonly number[]): void;
  /** Like `get`, for longer than this turn: its frames stay whole until `giveBack`. */
  lend(tid: number): StoredValue | undefined;
  giveBack(value: StoredValue): void;
  /** Takes a value that stays live in an executor; absent: only frames are taken. */
  putLive?(tid: number, value: LiveValue): void;
  /** An executor has died: what was live in it is lost. */
  lose?(holder: LiveHolder): void;
  /** An executor is about to be ended: what is live in it comes here. */
  rescue?(holder: LiveHolder): Promise<void>;
}

/** All values in memory. */
export class MemoryStore implements ValueStore {
  private readonly values = new Map<number, StoredValue>();
  private bytes = 0;
  readonly spilled = 0;
  readonly leaving = 0;

  get nbytes(): number {
    return this.bytes;
  }

  get size(): number {
    return this.values.size;
  }

  has(tid: number): boolean {
    return this.values.has(tid);
  }

  sizeOf(tid: number): number {
    return this.values.get(tid)?.nbytes ?? 0;
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
    value.discard?.();
    return this.values.delete(tid);
  }

  pin(): null {
    return null;
  }

  unpin(): void {
    // All values are in memory always.
  }

  lend(tid: number): StoredValue | undefined {
    return this.values.get(tid);
  }

  giveBack(): void {
    // Its frames are never taken apart.
  }
}

/** A value that no store can take apart: with its bytes in memory. */
export function wholeValue(value: StoredValue | undefined): StoredValue | undefined {
  if (value?.discard === undefined) return value;
  const { family, frames, nbytes, type } = value;
  return { family, frames, nbytes, type };
}

/** Total length of frames. */
export function frameBytes(frames: readonly Uint8Array[]): number {
  let nbytes = 0;
  for (const frame of frames) nbytes += frame.length;
  return nbytes;
}
