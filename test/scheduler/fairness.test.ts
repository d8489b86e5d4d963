/** Clients side by side: the scheduler's and the workers' states together, in virtual time. */
import { describe, expect, it } from 'vitest';
import type { SchedulerEvent } from '../../src/scheduler/state/state.ts';
import { WorkerState } from '../../src/worker/state/state.ts';
import type { WorkerEvent } from '../../src/worker/state/state.ts';
import { Harness } from './harness.ts';

interface Run {
  tid: number;
  runId: number;
}

/** One thread that runs what it was handed, in order; `duration` tells what each key takes. */
class Thread {
  readonly state: WorkerState;
  readonly queue: Run[] = [];
  running: (Run & { ends: number; key: string; took: number }) | null = null;

  constructor(id: number) {
    const plain = { address: `http://w${id}`, host: 'h', nthreads: 1, memoryLimit: 0 };
    this.state = new WorkerState({ worker: id, ...plain });
  }
}

class Machine {
  readonly h = new Harness();
  readonly threads = new Map<number, Thread>();
  /** Keys in the order in which they began. */
  readonly begun: string[] = [];
  private readonly duration: (key: string) => number;

  constructor(threads: number, duration: (key: string) => number) {
    this.duration = duration;
    for (let i = 0; i < threads; i++) {
      const id = this.h.state.nextWorker;
      this.threads.set(id, new Thread(id));
      this.h.worker(1);
    }
    this.deliver();
  }

  /** Passes on all that the scheduler has said since the last call. */
  deliver(): void {
    for (const [id, thread] of this.threads) {
      for (const message of this.h.everythingTo(id)) {
        if (
          message.op === 'workers' ||
          message.op === 'compute-tasks' ||
          message.op === 'free-keys'
        )
          this.tell(id, thread, message);
      }
    }
  }

  private tell(id: number, thread: Thread, event: WorkerEvent): void {
    const { h } = this;
    for (const one of thread.state.handle(event, h.now)) {
      if (one.op === 'execute') thread.queue.push({ tid: one.tid, runId: one.runId });
      else if (one.op === 'gather') {
        const nbytes = one.tids.map(() => 8);
        const found = { worker: one.worker, tids: one.tids, nbytes, types: nbytes.map(() => 'n') };
        this.tell(id, thread, { op: 'gather-success', ...found });
      } else if (one.op === 'send') {
        const message = one.message as (SchedulerEvent & { type: 'worker-message' })['message'];
        h.handle({ type: 'worker-message', worker: id, message });
      }
    }
    thread.state.validate();
    this.start(thread);
  }

  private start(thread: Thread): void {
    const next = thread.running === null ? thread.queue.shift() : undefined;
    if (next === undefined) return;
    const key = thread.state.get(next.tid)?.key ?? '';
    const took = this.duration(key);
    this.begun.push(key);
    thread.running = { ...next, key, took, ends: this.h.now + took };
  }

  /** The task that ends next ends; false when none runs. */
  step(): boolean {
    this.deliver();
    let first: [number, Thread] | null = null;
    for (const [id, thread] of this.threads) {
      const ends = thread.running?.ends ?? Infinity;
      if (ends < (first?.[1].running?.ends ?? Infinity)) first = [id, thread];
    }
    const running = first?.[1].running;
    if (first === null || running === null || running === undefined) return false;
    const [id, thread] = first;
    this.h.now = running.ends;
    thread.running = null;
    this.tell(id, thread, {
      op: 'execute-success',
      tids: [running.tid],
      runIds: [running.runId],
      nbytes: [8],
      types: ['number'],
      lanes: [0],
      starts: [running.ends - running.took],
      durations: [running.took],
      inline: [null]
    });
    this.deliver();
    return true;
  }

  /** Steps until all keys of this beginning are in memory. */
  until(prefix: string, count: number): void {
    let done = 0;
    while (done < count) {
      if (!this.step()) throw new Error(`only ${done} of ${count} ${prefix} have ended`);
      done = this.done(prefix);
    }
  }

  done(prefix: string): number {
    let done = 0;
    for (const [key, task] of this.h.state.byKey) {
      if (key.startsWith(prefix) && task.state === 'memory') done++;
    }
    return done;
  }
}

function independent(count: number, group: string): Record<string, string[]> {
  return Object.fromEntries(Array.from({ length: count }, (_, i) => [`${group}-${i}`, []]));
}

describe('two clients', () => {
  it('a small job does not wait behind the queue of a large one', () => {
    const machine = new Machine(4, () => 100);
    const { h } = machine;
    h.client('big');
    h.client('small');
    h.submit('big', independent(2000, 'big'));
    for (let i = 0; i < 40; i++) machine.step();
    h.submit('small', independent(50, 'small'), { fn: 'g' });
    const before = machine.done('big');
    machine.until('small', 50);
    // Both get half; four threads were taken when the small one came.
    expect(machine.done('big') - before).toBeLessThanOrEqual(50 + 8);
  });

  it('a small job does not wait behind what a large one has on the workers already', () => {
    const machine = new Machine(2, key => (key.startsWith('root') ? 1 : 100));
    const { h } = machine;
    h.client('big');
    h.client('small');
    h.submit('big', independent(200, 'root'));
    machine.until('root', 200);
    const sums = Array.from(
      { length: 200 },
      (_, i) => [`big-${i}`, [`root-${i}`]] as [string, string[]]
    );
    h.submit('big', Object.fromEntries(sums), { fn: 'sum' });
    for (let i = 0; i < 10; i++) machine.step();
    const queued = [...h.state.workers.values()].reduce((n, one) => n + one.processing.size, 0);
    expect(queued).toBeGreaterThan(150);
    h.submit('small', independent(20, 'small'), { fn: 'g' });
    const before = machine.done('big');
    machine.until('small', 20);
    expect(machine.done('big') - before).toBeLessThanOrEqual(20 + 6);
  });

  it('long tasks count for what they take, not as one each', () => {
    const machine = new Machine(2, key => (key.startsWith('big') ? 10_000 : 100));
    const { h } = machine;
    h.client('big');
    h.client('small');
    h.submit('big', independent(100, 'big'));
    for (let i = 0; i < 4; i++) machine.step();
    h.submit('small', independent(100, 'small'), { fn: 'g' });
    const before = machine.done('big');
    machine.until('small', 100);
    // 100 x 100 ms are what one of the long tasks takes.
    expect(machine.done('big') - before).toBeLessThanOrEqual(6);
  });

  it('weights divide the time', () => {
    const machine = new Machine(2, () => 50);
    const { h } = machine;
    h.client('light');
    h.client('heavy', 3);
    h.submit('light', independent(600, 'light'));
    h.submit('heavy', independent(600, 'heavy'));
    for (let i = 0; i < 400; i++) machine.step();
    expect(machine.done('heavy')).toBeGreaterThanOrEqual(290);
    expect(machine.done('heavy')).toBeLessThanOrEqual(310);
  });

  it('user priorities come before turns', () => {
    const machine = new Machine(1, () => 50);
    const { h } = machine;
    h.client('a');
    h.client('b');
    h.submit('a', independent(50, 'a'), { priority: 1 });
    h.submit('b', independent(50, 'b'));
    machine.until('a', 50);
    expect(machine.done('b')).toBe(0);
  });

  it('refuses a weight that makes no sense', () => {
    const h = new Harness();
    for (const weight of [0, -1, Number.NaN, 1001]) {
      expect(() => h.client('c', weight)).toThrow(/weight of a client/);
    }
    expect(h.state.clients.size).toBe(0);
  });
});

describe('one client', () => {
  it('runs generation by generation, in order within each, depth first', () => {
    const machine = new Machine(1, () => 100);
    const { h } = machine;
    h.client('c');
    h.submit('c', independent(6, 'load'));
    const work = Array.from(
      { length: 6 },
      (_, i) => [`work-${i}`, [`load-${i}`]] as [string, string[]]
    );
    h.submit('c', Object.fromEntries(work), { fn: 'work' });
    h.now += 1000;
    h.submit('c', independent(3, 'later'), { fn: 'later' });
    machine.until('later', 3);
    expect(machine.begun.slice(-3)).toEqual(['later-0', 'later-1', 'later-2']);
    // A load may have been handed out ahead; more than two are never done without their work.
    let ahead = 0;
    for (const key of machine.begun) {
      if (key.startsWith('load')) ahead++;
      else if (key.startsWith('work')) ahead--;
      expect(ahead).toBeLessThanOrEqual(2);
    }
  });

  it('runs what a running task submits before the rest of that client', () => {
    const machine = new Machine(1, () => 100);
    const { h } = machine;
    h.client('c');
    h.client('other');
    h.client('thread');
    h.submit('c', independent(8, 'a'), { priority: 2 });
    machine.step();
    const parent = machine.begun.at(-1) as string;
    h.submit('thread', { 'child-1': [] }, { parent, fn: 'child' });
    const child = h.task('child-1').demands;
    const own = h.task(parent).demands;
    expect(child.owner).toBe(own.owner);
    expect(child.priority).toBe(-2);
    expect(child.generation).toBeLessThan(own.generation);
    machine.until('child', 1);
    expect(machine.done('a')).toBeLessThan(8);
  });
});
