/**
 * Real executor threads without a worker around them: submit a function, get what the pool says
 * of it.
 */
import { captureFunction } from '../../../src/serialize/capture.ts';
import { deserializeValue, packFrames, serializeValue } from '../../../src/serialize/value.ts';
import type { ErrorRecord } from '../../../src/protocol/messages.ts';
import { ExecutorPool } from '../../../src/worker/executor/pool.ts';
import { MemoryStore } from '../../../src/worker/store.ts';

export type Outcome =
  | { kind: 'value'; value: unknown; lane: number; type: string; inline: Uint8Array | null }
  | { kind: 'error'; error: ErrorRecord }
  | { kind: 'returned' }
  | { kind: 'rescheduled' }
  | { kind: 'killed' };

/** Stands for a dependency inside arguments. */
export class Ref {
  readonly tid: number;
  constructor(tid: number) {
    this.tid = tid;
  }
}

export class Harness {
  readonly store = new MemoryStore();
  readonly pool: ExecutorPool;
  readonly log: string[] = [];
  private readonly waiting = new Map<number, (outcome: Outcome) => void>();
  private readonly beginnings = new Map<number, () => void>();
  /** Left their slots, in this order. */
  readonly seceded: number[] = [];
  /** Recalled in vain. */
  readonly kept: number[] = [];
  private tid = 1000;
  private fn = 0;

  constructor(nthreads = 1, memoryLimit = 0) {
    const settle = (tid: number, outcome: Outcome): void => this.waiting.get(tid)?.(outcome);
    this.pool = new ExecutorPool({
      nthreads,
      memoryLimit,
      root: process.cwd(),
      address: 'http://127.0.0.1:1',
      store: this.store,
      context: () => ({
        worker: { name: 'w', address: 'http://127.0.0.1:1', nthreads, memoryLimit },
        scheduler: { address: '', token: '' }
      }),
      events: {
        onSuccess: event =>
          event.tids.forEach((tid, i) => {
            const value = deserializeValue(this.store.get(tid) ?? { family: 'plain', frames: [] });
            const lane = event.lanes[i] ?? -1;
            const type = event.types[i] ?? '';
            settle(tid, { kind: 'value', value, lane, type, inline: event.inline[i] ?? null });
          }),
        onFailure: (task, error) => settle(task.tid, { kind: 'error', error }),
        onReturned: tids => tids.forEach(tid => settle(tid, { kind: 'returned' })),
        onSeceded: tid => this.seceded.push(tid),
        onReschedule: tid => settle(tid, { kind: 'rescheduled' }),
        onKept: tids => this.kept.push(...tids),
        onKilled: tid => settle(tid, { kind: 'killed' }),
        onBegan: tid => this.beginnings.get(tid)?.(),
        onLog: (level, key, text) => this.log.push(`${level} ${key}: ${text}`),
        onBroken: reason => this.log.push(`broken: ${reason}`)
      }
    });
  }

  /** Registers a function and gives its number. */
  async define(fn: (...args: never[]) => unknown): Promise<number> {
    const captured = await captureFunction(fn, { reference: value => value instanceof Ref });
    this.pool.addFunction(++this.fn, captured.name, captured.blob);
    return this.fn;
  }

  /** Hands a task over; `began` resolves when its code starts. */
  hand(fn: number, args: unknown[] = [], captured: Ref[] = []): Handle {
    const tid = ++this.tid;
    const deps = [...captured.map(ref => ref.tid)];
    const reference = (value: object): number | undefined =>
      value instanceof Ref ? deps.push(value.tid) - 1 - captured.length : undefined;
    const bytes = packFrames(serializeValue(args, { reference }));
    const done = new Promise<Outcome>(resolve => this.waiting.set(tid, resolve));
    const began = new Promise<void>(resolve => this.beginnings.set(tid, resolve));
    this.pool.execute({
      tid,
      runId: 1,
      key: `key-${tid}`,
      fn,
      args: bytes,
      deps,
      announce: true,
      wanted: true
    });
    return { tid, done, began };
  }

  async call(fn: (...args: never[]) => unknown, ...args: unknown[]): Promise<Outcome> {
    const handle = this.hand(await this.define(fn), args);
    this.pool.flush();
    return handle.done;
  }

  /** The error record of a call that must fail. */
  async fails(fn: (...args: never[]) => unknown, ...args: unknown[]): Promise<ErrorRecord> {
    const outcome = await this.call(fn, ...args);
    if (outcome.kind !== 'error') throw new Error(`it did not fail: ${JSON.stringify(outcome)}`);
    return outcome.error;
  }

  async value(fn: (...args: never[]) => unknown, ...args: unknown[]): Promise<unknown> {
    const outcome = await this.call(fn, ...args);
    if (outcome.kind !== 'value') throw new Error(`no value: ${JSON.stringify(outcome)}`);
    return outcome.value;
  }
}

export interface Handle {
  tid: number;
  done: Promise<Outcome>;
  began: Promise<void>;
}
