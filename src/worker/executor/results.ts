/**
 * Collects what ended in an executor thread until it is sent. Small frames are copied into one
 * buffer; large ones are handed over whole, without a copy.
 */
import type { Serialized } from '../../serialize/value.ts';
import type { Failure, ResultBatch } from './messages.ts';

/** Frames of at least this many bytes are handed over on their own. */
const LARGE = 16 * 1024;
const FIRST_BUFFER = 8 * 1024;

export class Results {
  private batch = emptyBatch();
  private buffer = new Uint8Array(FIRST_BUFFER);
  private used = 0;
  private transfers: ArrayBuffer[] = [];
  /** Bytes waiting to be sent. */
  bytes = 0;

  get size(): number {
    return this.batch.seqs.length;
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
    const { batch } = this;
    batch.seqs.push(seq);
    batch.starts.push(start);
    batch.durations.push(duration);
    batch.nbytes.push(nbytes);
    batch.types.push(type);
    batch.families.push(value.family);
    batch.counts.push(value.frames.length);
    batch.live.push(live ? 1 : 0);
    for (const frame of value.frames) this.addFrame(frame);
    this.bytes += nbytes;
  }

  failure(seq: number, start: number, duration: number, failure: Failure): void {
    const { batch } = this;
    batch.seqs.push(seq);
    batch.starts.push(start);
    batch.durations.push(duration);
    batch.nbytes.push(0);
    batch.types.push('');
    batch.families.push('plain');
    batch.counts.push(0);
    batch.live.push(0);
    batch.failures.push(failure);
  }

  /** The batch and what is to be handed over with it. */
  take(evicted: number[]): { batch: ResultBatch; transfers: ArrayBuffer[] } {
    const { batch, transfers } = this;
    batch.evicted = evicted;
    batch.small = this.buffer.slice(0, this.used);
    transfers.push(batch.small.buffer as ArrayBuffer);
    this.batch = emptyBatch();
    this.transfers = [];
    this.used = 0;
    this.bytes = 0;
    return { batch, transfers };
  }

  private addFrame(frame: Uint8Array): void {
    const { batch } = this;
    if (frame.length >= LARGE) {
      const whole = frame.byteLength === frame.buffer.byteLength ? frame : frame.slice();
      const plain = new Uint8Array(whole.buffer, whole.byteOffset, whole.byteLength);
      batch.lengths.push(-frame.length);
      batch.large.push(plain);
      this.transfers.push(plain.buffer as ArrayBuffer);
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
    seqs: [],
    starts: [],
    durations: [],
    nbytes: [],
    types: [],
    families: [],
    counts: [],
    lengths: [],
    small: new Uint8Array(0),
    large: [],
    live: [],
    failures: [],
    evicted: []
  };
}

/** The frames of each value of a batch, in order. */
export function framesOf(batch: ResultBatch): Uint8Array[][] {
  const values: Uint8Array[][] = [];
  let at = 0;
  let large = 0;
  let next = 0;
  for (const count of batch.counts) {
    const frames: Uint8Array[] = [];
    for (let i = 0; i < count; i++) {
      const length = batch.lengths[next++] as number;
      if (length < 0) frames.push(batch.large[large++] as Uint8Array);
      else {
        frames.push(batch.small.subarray(at, at + length));
        at += length;
      }
    }
    values.push(frames);
  }
  return values;
}
