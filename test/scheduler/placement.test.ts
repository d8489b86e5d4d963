/** What a worker's load is taken for, and where tasks go because of it. */
import { describe, expect, it } from 'vitest';
import { Harness } from './harness.ts';

const MB = 1_000_000;

function setup(threads: number[], options = {}): Harness {
  const h = new Harness(options);
  for (const n of threads) h.worker(n);
  h.client('c');
  return h;
}

function occupancy(h: Harness, worker: number): number {
  return h.state.workers.get(worker)?.occupancy ?? Number.NaN;
}

/** A task that only `worker` may run. */
function pin(h: Harness, key: string, worker: number, deps: string[] = [], fn = 'f'): void {
  h.submit('c', { [key]: deps }, { workers: [`w${worker}`], fn });
}

describe('occupancy', () => {
  it('follows what is learnt of a function, also for tasks that were given out before', () => {
    const h = setup([1]);
    for (const key of ['a-1', 'b-1', 'c-1']) pin(h, key, 1);
    expect(occupancy(h, 1)).toBe(1500);
    h.finish('a-1', 8, 100);
    expect(occupancy(h, 1)).toBe(200);
    h.finish('b-1', 8, 300);
    expect(occupancy(h, 1)).toBe(200);
    h.finish('c-1');
    expect(occupancy(h, 1)).toBe(0);
  });

  it('counts an input that must be fetched once, however many tasks need it', () => {
    const h = setup([1, 1]);
    h.scatter('c', 'd-1', 1, 10 * MB);
    pin(h, 'a-1', 2, ['d-1']);
    expect(occupancy(h, 2)).toBe(600);
    pin(h, 'b-1', 2, ['d-1']);
    expect(occupancy(h, 2)).toBe(1100);
    const tids = [h.task('d-1').id];
    h.handle({ type: 'worker-message', worker: 2, message: { op: 'add-keys', tids } });
    expect(occupancy(h, 2)).toBe(1000);
    pin(h, 'c-1', 1, ['d-1']);
    expect(occupancy(h, 1)).toBe(500);
  });

  it('is rid of the input when the last task that needs it goes', () => {
    const h = setup([1, 1]);
    h.scatter('c', 'd-1', 1, 10 * MB);
    pin(h, 'a-1', 2, ['d-1']);
    pin(h, 'b-1', 2, ['d-1']);
    h.release('c', 'a-1');
    expect(occupancy(h, 2)).toBe(600);
    h.release('c', 'b-1');
    expect(occupancy(h, 2)).toBe(0);
  });

  it('leaves out what has seceded', () => {
    const h = setup([1]);
    pin(h, 'a-1', 1);
    const { id: tid, runId } = h.task('a-1');
    const message = { op: 'long-running' as const, tid, runId, duration: 40 };
    h.handle({ type: 'worker-message', worker: 1, message });
    expect(occupancy(h, 1)).toBe(0);
    pin(h, 'b-1', 1);
    expect(occupancy(h, 1)).toBe(40);
  });

  it('expects twice as long as one is seen to run, when that is twice the mean', () => {
    const h = setup([2]);
    for (const key of ['a-1', 'b-1', 'c-1']) pin(h, key, 1);
    h.finish('a-1', 8, 1000);
    h.executing(1, { 'b-1': 1900 });
    expect(occupancy(h, 1)).toBe(2000);
    h.executing(1, { 'b-1': 2500 });
    expect(occupancy(h, 1)).toBe(10_000);
    h.finish('b-1', 8, 3000);
    expect(occupancy(h, 1)).toBe(3000);
  });

  it('knows functions that take no time', () => {
    const h = setup([1]);
    pin(h, 'a-1', 1, [], 'rechunk-split');
    expect(occupancy(h, 1)).toBe(0.001);
  });

  it('takes the bandwidth that workers measure', () => {
    const h = setup([1, 1]);
    h.scatter('c', 'd-1', 1, 100 * MB);
    pin(h, 'a-1', 2, ['d-1']);
    expect(occupancy(h, 2)).toBe(1500);
    // One of two workers counts half: (100 + 300) / 2 MB/s.
    h.executing(2, {}, 300 * MB);
    expect(occupancy(h, 2)).toBe(1000);
    h.executing(2, {}, 0);
    expect(occupancy(h, 2)).toBe(1000);
  });
});

describe('placement', () => {
  it('weighs work that is ahead against inputs that must be fetched', () => {
    const h = setup([1, 1]);
    h.scatter('c', 'small-1', 1, 10 * MB);
    h.scatter('c', 'large-1', 2, 90 * MB);
    pin(h, 'busy-1', 2);
    // At 1: 0.9 s to fetch; at 2: 0.5 s of work and 0.1 s to fetch.
    h.submit('c', { 'a-1': ['small-1', 'large-1'] });
    expect(h.on('a-1')).toBe(2);
    pin(h, 'busy-2', 2);
    h.submit('c', { 'b-1': ['small-1', 'large-1'] });
    expect(h.on('b-1')).toBe(1);
  });

  it('spreads tasks without inputs, in turn while all are equal', () => {
    const h = setup([1, 1, 1]);
    for (let i = 0; i < 6; i++) h.submit('c', { [`t${i}-0`]: [] });
    expect([...h.state.workers.values()].map(worker => worker.processing.size)).toEqual([2, 2, 2]);
  });

  it('of many workers looks at some, and reaches all', () => {
    const h = setup(Array<number>(50).fill(1));
    for (let i = 0; i < 50; i++) h.submit('c', { [`t${i}-0`]: [] });
    expect(Math.max(...[...h.state.workers.values()].map(one => one.processing.size))).toBe(1);
  });

  it('without a queue gives roots that follow each other to one worker', () => {
    const h = setup([1, 3], { workerSaturation: Infinity });
    const keys = Array.from({ length: 40 }, (_, i) => `x-${i}`);
    h.submit('c', Object.fromEntries(keys.map(key => [key, []])));
    const where = keys.map(key => h.on(key));
    expect(where.filter(worker => worker === 1)).toHaveLength(10);
    const changes = where.filter((worker, i) => i > 0 && worker !== where[i - 1]);
    expect(changes.length).toBeLessThanOrEqual(2);
  });

  it('without a queue goes on when the worker of the neighbours is lost', () => {
    const h = setup([1, 1], { workerSaturation: Infinity });
    const keys = Array.from({ length: 20 }, (_, i) => `x-${i}`);
    h.submit('c', Object.fromEntries(keys.map(key => [key, []])));
    h.lose(1);
    expect(new Set(keys.map(key => h.on(key)))).toEqual(new Set([2]));
  });

  it('takes only workers whose memory holds the inputs', () => {
    const h = setup([]);
    h.worker(1, { memoryLimit: 50 * MB });
    h.worker(1, { memoryLimit: 500 * MB });
    h.client('c');
    h.scatter('c', 'd-1', 1, 40 * MB);
    h.scatter('c', 'd-2', 1, 40 * MB);
    h.submit('c', { 'a-1': ['d-1', 'd-2'] });
    expect(h.on('a-1')).toBe(2);
    pin(h, 'b-1', 1, ['d-1', 'd-2']);
    expect(h.states('b-1')).toEqual(['erred']);
    expect(h.task('b-1').error?.code).toBe('WORKER_MEMORY');
    expect(h.task('b-1').error?.message).toContain('needs 80 MB of inputs at once');
  });
});

describe('restrictions', () => {
  it('are names, addresses or hosts, and resources that are declared', () => {
    const h = setup([1, 1, 1]);
    h.worker(1, { resources: { GPU: 2 } });
    for (const [i, name] of ['w2', 'http://w2', 'host2'].entries()) {
      h.submit('c', { [`a${i}-0`]: [] }, { workers: [name] });
      expect(h.on(`a${i}-0`)).toBe(2);
    }
    h.submit('c', { 'b-1': [] }, { resources: { GPU: 2 } });
    h.submit('c', { 'b-2': [] }, { resources: { GPU: 1 } });
    expect([h.on('b-1'), h.on('b-2')]).toEqual([4, 4]);
    h.submit('c', { 'b-3': [] }, { resources: { GPU: 2 }, workers: ['w1'] });
    expect(h.states('b-3')).toEqual(['no-worker']);
    h.submit(
      'c',
      { 'b-4': [] },
      { resources: { GPU: 2 }, workers: ['w1'], allowOtherWorkers: true }
    );
    expect(h.on('b-4')).toBe(4);
  });

  it('go before where the inputs are', () => {
    const h = setup([1, 1]);
    h.scatter('c', 'd-1', 1, 100 * MB);
    pin(h, 'a-1', 2, ['d-1']);
    expect(h.on('a-1')).toBe(2);
  });

  it('all arrive at the worker that runs the task', () => {
    const h = setup([]);
    h.worker(1, { resources: { GPU: 1 } });
    h.client('c');
    h.submit('c', { 'a-1': [] }, { resources: { GPU: 1 }, timeout: 7, priority: 3, retries: 1 });
    const [message] = h.toWorker(1, 'compute-tasks');
    expect(message).toMatchObject({ resources: [{ GPU: 1 }], timeouts: [7] });
    expect(message?.priorities[0]).toBe(-3);
    h.fail('a-1');
    expect(h.states('a-1')).toEqual(['processing']);
    h.fail('a-1');
    expect(h.states('a-1')).toEqual(['erred']);
  });
});

describe('without workers', () => {
  it('queued tasks fail as well after the configured time', () => {
    const h = setup([1], { noWorkersTimeout: 5000 });
    const keys = Array.from({ length: 10 }, (_, i) => `x-${i}`);
    h.submit('c', Object.fromEntries(keys.map(key => [key, []])));
    h.status(1, 'paused');
    h.now += 4000;
    h.handle({ type: 'tick' });
    expect(h.states('x-9')).toEqual(['queued']);
    h.now += 2000;
    h.handle({ type: 'tick' });
    expect(h.states('x-9')).toEqual(['erred']);
    expect(h.task('x-9').error?.message).toContain('no worker is running');
  });
});
