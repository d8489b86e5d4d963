import { describe, expect, it } from 'vitest';
import { explain } from '../../src/scheduler/state/explain.ts';
import { isEmpty } from '../../src/scheduler/state/validate.ts';
import { Harness } from './harness.ts';
import { NO_TASK_OPTIONS } from '../../src/protocol/task-options.ts';

function keys(count: number, group = 'x'): string[] {
  return Array.from({ length: count }, (_, i) => `${group}-${i}`);
}
function independent(count: number, group = 'x'): Record<string, string[]> {
  return Object.fromEntries(keys(count, group).map(key => [key, []]));
}
function setup(threads: number[] = [1], options = {}): Harness {
  const h = new Harness(options);
  for (const n of threads) h.worker(n);
  h.client('c');
  return h;
}

describe('dependencies', () => {
  it('runs a task when its inputs are in memory, where they are', () => {
    const h = setup([1, 1]);
    h.submit('c', { 'a-1': [], 'b-1': ['a-1'] });
    expect(h.states('a-1', 'b-1')).toEqual(['processing', 'waiting']);
    const where = h.on('a-1');
    h.finish('a-1', 1_000_000);
    expect(h.on('b-1')).toBe(where);
    const [message] = h.toWorker(where as number, 'compute-tasks').slice(-1);
    expect(message?.deps).toEqual([h.task('a-1').id]);
    expect(message?.depHolders).toEqual([[where]]);
    expect(message?.depNbytes).toEqual([1_000_000]);
  });

  it('lets intermediates go as soon as nobody needs them', () => {
    const h = setup();
    h.submit('c', { 'a-1': [], 'b-1': ['a-1'], 'c-1': ['b-1'] });
    h.release('c', 'a-1', 'b-1');
    h.finish('a-1');
    expect(h.states('a-1')).toEqual(['memory']);
    h.finish('b-1');
    expect(h.states('a-1', 'b-1', 'c-1')).toEqual(['released', 'memory', 'processing']);
    expect(h.toWorker(1, 'free-keys').flatMap(m => m.tids)).toEqual([1]);
    h.finish('c-1');
    expect(h.states('a-1', 'b-1', 'c-1')).toEqual(['released', 'released', 'memory']);
    h.release('c', 'c-1');
    expect(h.states('a-1', 'b-1', 'c-1')).toEqual(['forgotten', 'forgotten', 'forgotten']);
  });

  it('asks a worker for the missing inputs of a released chain again', () => {
    const h = setup([1, 1]);
    h.submit('c', { 'a-1': [], 'b-1': ['a-1'] });
    h.release('c', 'a-1');
    h.finish('a-1');
    const holder = h.on('b-1') as number;
    h.finish('b-1');
    expect(h.states('a-1', 'b-1')).toEqual(['released', 'memory']);
    h.lose(holder);
    expect(h.states('a-1', 'b-1')).toEqual(['processing', 'waiting']);
    expect(h.toClient('c', 'lost-keys').flatMap(m => m.cids)).toEqual([h.cid('c', 'b-1')]);
  });

  it('gives a key that exists already to a second client, without running it twice', () => {
    const h = setup();
    h.client('d');
    h.submit('c', { 'a-1': [] });
    h.finish('a-1');
    h.submit('d', { 'a-1': [] });
    expect(h.toClient('d', 'key-in-memory').flatMap(m => m.cids)).toEqual([h.cid('d', 'a-1')]);
    h.release('c', 'a-1');
    expect(h.states('a-1')).toEqual(['memory']);
    h.release('d', 'a-1');
    expect(h.states('a-1')).toEqual(['forgotten']);
  });
});

describe('queue', () => {
  it('keeps the roots of a large map back until a worker has room', () => {
    const h = setup([1, 1]);
    h.submit('c', independent(20));
    const states = h.states(...keys(20));
    expect(states.filter(state => state === 'processing')).toHaveLength(2);
    expect(states.filter(state => state === 'queued')).toHaveLength(18);
    h.finish('x-0', 8, 10_000);
    expect(h.states('x-2')).toEqual(['processing']);
    expect(h.states('x-3')).toEqual(['queued']);
  });

  it('hands out as many more as worker-saturation says', () => {
    const h = setup([1, 4], { workerSaturation: 1.1 });
    h.submit('c', independent(40));
    // ceil(1.1 × 1) and ceil(1.1 × 4)
    expect(h.states(...keys(40)).filter(state => state === 'processing')).toHaveLength(7);
  });

  it('hands out more of what is known to be short, so that workers never stand idle', () => {
    const h = setup([1, 1]);
    h.submit('c', independent(100));
    h.finish('x-0', 8, 1);
    const running = h.states(...keys(100)).filter(state => state === 'processing');
    // 20 ms of 1 ms tasks on each of two workers.
    expect(running).toHaveLength(40);
  });

  it('hands out no more of what is short and makes large results', () => {
    const h = setup([1, 1]);
    h.submit('c', independent(100));
    h.finish('x-0', 4 * 2 ** 20, 1);
    const running = h.states(...keys(100)).filter(state => state === 'processing');
    expect(running).toHaveLength(2);
  });

  it('runs consumers before further roots', () => {
    const h = setup([1]);
    h.submit('c', independent(10));
    h.submit('c', Object.fromEntries(keys(10).map((key, i) => [`y-${i}`, [key]])), { fn: 'g' });
    h.finish('x-0', 8, 10_000);
    const order = h.toWorker(1, 'compute-tasks').flatMap(m => m.keys);
    expect(order).toContain('y-0');
    expect(h.states('x-9')).toEqual(['queued']);
  });

  it('respects user priorities', () => {
    const h = setup([1]);
    h.submit('c', independent(10, 'low'), { priority: -1 });
    h.submit('c', independent(10, 'high'), { priority: 1 });
    const first = h.states(...keys(10, 'low')).indexOf('processing');
    h.finish(`low-${first}`, 8, 10_000);
    expect(h.states('high-0')).toEqual(['processing']);
  });

  it('starts queued and homeless tasks when workers come', () => {
    const h = setup([]);
    h.submit('c', independent(3));
    expect(h.states(...keys(3))).toEqual(['no-worker', 'no-worker', 'no-worker']);
    h.worker(4);
    expect(h.states(...keys(3))).toEqual(['processing', 'processing', 'processing']);
  });
});

describe('errors', () => {
  it('does not make an input of a task that fails before the input has its turn', () => {
    const h = setup();
    h.submit('c', { 'bad-1': [] });
    h.fail('bad-1');
    h.submit('c', { 'a-1': ['bad-1'], 'b-1': [], 'c-1': ['a-1', 'b-1'] }, { wants: ['c-1'] });
    expect(h.states('a-1', 'b-1', 'c-1')).toEqual(['erred', 'released', 'erred']);
  });

  it('passes an error to all that stand on the task, naming who is to blame', () => {
    const h = setup();
    h.submit('c', { 'a-1': [], 'b-1': ['a-1'], 'c-1': ['b-1'] });
    h.fail('a-1', 'RangeError: no');
    expect(h.states('a-1', 'b-1', 'c-1')).toEqual(['erred', 'erred', 'erred']);
    const [message] = h.toClient('c', 'task-erred');
    expect(message?.cids).toHaveLength(3);
    // One record for all three.
    expect(message?.errors).toHaveLength(1);
    expect(message?.errors[0]?.blame).toBe('a-1');
  });

  it('tries again as often as `retries` says', () => {
    const h = setup();
    h.submit('c', { 'a-1': [] }, { retries: 2 });
    h.fail('a-1');
    h.fail('a-1');
    expect(h.states('a-1')).toEqual(['processing']);
    h.fail('a-1');
    expect(h.states('a-1')).toEqual(['erred']);
  });

  it('retry() starts from the failed roots', () => {
    const h = setup();
    h.submit('c', { 'a-1': [], 'b-1': ['a-1'] });
    h.fail('a-1');
    h.retry('c', 'b-1');
    expect(h.states('a-1', 'b-1')).toEqual(['processing', 'waiting']);
    h.finish('a-1');
    h.finish('b-1');
    expect(h.states('a-1', 'b-1')).toEqual(['memory', 'memory']);
  });

  it('retry() looks at each task once, however many ways lead to it', () => {
    const h = setup();
    const graph: Record<string, string[]> = { 'a-0': [], 'b-0': ['a-0'] };
    for (let i = 1; i <= 40; i++) {
      const before = [`a-${i - 1}`, `b-${i - 1}`];
      graph[`a-${i}`] = before;
      graph[`b-${i}`] = before;
    }
    h.submit('c', graph);
    h.fail('a-0');
    expect(h.states('a-40')).toEqual(['erred']);
    h.retry('c', 'a-40');
    expect(h.states('a-0', 'b-0', 'a-40')).toEqual(['processing', 'waiting', 'waiting']);
  });

  it('gives up after the fourth worker that died executing the task, and says why', () => {
    const h = setup([1]);
    h.submit('c', { 'a-1': [] });
    for (let death = 1; death <= 3; death++) {
      h.lose(h.on('a-1') as number);
      expect(h.states('a-1')).toEqual(['no-worker']);
      h.worker(1);
    }
    h.lose(h.on('a-1') as number);
    expect(h.states('a-1')).toEqual(['erred']);
    const error = h.toClient('c', 'task-erred')[0]?.errors[0];
    expect(error?.code).toBe('KILLED_WORKER');
    expect(error?.message).toContain('4 workers that died');
    expect(error?.message).toContain('killed by SIGKILL');
  });

  it('blames what its nanny saw executing, and nothing else', () => {
    const h = setup([2]);
    h.submit('c', { 'a-1': [], 'b-1': [], 'c-1': [] });
    const blamed = () => ['a-1', 'b-1', 'c-1'].map(key => h.task(key).suspicious);
    const [b, c] = [h.task('b-1'), h.task('c-1')];
    // The last is unknown; the note about c is of a run that it has not had yet.
    const seen = { tids: [b.id, c.id, 999], runIds: [b.runId, c.runId + 1, 1] };
    h.lose(1, false, seen);
    expect(blamed()).toEqual([0, 1, 0]);
    h.worker(2);
    h.lose(2, false, { tids: [], runIds: [] });
    expect(blamed()).toEqual([0, 1, 0]);
  });

  it('does not blame tasks that were only assigned, nor a planned end', () => {
    const h = setup([1]);
    h.submit('c', { 'a-1': [], 'b-1': [] });
    h.lose(1);
    expect([h.task('a-1').suspicious, h.task('b-1').suspicious]).toEqual([1, 0]);
    h.worker(1);
    h.lose(2, true);
    expect([h.task('a-1').suspicious, h.task('b-1').suspicious]).toEqual([1, 0]);
  });

  it('does not blame a task whose inputs had not come yet', () => {
    const h = new Harness();
    h.worker(1, { name: 'far' });
    h.worker(1, { name: 'near' });
    h.client('c');
    h.submit('c', { 'a-1': [] }, { workers: ['far'] });
    h.finish('a-1');
    h.submit('c', { 'b-1': ['a-1'], 'd-1': [] }, { workers: ['near'] });
    h.lose(2);
    expect([h.task('b-1').suspicious, h.task('d-1').suspicious]).toEqual([0, 1]);
  });

  it('fails at once what is larger than every worker', () => {
    const h = new Harness();
    h.worker(1, { memoryLimit: 1e9 });
    h.client('c');
    h.submit('c', { 'a-1': [], 'a-2': [], 'b-1': ['a-1', 'a-2'] });
    h.finish('a-1', 6e8);
    h.finish('a-2', 6e8);
    expect(h.states('b-1')).toEqual(['erred']);
    expect(h.toClient('c', 'task-erred')[0]?.errors[0]?.code).toBe('WORKER_MEMORY');
  });

  it('fails a task whose input was released before it came', () => {
    const h = setup();
    h.submit('c', { 'a-1': [] });
    h.release('c', 'a-1');
    h.submit('c', { 'b-1': ['a-1'] });
    expect(h.states('b-1')).toEqual(['erred']);
    expect(h.toClient('c', 'task-erred')[0]?.errors[0]?.code).toBe('CANCELLED');
  });
});

describe('cancel', () => {
  it('takes dependents along and stops what is not wanted by others', () => {
    const h = setup();
    h.client('d');
    h.submit('c', { 'a-1': [], 'b-1': ['a-1'] });
    h.submit('d', { 'a-1': [] });
    h.cancel('c', 'a-1');
    expect(h.states('a-1', 'b-1')).toEqual(['processing', 'forgotten']);
    expect(h.toClient('c', 'cancelled-keys').flatMap(m => m.cids)).toHaveLength(2);
    expect(h.toClient('d', 'cancelled-keys')).toEqual([]);
  });

  it('with force kills the running task and tells every client', () => {
    const h = setup();
    h.client('d');
    h.submit('c', { 'a-1': [] });
    h.submit('d', { 'a-1': [] });
    h.cancel('c', 'a-1', true);
    expect(h.states('a-1')).toEqual(['forgotten']);
    expect(h.toWorker(1, 'cancel-compute')).toMatchObject([{ force: true }]);
    expect(h.toClient('d', 'cancelled-keys')).toHaveLength(1);
  });
});

describe('restrictions', () => {
  it('runs only where it may, and explains when it cannot', () => {
    const h = setup([1, 1]);
    h.submit('c', { 'a-1': [] }, { workers: ['w2'] });
    expect(h.on('a-1')).toBe(2);
    h.submit('c', { 'b-1': [] }, { workers: ['nowhere'] });
    expect(h.states('b-1')).toEqual(['no-worker']);
    expect(explain(h.state, 'b-1')).toContain('one of the workers nowhere');
    h.submit('c', { 'c-1': [] }, { workers: ['nowhere'], allowOtherWorkers: true });
    expect(h.states('c-1')).toEqual(['processing']);
  });

  it('asks for declared resources', () => {
    const h = setup([1]);
    h.submit('c', { 'a-1': [] }, { resources: { GPU: 1 } });
    expect(h.states('a-1')).toEqual(['no-worker']);
    const gpu = h.worker(1, { resources: { GPU: 2 } });
    expect(h.on('a-1')).toBe(gpu);
  });

  it('fails what nobody may run after the configured time', () => {
    const h = setup([1], { noWorkersTimeout: 5000 });
    h.submit('c', { 'a-1': [] }, { workers: ['nowhere'] });
    h.now += 4000;
    h.handle({ type: 'tick' });
    expect(h.states('a-1')).toEqual(['no-worker']);
    h.now += 1000;
    h.handle({ type: 'tick' });
    expect(h.states('a-1')).toEqual(['erred']);
  });
});

describe('stale messages', () => {
  it('frees the result of a run that was given up', () => {
    const h = setup([1, 1]);
    h.submit('c', { 'a-1': [] });
    const task = h.task('a-1');
    const { id, runId } = task;
    const worker = task.processingOn?.id as number;
    h.handle({ type: 'worker-message', worker, message: { op: 'reschedule', tid: id, runId } });
    const other = h.on('a-1') as number;
    const late = {
      tids: [id],
      runIds: [runId],
      nbytes: [1],
      types: ['x'],
      lanes: [0],
      starts: [0],
      durations: [1],
      inline: [null]
    };
    h.toWorker(worker, 'free-keys');
    h.handle({
      type: 'worker-message',
      worker: worker === other ? 3 - worker : worker,
      message: { op: 'tasks-finished', ...late }
    });
    expect(h.states('a-1')).toEqual(['processing']);
  });

  it('refuses a graph that does not fit together, and nothing has changed', () => {
    const h = setup();
    h.submit('c', { 'a-1': [] });
    const bad = {
      op: 'update-graph' as const,
      first: 50,
      keys: ['z-1'],
      fn: 1,
      args: new Uint8Array(1),
      argOffsets: [0, 5],
      deps: [],
      depOffsets: [],
      options: NO_TASK_OPTIONS,
      fifoTimeout: 100,
      wants: 'all' as const
    };
    expect(() => h.handle({ type: 'client-message', client: 'c', message: bad })).toThrow(
      'argOffsets must rise'
    );
    expect(h.states('z-1')).toEqual(['forgotten']);
  });
});

describe('large messages', () => {
  it('are parted before a frame grows too large', () => {
    const h = setup([40]);
    h.submit('c', independent(30), { argBytes: 1_000_000 });
    const sizes = h
      .toWorker(1, 'compute-tasks')
      .map(m => m.args.reduce((sum, args) => sum + args.length, 0));
    expect(sizes.reduce((a, b) => a + b)).toBe(30_000_000);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(8 * 1024 * 1024);
  });
});

it('a task that takes down the worker that holds its input fails in the end, too', () => {
  const h = setup([1], { allowedFailures: 1 });
  h.submit('c', { 'a-1': [], 'x-1': ['a-1'] });
  for (const worker of [1, 2]) {
    h.finish('a-1');
    expect(h.on('x-1')).toBe(worker);
    h.lose(worker);
    h.worker();
  }
  expect(h.states('x-1')).toEqual(['erred']);
  expect(h.task('x-1').error?.code).toBe('KILLED_WORKER');
});

it('a task too large for every worker fails also when none was running at first', () => {
  const h = new Harness();
  h.client('c');
  h.worker(1, { memoryLimit: 2_000_000 });
  h.submit('c', { 'a-1': [], 'b-1': [] });
  const pause = (status: 'paused' | 'running'): void => {
    h.handle({
      type: 'worker-message',
      worker: 1,
      message: { op: 'worker-status-change', status }
    });
  };
  h.finish('a-1', 1_500_000);
  h.finish('b-1', 1_500_000);
  pause('paused');
  h.submit('c', { 'x-1': ['a-1', 'b-1'] });
  expect(h.states('x-1')).toEqual(['no-worker']);
  pause('running');
  expect(h.task('x-1').error?.code).toBe('WORKER_MEMORY');
});

describe('an input that was cancelled before', () => {
  it('fails the task, also when it is tried again: it never runs without it', () => {
    const h = setup();
    h.submit('c', { 'a-1': [] });
    h.cancel('c', 'a-1');
    h.submit('c', { 'x-1': ['a-1'], 'y-1': ['x-1'] });
    expect(h.states('x-1', 'y-1')).toEqual(['erred', 'erred']);
    h.toClient('c', 'task-erred');
    h.retry('c', 'y-1');
    expect(h.states('x-1', 'y-1')).toEqual(['erred', 'erred']);
    expect(
      h
        .toClient('c', 'task-erred')
        .flatMap(message => message.cids)
        .sort()
    ).toEqual([h.cid('c', 'x-1'), h.cid('c', 'y-1')].sort());
    expect(h.toWorker(1, 'compute-tasks')).toHaveLength(1);
  });

  it('does not leave what nobody needs any more to be run', () => {
    const h = setup();
    h.submit('c', { 'bad-1': [] });
    h.fail('bad-1');
    const graph = { 'root-1': [], 'x-1': ['root-1'], 'y-1': ['bad-1'], 'z-1': ['x-1', 'y-1'] };
    h.submit('c', graph, { wants: ['z-1'] });
    expect(h.states('z-1', 'y-1', 'x-1', 'root-1')).toEqual([
      'erred',
      'erred',
      'released',
      'released'
    ]);
  });
});

describe('an input that is named twice', () => {
  it('is waited for once, and sent in every place of the arguments', () => {
    const h = setup();
    h.submit('c', { 'a-1': [], 'b-1': [], 'x-1': ['a-1', 'b-1', 'a-1'] });
    h.finish('a-1');
    expect(h.states('x-1')).toEqual(['waiting']);
    h.finish('b-1');
    expect(h.states('x-1')).toEqual(['processing']);
    const [a, b] = [h.task('a-1').id, h.task('b-1').id];
    expect(h.toWorker(1, 'compute-tasks').at(-1)?.deps).toEqual([a, b, a]);
    h.release('c', 'a-1', 'b-1');
    h.finish('x-1');
    expect(h.states('a-1', 'b-1')).toEqual(['released', 'released']);
    h.release('c', 'x-1');
    expect(h.state.tasks.size + h.state.repeats.size).toBe(0);
  });
});

describe('clients', () => {
  it('forgets all of a client that leaves', () => {
    const h = setup([1, 1]);
    h.submit('c', { ...independent(10), 'y-1': keys(10) });
    h.finish('x-0');
    h.handle({ type: 'remove-client', client: 'c' });
    expect(isEmpty(h.state)).toBe(true);
  });

  it('frees what a client put on workers and did not live to tell of', () => {
    const h = setup([1, 1]);
    const { tids } = h.state.planScatter('c', 2, null);
    h.handle({ type: 'worker-message', worker: 1, message: { op: 'add-keys', tids: [tids[0]!] } });
    expect(h.toWorker(1, 'free-keys')).toEqual([]);
    h.handle({ type: 'remove-client', client: 'c' });
    h.handle({ type: 'worker-message', worker: 2, message: { op: 'add-keys', tids: [tids[1]!] } });
    expect(h.toWorker(1, 'free-keys').map(message => message.tids)).toEqual([[tids[0]]]);
    expect(h.toWorker(2, 'free-keys').map(message => message.tids)).toEqual([[tids[1]]]);
    expect(h.state.promised.size).toBe(0);
  });

  it('forgets functions when no client and no task needs them', () => {
    const h = setup();
    h.submit('c', { 'a-1': [] });
    expect(h.state.functions.size).toBe(1);
    h.handle({
      type: 'client-message',
      client: 'c',
      message: { op: 'release-functions', fns: [1] }
    });
    expect(h.state.functions.size).toBe(1);
    h.release('c', 'a-1');
    expect(h.state.functions.size).toBe(0);
    expect(h.toWorker(1, 'forget-functions')).toHaveLength(1);
  });
});
