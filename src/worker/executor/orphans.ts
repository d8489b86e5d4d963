/**
 * Executions whose scheduler is gone. They run on: their code knows nothing of schedulers, and the
 * next one will want most of them. A task that the next scheduler gives to this worker takes over
 * the execution of the same key, under its new number, or what came of it; one that nobody takes
 * over in time is ended. An orphan runs beside the threads of the new pool, not in one of them.
 */
import type { ErrorRecord } from '../../protocol/messages.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { packFrames } from '../../serialize/value.ts';
import { MemoryStore, wholeValue } from '../store.ts';
import type { StoredValue, ValueStore } from '../store.ts';
import type { PoolEvents, TaskToRun } from './pool-options.ts';
import type { ExecutorPool } from './pool.ts';

/** What came of an execution; neither value nor error: its thread was lost over another task. */
export interface Outcome {
  value: StoredValue | null;
  error: ErrorRecord | null;
  lane: number;
  start: number;
  duration: number;
}

/** A task of the present scheduler that has taken an execution over. */
interface Claim {
  task: TaskToRun;
  events: PoolEvents;
  store: ValueStore;
}

interface Orphan {
  /** null: it has ended. */
  pool: ExecutorPool | null;
  /** Numbers under which its pool knows it. */
  tid: number;
  runId: number;
  key: string;
  outcome: Outcome | null;
  claim: Claim | null;
}

export class Orphans {
  private readonly byKey = new Map<string, Orphan>();

  /** Keys of executions that run, or have ended, and that nobody has taken over. */
  get keys(): string[] {
    return [...this.byKey.values()].filter(one => one.claim === null).map(one => one.key);
  }

  /** Takes over what a pool runs; it starts nothing any more. Claims of before are void. */
  adopt(pool: ExecutorPool): void {
    for (const orphan of this.byKey.values()) orphan.claim = null;
    const store = new MemoryStore();
    const mine = new Map<number, Orphan>();
    const settle = (tid: number, outcome: Outcome | null): void => {
      const orphan = mine.get(tid);
      mine.delete(tid);
      if (orphan !== undefined) this.settle(orphan, outcome);
      if (mine.size === 0) void pool.close();
    };
    const running = pool.retire(store, {
      onSuccess: event =>
        event.tids.forEach((tid, i) => {
          const value = wholeValue(store.get(tid)) ?? null;
          store.delete(tid);
          const [lane, start, duration] = [event.lanes[i], event.starts[i], event.durations[i]];
          settle(tid, {
            value,
            error: null,
            lane: lane ?? 0,
            start: start ?? 0,
            duration: duration ?? 0
          });
        }),
      onFailure: ({ tid }, error, lane, start, duration) =>
        settle(tid, { value: null, error, lane, start, duration }),
      onReturned: tids => tids.forEach(tid => settle(tid, null)),
      onReschedule: tid => settle(tid, null),
      onKilled: tid => settle(tid, null)
    });
    for (const { tid, runId, key } of running) {
      const orphan = { pool, tid, runId, key, outcome: null, claim: null };
      mine.set(tid, orphan);
      this.byKey.set(key, orphan);
    }
    if (mine.size === 0) void pool.close();
  }

  /** One that was announced as running and has ended before it was answered. */
  keep(key: string, outcome: Outcome): void {
    this.byKey.set(key, { pool: null, tid: 0, runId: 0, key, outcome, claim: null });
  }

  /** Gives the execution of this key, or what came of it, to the task; false when there is none. */
  claim(task: TaskToRun, events: PoolEvents, store: ValueStore): boolean {
    const orphan = this.byKey.size === 0 ? undefined : this.byKey.get(task.key);
    if (orphan === undefined || orphan.claim !== null) return false;
    orphan.claim = { task, events, store };
    if (orphan.outcome !== null) this.deliver(orphan, orphan.outcome);
    else if (task.announce) events.onBegan(task.tid, task.runId);
    return true;
  }

  /** Ends an execution that was taken over; false when it is none of these. */
  kill(tid: number, runId: number): boolean {
    const orphan = this.claimed().find(({ claim }) => claim?.task.tid === tid);
    if (orphan?.claim?.task.runId !== runId) return false;
    orphan.pool?.kill(orphan.tid, orphan.runId);
    return true;
  }

  /** Numbers of the tasks that have taken an execution over. */
  running(): number[] {
    return this.claimed().map(({ claim }) => claim?.task.tid ?? 0);
  }

  /** Nobody will ask for the rest any more. */
  expire(): void {
    for (const orphan of [...this.byKey.values()]) {
      if (orphan.claim !== null) continue;
      this.byKey.delete(orphan.key);
      if (orphan.outcome === null) orphan.pool?.kill(orphan.tid, orphan.runId);
    }
  }

  async close(): Promise<void> {
    const pools = new Set([...this.byKey.values()].map(({ pool }) => pool));
    this.byKey.clear();
    await Promise.all([...pools].map(pool => pool?.close()));
  }

  private claimed(): Orphan[] {
    return [...this.byKey.values()].filter(({ claim }) => claim !== null);
  }

  private settle(orphan: Orphan, outcome: Outcome | null): void {
    if (this.byKey.get(orphan.key) !== orphan) return;
    if (orphan.claim !== null) this.deliver(orphan, outcome);
    else if (outcome === null) this.byKey.delete(orphan.key);
    else orphan.outcome = outcome;
  }

  private deliver({ key, claim }: Orphan, outcome: Outcome | null): void {
    this.byKey.delete(key);
    if (claim === null) return;
    const { task, events, store } = claim;
    const { tid, runId } = task;
    if (outcome === null) return events.onReturned([tid], [runId]);
    const { value, error, lane, start, duration } = outcome;
    if (error !== null) return events.onFailure({ tid, runId }, error, lane, start, duration);
    if (value === null) return events.onReturned([tid], [runId]);
    store.put(tid, value);
    const small = value.nbytes + 4 + 4 * value.frames.length <= LIMITS.inlineResultBytes;
    events.onSuccess({
      op: 'execute-success',
      tids: [tid],
      runIds: [runId],
      nbytes: [value.nbytes],
      types: [value.type],
      lanes: [lane],
      starts: [start],
      durations: [duration],
      inline: [task.wanted && small ? packFrames(value) : null]
    });
  }
}
