/**
 * What an execution holds and costs: its slot, its resources, the time it takes. Clients share the
 * slots of a worker by that time (base/fair.ts).
 */
import type { WorkerCore } from './core.ts';
import type { WorkerTask } from './tasks.ts';

/** The least that an execution counts for between clients: handing it over costs, too. */
const LEAST_COST_MS = 0.1;
/** Weight of the last execution in the mean of its function. */
const LEARN = 0.5;

function costOf(ms: number): number {
  return Math.max(ms, LEAST_COST_MS);
}

/** Bytes of what it needs. */
export function inputBytes(task: WorkerTask): number {
  let bytes = 0;
  for (const dep of task.deps) bytes += dep.nbytes;
  return bytes;
}

/** It is about to be handed to an executor, where it is expected to take so many ms. */
export function takeSlot(core: WorkerCore, task: WorkerTask, expected: number): void {
  task.handedMs = expected;
  core.handedMs += expected;
  task.handedBytes = inputBytes(task);
  core.handedBytes += task.handedBytes;
  core.fair.begin(task.owner, costOf(expected));
}

/** It holds its slot no more, and its client is charged what it took. False when it held none. */
export function leaveSlot(core: WorkerCore, task: WorkerTask, took: number): boolean {
  if (!core.executing.delete(task)) return false;
  core.handedMs = core.executing.size === 0 ? 0 : Math.max(0, core.handedMs - task.handedMs);
  task.owner.end(costOf(task.handedMs), costOf(took));
  task.handedMs = 0;
  core.handedBytes -= task.handedBytes;
  task.handedBytes = 0;
  return true;
}

/** The execution has ended, however it did, after so many ms: its slot and resources are free. */
export function endExecution(core: WorkerCore, task: WorkerTask, took: number): void {
  leaveSlot(core, task, took);
  core.longRunning.delete(task);
  core.timed.delete(task);
  if (task.resources !== null) {
    for (const [name, amount] of Object.entries(task.resources)) {
      core.available[name] = (core.available[name] ?? 0) + amount;
    }
  }
  task.done = true;
}

/** Learns from a finished execution. */
export function learnDuration(core: WorkerCore, fn: number, ms: number): void {
  const mean = core.measured.get(fn);
  core.measured.set(fn, mean === undefined ? ms : mean + LEARN * (ms - mean));
}
