/** Copies of values: the active memory manager, wishes for copies, rebalancing, retirement. */
import { describe, expect, it } from 'vitest';
import type { Policy } from '../../src/scheduler/state/amm.ts';
import { MemoryMeasure } from '../../src/scheduler/state/memory-measure.ts';
import type { WorkerMetrics } from '../../src/protocol/messages.ts';
import { Harness } from './harness.ts';

const AMM = 2000;

function setup(threads: number[] = [1, 1, 1], options = {}): Harness {
  const h = new Harness(options);
  for (const n of threads) h.worker(n);
  h.client('c');
  return h;
}

/** Time passes until the active memory manager has run. */
function manage(h: Harness): void {
  h.now += AMM;
  h.handle({ type: 'tick' });
}

function copied(h: Harness, worker: number, key: string, refused = false): void {
  const tids = [h.task(key).id];
  const message = { op: 'add-keys' as const, tids, ...(refused ? { refused } : {}) };
  h.handle({ type: 'worker-message', worker, message });
}

function gone(h: Harness, worker: number, key: string): void {
  const message = { op: 'release-worker-data' as const, tids: [h.task(key).id] };
  h.handle({ type: 'worker-message', worker, message });
}

function holders(h: Harness, key: string): number[] {
  return [...h.state.workers.values()]
    .filter(worker => worker.hasWhat.has(h.task(key)))
    .map(worker => worker.id);
}

/** A value in memory, computed on worker 1 (or where `workers` says). */
function value(h: Harness, key: string, nbytes = 8, worker = 1): void {
  h.submit('c', { [key]: [] }, { workers: [`w${worker}`] });
  h.finish(key, nbytes);
}

function removed(h: Harness): number[] {
  return [1, 2, 3, 4].filter(worker => h.toWorker(worker, 'remove-replicas').length > 0);
}

function metrics(rss: number, managed = 0, spilled = 0): WorkerMetrics {
  const rest = { cpu: 0, executing: 0, ready: 0, inMemory: 0, netIn: 0, netOut: 0 };
  return { ...rest, rss, managed, spilled, loopDelay: 0, bandwidth: 0 };
}

function heartbeat(h: Harness, worker: number, rss: number): void {
  const message = {
    op: 'heartbeat-worker' as const,
    now: h.now,
    metrics: metrics(rss),
    executing: [],
    executingFor: []
  };
  h.handle({ type: 'worker-message', worker, message });
}

describe('reduce-replicas', () => {
  it('drops very many over several ticks, and then waits for its time again', () => {
    const h = setup([1, 1]);
    const names = Array.from({ length: 600 }, (_, i) => `x-${i}`);
    for (const key of names) value(h, key);
    for (const key of names) copied(h, 2, key);
    const dropped: number[] = [];
    const note = (): number => dropped.push(600 - h.state.replicas.replicated.size);
    manage(h);
    note();
    for (let i = 0; i < 3; i++) {
      h.now += 250;
      h.handle({ type: 'tick' });
      note();
    }
    expect(dropped).toEqual([250, 500, 600, 600]);
    copied(h, 3 - holders(h, 'x-0')[0]!, 'x-0', true);
    h.now += 250;
    h.handle({ type: 'tick' });
    expect(h.state.replicas.replicated.size).toBe(1);
  });

  it('drops copies that nobody needs, on the worker that uses most memory', () => {
    const h = setup();
    value(h, 'x-1');
    copied(h, 2, 'x-1');
    copied(h, 3, 'x-1');
    heartbeat(h, 2, 500);
    heartbeat(h, 3, 100);
    manage(h);
    expect(removed(h)).toEqual([2, 3]);
    expect(holders(h, 'x-1')).toEqual([1]);
  });

  it('keeps a copy for each worker with a task that waits for it, and never takes that one', () => {
    const h = setup();
    value(h, 'x-1');
    copied(h, 2, 'x-1');
    copied(h, 3, 'x-1');
    h.submit('c', { 'y-1': ['x-1'] }, { workers: ['w3'] });
    manage(h);
    expect(holders(h, 'x-1')).toEqual([3]);
    expect(h.on('y-1')).toBe(3);
  });

  it('drops on workers that do not run first', () => {
    const h = setup();
    value(h, 'x-1');
    copied(h, 2, 'x-1');
    const message = { op: 'worker-status-change' as const, status: 'paused' as const };
    h.handle({ type: 'worker-message', worker: 1, message });
    heartbeat(h, 2, 1e9);
    manage(h);
    expect(holders(h, 'x-1')).toEqual([2]);
  });

  it('takes back a copy that a worker refuses to drop, and asks again next time', () => {
    const h = setup([1, 1]);
    value(h, 'x-1');
    copied(h, 2, 'x-1');
    heartbeat(h, 2, 100);
    manage(h);
    expect(holders(h, 'x-1')).toEqual([1]);
    copied(h, 2, 'x-1', true);
    expect(holders(h, 'x-1')).toEqual([1, 2]);
    manage(h);
    expect(removed(h)).toEqual([2]);
  });

  it('does not count a copy that was told of before the worker heard of the drop', () => {
    const h = setup([1, 1]);
    value(h, 'x-1');
    copied(h, 2, 'x-1');
    heartbeat(h, 2, 100);
    manage(h);
    copied(h, 2, 'x-1');
    expect(holders(h, 'x-1')).toEqual([1]);
    manage(h);
    gone(h, 2, 'x-1');
    expect(holders(h, 'x-1')).toEqual([1]);
    copied(h, 2, 'x-1');
    expect(holders(h, 'x-1')).toEqual([1, 2]);
  });

  it('is off when its interval is 0', () => {
    const h = setup([1, 1], { ammInterval: 0 });
    value(h, 'x-1');
    copied(h, 2, 'x-1');
    manage(h);
    expect(holders(h, 'x-1')).toEqual([1, 2]);
  });

  it('computes a value again when the copy that stayed is lost while the other is dropped', () => {
    const h = setup([1, 1]);
    h.submit('c', { 'x-1': [] }, { workers: ['w1'], allowOtherWorkers: true });
    h.finish('x-1');
    copied(h, 2, 'x-1');
    heartbeat(h, 2, 100);
    manage(h);
    h.lose(1);
    expect(h.states('x-1')).toEqual(['processing']);
    gone(h, 2, 'x-1');
    h.finish('x-1');
    expect(holders(h, 'x-1')).toEqual([2]);
  });
});

describe('policies', () => {
  it('are told where a copy is made, the least used worker first, and null when nowhere', () => {
    const h = setup();
    const answers: (number | null)[] = [];
    const policy: Policy = {
      name: 'two-copies',
      *run(state) {
        const task = state.byKey.get('x-1');
        if (task === undefined) return;
        for (let i = 0; i < 3; i++) answers.push((yield { op: 'replicate', task })?.id ?? null);
      }
    };
    h.state.policies.set(policy.name, policy);
    value(h, 'x-1', 100);
    heartbeat(h, 2, 5000);
    manage(h);
    expect(answers).toEqual([3, 2, null]);
    const [message] = h.toWorker(3, 'acquire-replicas');
    expect(message).toMatchObject({ keys: ['x-1'], nbytes: [100], holders: [[1]] });
    // What is on its way is not asked for twice.
    answers.length = 0;
    manage(h);
    expect(answers).toEqual([null, null, null]);
    // The copies that nobody needs are dropped once they have come: policies can quarrel.
    copied(h, 3, 'x-1');
    expect(holders(h, 'x-1')).toEqual([1, 3]);
  });

  it('ask again for what a worker gave up, and for what never came', () => {
    const h = setup([1, 1]);
    h.handle({ type: 'tick' });
    value(h, 'x-1');
    const tasks = [h.task('x-1').id];
    h.handle({ type: 'replicate', tasks, count: 2, workers: null });
    expect(h.toWorker(2, 'acquire-replicas')).toHaveLength(1);
    gone(h, 2, 'x-1');
    manage(h);
    expect(h.toWorker(2, 'acquire-replicas')).toHaveLength(1);
    manage(h);
    expect(h.toWorker(2, 'acquire-replicas')).toHaveLength(0);
    h.now += 10_000;
    manage(h);
    expect(h.toWorker(2, 'acquire-replicas')).toHaveLength(1);
  });
});

describe('replicate', () => {
  it('spreads a value as a tree: each holder makes two copies at a time', () => {
    const h = setup(Array<number>(8).fill(1));
    value(h, 'x-1');
    h.handle({ type: 'replicate', tasks: [h.task('x-1').id], count: 100, workers: null });
    const asked = (): [number, number[]][] =>
      [...h.state.workers.keys()].flatMap(worker =>
        h
          .toWorker(worker, 'acquire-replicas')
          .map((m): [number, number[]] => [worker, m.holders[0] ?? []])
      );
    expect(asked()).toEqual([
      [2, [1]],
      [3, [1]]
    ]);
    copied(h, 2, 'x-1');
    // Two holders make four at a time, one of which is still on its way.
    expect(asked()).toEqual([
      [4, [2]],
      [5, [2]],
      [6, [1]]
    ]);
    for (const worker of [3, 4, 5, 6]) copied(h, worker, 'x-1');
    expect(asked().map(([worker]) => worker)).toEqual([7, 8]);
    for (const worker of [7, 8]) copied(h, worker, 'x-1');
    expect(holders(h, 'x-1')).toHaveLength(8);
    // Copies that are wished for are not reduced.
    manage(h);
    expect(holders(h, 'x-1')).toHaveLength(8);
    // The worker that comes later gets one, too.
    h.worker();
    manage(h);
    expect(asked().map(([worker]) => worker)).toEqual([9]);
  });

  it('makes up for a lost copy, and drops what is too much', () => {
    const h = setup();
    value(h, 'x-1');
    const tasks = [h.task('x-1').id];
    h.handle({ type: 'replicate', tasks, count: 2, workers: null });
    copied(h, 2, 'x-1');
    h.lose(1);
    manage(h);
    copied(h, 3, 'x-1');
    expect(holders(h, 'x-1')).toEqual([2, 3]);
    h.handle({ type: 'replicate', tasks, count: 1, workers: ['w2'] });
    expect(holders(h, 'x-1')).toEqual([2]);
  });
});

describe('rebalance', () => {
  it('moves values from full workers to empty ones, and drops them where they were', () => {
    const h = setup([1, 1]);
    for (let i = 0; i < 10; i++) value(h, `x-${i}`, 100);
    h.handle({ type: 'rebalance', tasks: null, workers: null });
    const [message] = h.toWorker(2, 'acquire-replicas');
    // The oldest go first.
    expect(message?.keys).toEqual(['x-0', 'x-1', 'x-2', 'x-3', 'x-4']);
    for (const key of message?.keys ?? []) copied(h, 2, key);
    expect([...h.state.workers.values()].map(worker => worker.nbytes)).toEqual([500, 500]);
    expect(h.toWorker(1, 'remove-replicas').flatMap(m => m.tids)).toHaveLength(5);
  });

  it('leaves alone what is within the gap, small against the limit, or in use', () => {
    const h = new Harness();
    for (let i = 0; i < 2; i++) h.worker(1, { memoryLimit: 1000 });
    h.client('c');
    value(h, 'x-1', 250);
    h.handle({ type: 'rebalance', tasks: null, workers: null });
    expect(h.toWorker(2, 'acquire-replicas')).toEqual([]);
    value(h, 'x-2', 250);
    h.submit('c', { 'y-1': ['x-1'] }, { workers: ['w1'] });
    h.handle({ type: 'rebalance', tasks: null, workers: null });
    expect(h.toWorker(2, 'acquire-replicas').flatMap(m => m.keys)).toEqual(['x-2']);
  });
});

describe('retire', () => {
  const options = { timeout: 1000, force: false };
  const outcome = (h: Harness, worker: number) =>
    [...h.state.retirements.values()].find(one => one.worker.id === worker)?.outcome;

  it('copies what only the worker holds, waits for what runs there, gives it nothing more', () => {
    const h = setup();
    value(h, 'x-1');
    value(h, 'x-2');
    copied(h, 2, 'x-2');
    h.submit('c', { 'y-1': [] }, { workers: ['w1'], allowOtherWorkers: true });
    h.handle({ type: 'retire-workers', workers: [1], options });
    expect(h.toWorker(1, 'worker-status-change')).toMatchObject([{ status: 'closing-gracefully' }]);
    const asked = [2, 3].flatMap(worker =>
      h.toWorker(worker, 'acquire-replicas').map(m => ({ worker, keys: m.keys }))
    );
    expect(asked).toEqual([{ worker: 3, keys: ['x-1'] }]);
    copied(h, 3, 'x-1');
    h.now += 250;
    h.handle({ type: 'tick' });
    expect(outcome(h, 1)).toBe('moving');
    h.submit('c', { 'z-1': [], 'z-2': [], 'z-3': [] });
    expect(h.on('z-1')).not.toBe(1);
    h.finish('y-1');
    h.now += 250;
    h.handle({ type: 'tick' });
    const [last] = [2, 3].flatMap(worker =>
      h.toWorker(worker, 'acquire-replicas')[0] ? [worker] : []
    );
    copied(h, last as number, 'y-1');
    h.now += 250;
    h.handle({ type: 'tick' });
    expect(outcome(h, 1)).toBe('ready');
    h.lose(1);
    expect(h.states('x-1', 'x-2', 'y-1')).toEqual(['memory', 'memory', 'memory']);
  });

  it('gives tasks that do not end in time to others, and blames nobody', () => {
    const h = setup([1, 1], { allowedFailures: 0 });
    h.submit('c', { 'y-1': [] }, { workers: ['w1'], allowOtherWorkers: true });
    h.handle({ type: 'retire-workers', workers: [1], options });
    expect(h.on('y-1')).toBe(1);
    h.now += 1000;
    h.handle({ type: 'tick' });
    expect(h.on('y-1')).toBe(2);
    expect(outcome(h, 1)).toBe('ready');
    h.lose(1);
    expect(h.states('y-1')).toEqual(['processing']);
  });

  it('keeps a worker whose values nobody can take, unless it must go', () => {
    const h = setup([1]);
    value(h, 'x-1');
    h.handle({ type: 'retire-workers', workers: [1], options });
    expect(h.state.retirements.size).toBe(0);
    expect(h.state.workers.get(1)?.status).toBe('running');
    expect(h.toWorker(1, 'worker-status-change').map(m => m.status)).toEqual([
      'closing-gracefully',
      'running'
    ]);
    h.handle({ type: 'retire-workers', workers: [1], options: { timeout: 1000, force: true } });
    expect([...h.state.retirements.values()]).toMatchObject([
      { outcome: 'ready', lost: 1, reason: expect.stringMatching(/no other worker runs/) as string }
    ]);
  });

  it('ends with lost values at the end of its time only when it must', () => {
    const h = setup([1, 1]);
    value(h, 'x-1');
    h.handle({ type: 'retire-workers', workers: [1], options });
    h.now += 5000;
    h.handle({ type: 'tick' });
    expect(outcome(h, 1)).toBe('moving');
    h.handle({ type: 'keep-workers', workers: [1], reason: 'scaled up' });
    h.handle({ type: 'retire-workers', workers: [1], options: { timeout: 1000, force: true } });
    h.now += 1000;
    h.handle({ type: 'tick' });
    expect([...h.state.retirements.values()]).toMatchObject([{ outcome: 'ready', lost: 1 }]);
  });

  it('copies what only retiring workers hold to one that stays', () => {
    const h = setup();
    value(h, 'x-1');
    copied(h, 2, 'x-1');
    h.handle({ type: 'retire-workers', workers: [1, 2], options });
    expect(h.toWorker(3, 'acquire-replicas').flatMap(m => m.keys)).toEqual(['x-1']);
    // The manager must not take the copies of those that leave for copies that stay.
    manage(h);
    expect(removed(h)).toEqual([]);
    copied(h, 3, 'x-1');
    manage(h);
    expect([outcome(h, 1), outcome(h, 2)]).toEqual(['ready', 'ready']);
  });

  it('is over when the worker dies, and when its recipient dies another takes over', () => {
    const h = setup();
    value(h, 'x-1');
    h.handle({ type: 'retire-workers', workers: [1], options });
    const first = [2, 3].find(worker => h.toWorker(worker, 'acquire-replicas').length > 0);
    h.lose(first as number);
    h.now += 250;
    h.handle({ type: 'tick' });
    expect(h.toWorker(first === 2 ? 3 : 2, 'acquire-replicas')).toHaveLength(1);
    h.lose(1);
    expect(h.state.retirements.size).toBe(0);
    expect(h.states('x-1')).toEqual(['no-worker']);
  });

  it('leaves pauses for afterwards', () => {
    const h = setup([1, 1]);
    value(h, 'x-1');
    h.handle({ type: 'retire-workers', workers: [1], options });
    for (const status of ['paused', 'running', 'paused'] as const) {
      const message = { op: 'worker-status-change' as const, status };
      h.handle({ type: 'worker-message', worker: 1, message });
      expect(h.state.workers.get(1)?.status).toBe('closing-gracefully');
    }
    h.handle({ type: 'keep-workers', workers: [1], reason: 'scaled up' });
    expect(h.state.workers.get(1)?.status).toBe('paused');
  });

  it('waits for a value that a client is just putting there', () => {
    const h = setup([1, 1]);
    const { tids } = h.state.planScatter('c', 1, ['w1']);
    h.handle({ type: 'retire-workers', workers: [1], options });
    expect(outcome(h, 1)).toBe('moving');
    const message = {
      op: 'scattered' as const,
      cids: [900],
      keys: ['d'],
      tids,
      nbytes: [5],
      types: ['number'],
      workers: [[1]]
    };
    h.handle({ type: 'client-message', client: 'c', message });
    h.now += 250;
    h.handle({ type: 'tick' });
    expect(h.toWorker(2, 'acquire-replicas').flatMap(m => m.keys)).toEqual(['d']);
    copied(h, 2, 'd');
    h.now += 250;
    h.handle({ type: 'tick' });
    expect(outcome(h, 1)).toBe('ready');
  });
});

describe('the measure of memory', () => {
  it('counts besides values what was there at every reading of the last 30 s', () => {
    const measure = new MemoryMeasure();
    const read = (at: number, rss: number, managed: number, spilled = 0): number => {
      const seen = metrics(rss, managed, spilled);
      measure.add(seen, at);
      return measure.optimistic({ nbytes: managed, metrics: seen });
    };
    expect(read(0, 150, 50)).toBe(150);
    // 400 more for a moment do not count.
    expect(read(1000, 550, 50)).toBe(150);
    expect(read(20_000, 650, 50)).toBe(150);
    // After 30 s they do: the least of what was read since.
    expect(read(30_500, 700, 50)).toBe(550);
    // What was freed counts at once; what lies on disk is not in memory.
    expect(read(31_000, 160, 90, 30)).toBe(160);
  });
});
