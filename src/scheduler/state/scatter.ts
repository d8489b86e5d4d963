/** Values that clients put on workers themselves: data, not tasks; it cannot be computed again. */
import { ProtocolError } from '../../base/errors.ts';
import type { Scattered } from '../../protocol/messages.ts';
import { bind, tellState } from './clients.ts';
import type { ClientRecord } from './clients.ts';
import type { SchedulerState } from './state.ts';
import type { Demands } from './tasks.ts';
import { awaitScattered } from './recovery.ts';
import { addReplica } from './replicas.ts';
import { recommend } from './transitions.ts';
import type { WorkerRecord } from './workers.ts';

/** A value that a client is about to put on a worker, or has, and has not told of. */
export interface Promised {
  readonly client: string;
  /** Where it shall go, and how long that is waited for before the worker retires. */
  readonly worker: WorkerRecord;
  readonly until: number;
  /** Workers that have it. */
  readonly holders: number[];
  /** Those of them that had it when they came back after their link broke, under a new number. */
  readonly returned: number[];
}

/** ms for a client to put a value where it was told to; so long a worker does not retire. */
const PROMISE_MS = 10_000;

const EMPTY = new Uint8Array(0);

/** Numbers and workers for values that this client is about to put on workers itself. */
export function planScatter(
  state: SchedulerState,
  client: string,
  count: number,
  restrictTo: readonly string[] | null
): { tids: number[]; workers: WorkerRecord[] } {
  const workers = [...state.runningWorkers].filter(({ facts }) => {
    return (
      restrictTo === null ||
      [facts.name, facts.address, facts.host].some(n => restrictTo.includes(n))
    );
  });
  const tids: number[] = [];
  const chosen: WorkerRecord[] = [];
  for (let i = 0; i < count && workers.length > 0; i++) {
    const tid = state.takeTaskId();
    const worker = workers[state.nextRoundRobin++ % workers.length] as WorkerRecord;
    state.promised.set(tid, {
      client,
      worker,
      until: state.now + PROMISE_MS,
      holders: [],
      returned: []
    });
    tids.push(tid);
    chosen.push(worker);
  }
  return { tids, workers: chosen };
}

/** The client has gone before it told of values that it put on workers: nobody will want them. */
export function dropPromised(state: SchedulerState, client: string): void {
  for (const [tid, promise] of state.promised) {
    if (promise.client !== client) continue;
    state.promised.delete(tid);
    for (const id of promise.holders) {
      const worker = state.workers.get(id);
      if (worker !== undefined) state.outbox.free(worker, tid);
    }
  }
}

export function scattered(state: SchedulerState, client: ClientRecord, message: Scattered): void {
  message.cids.forEach((cid, i) => {
    const key = message.keys[i] ?? '';
    const tid = message.tids[i] ?? 0;
    const named = message.workers[i] ?? [];
    const holders = new Set([...named, ...(state.promised.get(tid)?.returned ?? [])]);
    state.promised.delete(tid);
    if (!state.gaveOut(tid)) throw new ProtocolError(`Task number ${tid} was never given out.`);
    let task = state.byKey.get(key);
    if (task === undefined) {
      const demands: Demands = {
        owner: client.share,
        priority: 0,
        generation: client.generation,
        timeout: 0,
        workers: null,
        allowOtherWorkers: false,
        resources: null,
        language: null
      };
      const plain = {
        fn: null,
        args: EMPTY,
        argStart: 0,
        argEnd: 0,
        deps: [],
        order: 0,
        retries: 0
      };
      task = state.newTask({ ...plain, id: tid, key, demands });
      task.nbytes = message.nbytes[i] ?? 0;
      task.type = message.types[i] ?? '';
    }
    bind(client, cid, task, true);
    for (const id of holders) {
      const worker = state.workers.get(id);
      if (worker === undefined) continue;
      if (task.id === tid) addReplica(state, task, worker);
      else state.outbox.free(worker, tid);
    }
    if (task.whoHas === null) awaitScattered(state, task, named);
    if (task.state === 'memory') tellState(state, client, cid, task);
    else if (task.state === 'released')
      recommend(state, task, task.whoHas === null ? 'waiting' : 'memory');
  });
}
