/**
 * Collects what ended in an executor thread until it is sent. Small frames are copied into one
 * buffer; large ones are handed over whole, without a copy.
 */
import type { Family, Serialized } from '../../serialize/value.ts';
import type { StoredValue } from '../store.ts';
import { HAND_OVER_FROM, LARGE_FRAME, RESULT_ROW } from './messages.ts';
import type { Failure, ResultBatch } from './messages.ts';

const FIRST_BUFFER = 8 * 1024;

export class Results {
  private batch = emptyBatch();
  private large: Uint8Array[] = [];
  private failures: Failure[] = [];
  private buffer = new Uint8Array(FIRST_BUFFER);
  private used = 0;
  /** Bytes waiting to be sent. */
  bytes = 0;

  get size(): number {
    return this.batch.types.length;
  }

  success(
    seq: number,
    start: number,
    duration: number,
    value: Serialized,
    nbytes: number,
    type: string,
    live: boolean
  ): void {
    const { rows, types, families } = this.batch;
    rows.push(seq, start, duration, nbytes, value.frames.length, live ? 1 : 0);
    types.push(type);
    families.push(value.family);
    for (const frame of value.frames) this.addFrame(frame);
    this.bytes += nbytes;
  }

  failure(seq: number, start: number, duration: number, failure: Failure): void {
    const { rows, types, families } = this.batch;
    rows.push(seq, start, duration, 0, 0, 0);
    types.push('');
    families.push('plain');
    this.failures.push(failure);
  }

  /** The batch and what is to be handed over with it. */
  take(evicted: number[]): { batch: ResultBatch; transfers: ArrayBuffer[] } {
    const { batch, large, failures } = this;
    const transfers = large.map(frame => frame.buffer as ArrayBuffer);
    batch.small = this.buffer.slice(0, this.used);
    if (this.used >= HAND_OVER_FROM) transfers.push(batch.small.buffer as ArrayBuffer);
    if (large.length > 0) batch.large = large;
    if (failures.length > 0) batch.failures = failures;
    if (evicted.length > 0) batch.evicted = evicted;
    this.batch = emptyBatch();
    this.large = [];
    this.failures = [];
    this.used = 0;
    this.bytes = 0;
    return { batch, transfers };
  }

  private addFrame(frame: Uint8Array): void {
    const { batch } = this;
    if (frame.length >= LARGE_FRAME) {
      const whole = frame.byteLength === frame.buffer.byteLength ? frame : frame.slice();
      batch.lengths.push(-frame.length);
      this.large.push(new Uint8Array(whole.buffer, whole.byteOffset, whole.byteLength));
      return;
    }
    if (this.used + frame.length > this.buffer.length) {
      const larger = new Uint8Array(2 * (this.used + frame.length));
      larger.set(this.buffer.subarray(0, this.used));
      this.buffer = larger;
    }
    this.buffer.set(frame, this.used);
    this.used += frame.length;
    batch.lengths.push(frame.length);
  }
}

function emptyBatch(): ResultBatch {
  return {
    op: 'results',
    rows: [],
    types: [],
    families: [],
    lengths: [],
    small: new Uint8Array(0)
  };
}

/** One result, of a thread's batch or of a Python process. */
export interface Result {
  seq: number;
  start: number;
  duration: number;
  nbytes: number;
  type: string;
  family: Family;
  frames: Uint8Array[];
  /** The value itself, when `frames` is empty because it lies in files. */
  stored?: StoredValue;
  live: boolean;
  /** It is live there and nowhere else: `frames` is empty. */
  owned: boolean;
  /** null: it succeeded. */
  failure: Failure | null;
}

/** What a thread's batch tells. */
export function resultsOf(batch: ResultBatch): Result[] {
  const { rows, types, families, lengths, small, large, failures } = batch;
  const results: Result[] = [];
  let at = 0;
  let nextLarge = 0;
  let nextLength = 0;
  let nextFailure = 0;
  for (let row = 0; row < rows.length; row += RESULT_ROW) {
    const count = rows[row + 4] as number;
    const frames: Uint8Array[] = [];
    for (let i = 0; i < count; i++) {
      const length = lengths[nextLength++] as number;
      if (length < 0) frames.push(large?.[nextLarge++] as Uint8Array);
      else {
        frames.push(small.subarray(at, at + length));
        at += length;
      }
    }
    results.push({
      seq: rows[row] as number,
      start: rows[row + 1] as number,
      duration: rows[row + 2] as number,
      nbytes: rows[row + 3] as number,
      type: types[results.length] as string,
      family: families[results.length] as Family,
      frames,
      live: rows[row + 5] === 1,
      owned: false,
      failure: count === 0 ? (failures?.[nextFailure++] ?? null) : null
    });
  }
  return results;
}
