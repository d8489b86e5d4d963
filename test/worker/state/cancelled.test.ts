/**
 * Every way in which a task that is going on here is let go of and wanted again, and every way in
 * which what goes on can end: what is told, and what becomes of the task. A block is: what goes on
 * when the task is freed / what comes next = what the task is then; below it, by how the activity
 * ends: instructions = what the task is at last.
 *
 * The task is number 1; task 8 needs it as an input, which worker 1 holds; run 1 is the execution
 * that goes on, run 2 the one that is asked for next.
 */
import { describe, expect, test } from 'vitest';
import type { WorkerEvent } from '../../../src/worker/state/state.ts';
import { compute, Driver, failure, free, gathered, success } from './driver.ts';

const TABLE = `
executing / nothing = cancelled(executing)
  success: drop 1 = forgotten
  failure: - = forgotten
  reschedule: - = forgotten
  returned: - = forgotten
  killed: - = forgotten
executing / the task = executing
  success: tasks-finished 1 run 2 = memory
  failure: task-erred 1 TASK_ERRED = error
  reschedule: reschedule 1 = forgotten
  returned: execute 1 = executing
  killed: execute 1 = executing
executing / an input = resumed(executing > fetch)
  success: execute 8; add-keys 1 = memory
  failure: gather 1: 1 = flight
  reschedule: gather 1: 1 = flight
  returned: gather 1: 1 = flight
  killed: gather 1: 1 = flight
executing / the task, freed = cancelled(executing)
  success: drop 1 = forgotten
  failure: - = forgotten
  reschedule: - = forgotten
  returned: - = forgotten
  killed: - = forgotten
executing / an input, freed = cancelled(executing)
  success: drop 1 = forgotten
  failure: - = forgotten
  reschedule: - = forgotten
  returned: - = forgotten
  killed: - = forgotten
executing / the task, then an input = executing
  success: execute 8; tasks-finished 1 run 2 = memory
  failure: task-erred 1 TASK_ERRED = error
  reschedule: reschedule 1; gather 1: 1 = flight
  returned: execute 1 = executing
  killed: execute 1 = executing
executing / an input, then the task = executing
  success: execute 8; tasks-finished 1 run 2 = memory
  failure: task-erred 1 TASK_ERRED = error
  reschedule: reschedule 1; gather 1: 1 = flight
  returned: execute 1 = executing
  killed: execute 1 = executing
long-running / nothing = cancelled(long-running)
  success: drop 1 = forgotten
  failure: - = forgotten
  reschedule: - = forgotten
  returned: - = forgotten
  killed: - = forgotten
long-running / the task = long-running
  success: tasks-finished 1 run 2 = memory
  failure: task-erred 1 TASK_ERRED = error
  reschedule: reschedule 1 = forgotten
  returned: execute 1 = executing
  killed: execute 1 = executing
long-running / an input = resumed(long-running > fetch)
  success: execute 8; add-keys 1 = memory
  failure: gather 1: 1 = flight
  reschedule: gather 1: 1 = flight
  returned: gather 1: 1 = flight
  killed: gather 1: 1 = flight
long-running / the task, freed = cancelled(long-running)
  success: drop 1 = forgotten
  failure: - = forgotten
  reschedule: - = forgotten
  returned: - = forgotten
  killed: - = forgotten
long-running / an input, freed = cancelled(long-running)
  success: drop 1 = forgotten
  failure: - = forgotten
  reschedule: - = forgotten
  returned: - = forgotten
  killed: - = forgotten
long-running / the task, then an input = long-running
  success: execute 8; tasks-finished 1 run 2 = memory
  failure: task-erred 1 TASK_ERRED = error
  reschedule: reschedule 1; gather 1: 1 = flight
  returned: execute 1 = executing
  killed: execute 1 = executing
long-running / an input, then the task = long-running
  success: execute 8; tasks-finished 1 run 2 = memory
  failure: task-erred 1 TASK_ERRED = error
  reschedule: reschedule 1; gather 1: 1 = flight
  returned: execute 1 = executing
  killed: execute 1 = executing
flight / nothing = cancelled(flight)
  success: drop 1 = forgotten
  lacking: missing-data 1 of 1 = forgotten
  busy: retry 1 after 150 = forgotten
  failure: - = forgotten
flight / the task = resumed(flight > waiting)
  success: tasks-finished 1 run 2 = memory
  lacking: missing-data 1 of 1; execute 1 = executing
  busy: retry 1 after 150; execute 1 = executing
  failure: execute 1 = executing
flight / an input = flight
  success: execute 8; add-keys 1 = memory
  lacking: missing-data 1 of 1 = missing
  busy: retry 1 after 150; request-refresh-who-has 1 = fetch
  failure: - = missing
flight / the task, freed = cancelled(flight)
  success: drop 1 = forgotten
  lacking: missing-data 1 of 1 = forgotten
  busy: retry 1 after 150 = forgotten
  failure: - = forgotten
flight / an input, freed = cancelled(flight)
  success: drop 1 = forgotten
  lacking: missing-data 1 of 1 = forgotten
  busy: retry 1 after 150 = forgotten
  failure: - = forgotten
flight / the task, then an input = resumed(flight > waiting)
  success: execute 8; tasks-finished 1 run 2 = memory
  lacking: missing-data 1 of 1; execute 1 = executing
  busy: retry 1 after 150; execute 1 = executing
  failure: execute 1 = executing
flight / an input, then the task = resumed(flight > waiting)
  success: execute 8; tasks-finished 1 run 2 = memory
  lacking: missing-data 1 of 1; execute 1 = executing
  busy: retry 1 after 150; execute 1 = executing
  failure: execute 1 = executing
`;

const computed = (): WorkerEvent => compute({ tid: 1, run: 2 });
const needed = (): WorkerEvent => compute({ tid: 8, run: 3, deps: [{ tid: 1, holders: [1] }] });

/** What goes on, and is then let go of. */
const STARTS: Record<string, WorkerEvent[]> = {
  executing: [compute({ tid: 1, run: 1 }), free(1)],
  'long-running': [
    compute({ tid: 1, run: 1 }),
    { op: 'secede', tid: 1, runId: 1, duration: 5 },
    free(1)
  ],
  flight: [compute({ tid: 9, run: 9, deps: [{ tid: 1, holders: [1] }] }), free(9)]
};

const NEXTS: Record<string, WorkerEvent[]> = {
  nothing: [],
  'the task': [computed()],
  'an input': [needed()],
  'the task, freed': [computed(), free(1)],
  'an input, freed': [needed(), free(8)],
  'the task, then an input': [computed(), needed()],
  'an input, then the task': [needed(), computed()]
};

const ENDS: Record<string, WorkerEvent> = {
  success: success(1, 1),
  failure: failure(1, 1),
  reschedule: { op: 'execute-reschedule', tid: 1, runId: 1 },
  returned: { op: 'execute-returned', tids: [1], runIds: [1] },
  killed: { op: 'execution-killed', tid: 1, runId: 1 }
};

const FLIGHT_ENDS: Record<string, WorkerEvent> = {
  success: gathered(1, 1),
  lacking: gathered(1),
  busy: { op: 'gather-busy', worker: 1 },
  failure: { op: 'gather-failure', worker: 1 }
};

const blocks = TABLE.trim()
  .split(/\n(?! )/)
  .map(block => block.split('\n').map(line => line.trim()));

test('the table has every combination', () => {
  expect(blocks).toHaveLength(Object.keys(STARTS).length * Object.keys(NEXTS).length);
  for (const [head = '', ...ends] of blocks) {
    const all = head.startsWith('flight') ? FLIGHT_ENDS : ENDS;
    expect(ends.map(line => line.split(':')[0])).toEqual(Object.keys(all));
  }
});

describe.each(blocks)('%s', (head, ...ends) => {
  const [, start = '', next = '', then = ''] = /^(.+) \/ (.+) = (.+)$/.exec(head) ?? [];
  test.each(ends)('%s', line => {
    const [, end = '', told = '', last = ''] = /^(.+?): (.+) = (.+)$/.exec(line) ?? [];
    const d = new Driver();
    d.do(...(STARTS[start] ?? []), ...(NEXTS[next] ?? []));
    expect(d.stateOf(1)).toBe(then);
    const event = (start === 'flight' ? FLIGHT_ENDS : ENDS)[end] as WorkerEvent;
    expect(d.lines(event).join('; ') || '-').toBe(told);
    expect(d.stateOf(1)).toBe(last);
  });
});
