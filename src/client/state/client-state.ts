/**
 * What a client knows of its futures: messages of the scheduler in, changed records out. Pure, like
 * the scheduler's and the worker's states; the simulation runs all three.
 */
import type { ErrorRecord, SchedulerToClient } from '../../protocol/messages.ts';

/** Dask's words, `lost` being: its cluster is gone. */
export type FutureStatus = 'pending' | 'finished' | 'error' | 'cancelled' | 'lost';

export interface FutureRecord {
  readonly cid: number;
  /** Set late only for pure tasks whose function needs an asynchronous look. */
  key: string;
  /** Name of the function, or `scatter`. */
  readonly name: string;
  status: FutureStatus;
  type: string;
  nbytes: number;
  /** Small result that came along (packFrames). */
  inline: Uint8Array | null;
  error: ErrorRecord | null;
  /** Why it was cancelled or lost. */
  reason: string;
  /** ms since the epoch */
  readonly createdAt: number;
}

export class ClientState {
  readonly records = new Map<number, FutureRecord>();
  private nextCid = 1;
  private ended: string | null = null;

  /** A new key to speak of; numbers are consecutive. */
  create(key: string, name: string, now: number): FutureRecord {
    const record: FutureRecord = {
      cid: this.nextCid++,
      key,
      name,
      status: this.ended === null ? 'pending' : 'lost',
      type: '',
      nbytes: 0,
      inline: null,
      error: null,
      reason: this.ended ?? '',
      createdAt: now
    };
    this.records.set(record.cid, record);
    return record;
  }

  /** The client lets go of a key; what still comes for it is ignored. */
  release(cid: number): boolean {
    return this.records.delete(cid);
  }

  /** Applies a message; returns the records it changed. */
  handle(message: SchedulerToClient): FutureRecord[] {
    const changed: FutureRecord[] = [];
    const each = (
      cids: number[],
      change: (record: FutureRecord, i: number) => void
    ): FutureRecord[] => {
      cids.forEach((cid, i) => {
        const record = this.records.get(cid);
        if (record === undefined || record.status === 'cancelled') return;
        change(record, i);
        changed.push(record);
      });
      return changed;
    };
    switch (message.op) {
      case 'key-in-memory':
        return each(message.cids, (record, i) => {
          record.status = 'finished';
          record.nbytes = message.nbytes[i] ?? 0;
          record.type = message.types[i] ?? '';
          record.inline = message.inline[i] ?? record.inline;
        });
      case 'task-erred':
        return each(message.cids, (record, i) => {
          record.status = 'error';
          record.error = message.errors[message.which[i] ?? 0] ?? null;
        });
      case 'lost-keys':
        return each(message.cids, record => {
          // A small result that came along outlives its worker.
          if (record.inline === null) record.status = 'pending';
        });
      case 'cancelled-keys':
        return each(message.cids, record => {
          record.status = 'cancelled';
          record.reason = message.reason;
          record.inline = null;
        });
      case 'hello':
      case 'task-warning':
      case 'closing':
      case 'response':
        return changed;
    }
  }

  /** A key could not be sent at all: it fails here, with a record of the client's own. */
  fail(record: FutureRecord, error: ErrorRecord): void {
    record.status = 'error';
    record.error = error;
  }

  /** Asked for again after an error. */
  retry(record: FutureRecord): void {
    record.status = 'pending';
    record.error = null;
  }

  /** The scheduler is gone: nothing pending will come. Finished small results stay readable. */
  end(reason: string): FutureRecord[] {
    this.ended = reason;
    const changed: FutureRecord[] = [];
    for (const record of this.records.values()) {
      if (record.status === 'pending' || (record.status === 'finished' && record.inline === null)) {
        record.status = 'lost';
        record.reason = reason;
        changed.push(record);
      }
    }
    return changed;
  }
}
