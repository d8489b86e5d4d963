/**
 * Random histories: a scheduler that asks, frees, cancels and replicates as it likes, peers that
 * answer, are busy, lack values or die, executors that finish, fail, give back or are killed. The
 * state validates itself after every event, answers for everything it was told, and is empty when
 * all has been freed.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Instruction, WorkerEvent } from '../../../src/worker/state/state.ts';
import type { WorkerToScheduler } from '../../../src/protocol/messages.ts';
import { compute, Driver, failure, free, gathered, success } from './driver.ts';

const TASKS = 8;

/** The world around the state: what it has under way, and what its store holds. */
class World {
  readonly driver: Driver;
  readonly running = new Map<number, number>();
  readonly killing = new Set<number>();
  readonly gathers = new Map<number, number[]>();
  readonly store = new Set<number>();
  private run = 0;
  private readonly lastRun = new Map<number, number>();
  private readonly recalls: [number, number][] = [];
  /** Runs it has given back. */
  private readonly given = new Set<number>();

  constructor(nthreads: number) {
    this.driver = new Driver({ nthreads, memoryLimit: 1000, resources: { gpu: 1 } });
  }

  tell(event: WorkerEvent): void {
    this.driver.now += 100;
    for (const instruction of this.driver.do(event)) this.carryOut(instruction);
    const inMemory = [...this.driver.state.tasks.values()].filter(t => t.state === 'memory');
    for (const task of inMemory) expect(this.store.has(task.tid)).toBe(true);
  }

  private carryOut(instruction: Instruction): void {
    switch (instruction.op) {
      case 'execute':
        expect(this.running.has(instruction.tid)).toBe(false);
        this.running.set(instruction.tid, instruction.runId);
        break;
      case 'kill-execution':
        expect(this.running.get(instruction.tid)).toBe(instruction.runId);
        this.killing.add(instruction.tid);
        break;
      case 'gather':
        expect(this.gathers.has(instruction.worker)).toBe(false);
        this.gathers.set(instruction.worker, instruction.tids);
        break;
      case 'drop-data':
        for (const tid of instruction.tids) this.store.delete(tid);
        break;
      case 'recall-executions':
        instruction.tids.forEach((tid, i) => this.recalls.push([tid, instruction.runIds[i] ?? 0]));
        break;
      case 'send':
        this.heard(instruction.message);
        break;
      case 'retry-busy':
        break;
    }
  }

  /** What it has let go of under a run it must never report under that run. */
  private heard(message: WorkerToScheduler): void {
    if (message.op === 'steal-response') {
      message.states.forEach((state, i) => {
        if (!['ready', 'constrained', 'waiting'].includes(state)) return;
        expect(this.running.get(message.tids[i] ?? 0)).not.toBe(message.runIds[i]);
        this.given.add(message.runIds[i] ?? 0);
      });
    }
    if (message.op !== 'tasks-finished') return;
    for (const runId of message.runIds) expect(this.given.has(runId)).toBe(false);
  }

  /** An executor answers what it was asked to give back. */
  recall(back: boolean): void {
    const [tid, runId] = this.recalls.shift() ?? [0, 0];
    const given = back && this.running.get(tid) === runId && !this.killing.has(tid);
    if (given) this.running.delete(tid);
    const op = given ? 'execute-returned' : 'execute-kept';
    this.tell({ op, tids: [tid], runIds: [runId] });
  }

  /** The scheduler asks for tasks under the last run it gave each, or an earlier one. */
  steal(tids: number[], late: boolean): void {
    const runIds = tids.map(tid => (this.lastRun.get(tid) ?? 1) - (late ? 1 : 0));
    this.tell({ op: 'steal-request', stimulus: 'test', tids, runIds });
  }

  compute(tid: number, holders: number, seed: number): void {
    const deps = [];
    for (let dep = 1; dep < tid; dep++) {
      if (((seed >> dep) & 3) !== 0) continue;
      deps.push({ tid: dep, holders: [1, 2, 3].filter(peer => (holders >> peer) & 1) });
    }
    const resources = seed % 5 === 0 ? { gpu: 1 } : null;
    const duration = seed % 3 === 0 ? 0.1 : 500;
    const timeout = seed % 7 === 0 ? 1 : 0;
    this.lastRun.set(tid, ++this.run);
    this.tell(compute({ tid, run: this.run, deps, resources, duration, timeout, fn: tid % 3 }));
  }

  finish(pick: number, how: number): void {
    const tid = [...this.running.keys()][pick % Math.max(1, this.running.size)];
    if (tid === undefined) return;
    const runId = this.running.get(tid) ?? 0;
    if (how === 5) return this.tell({ op: 'execution-began', tid, runId });
    if (how === 6) return this.tell({ op: 'secede', tid, runId, duration: 5 });
    this.running.delete(tid);
    const killed = this.killing.delete(tid);
    if (killed && how > 1) return this.tell({ op: 'execution-killed', tid, runId });
    if (how < 2) this.store.add(tid);
    if (how < 2) this.tell(success(tid, runId, 0.2));
    else if (how === 2) this.tell(failure(tid, runId));
    else if (how === 3) this.tell({ op: 'execute-returned', tids: [tid], runIds: [runId] });
    else this.tell({ op: 'execute-reschedule', tid, runId });
  }

  answer(pick: number, how: number): void {
    const worker = [...this.gathers.keys()][pick % Math.max(1, this.gathers.size)];
    if (worker === undefined) return;
    const tids = this.gathers.get(worker) ?? [];
    this.gathers.delete(worker);
    if (how === 2) return this.tell({ op: 'gather-busy', worker });
    if (how === 3) return this.tell({ op: 'gather-failure', worker });
    const got = how === 1 ? tids.slice(1) : tids;
    for (const tid of got) this.store.add(tid);
    this.tell(gathered(worker, ...got));
  }

  /** Everything ends and is freed: nothing may be left. */
  drain(): void {
    this.tell({ op: 'unpause' });
    for (let round = 0; round < 100; round++) {
      const all = Array.from({ length: TASKS }, (_, i) => i + 1);
      this.tell(free(...all));
      this.finish(0, 0);
      this.answer(0, 0);
      if (this.running.size === 0 && this.gathers.size === 0) break;
    }
    this.tell(free(...Array.from({ length: TASKS }, (_, i) => i + 1)));
    expect([...this.driver.state.tasks.keys()]).toEqual([]);
    expect([...this.store]).toEqual([]);
    expect(this.driver.state.counts).toEqual({
      executing: 0,
      longRunning: 0,
      ready: 0,
      inFlight: 0,
      managed: 0
    });
  }
}

const tid = fc.integer({ min: 1, max: TASKS });
const peer = fc.integer({ min: 1, max: 3 });
const mask = fc.integer({ min: 0, max: 15 });
const seed = fc.integer({ min: 0, max: 1 << 16 });
const pick = fc.nat(7);

const step: fc.Arbitrary<(world: World) => void> = fc.oneof(
  { weight: 6, arbitrary: fc.tuple(tid, mask, seed).map(a => (w: World) => w.compute(...a)) },
  { weight: 6, arbitrary: fc.tuple(pick, fc.nat(6)).map(a => (w: World) => w.finish(...a)) },
  { weight: 6, arbitrary: fc.tuple(pick, fc.nat(3)).map(a => (w: World) => w.answer(...a)) },
  {
    weight: 3,
    arbitrary: fc.uniqueArray(tid).map(tids => (w: World) => w.tell(free(...tids)))
  },
  fc.tuple(fc.uniqueArray(tid), fc.boolean()).map(([tids, force]) => (w: World) => {
    w.tell({ op: 'cancel-compute', stimulus: 'test', tids, force });
  }),
  fc.tuple(fc.uniqueArray(tid, { minLength: 1 }), mask).map(([tids, held]) => (w: World) => {
    const holders = tids.map(() => [1, 2, 3].filter(worker => (held >> worker) & 1));
    const nbytes = tids.map(() => 60);
    const keys = tids.map(id => `k${id}`);
    w.tell({ op: 'acquire-replicas', stimulus: 'test', tids, keys, nbytes, holders });
  }),
  fc
    .uniqueArray(tid)
    .map(tids => (w: World) => w.tell({ op: 'remove-replicas', stimulus: 'test', tids })),
  fc.tuple(fc.uniqueArray(tid, { minLength: 1 }), mask).map(([tids, held]) => (w: World) => {
    const holders = tids.map(() => [0, 1, 2, 3].filter(worker => (held >> worker) & 1));
    w.tell({ op: 'refresh-who-has', stimulus: 'test', tids, holders });
  }),
  peer.map(worker => (w: World) => w.tell({ op: 'workers', added: [], removed: [worker] })),
  peer.map(worker => (w: World) => {
    w.tell({ op: 'workers', added: [{ worker, address: 'a', host: 'here' }], removed: [] });
  }),
  peer.map(worker => (w: World) => w.tell({ op: 'retry-busy', worker })),
  {
    weight: 3,
    arbitrary: fc.tuple(fc.uniqueArray(tid, { minLength: 1 }), fc.nat(9)).map(
      ([tids, late]) =>
        (w: World) =>
          w.steal(tids, late === 0)
    )
  },
  { weight: 2, arbitrary: fc.boolean().map(back => (w: World) => w.recall(back)) },
  fc.boolean().map(pause => (w: World) => w.tell({ op: pause ? 'pause' : 'unpause' })),
  fc.constant((w: World) => w.tell({ op: 'tick' })),
  // Events about executions that ended long ago change nothing.
  tid.map(id => (w: World) => {
    w.tell({ op: 'execution-killed', tid: id, runId: 1_000_000 });
    w.tell({ op: 'execute-returned', tids: [id], runIds: [1_000_000] });
    w.tell(failure(id, 1_000_000));
  })
);

test('random histories keep every invariant and leave nothing behind', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 3 }),
      fc.array(step, { minLength: 1, maxLength: 120, size: 'max' }),
      (nthreads, steps) => {
        const world = new World(nthreads);
        for (const act of steps) act(world);
        world.drain();
      }
    ),
    { numRuns: 1000, seed: 1 }
  );
});
