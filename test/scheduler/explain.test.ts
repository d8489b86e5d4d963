/** Every answer to "why does it not run?" names the cause, and what can be done. */
import { describe, expect, it } from 'vitest';
import { explain } from '../../src/scheduler/state/explain.ts';
import { TASK_STATES } from '../../src/scheduler/state/tasks.ts';
import { Harness } from './harness.ts';

class Explained extends Harness {
  constructor(...threads: number[]) {
    super();
    this.client('c');
    for (const nthreads of threads) this.worker(nthreads);
  }

  why(key: string): string {
    return explain(this.state, key);
  }

  /** A heartbeat of a worker that executes these. */
  beat(worker: number, executing: string[], rss = 0): void {
    const metrics = { cpu: 0, rss, managed: 0, spilled: 0, executing: 0, ready: 0, inMemory: 0 };
    this.handle({
      type: 'worker-message',
      worker,
      message: {
        op: 'heartbeat-worker',
        now: this.now,
        metrics: { ...metrics, netIn: 0, netOut: 0, loopDelay: 0, bandwidth: 0 },
        executing: executing.map(key => this.task(key).id),
        executingFor: executing.map(() => 1)
      }
    });
  }
}

describe('explain', () => {
  it('a task that is done, failed, unknown, forgotten or kept', () => {
    const h = new Explained(1);
    h.submit('c', { a: [], b: ['a'], d: ['b'] });
    h.finish('a', 2048);
    expect(h.why('a')).toBe('a: done, 2 KiB on w1.');
    h.fail('b', 'Error: no luck');
    expect(h.why('b')).toBe('b: failed: Error: no luck');
    expect(h.why('d')).toBe('d: failed: Error: no luck It was not run itself: its input b failed.');
    expect(h.why('never')).toMatch(/^never is not known here: it was never submitted/);
    h.submit('c', { gone: [] });
    h.release('c', 'gone');
    expect(h.why('gone')).toMatch(
      /^gone has been forgotten: .* Its last steps:\n.*released -> waiting/s
    );
    h.submit('c', { x: [], y: ['x'] });
    h.finish('x');
    h.release('c', 'x');
    h.finish('y');
    expect(h.states('x')).toEqual(['released']);
    expect(h.why('x')).toMatch(/^x: not being computed: nobody asks for it now/);
  });

  it('a task that runs, and what is wrong with its worker', () => {
    const h = new Explained(2);
    h.submit('c', { a: [], b: [], d: [] });
    h.beat(1, ['a']);
    expect(h.why('a')).toBe('a: running on w1.');
    expect(h.why('b')).toMatch(/^b: given to w1 \(2 threads\): it is among the first there/);
    expect(h.why('d')).toMatch(/^d: given to w1 \(2 threads\): 2 tasks of it come first\.$/);
    h.now += 90_000;
    h.handle({ type: 'tick' });
    expect(h.why('a')).toBe('a: running on w1. But nothing was heard of w1 for 1.5 min.');
    h.status(1, 'paused');
    expect(h.why('d')).toMatch(/But w1 is paused\.$/);
    h.status(1, 'closing');
    expect(h.why('d')).toMatch(/But w1 is closing: it will be given to another\.$/);
  });

  it('a task in the queue, by its place', () => {
    const h = new Explained(1);
    const keys = Array.from({ length: 8 }, (_, i) => `m-${i}`);
    h.submit('c', Object.fromEntries(keys.map(key => [key, []])), { fn: 'm' });
    const [first, second] = keys.filter(key => h.states(key)[0] === 'queued');
    expect(h.why(first as string)).toMatch(
      /waits in the queue for room on a worker: it is the next, 7 wait in all, and 1 running worker \(1 thread\) have/
    );
    expect(h.why(second as string)).toMatch(/: 1 task of its client come first, 7 wait/);
    h.status(1, 'paused');
    expect(h.why(second as string)).toMatch(/busy\. w1 is paused\.$/);
  });

  it('a restriction that nobody meets, one that only a paused worker meets, and no workers at all', () => {
    const h = new Explained();
    h.submit('c', { a: [] });
    expect(h.why('a')).toBe(
      'a: waits: this cluster has no workers. Start some (cluster.scale(n)).'
    );
    h.worker(1, { resources: { GPU: 1 }, memoryLimit: 1000 });
    h.submit('c', { named: [] }, { workers: ['nowhere'] });
    expect(h.why('named')).toMatch(
      /asks for one of the workers nowhere, and none of the 1 workers is that. No worker has such a name, address or host; there are w1. Start/
    );
    h.submit('c', { tpu: [] }, { resources: { TPU: 1 } });
    expect(h.why('tpu')).toContain('No worker offers TPU at all.');
    h.submit('c', { two: [] }, { resources: { GPU: 2 } });
    expect(h.why('two')).toContain('No worker offers 2 of GPU; the most is 1.');
    h.worker(1);
    h.submit('c', { both: [] }, { resources: { GPU: 1 }, workers: ['w2'] });
    expect(h.why('both')).toContain('No single worker meets all of that at once.');
    h.beat(1, [], 850);
    h.status(1, 'paused');
    h.submit('c', { gpu: [] }, { resources: { GPU: 1 } });
    expect(h.why('gpu')).toMatch(
      /those that are that take no tasks now: w1 is paused: it uses 850 B of 1000 B of memory \(85 %\)\.$/
    );
    h.status(2, 'closing');
    h.submit('c', { any: [] });
    expect(h.why('any')).toMatch(
      /waits: no worker is running. w1 is paused: .*; w2 is closing. It starts when/
    );
  });

  it('a chain of inputs, down to the cause', () => {
    const h = new Explained(1);
    h.submit('c', { stuck: [] }, { workers: ['nowhere'] });
    h.submit('c', { a: [], b: ['stuck'], d: ['b', 'a'], e: ['d'] });
    expect(h.why('e')).toMatch(
      /^e: waits for 1 of its 1 input: d \(waiting\)\. In the end that is for 2 tasks; the first of them is stuck \(no-worker\): cannot run now: .*The way there: e <- d <- b <- stuck\.$/
    );
    expect(h.why('d')).toMatch(/^d: waits for 2 of its 2 inputs: b \(waiting\), a \(processing\)/);
  });

  it('says what else is known: retries, deaths, limits, wishes', () => {
    const h = new Explained(1);
    h.submit('c', { a: [] }, { retries: 2, timeout: 90, workers: ['w9'], allowOtherWorkers: true });
    expect(h.why('a').split('\n').slice(1)).toEqual([
      'It would rather run on w9.',
      'It may run for 1.5 min.',
      'If it throws, it is tried 2 times more.'
    ]);
    h.lose(1);
    expect(h.why('a')).toContain('1 worker died while executing it.');
  });

  it('has a sentence for every state', () => {
    const h = new Explained(1);
    h.submit('c', { a: [] });
    for (const state of TASK_STATES) {
      h.task('a').state = state;
      expect(h.why('a').split('\n')[0]).toMatch(/^a: \S.*\.$|^a: failed/);
    }
  });
});
