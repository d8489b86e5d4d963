/**
 * Random histories of the scheduler's state: clients that submit, release, cancel, retry, come and
 * go; workers that come, go, pause, and answer what they were given, late or never, also for runs
 * that were given up. The state validates itself after every event. At the end every worker answers
 * all that it was given: every future has ended, and nothing is left once all is released. A failing
 * history is shrunk to the shortest one and printed.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isEmpty } from '../../src/scheduler/state/validate.ts';
import type { WorkerToScheduler } from '../../src/protocol/messages.ts';
import { Harness } from '../scheduler/harness.ts';

/** What a worker was told to run. */
interface Given {
  worker: number;
  tid: number;
  runId: number;
}

class World {
  readonly h = new Harness({ allowedFailures: 2, ammInterval: 0 });
  readonly clients: string[] = [];
  readonly workers: number[] = [];
  /** Not answered yet; also what has been freed since, for late answers. */
  given: Given[] = [];
  readonly holds = new Map<number, Set<number>>();
  /** Futures by client: key to its state as the client hears it. */
  readonly futures = new Map<string, Map<string, string>>();
  private next = 1;

  constructor() {
    this.addWorker(1);
    this.addClient();
  }

  addWorker(nthreads: number): void {
    if (this.workers.length >= 4) return;
    const id = this.h.worker(nthreads);
    this.workers.push(id);
    this.holds.set(id, new Set());
    this.listen();
  }

  addClient(): void {
    if (this.clients.length >= 3) return;
    const id = `c${this.next++}`;
    this.h.client(id);
    this.clients.push(id);
    this.futures.set(id, new Map());
  }

  say(worker: number, message: WorkerToScheduler): void {
    this.h.now += 5;
    this.h.handle({ type: 'worker-message', worker, message });
    this.listen();
  }

  /** Takes in what the scheduler says to workers and clients. */
  listen(): void {
    for (const worker of this.workers) {
      const holds = this.holds.get(worker);
      for (const { tids, runIds } of this.h.toWorker(worker, 'compute-tasks')) {
        tids.forEach((tid, i) => this.given.push({ worker, tid, runId: runIds[i] as number }));
      }
      for (const { tids } of this.h.toWorker(worker, 'free-keys')) {
        for (const tid of tids) holds?.delete(tid);
      }
      this.h.toWorker(worker, 'cancel-compute');
    }
  }

  submit(client: string, count: number, seed: number): void {
    const mine = [...(this.futures.get(client)?.keys() ?? [])];
    const group = `g${this.next++}`;
    const graph: Record<string, string[]> = {};
    for (let i = 0; i < count; i++) {
      const before = [...mine, ...Object.keys(graph)];
      graph[`${group}-${i}`] = before.filter((_, at) => ((seed >> ((at + i) % 30)) & 3) === 3);
    }
    this.h.submit(client, graph, { retries: seed % 3 === 0 ? 1 : 0 });
    for (const key of Object.keys(graph)) this.futures.get(client)?.set(key, 'open');
    this.listen();
  }

  drop(client: string, key: string, how: 'release' | 'cancel' | 'force'): void {
    if (how === 'release') this.h.release(client, key);
    else this.h.cancel(client, key, how === 'force');
    const gone = this.h.toClient(client, 'cancelled-keys').flatMap(message => message.cids);
    for (const one of [...(this.futures.get(client)?.keys() ?? [])]) {
      if (one === key || gone.includes(this.h.cid(client, one)))
        this.futures.get(client)?.delete(one);
    }
    this.listen();
  }

  answer(pick: number, how: number): void {
    const [one] = this.given.splice(pick % Math.max(1, this.given.length), 1);
    if (one === undefined || !this.workers.includes(one.worker)) return;
    const { worker, tid, runId } = one;
    const times = { lane: 0, start: this.h.now, duration: 1 };
    if (how === 0) {
      const error = { code: 'TASK_ERRED', message: '', traceback: '', exception: null };
      const record = { ...error, blame: '', worker: '' };
      return this.say(worker, { op: 'task-erred', tid, runId, error: record, ...times });
    }
    if (how === 1) return this.say(worker, { op: 'reschedule', tid, runId });
    this.holds.get(worker)?.add(tid);
    this.say(worker, {
      op: 'tasks-finished',
      tids: [tid],
      runIds: [runId],
      nbytes: [8 + (tid % 5)],
      types: ['number'],
      lanes: [0],
      starts: [this.h.now],
      durations: [how === 2 ? 1 : 200],
      inline: [null]
    });
  }

  /** A worker has fetched a copy, lost one, or cannot get one from another. */
  copies(pick: number, how: number): void {
    const worker = this.workers[pick % Math.max(1, this.workers.length)];
    const other = this.workers[(pick + 1) % Math.max(1, this.workers.length)];
    if (worker === undefined || other === undefined || worker === other) return;
    const [tid] = this.holds.get(other) ?? [];
    if (tid === undefined) return;
    if (how === 0) {
      this.holds.get(worker)?.add(tid);
      this.say(worker, { op: 'add-keys', tids: [tid] });
    } else if (how === 1) this.say(worker, { op: 'missing-data', tids: [tid], worker: other });
    else this.say(worker, { op: 'request-refresh-who-has', tids: [tid] });
  }

  lose(pick: number, expected: boolean): void {
    const [worker] = this.workers.splice(pick % Math.max(1, this.workers.length), 1);
    if (worker === undefined) return;
    this.h.lose(worker, expected);
    this.holds.delete(worker);
    this.listen();
  }

  leave(pick: number): void {
    const [client] = this.clients.splice(pick % Math.max(1, this.clients.length), 1);
    if (client === undefined) return;
    this.h.handle({ type: 'remove-client', client });
    this.futures.delete(client);
    this.listen();
  }

  status(pick: number, paused: boolean): void {
    const worker = this.workers[pick % Math.max(1, this.workers.length)];
    if (worker === undefined) return;
    this.say(worker, { op: 'worker-status-change', status: paused ? 'paused' : 'running' });
  }

  /** All that was given is answered, then all is let go of. */
  drain(): void {
    this.addWorker(2);
    for (const worker of this.workers)
      this.say(worker, { op: 'worker-status-change', status: 'running' });
    for (let round = 0; this.given.length > 0; round++) {
      expect(round).toBeLessThan(5000);
      this.answer(0, 2);
    }
    for (const [client, futures] of this.futures) {
      for (const key of futures.keys()) {
        const state = this.h.state.byKey.get(key)?.state;
        expect([key, state === 'memory' || state === 'erred']).toEqual([key, true]);
      }
      this.h.release(client, ...futures.keys());
      const fns = [...(this.h.state.clients.get(client)?.functions.keys() ?? [])];
      this.h.handle({ type: 'client-message', client, message: { op: 'release-functions', fns } });
    }
    expect(isEmpty(this.h.state)).toBe(true);
  }
}

type Step = { name: string; run: (world: World) => void };

const pick = fc.nat(20);

function step(
  name: string,
  weight: number,
  args: fc.Arbitrary<number[]>,
  run: (world: World, ...args: number[]) => void
) {
  const arbitrary = args.map((values): Step => ({
    name: `${name} ${values.join(' ')}`,
    run: world => run(world, ...values)
  }));
  return { weight, arbitrary };
}

function anyFuture(world: World, at: number): [client: string, key: string] | null {
  const all = [...world.futures].flatMap(([client, futures]) =>
    [...futures.keys()].map((key): [string, string] => [client, key])
  );
  return all[at % Math.max(1, all.length)] ?? null;
}

const STEPS: fc.Arbitrary<Step> = fc.oneof(
  step(
    'submit',
    6,
    fc.tuple(pick, fc.integer({ min: 1, max: 5 }), fc.nat(2 ** 30)),
    (world, at = 0, count = 1, seed = 0) => {
      const client = world.clients[at % Math.max(1, world.clients.length)];
      if (client !== undefined) world.submit(client, count, seed);
    }
  ),
  step('answer', 12, fc.tuple(pick, fc.nat(5)), (world, at = 0, how = 0) => world.answer(at, how)),
  step('copies', 3, fc.tuple(pick, fc.nat(2)), (world, at = 0, how = 0) => world.copies(at, how)),
  step('drop', 4, fc.tuple(pick, fc.nat(2)), (world, at = 0, how = 0) => {
    const one = anyFuture(world, at);
    if (one !== null)
      world.drop(...one, (['release', 'cancel', 'force'] as const)[how] ?? 'release');
  }),
  step('retry', 2, fc.tuple(pick), (world, at = 0) => {
    const one = anyFuture(world, at);
    if (one === null) return;
    world.h.retry(...one);
    world.listen();
  }),
  step('add-worker', 2, fc.tuple(fc.integer({ min: 1, max: 3 })), (world, threads = 1) =>
    world.addWorker(threads)
  ),
  step('lose-worker', 2, fc.tuple(pick, fc.nat(1)), (world, at = 0, how = 0) =>
    world.lose(at, how === 1)
  ),
  step('pause', 1, fc.tuple(pick, fc.nat(1)), (world, at = 0, how = 0) =>
    world.status(at, how === 1)
  ),
  step('add-client', 1, fc.constant([]), world => world.addClient()),
  step('leave', 1, fc.tuple(pick), (world, at = 0) => world.leave(at)),
  step('tick', 1, fc.constant([]), world => {
    world.h.now += 1000;
    world.h.handle({ type: 'tick' });
    world.listen();
  })
);

test('random histories keep every invariant, end every future and leave nothing behind', () => {
  fc.assert(
    fc.property(fc.array(STEPS, { minLength: 1, maxLength: 80, size: 'max' }), steps => {
      const world = new World();
      const done: string[] = [];
      try {
        for (const { name, run } of steps) {
          done.push(name);
          run(world);
        }
        world.drain();
      } catch (error) {
        throw new Error(`after ${done.join(', ')}: ${(error as Error).message}`, { cause: error });
      }
    }),
    { numRuns: 400, seed: 20261121 }
  );
});
