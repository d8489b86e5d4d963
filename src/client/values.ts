/**
 * Values on their way between a client and the workers that hold them, past the scheduler, which only
 * says who that is. A holder that does not answer, or no longer holds a value, is no error: the
 * scheduler is asked again until the future itself says that it is lost.
 */
import { DataPool } from '../comm/data.ts';
import { deserializeValue, deserializeValueAsync, unpackFrames } from '../serialize/value.ts';
import type { Serialized } from '../serialize/value.ts';
import type { Future, WaitOptions } from './future.ts';
import type { Session } from './session.ts';
import type { FutureRecord } from './state/client-state.ts';
import { waitRaising, waitTimeout } from './waiting.ts';

/** ms between tries to fetch a value whose holder did not answer. */
const FETCH_RETRY_MS = 100;

/** A value that is put onto a worker. */
export interface PutValue {
  tid: number;
  key: string;
  type: string;
  nbytes: number;
  serialized: Serialized;
}

interface Located {
  epoch: string;
  tids: number[];
  holders: string[][];
}

interface DataHead {
  busy?: boolean;
  tids: number[];
  families: string[];
  counts: number[];
}

/** Fetches and puts values for one session. */
export class Values {
  private readonly session: Session;
  private readonly pool: DataPool;

  constructor(session: Session, token: string) {
    this.session = session;
    this.pool = new DataPool(token);
  }

  close(): void {
    this.pool.close();
  }

  /** Results of futures, in order. The first failed one throws, or is left out with `errors: 'skip'`. */
  async gather(
    futures: readonly Future[],
    options: WaitOptions & { errors?: 'raise' | 'skip' } = {}
  ): Promise<unknown[]> {
    const skip = options.errors === 'skip';
    const end = options.timeout === undefined ? Infinity : Date.now() + options.timeout * 1000;
    const values = new Map<FutureRecord, unknown>();
    await this.session.alive(async () => {
      for (;;) {
        const timeout = end === Infinity ? {} : { timeout: Math.max(0, (end - Date.now()) / 1000) };
        await waitRaising(this.session, futures, timeout, skip);
        const missing = futures.filter(
          ({ record }) => record.status === 'finished' && !values.has(record)
        );
        // One may be lost or cancelled again before this looks for its value.
        const changed = futures.some(
          ({ record }) => !values.has(record) && (!skip || record.status === 'pending')
        );
        if (missing.length === 0 && !changed) return;
        const complete = await this.fetchRound(missing, values);
        if (!complete) await new Promise(resolve => setTimeout(resolve, FETCH_RETRY_MS));
        if (Date.now() > end)
          throw waitTimeout(values.size, futures.length, options.timeout ?? 0, []);
      }
    });
    const chosen = skip ? futures.filter(({ record }) => values.has(record)) : futures;
    return chosen.map(({ record }) => values.get(record));
  }

  /** Brings what can be brought now; false when something must be tried again. */
  private async fetchRound(
    futures: readonly Future[],
    values: Map<FutureRecord, unknown>
  ): Promise<boolean> {
    const remote: FutureRecord[] = [];
    for (const { record } of futures) {
      if (record.inline === null) remote.push(record);
      else if (!values.has(record)) {
        const value = read(unpackFrames(record.inline));
        values.set(record, value instanceof Promise ? await value : value);
      }
    }
    if (remote.length === 0) return true;
    const where = (await this.session.request('locate', {
      cids: remote.map(({ cid }) => cid)
    })) as Located;
    const byHolder = new Map<string, { tid: number; record: FutureRecord }[]>();
    let complete = true;
    remote.forEach((record, i) => {
      const holders = where.holders[i] ?? [];
      const holder = holders[Math.floor(Math.random() * holders.length)];
      if (holder === undefined) {
        complete = false;
        return;
      }
      const wanted = { tid: where.tids[i] ?? 0, record };
      const list = byHolder.get(holder);
      if (list === undefined) byHolder.set(holder, [wanted]);
      else list.push(wanted);
    });
    const done = await Promise.all(
      [...byHolder].map(([holder, wanted]) => this.fetchFrom(holder, where.epoch, wanted, values))
    );
    return complete && done.every(Boolean);
  }

  private async fetchFrom(
    holder: string,
    epoch: string,
    wanted: { tid: number; record: FutureRecord }[],
    values: Map<FutureRecord, unknown>
  ): Promise<boolean> {
    let answer;
    try {
      answer = await this.pool.request(holder, {
        head: { op: 'get-data', epoch, tids: wanted.map(({ tid }) => tid) },
        frames: []
      });
    } catch {
      // The worker died or closed: the scheduler will say what becomes of its values.
      return false;
    }
    const head = answer.head as unknown as DataHead;
    if (head.busy === true) return false;
    const records = new Map(wanted.map(({ tid, record }) => [tid, record]));
    let at = 0;
    for (const [i, tid] of head.tids.entries()) {
      const count = head.counts[i] ?? 0;
      const frames = answer.frames.slice(at, at + count);
      at += count;
      const record = records.get(tid);
      if (record === undefined) continue;
      const value = read({ family: head.families[i] as Serialized['family'], frames });
      values.set(record, value instanceof Promise ? await value : value);
    }
    return wanted.every(({ record }) => values.has(record));
  }

  /** Puts values straight onto a worker. */
  async put(holder: string, epoch: string, values: PutValue[]): Promise<void> {
    const head = {
      op: 'put-data',
      epoch,
      tids: values.map(value => value.tid),
      keys: values.map(value => value.key),
      families: values.map(value => value.serialized.family),
      counts: values.map(value => value.serialized.frames.length),
      types: values.map(value => value.type),
      nbytes: values.map(value => value.nbytes)
    };
    await this.pool.request(holder, {
      head,
      frames: values.flatMap(value => value.serialized.frames)
    });
  }
}

/** A value; a promise of it only where it may hold functions, whose modules must be imported first. */
function read(serialized: Serialized): unknown {
  return serialized.family === 'plain'
    ? deserializeValue(serialized)
    : deserializeValueAsync(serialized);
}
