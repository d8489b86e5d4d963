/**
 * Where a task runs. Tasks that look like the roots of a graph (many of one group, hardly any
 * dependencies) are queued and handed out as workers have room, so that they never run far ahead of
 * what consumes them. Every other task goes at once to the worker that is expected to start it
 * first: least work ahead plus missing inputs, among those that hold an input.
 *
 * Room, for each client: `worker-saturation` tasks a thread, or as many as fill 20 ms when they are
 * known to be shorter and their results to be small, so that a worker does not stand idle for the
 * length of a round trip. With a saturation of Infinity nothing is queued; neighbours among the
 * roots then go to the same worker.
 */
import { smallFirst, smallList } from '../../base/small-set.ts';
import type { ErrorRecord } from '../../protocol/messages.ts';
import { whereItRuns } from './recovery.ts';
import type { SchedulerState } from './state.ts';
import { dropRequest } from './steal-requests.ts';
import type { Demands, Task } from './tasks.ts';
import type { WorkerRecord } from './workers.ts';

/** ms of short tasks that a worker may hold ahead, and the most tasks a thread that makes. */
const PREFETCH_MS = 20;
const PREFETCH_TASKS = 512;
/** Bytes of results that they may make. */
const PREFETCH_BYTES = 2 ** 20;
/** So many workers are looked at for a task that could run on any. */
const LOOK_AT = 20;

/** A worker, `queued` (room must come first), or null (no worker may run it). */
export function decideWorker(state: SchedulerState, task: Task): WorkerRecord | 'queued' | null {
  if (state.recovery.holding) return null;
  const already = state.recovery.running.size === 0 ? null : whereItRuns(state, task);
  if (already !== null) return already;
  const restricted = isRestricted(state, task.demands) || inputBytes(task) > state.leastMemoryLimit;
  if (!restricted && isRootish(state, task)) {
    if (state.runningWorkers.size === 0) return null;
    if (state.options.workerSaturation === Infinity) return besideNeighbour(state, task);
    // Room may have come since another was queued: that one is next, when this event ends.
    if (state.room.found?.task !== task && state.queued.precedes(task)) return 'queued';
    return workerWithRoom(state, task) ?? 'queued';
  }
  if (task.deps.length === 0 && !restricted) return leastBusy(state);
  const valid = restricted ? validWorkers(state, task) : null;
  const holders = candidatesByData(task, valid);
  if (holders.length === 1) return holders[0] as WorkerRecord;
  if (holders.length > 1) return best(state, task, holders);
  if (valid === null) return best(state, task, state.runningWorkers);
  return valid.length === 0 ? null : best(state, task, valid);
}

/** Not every running worker may run tasks of these demands. */
export function isRestricted(state: SchedulerState, demands: Demands): boolean {
  if (demands.workers !== null || demands.resources !== null) return true;
  const { language } = demands;
  if (language === null) return false;
  // A cluster whose workers all speak it is as good as one of JavaScript alone.
  return !state.spoken.includes(language);
}

export function isRootish(state: SchedulerState, task: Task): boolean {
  const group = task.group;
  if (group.size <= 2 * state.totalThreads) return false;
  if (group.dependencies.size >= 5) return false;
  let tasks = 0;
  for (const dependency of group.dependencies) tasks += dependency.size;
  return tasks < 5;
}

/**
 * The worker with the least to do of those that have room for one task more like this one. With many
 * workers this is what a task costs, so what was found for `nextQueued` is used for the task itself,
 * and the worker that has just got rid of a task is tried first: when it has room, the others need
 * not be asked whether they have, unless they have less to do.
 */
function workerWithRoom(state: SchedulerState, task: Task): WorkerRecord | null {
  const { found, freed } = state.room;
  state.room.found = null;
  if (found?.task === task && state.runningWorkers.has(found.worker)) return found.worker;
  const ahead = tasksAhead(task);
  let chosen: WorkerRecord | null = null;
  let load = Infinity;
  if (freed !== null && state.runningWorkers.has(freed) && hasRoom(state, freed, task, ahead)) {
    chosen = freed;
    load = freed.processing.size / freed.facts.nthreads;
  }
  for (const worker of state.runningList) {
    const its = worker.processing.size / worker.facts.nthreads;
    if (its < load && hasRoom(state, worker, task, ahead)) {
      chosen = worker;
      load = its;
    }
  }
  return chosen;
}

/** How many tasks of this kind each thread may be given for being short. */
function tasksAhead({ group }: Task): number {
  const { duration, resultBytes } = group.prefix;
  if (duration < 0 || duration >= PREFETCH_MS) return 0;
  const byTime = Math.ceil(PREFETCH_MS / Math.max(duration, 0.001));
  const byBytes = Math.floor(PREFETCH_BYTES / Math.max(resultBytes, 1));
  return Math.min(PREFETCH_TASKS, byTime, byBytes);
}

/** `ahead`: tasks of this kind that each thread may be given for being short. */
function hasRoom(state: SchedulerState, worker: WorkerRecord, task: Task, ahead: number): boolean {
  const threads = worker.facts.nthreads;
  // With several clients the worker needs one of each at hand to choose whose turn it is.
  const least = state.queued.clients > 1 ? threads + 1 : 1;
  const asked = Math.ceil(state.options.workerSaturation * threads);
  const slots = Math.max(least, asked, threads * ahead);
  return slots > (worker.load.get(task.demands.owner) ?? 0);
}

/** A queued task that a worker has room for, or null. */
export function nextQueued(state: SchedulerState): Task | null {
  const { room } = state;
  room.found = null;
  if (state.queued.count === 0) return null;
  for (const task of state.queued.heads()) {
    const worker = task.recommended === null ? workerWithRoom(state, task) : null;
    if (worker === null) continue;
    room.found = { task, worker };
    return task;
  }
  return null;
}

/**
 * Roots that follow each other go to one worker, as many as its share of the group: what combines
 * them later finds them together.
 */
function besideNeighbour(state: SchedulerState, task: Task): WorkerRecord | null {
  const { group } = task;
  let worker = group.lastWorker;
  if (worker === null || group.lastWorkerLeft <= 0 || !state.runningWorkers.has(worker)) {
    worker = best(state, task, state.runningWorkers);
    if (worker === null) return null;
    const share = (group.size / state.totalThreads) * worker.facts.nthreads;
    group.lastWorkerLeft = Math.floor(share);
  }
  group.lastWorkerLeft--;
  group.lastWorker = group.lastWorkerLeft > 0 ? worker : null;
  return worker;
}

/** The least busy of all workers, or of the next 20; equally busy ones take turns. */
function leastBusy(state: SchedulerState): WorkerRecord | null {
  const workers = state.runningList;
  const count = workers.length;
  let chosen: WorkerRecord | null = null;
  let least = Infinity;
  const first = count <= LOOK_AT ? state.nextRoundRobin++ : state.nextRoundRobin;
  for (let i = 0; i < Math.min(count, LOOK_AT); i++) {
    const worker = workers[(first + i) % count] as WorkerRecord;
    const { occupancy } = worker;
    if (occupancy < least - 1e-9) {
      chosen = worker;
      least = occupancy;
    }
  }
  if (count > LOOK_AT) state.nextRoundRobin += LOOK_AT;
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

/** Running workers that the task's restrictions, resources and inputs allow. */
export function validWorkers(state: SchedulerState, task: Task): WorkerRecord[] {
  const allowed = allowedWorkers(state, task);
  const bytes = inputBytes(task);
  if (bytes <= state.leastMemoryLimit) return allowed;
  return allowed.filter(({ facts }) => facts.memoryLimit === 0 || facts.memoryLimit >= bytes);
}

/** Workers that restrictions and resources allow; all that are able when names are only a wish. */
function allowedWorkers(state: SchedulerState, task: Task): WorkerRecord[] {
  const { demands } = task;
  const { workers: names, allowOtherWorkers } = demands;
  const able: WorkerRecord[] = [];
  const named: WorkerRecord[] = [];
  for (const worker of state.runningWorkers) {
    if (!isAble(worker, demands)) continue;
    able.push(worker);
    if (names === null || isNamed(worker, names)) named.push(worker);
  }
  return named.length === 0 && allowOtherWorkers ? able : named;
}

/** By its name, address or host. */
export function isNamed(worker: WorkerRecord, names: readonly string[]): boolean {
  const { name, address, host } = worker.facts;
  return names.includes(name) || names.includes(address) || names.includes(host);
}

/** Has it the resources, and does it speak the language? */
export function isAble(
  worker: WorkerRecord,
  { resources, language }: Pick<Demands, 'resources' | 'language'>
): boolean {
  if (language !== null && worker.facts.languages?.[language] === undefined) return false;
  return offers(worker, resources);
}

/** Has it these amounts, whether or not they are in use? */
function offers(worker: WorkerRecord, resources: Readonly<Record<string, number>> | null): boolean {
  if (resources === null) return true;
  for (const name of Object.keys(resources)) {
    if ((worker.facts.resources[name] ?? 0) < (resources[name] as number)) return false;
  }
  return true;
}

/** ms until the worker could start the task. */
function objective(state: SchedulerState, task: Task, worker: WorkerRecord): number {
  return worker.occupancy / worker.facts.nthreads + fetchTime(state, task, worker);
}

/** ms to bring the inputs to the worker that it does not hold. */
export function fetchTime(state: SchedulerState, task: Task, worker: WorkerRecord): number {
  let bytes = 0;
  for (const dep of task.deps) if (!worker.hasWhat.has(dep)) bytes += Math.max(0, dep.nbytes);
  return bytes / state.network.bandwidth;
}

/** Bytes of all inputs together. */
export function inputBytes(task: Task): number {
  let bytes = 0;
  for (const dep of task.deps) bytes += Math.max(0, dep.nbytes);
  return bytes;
}

function best(
  state: SchedulerState,
  task: Task,
  workers: Iterable<WorkerRecord>
): WorkerRecord | null {
  let chosen: WorkerRecord | null = null;
  let score = Infinity;
  for (const worker of workers) {
    if (worker.status !== 'running') continue;
    const its = objective(state, task, worker);
    if (chosen === null || its < score || (its === score && worker.nbytes < chosen.nbytes)) {
      chosen = worker;
      score = its;
    }
  }
  return chosen;
}

/** Gives the task to the worker, under a fresh run number. */
export function startProcessing(state: SchedulerState, task: Task, worker: WorkerRecord): void {
  task.runId = state.nextRunId++;
  task.processingOn = worker;
  task.longRunning = false;
  worker.processing.add(task);
  worker.addLoad(task);
  const inputs = state.repeats.size === 0 ? task.deps : (state.repeats.get(task) ?? task.deps);
  state.outbox.compute(worker, task, inputs, task.group.prefix.expected);
}

/** The worker is not asked for it any more. */
export function stopProcessing(state: SchedulerState, task: Task): void {
  const worker = task.processingOn;
  if (worker === null) return;
  dropRequest(state, task);
  state.room.freed = worker;
  worker.processing.delete(task);
  if (task.longRunning) worker.longRunning--;
  else worker.removeLoad(task);
  task.longRunning = false;
  task.processingOn = null;
  task.runId = -1;
}

/** The task left its thread slot: it weighs nothing any more. */
export function markLongRunning(task: Task): void {
  const worker = task.processingOn;
  if (worker === null || task.longRunning) return;
  task.longRunning = true;
  worker.longRunning++;
  worker.removeLoad(task);
}

/** An error when no worker that may run the task has memory for all its inputs; else null. */
export function exceedsEveryWorker(state: SchedulerState, task: Task): ErrorRecord | null {
  const bytes = inputBytes(task);
  if (bytes <= state.leastMemoryLimit) return null;
  let largest = 0;
  for (const { facts } of allowedWorkers(state, task)) {
    if (facts.memoryLimit === 0 || facts.memoryLimit >= bytes) return null;
    largest = Math.max(largest, facts.memoryLimit);
  }
  // None may run it at all: it waits for one.
  if (largest === 0) return null;
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
