/**
 * What to run next. `executing` counts from the moment a task is handed to an executor: slots are
 * filled first, then short tasks are handed over ahead of need so that an executor never waits for
 * this thread. How far ahead follows from the measured duration of the function; tasks with a
 * timeout or resources are never handed over ahead.
 *
 * A task that is queued in an executor and has not begun can be taken back: the shell answers
 * `execute-returned` and the task is ready again; only the task that ran is blamed for the death
 * of its executor.
 */
import type { WorkerCore } from './core.ts';
import { inputBytes, takeSlot } from './slots.ts';
import { compareTasks } from './tasks.ts';
import type { WorkerTask } from './tasks.ts';
import { transition } from './transitions.ts';

/** Tasks expected to take less than this many ms are handed over many at a time. */
const SHORT_MS = 1;
/** Tasks that are handed over at once, at most, for each thread there is. */
export const MOST_HANDED = 257;
/** Tasks expected to take longer than this are handed over only to a free slot. */
const LONG_MS = 50;
/** Part of the memory limit that inputs may take when more is handed over than there are slots. */
const AHEAD_SHARE = 0.05;

/** Hands tasks to executors as long as there is room for the next one. */
export function ensureComputing(core: WorkerCore): void {
  if (!core.running || core.draining) return;
  for (;;) {
    const task = nextTask(core);
    if (task === null) return;
    const expected = core.measured.get(task.fn) ?? task.duration;
    if (!hasRoom(core, task, expected)) return;
    core.ready.delete(task);
    core.constrained.delete(task);
    takeSlot(core, task, expected);
    transition(core, task, 'executing');
  }
}

/** A task whose resources are taken does not hold back those that need none. */
function nextTask(core: WorkerCore): WorkerTask | null {
  const ready = core.ready.peek() ?? null;
  const constrained = core.constrained.peek() ?? null;
  if (constrained === null || !resourcesFree(core, constrained)) return ready;
  if (ready === null) return constrained;
  return compareTasks(constrained, ready) < 0 ? constrained : ready;
}

function resourcesFree(core: WorkerCore, task: WorkerTask): boolean {
  for (const [name, amount] of Object.entries(task.resources ?? {})) {
    if ((core.available[name] ?? 0) < amount) return false;
  }
  return true;
}

function hasRoom(core: WorkerCore, task: WorkerTask, expected: number): boolean {
  const { nthreads } = core.options;
  const handed = core.executing.size;
  if (handed < nthreads) return true;
  if (task.timeout > 0 || task.resources !== null || expected > LONG_MS) return false;
  const depth = expected < SHORT_MS ? MOST_HANDED : 2;
  const { memoryLimit } = core.options;
  if (memoryLimit > 0 && task.deps.length > 0) {
    // Inputs of what is handed over must stay in memory, and be there twice.
    if (core.handedBytes + inputBytes(task) > memoryLimit * AHEAD_SHARE) return false;
  }
  return handed < nthreads * depth && core.handedMs + expected <= nthreads * LONG_MS;
}

/** Of a retiring worker: all that has not begun goes back to the scheduler. */
export function giveBackQueued(core: WorkerCore): void {
  for (const task of core.tasks.values()) {
    const { state, tid, runId } = task;
    if (state !== 'waiting' && state !== 'ready' && state !== 'constrained') continue;
    core.send({ op: 'reschedule', tid, runId });
    core.recommend(task, 'released');
  }
}
