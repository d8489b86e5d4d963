/**
 * What a worker does, told as events and the instructions they bring. Written after the situations
 * that have gone wrong in systems of this kind.
 */
import { describe, expect, test } from 'vitest';
import type { ErrorRecord, WorkerToScheduler } from '../../../src/protocol/messages.ts';
import { MOST_HANDED } from '../../../src/worker/state/ready.ts';
import type { Instruction, WorkerEvent } from '../../../src/worker/state/state.ts';
import { transitionPairs } from '../../../src/worker/state/transitions.ts';
import { compute, Driver, failure, free, gathered, success } from './driver.ts';
import type { TaskOf } from './driver.ts';

function sent(instructions: Instruction[]): WorkerToScheduler[] {
  return instructions.flatMap(one => (one.op === 'send' ? [one.message] : []));
}

const cancel = (force: boolean, ...tids: number[]): WorkerEvent => ({
  op: 'cancel-compute',
  stimulus: 'test',
  tids,
  force
});
const holders = (tid: number, ...workers: number[]): WorkerEvent => ({
  op: 'refresh-who-has',
  stimulus: 'test',
  tids: [tid],
  holders: [workers]
});

describe('one task', () => {
  test('is executed, reported with its run, and forgotten when freed', () => {
    const d = new Driver();
    expect(d.lines(compute({ tid: 5, run: 9 }))).toEqual(['execute 5']);
    const done = d.do(success(5, 9));
    expect(sent(done)).toMatchObject([
      { op: 'tasks-finished', tids: [5], runIds: [9], nbytes: [100], durations: [10] }
    ]);
    expect(d.stateOf(5)).toBe('memory');
    expect(d.lines(free(5))).toEqual(['release-worker-data 5', 'drop 5']);
    expect(d.stateOf(5)).toBe('forgotten');
  });

  test('fails: the error is told and kept until the task is freed', () => {
    const d = new Driver();
    d.do(compute({ tid: 5 }));
    expect(d.lines(failure(5))).toEqual(['task-erred 5 TASK_ERRED']);
    expect(d.stateOf(5)).toBe('error');
    // Asked for the same run again it says the same; for a new run it tries again.
    expect(d.lines(compute({ tid: 5, run: 1 }))).toEqual(['task-erred 5 TASK_ERRED']);
    expect(d.lines(compute({ tid: 5, run: 2 }))).toEqual(['execute 5']);
    d.do(failure(5, 2), free(5));
    expect(d.stateOf(5)).toBe('forgotten');
  });

  test('that is in memory is reported at once when it is asked for', () => {
    const d = new Driver();
    d.do(compute({ tid: 5 }), success(5));
    expect(d.lines(compute({ tid: 5, run: 2 }))).toEqual(['tasks-finished 5 run 2']);
  });

  test('that asks to run elsewhere goes back', () => {
    const d = new Driver();
    d.do(compute({ tid: 5 }));
    const event = { op: 'execute-reschedule', tid: 5, runId: 1 } as const;
    expect(d.lines(event)).toEqual(['reschedule 5']);
    expect(d.stateOf(5)).toBe('forgotten');
  });

  test('has a story with the stimulus of every step', () => {
    const d = new Driver();
    d.do(compute({ tid: 5 }), success(5));
    expect(d.state.story('k5').join('\n')).toMatch(
      /released -> waiting \(test\)[^]*ready -> executing \(test\)[^]*-> memory \(execute-success-3\)/
    );
    expect(d.state.story(5)).toEqual(d.state.story('k5'));
  });
});

describe('what runs next', () => {
  test('smaller priorities first, of equals the one that came last', () => {
    const d = new Driver();
    d.do(
      compute(
        { tid: 1 },
        { tid: 2, priority: [0, 2, 0] },
        { tid: 3, priority: [0, 1, 0] },
        { tid: 4, priority: [-1, 9, 9] },
        { tid: 5, priority: [0, 1, 0] }
      )
    );
    const order = [4];
    for (let i = 0; i < 4; i++) {
      const next = d.do(success(order.at(-1) ?? 0, 1, 300)).find(one => one.op === 'execute');
      if (next?.op === 'execute') order.push(next.tid);
    }
    expect(order).toEqual([4, 5, 3, 1, 2]);
  });

  test('no more at once than there are threads, when tasks are long', () => {
    const d = new Driver({ nthreads: 2 });
    const all = compute(...[1, 2, 3, 4, 5].map(tid => ({ tid })));
    expect(d.lines(all)).toEqual(['execute 1', 'execute 2']);
  });

  test('short tasks are handed over ahead once their function is known to be short', () => {
    const d = new Driver();
    const many = Array.from({ length: 400 }, (_, i) => ({ tid: i + 1 }));
    expect(d.lines(compute(...many))).toEqual(['execute 1']);
    const handed = d.do(success(1, 1, 0.05)).filter(one => one.op === 'execute');
    expect(handed.length).toBe(MOST_HANDED);
    // One of 10 ms: one ahead; one that is long: none.
    const other = new Driver();
    other.do(compute(...many));
    expect(other.lines(success(1, 1, 10))).toEqual([
      'execute 2',
      'execute 3',
      'tasks-finished 1 run 1'
    ]);
    const long = new Driver();
    long.do(compute(...many));
    expect(long.lines(success(1, 1, 300))).toEqual(['execute 2', 'tasks-finished 1 run 1']);
  });

  test('tasks with a timeout or resources are never handed over ahead', () => {
    const d = new Driver({ resources: { gpu: 8 } });
    const short = { duration: 0.01 };
    expect(
      d.lines(compute({ tid: 1, ...short }, { tid: 2, ...short, timeout: 1, priority: [0, 9, 9] }))
    ).toEqual(['execute 1']);
    d.do(free(2));
    expect(d.lines(compute({ tid: 3, ...short, resources: { gpu: 1 } }))).toEqual([]);
  });

  test('what is queued in an executor that died is ready again; the dead one is not', () => {
    const d = new Driver();
    const short = { duration: 0.01 };
    d.do(compute({ tid: 1, ...short }, { tid: 2, ...short }));
    expect(d.lines(failure(1))).toEqual(['task-erred 1 TASK_ERRED']);
    const back: WorkerEvent = { op: 'execute-returned', tids: [2], runIds: [1] };
    expect(d.lines(back)).toEqual(['execute 2']);
  });

  test('resources are taken and given back; a blocked task holds up no other', () => {
    const d = new Driver({ nthreads: 3, resources: { gpu: 1 } });
    const gpu = { resources: { gpu: 1 } };
    expect(d.lines(compute({ tid: 1, ...gpu }, { tid: 2, ...gpu }, { tid: 3 }))).toEqual([
      'execute 1',
      'execute 3'
    ]);
    expect(d.stateOf(2)).toBe('constrained');
    expect(d.lines(failure(1))).toEqual(['task-erred 1 TASK_ERRED', 'execute 2']);
  });

  test('a paused worker starts and fetches nothing, and goes on later', () => {
    const d = new Driver();
    expect(d.lines({ op: 'pause' })).toEqual(['paused']);
    const task = { tid: 2, deps: [{ tid: 1, holders: [1] }] };
    expect(d.lines(compute(task, { tid: 3 }))).toEqual([]);
    expect(d.lines({ op: 'unpause' })).toEqual(['running', 'gather 1: 1', 'execute 3']);
  });

  test('a task that secedes gives its slot to the next', () => {
    const d = new Driver();
    d.do(compute({ tid: 1 }, { tid: 2 }));
    const event = { op: 'secede', tid: 1, runId: 1, duration: 4 } as const;
    expect(d.lines(event)).toEqual(['long-running 1', 'execute 2']);
    expect(d.lines(success(1))).toEqual(['tasks-finished 1 run 1']);
  });
});

describe('dependencies', () => {
  test('are fetched, announced, and what waits for them runs', () => {
    const d = new Driver();
    expect(d.lines(compute({ tid: 2, deps: [{ tid: 1, holders: [1] }] }))).toEqual(['gather 1: 1']);
    expect(d.stateOf(2)).toBe('waiting');
    expect(d.lines(gathered(1, 1))).toEqual(['execute 2', 'add-keys 1']);
  });

  test('one request a peer at a time, with all that fits into it', () => {
    const d = new Driver({ messageBytes: 100 });
    const dep = (tid: number, nbytes: number) => ({ tid, holders: [1], nbytes });
    const task = { tid: 9, deps: [dep(1, 60), dep(2, 30), dep(3, 30), dep(4, 5)] };
    expect(d.lines(compute(task))).toEqual(['gather 1: 1,2']);
    expect(d.lines(gathered(1, 1, 2))).toEqual(['gather 1: 3,4', 'add-keys 1,2']);
  });

  test('a value larger than a message is fetched alone', () => {
    const d = new Driver({ messageBytes: 100 });
    const deps = [
      { tid: 1, holders: [1], nbytes: 500 },
      { tid: 2, holders: [1], nbytes: 10 }
    ];
    expect(d.lines(compute({ tid: 9, deps }))).toEqual(['gather 1: 1']);
  });

  test('bytes under way are bounded by the memory limit', () => {
    const d = new Driver({ memoryLimit: 1000 });
    const deps = [
      { tid: 1, holders: [1], nbytes: 80 },
      { tid: 2, holders: [2], nbytes: 40 },
      { tid: 3, holders: [3], nbytes: 15 }
    ];
    // 100 may be under way: the second does not fit beside the first, nor is it passed over.
    const first = d.lines(compute({ tid: 9, deps }));
    expect(first.length).toBeLessThan(3);
    const started = first.map(line => Number(/gather (\d)/.exec(line)?.[1]));
    const rest = d.lines(...started.map(worker => gathered(worker, worker)));
    expect(rest.filter(line => line.startsWith('gather')).length).toBe(3 - started.length);
  });

  test('the own host is asked first, the more urgent task before all', () => {
    const d = new Driver();
    expect(d.lines(compute({ tid: 9, deps: [{ tid: 1, holders: [3, 2] }] }))).toEqual([
      'gather 2: 1'
    ]);
    d.do({ op: 'pause' });
    d.do(
      compute(
        { tid: 11, priority: [0, 5, 0], deps: [{ tid: 3, holders: [1] }] },
        { tid: 12, priority: [0, 1, 0], deps: [{ tid: 4, holders: [3] }] }
      )
    );
    expect(d.lines({ op: 'unpause' })).toEqual(['running', 'gather 3: 4', 'gather 1: 3']);
  });

  test('a busy peer is left alone for a while; another holder is asked at once', () => {
    const d = new Driver();
    d.do(compute({ tid: 9, deps: [{ tid: 1, holders: [1, 2] }] }));
    const [asked] = [...d.state.tasks.values()].filter(task => task.comingFrom > 0);
    const worker = asked?.comingFrom ?? 0;
    expect(d.lines({ op: 'gather-busy', worker })).toEqual([
      `retry ${worker} after 150`,
      `gather ${3 - worker}: 1`
    ]);
    // All are busy: the scheduler may know of others.
    expect(d.lines({ op: 'gather-busy', worker: 3 - worker })).toEqual([
      `retry ${3 - worker} after 150`,
      'request-refresh-who-has 1'
    ]);
    expect(d.lines({ op: 'retry-busy', worker })).toEqual([`gather ${worker}: 1`]);
  });

  test('a peer that does not answer counts as dead with all it holds', () => {
    const d = new Driver();
    d.do(
      compute(
        { tid: 8, deps: [{ tid: 1, holders: [1, 2] }] },
        { tid: 9, deps: [{ tid: 2, holders: [1] }] }
      )
    );
    const lines = d.lines({ op: 'gather-failure', worker: 1 });
    expect(lines.filter(line => line.startsWith('gather 1'))).toEqual([]);
    expect(d.stateOf(2)).toBe('missing');
    d.now += 1000;
    expect(d.lines({ op: 'tick' })).toEqual(['request-refresh-who-has 2']);
    // Not again at once.
    expect(d.lines({ op: 'tick' })).toEqual([]);
    expect(d.lines(holders(2, 3))).toEqual(['gather 3: 2']);
  });

  test('a peer that fails twice in a row is told to the scheduler', () => {
    const d = new Driver();
    d.do(compute({ tid: 9, deps: [{ tid: 1, holders: [1] }] }));
    expect(d.lines({ op: 'gather-failure', worker: 1 })).toEqual([]);
    expect(d.lines(holders(1, 1))).toEqual(['gather 1: 1']);
    expect(d.lines({ op: 'gather-failure', worker: 1 })).toEqual(['missing-data 1 of 1']);
  });

  test('what a peer turns out not to have is told and fetched elsewhere', () => {
    const d = new Driver();
    d.do(
      compute({
        tid: 9,
        deps: [
          { tid: 1, holders: [1] },
          { tid: 2, holders: [1] }
        ]
      })
    );
    expect(d.lines(gathered(1, 2))).toEqual(['missing-data 1 of 1', 'add-keys 2']);
    expect(d.stateOf(1)).toBe('missing');
    // Computed here after all: what waits for it need not be told.
    expect(d.lines(compute({ tid: 1, run: 4 }))).toEqual(['execute 1']);
    expect(d.lines(success(1, 4))).toEqual(['execute 9', 'tasks-finished 1 run 4']);
  });

  test('a peer that leaves takes its values along', () => {
    const d = new Driver();
    d.do({ op: 'pause' });
    d.do(compute({ tid: 9, deps: [{ tid: 1, holders: [1] }] }));
    d.do({ op: 'workers', added: [], removed: [1] });
    expect(d.stateOf(1)).toBe('missing');
  });

  test('nobody waits for a task that was freed: its dependencies are given up', () => {
    const d = new Driver();
    d.do({ op: 'pause' });
    d.do(compute({ tid: 9, deps: [{ tid: 1, holders: [1] }] }));
    expect(d.stateOf(1)).toBe('fetch');
    d.do(free(9));
    expect([...d.state.tasks.keys()]).toEqual([]);
  });

  test('an input that is taken away sends the task back to waiting', () => {
    const d = new Driver();
    d.do(compute({ tid: 1 }), success(1, 1, 300), compute({ tid: 5 }));
    d.do(compute({ tid: 9, deps: [{ tid: 1, holders: [] }] }));
    expect(d.stateOf(9)).toBe('ready');
    expect(d.lines(free(1))).toEqual(['release-worker-data 1', 'drop 1']);
    expect(d.stateOf(9)).toBe('waiting');
    expect(d.stateOf(1)).toBe('missing');
  });
});

describe('copies', () => {
  const acquire = (tid: number, ...from: number[]): WorkerEvent => ({
    op: 'acquire-replicas',
    stimulus: 'test',
    tids: [tid],
    keys: [`k${tid}`],
    nbytes: [10],
    holders: [from]
  });
  const remove = (...tids: number[]): WorkerEvent => ({
    op: 'remove-replicas',
    stimulus: 'test',
    tids
  });

  test('are fetched on request and dropped on request', () => {
    const d = new Driver();
    expect(d.lines(acquire(1, 1))).toEqual(['gather 1: 1']);
    expect(d.lines(gathered(1, 1))).toEqual(['add-keys 1']);
    expect(d.lines(remove(1))).toEqual(['release-worker-data 1', 'drop 1']);
  });

  test('stay when a task here needs them, and the scheduler is told so', () => {
    const d = new Driver();
    d.do(compute({ tid: 5 }), acquire(1, 1), gathered(1, 1));
    d.do(compute({ tid: 9, deps: [{ tid: 1, holders: [1] }] }));
    expect(d.lines(remove(1))).toEqual(['add-keys 1']);
    expect(d.stateOf(1)).toBe('memory');
  });

  test('lost ones are searched for, also after the clock was set back', () => {
    const d = new Driver();
    d.do(compute({ tid: 1, deps: [{ tid: 2, holders: [] }] }));
    expect(d.lines({ op: 'tick' })).toEqual(['request-refresh-who-has 2']);
    expect(d.lines({ op: 'tick' })).toEqual([]);
    d.now -= 600_000;
    expect(d.lines({ op: 'tick' })).toEqual(['request-refresh-who-has 2']);
  });

  test('are not searched for when nobody needs them', () => {
    const d = new Driver();
    d.do(acquire(1, 1));
    d.do({ op: 'gather-failure', worker: 1 });
    expect(d.stateOf(1)).toBe('forgotten');
  });

  test('come after what tasks wait for', () => {
    const d = new Driver();
    d.do({ op: 'pause' });
    d.do(acquire(1, 1), compute({ tid: 9, deps: [{ tid: 2, holders: [2] }] }));
    expect(d.lines({ op: 'unpause' })).toEqual(['running', 'gather 2: 2', 'gather 1: 1']);
  });

  test('scattered values are announced: their client may die before it tells of them', () => {
    const d = new Driver();
    expect(d.lines({ op: 'put-data', tids: [7], keys: ['k7'], nbytes: [4], types: ['x'] })).toEqual(
      ['add-keys 7']
    );
    expect(d.stateOf(7)).toBe('memory');
    expect(d.state.counts.managed).toBe(4);
  });
});

describe('cancelled and resumed', () => {
  function executing(): Driver {
    const d = new Driver();
    d.do(compute({ tid: 1 }));
    d.do(free(1));
    expect(d.stateOf(1)).toBe('cancelled(executing)');
    return d;
  }
  function flying(): Driver {
    const d = new Driver();
    d.do(compute({ tid: 9, deps: [{ tid: 1, holders: [1] }] }));
    d.do(free(9));
    expect(d.stateOf(1)).toBe('cancelled(flight)');
    return d;
  }
  const needs1 = compute({ tid: 8, deps: [{ tid: 1, holders: [1] }] });

  test('an execution freed while it runs: its value is dropped, nothing is told', () => {
    const d = executing();
    expect(d.lines(success(1))).toEqual(['drop 1']);
    expect(d.stateOf(1)).toBe('forgotten');
    const failed = executing();
    expect(failed.lines(failure(1))).toEqual([]);
  });

  test('freed and asked for again: the running execution serves the new run', () => {
    const d = executing();
    expect(d.lines(compute({ tid: 1, run: 2 }))).toEqual([]);
    expect(d.stateOf(1)).toBe('executing');
    // The event has the run it was started under, the report the one that is waited for.
    expect(d.lines(success(1, 1))).toEqual(['tasks-finished 1 run 2']);
  });

  test('executed here, wanted as an input from elsewhere: the own value will do', () => {
    const d = executing();
    d.do(needs1);
    expect(d.stateOf(1)).toBe('resumed(executing > fetch)');
    expect(d.lines(success(1))).toEqual(['add-keys 1', 'execute 8'].sort().reverse());
  });

  test('executed here, wanted from elsewhere, and failed here: it is fetched, without a word', () => {
    const d = executing();
    d.do(needs1);
    expect(d.lines(failure(1))).toEqual(['gather 1: 1']);
    const d2 = executing();
    d2.do(needs1);
    expect(d2.lines({ op: 'execute-reschedule', tid: 1, runId: 1 })).toEqual(['gather 1: 1']);
  });

  test('resumed and freed again is cancelled again', () => {
    const d = executing();
    d.do(needs1, free(8));
    expect(d.stateOf(1)).toBe('cancelled(executing)');
    expect(d.lines(success(1))).toEqual(['drop 1']);
  });

  test('resumed for a fetch and asked to compute: the execution simply goes on', () => {
    const d = executing();
    d.do(needs1);
    expect(d.lines(compute({ tid: 1, run: 3 }))).toEqual([]);
    expect(d.stateOf(1)).toBe('executing');
    expect(d.lines(success(1))).toEqual(['execute 8', 'tasks-finished 1 run 3']);
  });

  test('a transfer freed while on its way: its value is dropped', () => {
    const d = flying();
    expect(d.lines(gathered(1, 1))).toEqual(['drop 1']);
    expect(d.stateOf(1)).toBe('forgotten');
    for (const event of [
      { op: 'gather-failure', worker: 1 } as const,
      { op: 'gather-busy', worker: 1 } as const,
      gathered(1)
    ]) {
      const other = flying();
      other.do(event);
      expect(other.stateOf(1)).toBe('forgotten');
    }
  });

  test('a transfer freed and wanted again goes on', () => {
    const d = flying();
    expect(d.lines(needs1)).toEqual([]);
    expect(d.stateOf(1)).toBe('flight');
    expect(d.lines(gathered(1, 1))).toEqual(['execute 8', 'add-keys 1']);
  });

  test('a transfer freed, then to be computed: the fetched value counts as computed', () => {
    const d = flying();
    expect(d.lines(compute({ tid: 1, run: 5 }))).toEqual([]);
    expect(d.stateOf(1)).toBe('resumed(flight > waiting)');
    expect(d.lines(gathered(1, 1))).toEqual(['tasks-finished 1 run 5']);
  });

  test('a transfer freed, then to be computed, and failed: it is computed', () => {
    for (const event of [{ op: 'gather-failure', worker: 1 } as const, gathered(1)]) {
      const d = flying();
      d.do(compute({ tid: 1, run: 5 }));
      const lines = d.lines(event);
      expect(lines).toContain('execute 1');
    }
  });

  test('one that secedes after it was cancelled says so when it is wanted again', () => {
    const d = executing();
    expect(d.lines({ op: 'secede', tid: 1, runId: 1, duration: 3 })).toEqual([]);
    expect(d.stateOf(1)).toBe('cancelled(long-running)');
    expect(d.lines(compute({ tid: 1, run: 2 }))).toEqual(['long-running 1']);
    expect(d.stateOf(1)).toBe('long-running');
  });

  test('a copy that was given up on its way is kept when it is awaited by the time it comes', () => {
    const d = new Driver();
    d.do(compute({ tid: 3, deps: [2, 1].map(tid => ({ tid, holders: [1] })) }));
    d.do(free(3));
    expect(d.stateOf(1)).toBe('cancelled(flight)');
    // 2 is to be computed here now, from 1: it waits for its own copy, which then does not come.
    d.do(compute({ tid: 2, deps: [{ tid: 1, holders: [] }] }));
    const sent = d.do(gathered(1, 1));
    expect(d.stateOf(1)).toBe('memory');
    expect(sent).not.toContainEqual(expect.objectContaining({ op: 'drop-data' }));
    expect(d.stateOf(2)).toBe('executing');
  });

  test('a slot stays taken until a cancelled execution has ended', () => {
    const d = executing();
    expect(d.lines(compute({ tid: 2 }))).toEqual([]);
    expect(d.lines(success(1))).toEqual(['execute 2', 'drop 1']);
  });

  test('what is queued behind it can be called back', () => {
    const d = new Driver();
    const short = { duration: 0.01 };
    d.do(compute({ tid: 1, ...short }, { tid: 2, ...short }));
    expect(d.lines(free(2))).toEqual(['recall 2']);
    d.do({ op: 'execute-returned', tids: [2], runIds: [1] });
    expect(d.stateOf(2)).toBe('forgotten');
  });
});

describe('giving back to the scheduler', () => {
  const steal = (tid: number, runId = 1): WorkerEvent => {
    return { op: 'steal-request', stimulus: 'test', tids: [tid], runIds: [runId] };
  };
  const answers = (d: Driver, ...events: WorkerEvent[]): string[] =>
    d.do(...events).flatMap(one => {
      if (one.op !== 'send' || one.message.op !== 'steal-response') return [];
      const { tids, runIds, states } = one.message;
      return tids.map((tid, i) => `${tid} run ${runIds[i]}: ${states[i]}`);
    });

  test.each<[string, TaskOf, string]>([
    ['ready', { tid: 2 }, 'ready'],
    ['waiting', { tid: 2, deps: [{ tid: 9, holders: [1] }] }, 'waiting'],
    ['constrained', { tid: 2, resources: { gpu: 1 } }, 'constrained']
  ])('what is %s is let go of at once', (_name, task, state) => {
    const d = new Driver({ resources: { gpu: 1 } });
    d.do(compute({ tid: 1, resources: { gpu: 1 } }, task));
    expect(d.stateOf(2)).toBe(state);
    expect(answers(d, steal(2))).toEqual([`2 run 1: ${state}`]);
    expect(d.stateOf(2)).toBe('forgotten');
  });

  test('what has begun, ended or seceded stays', () => {
    const d = new Driver({ nthreads: 3 });
    d.do(compute({ tid: 1 }, { tid: 2 }, { tid: 3 }));
    d.do(success(2), { op: 'secede', tid: 3, runId: 1, duration: 5 });
    expect(d.lines(steal(1))).toEqual(['recall 1']);
    expect(answers(d, { op: 'execute-kept', tids: [1], runIds: [1] })).toEqual([
      '1 run 1: executing'
    ]);
    expect(answers(d, steal(2), steal(3))).toEqual(['2 run 1: memory', '3 run 1: long-running']);
    expect([1, 2, 3].map(tid => d.stateOf(tid))).toEqual(['executing', 'memory', 'long-running']);
  });

  test('what an executor has not begun is taken from it first', () => {
    const d = new Driver();
    const short = { duration: 0.01 };
    d.do(compute({ tid: 1, ...short }, { tid: 2, ...short }));
    expect(d.lines(steal(2))).toEqual(['recall 2']);
    expect(answers(d, { op: 'execute-returned', tids: [2], runIds: [1] })).toEqual([
      '2 run 1: ready'
    ]);
    expect(d.stateOf(2)).toBe('forgotten');
    expect(d.state.counts.executing).toBe(1);
  });

  test('another run, or nothing, is answered as such', () => {
    const d = new Driver();
    d.do(compute({ tid: 1 }, { tid: 2, run: 7 }));
    expect(answers(d, steal(2, 6), steal(5))).toEqual(['2 run 6: forgotten', '5 run 1: forgotten']);
    expect(d.stateOf(2)).toBe('ready');
  });

  test('freed and given anew while it is recalled: the new run stays', () => {
    const d = new Driver();
    const short = { duration: 0.01 };
    d.do(compute({ tid: 1, ...short }, { tid: 2, ...short }));
    d.do(steal(2), free(2), compute({ tid: 2, run: 2, ...short }));
    const said = answers(d, { op: 'execute-returned', tids: [2], runIds: [1] });
    expect(said).toEqual([]);
    expect(['ready', 'executing']).toContain(d.stateOf(2));
    expect(d.state.get(2)?.runId).toBe(2);
  });

  test('ended before the executor could give it back', () => {
    const d = new Driver();
    const short = { duration: 0.01 };
    d.do(compute({ tid: 1, ...short }, { tid: 2, ...short }));
    d.do(steal(2), success(1), success(2));
    expect(answers(d, { op: 'execute-kept', tids: [2], runIds: [1] })).toEqual(['2 run 1: memory']);
    expect(d.stateOf(2)).toBe('memory');
  });
});

describe('killing', () => {
  test('cancel without force lets the execution end, with force it kills', () => {
    const d = new Driver();
    d.do(compute({ tid: 1 }, { tid: 2 }));
    expect(d.lines(cancel(false, 1, 2))).toEqual([]);
    expect(d.stateOf(2)).toBe('forgotten');
    expect(d.stateOf(1)).toBe('cancelled(executing)');
    expect(d.lines(cancel(true, 1))).toEqual(['kill 1']);
    // Once is enough.
    expect(d.lines(cancel(true, 1))).toEqual([]);
    d.do({ op: 'execution-killed', tid: 1, runId: 1 });
    expect(d.stateOf(1)).toBe('forgotten');
  });

  test('killed by cancel and asked for again meanwhile: it is run again', () => {
    const d = new Driver();
    d.do(compute({ tid: 1 }), cancel(true, 1), compute({ tid: 1, run: 2 }));
    expect(d.lines({ op: 'execution-killed', tid: 1, runId: 1 })).toEqual(['execute 1']);
    expect(d.lines(success(1, 2))).toEqual(['tasks-finished 1 run 2']);
  });

  test('the timeout counts from the beginning of the execution and is told as such', () => {
    const d = new Driver();
    d.do(compute({ tid: 1, timeout: 2 }));
    d.now += 10_000;
    expect(d.lines({ op: 'tick' })).toEqual([]);
    d.do({ op: 'execution-began', tid: 1, runId: 1 });
    expect(d.state.nextDeadline).toBe(d.now + 2000);
    d.now += 1999;
    expect(d.lines({ op: 'tick' })).toEqual([]);
    d.now += 1;
    expect(d.lines({ op: 'tick' })).toEqual(['kill 1']);
    const [erred] = sent(d.do({ op: 'execution-killed', tid: 1, runId: 1 }));
    const error = (erred as { error: ErrorRecord }).error;
    expect(error).toMatchObject({ code: 'TASK_TIMEOUT', blame: 'k1' });
    expect(error.message).toMatch(/k1 ran longer than its timeout of 2 s/);
    expect(d.state.nextDeadline).toBe(Number.POSITIVE_INFINITY);
  });

  test('a result that is faster than the kill counts', () => {
    const d = new Driver();
    d.do(compute({ tid: 1, timeout: 1 }), { op: 'execution-began', tid: 1, runId: 1 });
    d.now += 2000;
    d.do({ op: 'tick' });
    expect(d.lines(success(1))).toEqual(['tasks-finished 1 run 1']);
    expect(d.lines({ op: 'execution-killed', tid: 1, runId: 1 })).toEqual([]);
  });
});

describe('messages that were overtaken', () => {
  test('about unknown tasks or other runs change nothing', () => {
    const d = new Driver();
    d.do(compute({ tid: 1, run: 3 }));
    const stale: WorkerEvent[] = [
      free(77),
      cancel(true, 77),
      holders(77, 1),
      failure(1, 2),
      failure(77),
      gathered(2, 77),
      { op: 'gather-busy', worker: 55 } as const,
      { op: 'gather-failure', worker: 55 } as const,
      { op: 'execution-killed', tid: 1, runId: 2 } as const,
      { op: 'secede', tid: 77, runId: 1, duration: 1 } as const
    ];
    expect(d.lines(...stale)).toEqual(['drop 77']);
    expect(d.stateOf(1)).toBe('executing');
  });

  test('a value under a stale run is dropped unless the task has one', () => {
    const d = new Driver();
    expect(d.lines(success(4, 9))).toEqual(['drop 4']);
    d.do(compute({ tid: 4 }), success(4));
    expect(d.lines(success(4, 9))).toEqual([]);
  });

  test('holders that are us or not in the table are not asked', () => {
    const d = new Driver();
    d.do(compute({ tid: 9, deps: [{ tid: 1, holders: [0, 42] }] }));
    expect(d.stateOf(1)).toBe('missing');
  });
});

test('the table has no way into forgotten but from released, and none out of it', () => {
  const pairs = transitionPairs();
  expect(pairs.filter(([, to]) => to === 'forgotten')).toEqual([['released', 'forgotten']]);
  expect(pairs.filter(([from]) => from === 'forgotten')).toEqual([]);
  expect(new Set(pairs.map(pair => pair.join())).size).toBe(pairs.length);
});
