/**
 * Where a task runs. Tasks that look like the roots of a graph (many of one group, hardly any
 * dependencies) are queued and handed out as workers have room, so that they never run far ahead of
 * what consumes them. Every other task goes at once to the worker that is expected to start it
 * first: least work ahead plus missing inputs, among those that hold an input.
 *
 * Room, for each client: `worker-saturation` tasks a thread, or as many as fill 20 ms when they are known to be
 * shorter, so that a worker does not stand idle for the length of a round trip.
 */
import type { Share } from '../../base/fair.ts';
import { smallFirst, smallList } from '../../base/small-set.ts';
import type { ErrorRecord } from '../../protocol/messages.ts';
import type { SchedulerState } from './state.ts';
import type { Task } from './tasks.ts';
import type { WorkerRecord } from './workers.ts';

/** ms assumed for a function that never ran. */
export const UNKNOWN_DURATION = 500;
/** ms of short tasks that a worker may hold ahead, and the most tasks a thread that makes. */
const PREFETCH_MS = 20;
const PREFETCH_TASKS = 512;
/** Bytes a ms between workers: 100 MB/s until measured. */
const BANDWIDTH = 100_000;

export function expectedDuration(task: Task): number {
  const known = task.group.prefix.duration;
  return known < 0 ? UNKNOWN_DURATION : known;
}

/** A worker, `queued` (room must come first), or null (no worker may run it). */
export function decideWorker(state: SchedulerState, task: Task): WorkerRecord | 'queued' | null {
  const demands = task.demands;
  const restricted = demands.workers !== null || demands.resources !== null;
  if (!restricted && isRootish(state, task)) {
    if (state.runningWorkers.size === 0) return null;
    return workerWithRoom(state, task) ?? 'queued';
  }
  if (task.deps.length === 0 && !restricted) return leastBusy(state, state.runningWorkers);
  const valid = restricted ? validWorkers(state, task) : null;
  const holders = candidatesByData(task, valid);
  if (holders.length === 1) return holders[0] as WorkerRecord;
  if (holders.length > 1) return best(task, holders);
  if (valid === null) return best(task, state.runningWorkers);
  return valid.length === 0 ? null : best(task, valid);
}

export function isRootish(state: SchedulerState, task: Task): boolean {
  const group = task.group;
  if (group.size <= 2 * state.totalThreads) return false;
  if (group.dependencies.size >= 5) return false;
  let tasks = 0;
  for (const dependency of group.dependencies) tasks += dependency.size;
  return tasks < 5;
}

/** How many more tasks like this one the worker should be given. */
function room(state: SchedulerState, worker: WorkerRecord, task: Task): number {
  const threads = worker.facts.nthreads;
  const duration = task.group.prefix.duration;
  let slots = Math.max(1, Math.ceil(state.options.workerSaturation * threads));
  if (duration >= 0 && duration < PREFETCH_MS) {
    slots = Math.max(
      slots,
      threads * Math.min(PREFETCH_TASKS, Math.floor(PREFETCH_MS / Math.max(duration, 0.001)))
    );
  }
  return slots - (worker.load.get(task.demands.owner) ?? 0);
}

function workerWithRoom(state: SchedulerState, task: Task): WorkerRecord | null {
  let chosen: WorkerRecord | null = null;
  let load = Infinity;
  for (const worker of state.runningWorkers) {
    const its = worker.processing.size / worker.facts.nthreads;
    if (its < load && room(state, worker, task) > 0) {
      chosen = worker;
      load = its;
    }
  }
  return chosen;
}

/** A queued task that a worker has room for, or null. */
export function nextQueued(state: SchedulerState): Task | null {
  if (state.queued.count === 0) return null;
  for (const task of state.queued.heads()) {
    if (task.recommended === null && workerWithRoom(state, task) !== null) return task;
  }
  return null;
}

function leastBusy(state: SchedulerState, workers: ReadonlySet<WorkerRecord>): WorkerRecord | null {
  const count = workers.size;
  if (count === 0) return null;
  const offset = state.nextRoundRobin++ % count;
  let chosen: WorkerRecord | null = null;
  let place = 0;
  let chosenPlace = 0;
  for (const worker of workers) {
    // Among equally busy ones take turns: the first at or after the offset.
    const turn = (place - offset + count) % count;
    place++;
    if (
      chosen === null ||
      worker.occupancy < chosen.occupancy - 1e-9 ||
      (worker.occupancy <= chosen.occupancy + 1e-9 && turn < chosenPlace)
    ) {
      chosen = worker;
      chosenPlace = turn;
    }
  }
  return chosen;
}

/** Running workers that hold an input and may run the task. */
function candidatesByData(task: Task, valid: readonly WorkerRecord[] | null): WorkerRecord[] {
  if (task.deps.length === 1) {
    const only = smallFirst((task.deps[0] as Task).whoHas);
    if (only !== null && (task.deps[0] as Task).whoHas === only)
      return fits(only, valid) ? [only] : [];
  }
  const found = new Set<WorkerRecord>();
  for (const dep of task.deps) {
    for (const worker of smallList(dep.whoHas)) if (fits(worker, valid)) found.add(worker);
  }
  return [...found];
}

function fits(worker: WorkerRecord, valid: readonly WorkerRecord[] | null): boolean {
  return worker.status === 'running' && (valid === null || valid.includes(worker));
}

/** Running workers that the task's restrictions and resources allow; all when only wished for. */
export function validWorkers(state: SchedulerState, task: Task): WorkerRecord[] {
  const { workers: names, resources, allowOtherWorkers } = task.demands;
  const able: WorkerRecord[] = [];
  const named: WorkerRecord[] = [];
  for (const worker of state.runningWorkers) {
    if (!hasResources(worker, resources)) continue;
    able.push(worker);
    const { name, address, host } = worker.facts;
    if (names === null || names.includes(name) || names.includes(address) || names.includes(host))
      named.push(worker);
  }
  return named.length === 0 && allowOtherWorkers ? able : named;
}

function hasResources(
  worker: WorkerRecord,
  resources: Readonly<Record<string, number>> | null
): boolean {
  if (resources === null) return true;
  for (const name of Object.keys(resources)) {
    if ((worker.facts.resources[name] ?? 0) < (resources[name] as number)) return false;
  }
  return true;
}

/** ms until the worker could start the task. */
function objective(task: Task, worker: WorkerRecord): number {
  return worker.occupancy / worker.facts.nthreads + missingBytes(task, worker) / BANDWIDTH;
}

function missingBytes(task: Task, worker: WorkerRecord): number {
  let bytes = 0;
  for (const dep of task.deps) if (!worker.hasWhat.has(dep)) bytes += Math.max(0, dep.nbytes);
  return bytes;
}

function best(task: Task, workers: Iterable<WorkerRecord>): WorkerRecord | null {
  let chosen: WorkerRecord | null = null;
  let score = Infinity;
  for (const worker of workers) {
    if (worker.status !== 'running') continue;
    const its = objective(task, worker);
    if (chosen === null || its < score || (its === score && worker.nbytes < chosen.nbytes)) {
      chosen = worker;
      score = its;
    }
  }
  return chosen;
}

export function startProcessing(state: SchedulerState, task: Task, worker: WorkerRecord): void {
  task.runId = state.nextRunId++;
  task.processingOn = worker;
  task.longRunning = false;
  task.occupancy = expectedDuration(task) + missingBytes(task, worker) / BANDWIDTH;
  worker.occupancy += task.occupancy;
  worker.processing.add(task);
  const { owner } = task.demands;
  worker.load.set(owner, (worker.load.get(owner) ?? 0) + 1);
}

export function stopProcessing(task: Task): void {
  const worker = task.processingOn;
  if (worker === null) return;
  worker.processing.delete(task);
  worker.occupancy =
    worker.processing.size === 0 ? 0 : Math.max(0, worker.occupancy - task.occupancy);
  if (task.longRunning) worker.longRunning--;
  else leaveLoad(worker, task.demands.owner);
  task.occupancy = 0;
  task.longRunning = false;
  task.processingOn = null;
  task.runId = -1;
}

function leaveLoad(worker: WorkerRecord, owner: Share): void {
  const left = (worker.load.get(owner) ?? 0) - 1;
  if (left > 0) worker.load.set(owner, left);
  else worker.load.delete(owner);
}

/** The task left its thread slot: it weighs nothing any more. */
export function markLongRunning(task: Task): void {
  const worker = task.processingOn;
  if (worker === null || task.longRunning) return;
  task.longRunning = true;
  worker.longRunning++;
  leaveLoad(worker, task.demands.owner);
  worker.occupancy = Math.max(0, worker.occupancy - task.occupancy);
  task.occupancy = 0;
}

/** An error when the inputs together are larger than the memory of every worker; else null. */
export function exceedsEveryWorker(state: SchedulerState, task: Task): ErrorRecord | null {
  let bytes = 0;
  for (const dep of task.deps) bytes += Math.max(0, dep.nbytes);
  if (bytes < 1_000_000 || state.runningWorkers.size === 0) return null;
  let largest = 0;
  for (const worker of state.runningWorkers) {
    const limit = worker.facts.memoryLimit;
    if (limit === 0 || limit >= bytes) return null;
    largest = Math.max(largest, limit);
  }
  const megabytes = (n: number): string => `${(n / 1e6).toFixed(0)} MB`;
  return {
    code: 'WORKER_MEMORY',
    message:
      `WorkerMemoryError: task ${task.key} needs ${megabytes(bytes)} of inputs at once and the largest worker may ` +
      `use ${megabytes(largest)}. Combine inputs in smaller steps, or start workers with a larger memoryLimit.`,
    traceback: '',
    exception: null,
    blame: task.key,
    worker: ''
  };
}
