/**
 * How many no-op tasks a second go through a worker: its state, its store and one executor thread,
 * without links. Beside it the state alone. One JSON line a result.
 *
 *   node bench/worker-executor.ts [tasks]
 */
import { captureFunction } from '../src/serialize/capture.ts';
import { packFrames, serializeValue } from '../src/serialize/value.ts';
import type { ComputeTasks } from '../src/protocol/messages.ts';
import { ExecutorPool } from '../src/worker/executor/pool.ts';
import { WorkerState } from '../src/worker/state/state.ts';
import type { Instruction, WorkerEvent } from '../src/worker/state/state.ts';
import { MemoryStore } from '../src/worker/store.ts';

const count = Number(process.argv[2] ?? 100_000);
/** Tasks of one message, as a scheduler keeps a worker supplied. */
const BATCH = 256;

function message(first: number, size: number): ComputeTasks {
  const tids = Array.from({ length: size }, (_, i) => first + i);
  return {
    op: 'compute-tasks',
    stimulus: 'bench',
    tids,
    keys: tids.map(tid => `noop-${tid}`),
    runIds: tids,
    fns: tids.map(() => 1),
    args: tids.map(tid => packFrames(serializeValue([tid]))),
    priorities: tids.flatMap(tid => [0, 1, tid]),
    durations: tids.map(() => 0.01),
    wanted: tids.map(() => 1),
    depOffsets: Array.from({ length: size + 1 }, () => 0),
    deps: [],
    depKeys: [],
    depNbytes: [],
    depHolders: []
  };
}

function messages(): ComputeTasks[] {
  const all: ComputeTasks[] = [];
  for (let first = 1; first <= count; first += BATCH) {
    all.push(message(first, Math.min(BATCH, count - first + 1)));
  }
  return all;
}

function freshState(): WorkerState {
  return new WorkerState({
    worker: 1,
    address: 'bench',
    host: 'bench',
    nthreads: 1,
    memoryLimit: 0
  });
}

function report(bench: string, ms: number): void {
  const perSecond = Math.round(count / (ms / 1000));
  console.log(JSON.stringify({ bench, tasks: count, perSecond, usPerTask: (1000 * ms) / count }));
}

function stateAlone(): void {
  const all = messages();
  const state = freshState();
  const began = performance.now();
  let pending: number[] = [];
  const run = (event: WorkerEvent): void => {
    for (const one of state.handle(event, 1)) if (one.op === 'execute') pending.push(one.tid);
  };
  const finish = (): void => {
    const tids = pending;
    pending = [];
    const zeros = tids.map(() => 0);
    const types = tids.map(() => 'number');
    const inline = tids.map(() => null);
    run({
      op: 'execute-success',
      tids,
      runIds: tids,
      nbytes: zeros,
      types,
      lanes: zeros,
      starts: zeros,
      durations: zeros,
      inline
    });
  };
  for (const compute of all) {
    run(compute);
    while (pending.length > 0) finish();
    run({ op: 'free-keys', stimulus: 'bench', tids: compute.tids });
  }
  report('worker-state', performance.now() - began);
}

async function throughExecutor(): Promise<void> {
  const state = freshState();
  const store = new MemoryStore();
  let finished = 0;
  let done: () => void = () => undefined;
  let events: WorkerEvent[] = [];
  let supply: () => void = () => undefined;
  const pool = new ExecutorPool({
    nthreads: 1,
    memoryLimit: 0,
    root: process.cwd(),
    address: 'bench',
    store,
    events: {
      onSuccess: event => {
        finished += event.tids.length;
        events.push(event, { op: 'free-keys', stimulus: 'bench', tids: event.tids });
        supply();
        work();
        if (finished === count) done();
      },
      onFailure: (_task, error) => {
        throw new Error(error.message);
      },
      onReturned: () => undefined,
      onSeceded: () => undefined,
      onReschedule: () => undefined,
      onKept: () => undefined,
      onKilled: () => undefined,
      onBegan: () => undefined,
      onLog: (_level, _key, text) => console.error(text),
      onBroken: reason => {
        throw new Error(reason);
      }
    }
  });
  const carryOut = (instruction: Instruction): void => {
    if (instruction.op === 'drop-data') {
      for (const tid of instruction.tids) store.delete(tid);
      pool.drop(instruction.tids);
    }
    if (instruction.op !== 'execute') return;
    const task = state.get(instruction.tid);
    if (task === undefined) return;
    const { tid, runId, key, fn, args, wanted } = task;
    pool.execute({ tid, runId, key, fn, args, deps: [], announce: false, wanted });
  };
  const work = (): void => {
    const now = Date.now();
    for (let i = 0; i < events.length; i++) {
      for (const one of state.handle(events[i] as WorkerEvent, now)) carryOut(one);
    }
    events = [];
    pool.flush();
  };
  const { name, blob } = await captureFunction((i: number) => i);
  pool.addFunction(1, name, blob);
  const all = messages();
  let next = 0;
  supply = () => {
    while (next < all.length && next * BATCH - finished < 2 * BATCH) {
      events.push(all[next++] as ComputeTasks);
    }
  };
  const ended = new Promise<void>(resolve => (done = resolve));
  const began = performance.now();
  supply();
  work();
  await ended;
  report('worker-executor', performance.now() - began);
  await pool.close();
}

stateAlone();
for (let round = 0; round < 3; round++) await throughExecutor();
