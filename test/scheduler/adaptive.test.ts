/** How many workers a cluster should have, who can go, and the patience before it acts. */
import { describe, expect, it } from 'vitest';
import { Adaptive, adaptiveTarget, workersToClose } from '../../src/scheduler/state/adaptive.ts';
import { Harness } from './harness.ts';

function setup(workers: number, memoryLimit = 0, options = {}): Harness {
  const h = new Harness(options);
  for (let i = 0; i < workers; i++) h.worker(1, { memoryLimit });
  h.client('c');
  return h;
}

function independent(count: number, group = 'x'): Record<string, string[]> {
  return Object.fromEntries(Array.from({ length: count }, (_, i) => [`${group}-${i}`, []]));
}

/** A value of so many bytes on one worker. */
function value(h: Harness, key: string, worker: number, nbytes: number): void {
  h.submit('c', { [key]: [] }, { workers: [`w${worker}`] });
  h.finish(key, nbytes);
}

/** Teaches that tasks of a function take so long. */
function teach(h: Harness, duration: number): void {
  h.submit('c', { 'teach-0': [] });
  h.finish('teach-0', 1, duration);
  h.release('c', 'teach-0');
}

const ids = (workers: { id: number }[]): number[] => workers.map(worker => worker.id);

describe('workersToClose', () => {
  it('chooses idle workers first, then those that hold least, then the youngest', () => {
    const h = setup(4);
    value(h, 'x-1', 1, 100);
    value(h, 'x-2', 2, 50);
    h.submit('c', { 'y-1': [] }, { workers: ['w3'] });
    expect(ids(workersToClose(h.state, { count: 4 }))).toEqual([4, 2, 1, 3]);
    expect(ids(workersToClose(h.state, { count: 2 }))).toEqual([4, 2]);
    expect(ids(workersToClose(h.state, { count: 4, minimum: 3 }))).toEqual([4]);
  });

  it('without a number takes idle ones only, and keeps twice the memory in use', () => {
    const h = setup(4, 100);
    expect(ids(workersToClose(h.state))).toEqual([4, 3, 2, 1]);
    value(h, 'x-1', 1, 90);
    // 90 bytes in use: 180 must remain, two workers.
    expect(ids(workersToClose(h.state))).toEqual([4, 3]);
    h.submit('c', { 'y-1': [] }, { workers: ['w4'] });
    expect(ids(workersToClose(h.state))).toEqual([3, 2]);
  });

  it('leaves workers with long-running tasks alone, unless there is no other', () => {
    const h = setup(3);
    h.submit('c', { 'y-1': [] }, { workers: ['w3'] });
    const { id, runId } = h.task('y-1');
    const message = { op: 'long-running' as const, tid: id, runId, duration: 1 };
    h.handle({ type: 'worker-message', worker: 3, message });
    expect(ids(workersToClose(h.state))).toEqual([2, 1]);
    expect(ids(workersToClose(h.state, { count: 3 }))).toEqual([2, 1, 3]);
  });

  it('takes workers that end together as one', () => {
    const h = setup(4);
    value(h, 'x-1', 1, 100);
    const groupBy = ({ id }: { id: number }): string => (id <= 2 ? 'a' : 'b');
    expect(ids(workersToClose(h.state, { count: 3, groupBy }))).toEqual([3, 4]);
    expect(ids(workersToClose(h.state, { count: 1, groupBy }))).toEqual([]);
  });

  it('does not choose those that leave already', () => {
    const h = setup(2);
    value(h, 'x-1', 1, 100);
    h.handle({ type: 'retire-workers', workers: [1], options: { timeout: 1000, force: false } });
    expect(ids(workersToClose(h.state, { count: 2 }))).toEqual([2]);
  });
});

describe('adaptiveTarget', () => {
  const target = (h: Harness): number => adaptiveTarget(h.state, 5000).workers;

  it('asks for as many threads as do the work in time, and no more than there are tasks', () => {
    const h = setup(1);
    teach(h, 1000);
    expect(target(h)).toBe(0);
    // 100 s of work, 5 s to do it in.
    h.submit('c', independent(100));
    expect(target(h)).toBe(20);
    // Few long tasks: one worker each is enough.
    const long = setup(1);
    teach(long, 60_000);
    long.submit('c', independent(3));
    expect(target(long)).toBe(3);
  });

  it('asks for one worker at least when work waits and there is none', () => {
    const h = setup(0);
    expect(target(h)).toBe(0);
    h.submit('c', { 'x-1': [] });
    expect(target(h)).toBe(1);
  });

  it('counts threads, not workers', () => {
    const h = new Harness();
    h.worker(4);
    h.worker(4);
    h.client('c');
    teach(h, 1000);
    h.submit('c', independent(200));
    expect(target(h)).toBe(10);
  });

  it('doubles when values take more than 60 % of the memory', () => {
    const h = setup(2, 100);
    value(h, 'x-1', 1, 60);
    value(h, 'x-2', 2, 61);
    expect(target(h)).toBe(4);
  });

  it('goes down only by workers that can go', () => {
    const h = setup(4, 100);
    value(h, 'x-1', 1, 90);
    expect(target(h)).toBe(2);
    for (const worker of [2, 3, 4])
      h.submit('c', { [`y-${worker}`]: [] }, { workers: [`w${worker}`] });
    // The idle one, whose values can be moved.
    expect(target(h)).toBe(3);
    h.submit('c', { 'y-1': [] }, { workers: ['w1'] });
    expect(target(h)).toBe(4);
  });
});

describe('Adaptive', () => {
  it('goes up by what was suggested three times in a row, the least of it', () => {
    const h = setup(1);
    const adaptive = new Adaptive({ maximum: 30 });
    teach(h, 1000);
    h.submit('c', independent(100));
    expect(adaptive.decide(h.state, 1)).toBeNull();
    h.submit('c', independent(500, 'z'));
    expect(adaptive.decide(h.state, 1)).toBeNull();
    expect(adaptive.decide(h.state, 1)).toMatchObject({ workers: 20, close: [] });
    // What was asked for counts as there; the rest takes three suggestions again.
    for (const expected of [null, null, 30]) {
      expect(adaptive.decide(h.state, 20)?.workers ?? null).toBe(expected);
    }
    expect(adaptive.decide(h.state, 30)).toBeNull();
    expect(adaptive.log.map(line => line.text)).toEqual([
      expect.stringMatching(/^1 -> 20 workers: \d+ tasks of \d+\.\d s together/),
      expect.stringMatching(/^20 -> 30 workers: .*; it is to have at most 30$/)
    ]);
  });

  it('does not wait when there is no worker at all, nor below the minimum', () => {
    const h = setup(0);
    h.submit('c', { 'x-1': [] });
    expect(new Adaptive({}).decide(h.state, 0)).toMatchObject({ workers: 1 });
    // It is coming: nothing more is asked for.
    expect(new Adaptive({}).decide(h.state, 1)).toBeNull();
    expect(new Adaptive({ minimum: 2 }).decide(setup(1).state, 1)).toMatchObject({ workers: 2 });
  });

  it('forgets suggestions upwards when the work is gone', () => {
    const h = setup(1);
    const adaptive = new Adaptive({ minimum: 1 });
    teach(h, 1000);
    h.submit('c', independent(100));
    for (let i = 0; i < 2; i++) expect(adaptive.decide(h.state, 1)).toBeNull();
    h.release('c', ...Object.keys(independent(100)));
    expect(adaptive.decide(h.state, 1)).toBeNull();
    h.submit('c', independent(100, 'z'));
    for (let i = 0; i < 2; i++) expect(adaptive.decide(h.state, 1)).toBeNull();
    expect(adaptive.decide(h.state, 1)).toMatchObject({ workers: 20 });
  });

  it('closes a worker that was suggested three times in a row', () => {
    const h = setup(3);
    const adaptive = new Adaptive({ minimum: 1 });
    const closed = (): number[] | null => {
      const decision = adaptive.decide(h.state, 3);
      return decision === null ? null : ids(decision.close);
    };
    expect(closed()).toBeNull();
    expect(closed()).toBeNull();
    // The third has something to do again: the first takes its place, from the beginning.
    h.submit('c', { 'y-1': [] }, { workers: ['w3'] });
    expect(closed()).toEqual([2]);
    expect(adaptive.log.at(-1)?.text).toMatch(/^3 -> 2 workers/);
  });

  it('calls off what has not come before it closes anything', () => {
    const h = setup(2);
    const adaptive = new Adaptive({ minimum: 2 });
    expect(adaptive.decide(h.state, 5)).toBeNull();
    expect(adaptive.decide(h.state, 5)).toBeNull();
    expect(adaptive.decide(h.state, 5)).toMatchObject({ workers: 2, close: [] });
  });

  it('comes down at once to a maximum that was lowered', () => {
    const h = setup(4);
    h.submit('c', { 'y-1': [] }, { workers: ['w4'] });
    expect(new Adaptive({ minimum: 2, maximum: 2 }).decide(h.state, 4)).toMatchObject({
      workers: 2,
      close: [{ id: 3 }, { id: 2 }]
    });
  });
});
