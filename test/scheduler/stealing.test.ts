/**
 * Work stealing: layouts of work before and after, what must never move, and the races between a
 * request and everything that can happen to the task, its victim and its thief meanwhile.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { TaskOptions } from '../../src/protocol/messages.ts';
import { stealLevel } from '../../src/scheduler/state/stealing.ts';
import { Harness } from './harness.ts';

/** ms that each task of a layout runs. */
const RUNS = 1000;
/** Bytes that take as long to move. */
const MOVES_AS_LONG = RUNS * 100_000;

class Layout extends Harness {
  private nextKey = 0;
  private warm = false;

  constructor(threads: readonly number[], options = {}) {
    super(options);
    for (const n of threads) this.worker(n);
    this.client('c');
  }

  /** A task for the worker, whose input takes `cost` times as long to move as the task runs. */
  put(worker: number, cost: number, options: Partial<TaskOptions> & { fn?: string } = {}): string {
    const key = `${cost}-${this.nextKey++}`;
    const deps: string[] = [];
    if (cost > 0) {
      deps.push(`data-${key}`);
      this.scatter('c', `data-${key}`, worker, cost * MOVES_AS_LONG);
    }
    const where = { workers: [`w${worker}`], allowOtherWorkers: true };
    this.submit('c', { [key]: deps }, { ...where, ...options });
    if (!this.warm) this.task(key).group.prefix.learn(RUNS);
    this.warm = true;
    return key;
  }

  tick(): void {
    this.now += 1000;
    this.handle({ type: 'tick' });
  }

  /** What is asked back now, by victim. */
  asked(worker: number): string[] {
    return this.toWorker(worker, 'steal-request').flatMap(message =>
      message.tids.map(tid => this.state.tasks.get(tid)?.key ?? '?')
    );
  }

  /** Workers answer as real ones would: what comes first for a thread has begun. Number of answers. */
  answerAll(): number {
    let asked = 0;
    for (const worker of this.state.workers.values()) {
      for (const { tids, runIds } of this.toWorker(worker.id, 'steal-request')) {
        const inOrder = [...worker.processing].sort((a, b) => a.id - b.id);
        const begun = new Set(inOrder.slice(0, worker.facts.nthreads).map(task => task.id));
        const states = tids.map(tid => (begun.has(tid) ? 'executing' : 'ready'));
        asked += tids.length;
        this.answer(worker.id, tids, runIds, states);
      }
    }
    return asked;
  }

  answer(worker: number, tids: number[], runIds: number[], states: string[]): void {
    const message = { op: 'steal-response' as const, tids, runIds, states };
    this.handle({ type: 'worker-message', worker, message });
  }

  /** Balances until nothing is asked for any more. */
  settle(): void {
    for (let round = 0; round < 50; round++) {
      this.tick();
      if (this.answerAll() === 0) return;
    }
    throw new Error('work is moved for ever');
  }

  /** Costs of the tasks on each worker, the dearest first. */
  get costs(): number[][] {
    return [...this.state.workers.values()].map(worker =>
      [...worker.processing].map(task => Number(task.key.split('-')[0])).sort((a, b) => b - a)
    );
  }
}

function settled(before: number[][], threads?: number[]): number[][] {
  const layout = new Layout(threads ?? before.map(() => 1));
  before.forEach((costs, i) => costs.forEach(cost => layout.put(i + 1, cost)));
  layout.settle();
  return layout.costs;
}

describe('layouts', () => {
  const table: [name: string, before: number[][], after: number[][], threads?: number[]][] = [
    ['one task stays where its input is', [[2], []], [[2], []]],
    ['what waits goes to who is free', [[0, 0], []], [[0], [0]]],
    ['also when its input is cheap to move', [[0.2, 0.2], []], [[0.2], [0.2]]],
    ['no more than evens out', [[0, 0, 0], []], [[0, 0], [0]]],
    ['from the one that has more', [[0, 0], [0, 0, 0], []], [[0, 0], [0, 0], [0]]],
    ['to the one that has nothing', [[0, 0, 0], [0], []], [[0, 0], [0], [0]]],
    ['what is cheapest to move', [[1, 0], []], [[1], [0]]],
    ['to all that are free', [[0, 0, 0, 0], [], []], [[0, 0], [0], [0]]],
    ['the cheap ones of a mixture', [[2, 0, 1, 0], [], []], [[2, 1], [0], [0]]],
    ['dear ones when there is nothing else', [[1, 1, 1], []], [[1, 1], [1]]],
    ['but not so many', [[1, 1, 1, 1], []], [[1, 1, 1], [1]]],
    ['not what is done here sooner', [[4, 4], []], [[4, 4], []]],
    ['of several that are equally busy', [[0, 0], [0, 0], [0, 0], []], [[0], [0, 0], [0, 0], [0]]],
    [
      'the cheapest of all victims first',
      [[3, 1, 1, 1], [3, 0.5, 0.5], [], []],
      [[3, 1, 1, 1], [3], [0.5], [0.5]]
    ],
    [
      'nothing when all threads have work',
      [
        [0, 0],
        [0, 0]
      ],
      [
        [0, 0],
        [0, 0]
      ]
    ],
    [
      'as many as there are free threads',
      [[0, 0, 0, 0, 0], []],
      [
        [0, 0],
        [0, 0, 0]
      ],
      [2, 4]
    ],
    ['what waits behind many threads', [[0, 0, 0, 0, 0], []], [[0, 0, 0, 0], [0]], [4, 1]],
    ['nothing that has its own thread', [[0, 0, 0, 0], []], [[0, 0, 0, 0], []], [4, 4]]
  ];
  it.each(table)('%s', (_name, before, after, threads) => {
    expect(settled(before, threads)).toEqual(after);
  });
});

describe('what is never moved', () => {
  /** Three tasks on the first of two workers, and what was asked of it. */
  function asked(options: Partial<TaskOptions> & { fn?: string }, cost = 0): string[] {
    const layout = new Layout([1, 1]);
    for (let i = 0; i < 3; i++) layout.put(1, cost, options);
    layout.tick();
    return layout.asked(1);
  }

  it('tasks that only one worker may run', () => {
    expect(asked({ workers: ['w1'], allowOtherWorkers: false })).toEqual([]);
    expect(asked({})).toHaveLength(1);
  });

  it('tasks whose resources the thief has not', () => {
    const layout = new Layout([]);
    layout.worker(1, { resources: { GPU: 1 } });
    layout.worker(1);
    for (let i = 0; i < 3; i++) layout.put(1, 0, { resources: { GPU: 1 } });
    layout.tick();
    expect(layout.asked(1)).toEqual([]);
    layout.worker(1, { resources: { GPU: 2 } });
    layout.tick();
    expect(layout.asked(1)).toHaveLength(1);
    expect([...layout.state.stealing.byTask.values()].map(one => one.thief.id)).toEqual([3]);
  });

  it('to a worker with less memory than the inputs need', () => {
    const layout = new Layout([1]);
    layout.worker(1, { memoryLimit: 50_000_000 });
    for (let i = 0; i < 4; i++) layout.put(1, 1);
    layout.tick();
    expect(layout.asked(1)).toEqual([]);
    layout.worker(1, { memoryLimit: 200_000_000 });
    layout.tick();
    expect(layout.asked(1)).toHaveLength(1);
  });

  it('tasks that have seceded', () => {
    const layout = new Layout([1, 1]);
    const tasks = [0, 1, 2].map(() => layout.task(layout.put(1, 0)));
    for (const { id, runId } of tasks) {
      const message = { op: 'long-running' as const, tid: id, runId, duration: RUNS };
      layout.handle({ type: 'worker-message', worker: 1, message });
    }
    layout.tick();
    expect(layout.asked(1)).toEqual([]);
    expect(layout.state.workers.get(1)?.occupancy).toBe(0);
  });

  it('tasks that are known to take no time', () => {
    const layout = new Layout([1, 1]);
    const keys = [0, 1, 2].map(() => layout.put(1, 0, { fn: 'split-shuffle' }));
    expect(keys.map(key => stealLevel(layout.state, layout.task(key)))).toEqual([null, null, null]);
  });

  it('tasks that the last heartbeat says are executing', () => {
    const layout = new Layout([1, 1]);
    const keys = [0, 1].map(() => layout.put(1, 0));
    layout.executing(1, { [keys[1] as string]: 10 });
    layout.tick();
    expect(layout.asked(1)).toEqual([keys[0]]);
  });

  it('the same task twice at a time, and nothing when stealing is off', () => {
    const layout = new Layout([1, 1]);
    for (let i = 0; i < 2; i++) layout.put(1, 0);
    layout.tick();
    expect(layout.asked(1)).toHaveLength(1);
    layout.tick();
    expect(layout.asked(1)).toEqual([]);
    const off = new Layout([1, 1], { stealInterval: 0 });
    for (let i = 0; i < 3; i++) off.put(1, 0);
    off.tick();
    expect(off.asked(1)).toEqual([]);
  });
});

describe('levels', () => {
  it.each([
    [0, 0],
    [0.01, 3],
    [0.9, 6],
    [7.9, 9],
    [127, 13],
    [1000, null]
  ])('inputs that take %s times the task: %s', (cost, level) => {
    const layout = new Layout([1]);
    layout.put(1, 0);
    const key = layout.put(1, cost);
    expect(stealLevel(layout.state, layout.task(key))).toBe(level);
  });
});

describe('workers that come and go', () => {
  it('a worker that comes gets queued tasks at once, and others at the next tick', () => {
    const layout = new Layout([1]);
    for (let i = 0; i < 4; i++) layout.put(1, 0);
    layout.worker(1);
    layout.handle({ type: 'tick' });
    expect(layout.asked(1)).toHaveLength(1);
    const roots = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`root-${i}`, []]));
    layout.submit('c', roots, { fn: 'g' });
    const third = layout.worker(2);
    expect(layout.state.workers.get(third)?.processing.size).toBe(2);
  });

  it('what waits on a paused worker goes to idle ones, however little it is', () => {
    const layout = new Layout([1, 1]);
    layout.put(1, 0);
    layout.status(1, 'paused');
    layout.settle();
    // Its first task has begun there.
    expect(layout.costs).toEqual([[0], []]);
    layout.status(1, 'running');
    layout.put(1, 0);
    layout.status(1, 'paused');
    layout.settle();
    expect(layout.costs).toEqual([[0], [0]]);
  });

  it('a paused worker steals nothing', () => {
    const layout = new Layout([1, 1]);
    layout.status(2, 'paused');
    for (let i = 0; i < 4; i++) layout.put(1, 0);
    layout.tick();
    expect(layout.asked(1)).toEqual([]);
  });
});

describe('while a request is under way', () => {
  /** Four tasks at worker 1 and the one that worker 2 is to have; worker 3 is busy. */
  function stolen(): { h: Layout; key: string; tid: number; runId: number } {
    const h = new Layout([1, 1, 1]);
    for (let i = 0; i < 2; i++) h.put(3, 0);
    for (let i = 0; i < 3; i++) h.put(1, 0);
    h.tick();
    const [key] = h.asked(1);
    if (key === undefined) throw new Error('nothing was asked for');
    const { id, runId } = h.task(key);
    expect(h.state.stealing.byTask.get(h.task(key))?.thief.id).toBe(2);
    return { h, key, tid: id, runId };
  }

  it('the task is given to the thief when the victim has let go of it', () => {
    const { h, key, tid, runId } = stolen();
    h.answer(1, [tid], [runId], ['ready']);
    expect(h.on(key)).toBe(2);
    expect(h.task(key).runId).toBeGreaterThan(runId);
    expect(h.toWorker(2, 'compute-tasks').flatMap(m => m.keys)).toEqual([key]);
    // The victim knows: it is not told to free it.
    expect(h.toWorker(1, 'free-keys')).toEqual([]);
    h.finish(key);
    expect(h.states(key)).toEqual(['memory']);
  });

  it.each(['executing', 'long-running', 'memory', 'cancelled', 'resumed'])(
    'a victim that is %s keeps it',
    answer => {
      const { h, key, tid, runId } = stolen();
      h.answer(1, [tid], [runId], [answer]);
      expect(h.on(key)).toBe(1);
      expect(h.task(key).runId).toBe(runId);
      expect(h.toWorker(2, 'compute-tasks')).toEqual([]);
    }
  );

  it('a victim that does not know the task has it placed anew', () => {
    const { h, key, tid, runId } = stolen();
    h.answer(1, [tid], [runId], ['forgotten']);
    expect(h.states(key)).toEqual(['processing']);
    expect(h.task(key).runId).toBeGreaterThan(runId);
  });

  it('the victim finishes it first', () => {
    const { h, key, tid, runId } = stolen();
    h.finish(key);
    h.answer(1, [tid], [runId], ['memory']);
    expect(h.states(key)).toEqual(['memory']);
    expect(h.toWorker(2, 'compute-tasks')).toEqual([]);
  });

  it('the thief dies: the task is placed anew once it is free', () => {
    const { h, key, tid, runId } = stolen();
    h.lose(2);
    expect(h.on(key)).toBe(1);
    h.answer(1, [tid], [runId], ['ready']);
    expect(h.states(key)).toEqual(['processing']);
    expect(h.task(key).runId).not.toBe(runId);
    expect(h.task(key).suspicious).toBe(0);
  });

  it('the thief is paused: the task goes elsewhere', () => {
    const { h, key, tid, runId } = stolen();
    h.status(2, 'paused');
    h.answer(1, [tid], [runId], ['waiting']);
    expect(h.states(key)).toEqual(['processing']);
    expect(h.on(key)).not.toBe(2);
  });

  it('the victim dies: the task runs elsewhere, and a late word of it is nothing', () => {
    const { h, key, tid, runId } = stolen();
    h.lose(1);
    const now = h.task(key).runId;
    expect(now).not.toBe(runId);
    h.answer(1, [tid], [runId], ['ready']);
    expect(h.task(key).runId).toBe(now);
  });

  it('the task is released', () => {
    const { h, key, tid, runId } = stolen();
    h.release('c', key);
    expect(h.states(key)).toEqual(['forgotten']);
    h.answer(1, [tid], [runId], ['ready']);
    expect(h.states(key)).toEqual(['forgotten']);
  });

  it('the task is cancelled and submitted again, to the same worker', () => {
    const { h, key, tid, runId } = stolen();
    h.cancel('c', key, true);
    h.submit('c', { [key]: [] }, { workers: ['w1'] });
    const again = h.task(key).runId;
    expect(h.on(key)).toBe(1);
    h.answer(1, [tid], [runId], ['ready']);
    expect(h.task(key).runId).toBe(again);
    expect(h.on(key)).toBe(1);
  });

  it('the task fails, and is tried again', () => {
    const { h, key, tid, runId } = stolen();
    h.fail(key);
    h.retry('c', key);
    const again = h.task(key).runId;
    h.answer(1, [tid], [runId], ['forgotten']);
    expect(h.task(key).runId).toBe(again);
  });

  it('the task fails, is tried again and asked back again: the first answer is not about that', () => {
    const { h, key, tid, runId } = stolen();
    h.fail(key);
    h.retry('c', key);
    expect(h.on(key)).toBe(1);
    h.tick();
    const again = h.task(key).runId;
    expect(h.state.stealing.byTask.get(h.task(key))?.runId).toBe(again);
    h.answer(1, [tid], [runId], ['forgotten']);
    expect(h.task(key).runId).toBe(again);
    expect(h.state.stealing.byTask.has(h.task(key))).toBe(true);
    h.answer(1, [tid], [again], ['ready']);
    expect(h.on(key)).toBe(2);
  });

  it('both workers count as if it had moved', () => {
    const { h, tid, runId } = stolen();
    const [victim, thief] = [1, 2].map(id => h.state.workers.get(id));
    expect([victim?.stealTasks, thief?.stealTasks]).toEqual([-1, 1]);
    expect([victim?.stealMs, thief?.stealMs]).toEqual([-RUNS, RUNS]);
    h.tick();
    expect(h.asked(1)).toEqual([]);
    h.answer(1, [tid], [runId], ['executing']);
    expect([victim?.stealTasks, thief?.stealTasks]).toEqual([0, 0]);
  });
});

it('any layout comes to rest with every task on exactly one worker, and no worker idle beside a queue', () => {
  const costs = fc.array(fc.constantFrom(0, 0, 0, 0.1, 0.5, 1, 3), { maxLength: 12 });
  const side = fc.tuple(costs, fc.integer({ min: 1, max: 4 }));
  fc.assert(
    fc.property(fc.array(side, { minLength: 2, maxLength: 6 }), sides => {
      const after = settled(
        sides.map(([before]) => before),
        sides.map(([, threads]) => threads)
      );
      expect(after.flat().sort()).toEqual(sides.flatMap(([before]) => before).sort());
      const idle = after.some((tasks, i) => tasks.length < (sides[i]?.[1] ?? 0));
      after.forEach((tasks, i) => {
        const waiting = tasks.length - (sides[i]?.[1] ?? 0);
        // One that costs nothing to move would have been.
        if (idle && waiting > 0)
          expect(tasks.filter(cost => cost === 0).length).toBeLessThan(tasks.length);
      });
    }),
    { numRuns: 300 }
  );
});
