/**
 * The table of transitions of a worker's tasks. A pair that the table does not have goes through
 * `released`. What is going on in an executor or on a link cannot be undone by a transition: such
 * a task waits as `cancelled` (or `resumed`, when it is wanted again in another way) until the
 * event that ends the activity comes with `done` set.
 */
import { InvalidTransitionError } from '../../base/errors.ts';
import type { WorkerCore } from './core.ts';
import type { Share } from '../../base/fair.ts';
import { FairHeap } from './fair-heap.ts';
import { leaveSlot } from './slots.ts';
import { comparePriority } from './tasks.ts';
import type { Priority, WorkerTask, WorkerTaskState } from './tasks.ts';

type Step = (core: WorkerCore, task: WorkerTask) => void;

const TRANSITIONS: Record<WorkerTaskState, Partial<Record<WorkerTaskState, Step>>> = {
  released: {
    waiting: releasedWaiting,
    fetch: toFetch,
    memory: receive,
    forgotten: releasedForgotten
  },
  waiting: { ready: waitingReady, released: release },
  ready: { executing: startExecuting, waiting: backToWaiting, released: release },
  constrained: { executing: startExecuting, waiting: backToWaiting, released: release },
  executing: {
    memory: (core, task) => toMemory(core, task, 'finished'),
    error: toError,
    rescheduled: toRescheduled,
    waiting: startAgain,
    'long-running': executingLongRunning,
    released: cancelExecution
  },
  'long-running': {
    memory: (core, task) => toMemory(core, task, 'finished'),
    error: toError,
    rescheduled: toRescheduled,
    waiting: startAgain,
    released: cancelExecution
  },
  rescheduled: {},
  fetch: {
    flight: fetchFlight,
    missing: toFetch,
    waiting: toCompute,
    memory: receive,
    released: release
  },
  flight: {
    memory: (core, task) => toMemory(core, task, 'added'),
    fetch: flightFetch,
    released: cancelFlight
  },
  missing: { fetch: toFetch, waiting: toCompute, memory: receive, released: release },
  memory: { released: memoryReleased },
  error: { waiting: toCompute, memory: receive, released: release },
  cancelled: {
    memory: cancelledMemory,
    error: endCancelled,
    rescheduled: endCancelled,
    released: endCancelled,
    fetch: cancelledFetch,
    waiting: cancelledWaiting,
    'long-running': secedeUnwanted
  },
  resumed: {
    memory: resumedMemory,
    error: resumedNext,
    rescheduled: resumedNext,
    fetch: resumedFetch,
    released: resumedReleased,
    'long-running': secedeUnwanted
  },
  forgotten: {}
};

/** All pairs of the table, for documentation and tests. */
export function transitionPairs(): [WorkerTaskState, WorkerTaskState][] {
  return Object.entries(TRANSITIONS).flatMap(([from, row]) =>
    Object.keys(row).map((to): [WorkerTaskState, WorkerTaskState] => [
      from as WorkerTaskState,
      to as WorkerTaskState
    ])
  );
}

/** Takes one task to another state, through released where there is no direct way. */
export function transition(core: WorkerCore, task: WorkerTask, finish: WorkerTaskState): void {
  const start = task.state;
  if (start === finish) return;
  const step = TRANSITIONS[start][finish];
  if (step !== undefined) {
    step(core, task);
  } else {
    const toReleased = TRANSITIONS[start].released;
    if (toReleased === undefined || finish === 'released') throw invalid(core, task, finish);
    toReleased(core, task);
    // What the way through released would have made of it is not the purpose.
    core.recommendations.delete(task);
    const rest = TRANSITIONS[task.state][finish];
    if (rest === undefined) throw invalid(core, task, finish);
    rest(core, task);
  }
  const text =
    task.state === finish
      ? `${start} -> ${finish}`
      : `${start} -> ${task.state} (asked: ${finish})`;
  core.log.add(task, text, core.stimulus, core.now);
}

function invalid(core: WorkerCore, task: WorkerTask, finish: string): InvalidTransitionError {
  return new InvalidTransitionError(task.key, task.state, finish, core.log.of(task.tid));
}

/** Carries out recommendations until there are none. */
export function transitions(core: WorkerCore): void {
  const { recommendations } = core;
  while (recommendations.size > 0) {
    for (const [task, finish] of recommendations) {
      recommendations.delete(task);
      transition(core, task, finish);
    }
  }
}

/** Gives the task its dependencies, in the order of its arguments. */
export function linkDependencies(core: WorkerCore, task: WorkerTask, deps: WorkerTask[]): void {
  const before = task.deps;
  task.deps = deps;
  for (const dep of deps) (dep.dependents ??= new Set()).add(task);
  if (before.length > 0) {
    const kept = new Set(deps);
    unlink(
      core,
      task,
      before.filter(dep => !kept.has(dep))
    );
  }
}

function unlinkDependencies(core: WorkerCore, task: WorkerTask): void {
  const { deps } = task;
  if (deps.length === 0) return;
  task.deps = [];
  task.waitingFor = null;
  unlink(core, task, deps);
}

function unlink(core: WorkerCore, task: WorkerTask, deps: readonly WorkerTask[]): void {
  for (const dep of deps) {
    dep.dependents?.delete(task);
    if (dep.dependents !== null && dep.dependents.size > 0) continue;
    dep.dependents = null;
    // What has just come stays; a search for what only we are asked to keep is given up.
    const { state } = dep;
    if (dep.done || (dep.acquire && state !== 'missing')) continue;
    if (dep.acquire) core.reportAbsent(dep.tid);
    dep.acquire = false;
    if (state === 'released') core.recommend(dep, 'forgotten');
    else if (state === 'fetch' || state === 'missing' || state === 'flight') {
      core.recommend(dep, 'released');
    } else if (state === 'resumed' && dep.next === 'fetch') core.recommend(dep, 'released');
  }
}

/** Is a task of this worker waiting for the value? */
function isAwaited(task: WorkerTask): boolean {
  for (const dependent of task.dependents ?? []) {
    if (dependent.waitingFor?.has(task) === true) return true;
  }
  return false;
}

function release(core: WorkerCore, task: WorkerTask): void {
  if (task.state === 'fetch') leaveNeeded(core, task);
  core.ready.delete(task);
  core.constrained.delete(task);
  core.missing.delete(task);
  settle(task);
  task.error = null;
  task.inline = null;
  task.clearSpec();
  task.state = 'released';
  unlinkDependencies(core, task);
  if (isAwaited(task)) core.recommend(task, 'fetch');
  else if (task.dependents === null || task.dependents.size === 0) {
    core.recommend(task, 'forgotten');
  }
}

/** Nothing of this task is going on any more. */
function settle(task: WorkerTask): void {
  task.previous = null;
  task.next = null;
  task.done = false;
  task.execution = 0;
  task.killing = null;
  task.deadline = 0;
  task.comingFrom = -1;
  task.waitingFor = null;
}

function releasedForgotten(core: WorkerCore, task: WorkerTask): void {
  // Somebody may have come to need it since this was recommended.
  if (task.dependents !== null && task.dependents.size > 0) return;
  for (const worker of task.holders ?? []) {
    const held = core.hasWhat.get(worker);
    held?.delete(task);
    if (held?.size === 0) core.hasWhat.delete(worker);
  }
  task.holders = null;
  task.state = 'forgotten';
  core.tasks.delete(task.tid);
}

function releasedWaiting(core: WorkerCore, task: WorkerTask): void {
  task.state = 'waiting';
  task.waitingFor = null;
  for (const dep of task.deps) if (dep.state !== 'memory') waitFor(core, task, dep);
  if (task.waitingFor === null) core.recommend(task, 'ready');
}

/** It was known only as a dependency, or had failed; now it is to be computed here. */
function toCompute(core: WorkerCore, task: WorkerTask): void {
  if (task.state === 'fetch') leaveNeeded(core, task);
  core.missing.delete(task);
  settle(task);
  task.error = null;
  releasedWaiting(core, task);
}

/** A client put the value here. */
function receive(core: WorkerCore, task: WorkerTask): void {
  if (task.state === 'fetch') leaveNeeded(core, task);
  core.missing.delete(task);
  toMemory(core, task, null);
}

function waitFor(core: WorkerCore, task: WorkerTask, dep: WorkerTask): void {
  (task.waitingFor ??= new Set()).add(dep);
  const { state } = dep;
  if (state === 'released' || state === 'error' || state === 'cancelled' || state === 'missing') {
    // One that is itself to be computed here, or has just come, needs no fetching.
    const pending = core.recommendations.get(dep);
    if (pending !== 'waiting' && pending !== 'memory') core.recommend(dep, 'fetch');
  }
}

function waitingReady(core: WorkerCore, task: WorkerTask): void {
  task.waitingFor = null;
  if (task.resources === null) {
    task.state = 'ready';
    core.ready.add(task);
  } else {
    task.state = 'constrained';
    core.constrained.add(task);
  }
}

/** A dependency was taken away before the task began. */
function backToWaiting(core: WorkerCore, task: WorkerTask): void {
  core.ready.delete(task);
  core.constrained.delete(task);
  releasedWaiting(core, task);
}

function startExecuting(core: WorkerCore, task: WorkerTask): void {
  task.state = 'executing';
  task.execution = task.runId;
  core.executing.add(task);
  if (task.resources !== null) {
    for (const [name, amount] of Object.entries(task.resources)) {
      core.available[name] = (core.available[name] ?? 0) - amount;
    }
  }
  core.push({ op: 'execute', tid: task.tid, runId: task.runId });
}

/** Given back unfinished and still wanted. */
function startAgain(core: WorkerCore, task: WorkerTask): void {
  settle(task);
  task.state = 'released';
  releasedWaiting(core, task);
}

function executingLongRunning(core: WorkerCore, task: WorkerTask): void {
  task.state = 'long-running';
  secedeSlot(core, task);
  core.send({ op: 'long-running', tid: task.tid, runId: task.runId, duration: task.took });
}

function secedeSlot(core: WorkerCore, task: WorkerTask): void {
  if (leaveSlot(core, task, task.took)) core.longRunning.add(task);
}

/** It seceded after it was cancelled: the scheduler hears of that if it is wanted again. */
function secedeUnwanted(core: WorkerCore, task: WorkerTask): void {
  task.previous = 'long-running';
  secedeSlot(core, task);
}

function cancelExecution(core: WorkerCore, task: WorkerTask): void {
  // Given back by its executor, to be given back to the scheduler.
  if (task.done) return release(core, task);
  task.previous = task.state === 'long-running' ? 'long-running' : 'executing';
  task.state = 'cancelled';
  if (core.executing.size > core.options.nthreads && task.killing === null) core.recall(task);
}

function cancelFlight(_core: WorkerCore, task: WorkerTask): void {
  task.previous = 'flight';
  task.state = 'cancelled';
}

function toRescheduled(core: WorkerCore, task: WorkerTask): void {
  core.send({ op: 'reschedule', tid: task.tid, runId: task.runId });
  release(core, task);
}

/**
 * To fetch, or to missing when nobody is known to hold it. A copy that no task here needs is not
 * worth a search.
 */
function toFetch(core: WorkerCore, task: WorkerTask): void {
  if (task.state === 'fetch') leaveNeeded(core, task);
  core.missing.delete(task);
  const held = task.holders !== null && task.holders.size > 0;
  if ((task.dependents?.size ?? 0) === 0 && !(held && task.acquire)) {
    if (task.acquire) core.reportAbsent(task.tid);
    task.acquire = false;
    release(core, task);
    return;
  }
  if (!held) {
    task.state = 'missing';
    core.missing.add(task);
    return;
  }
  task.state = 'fetch';
  for (const worker of task.holders ?? []) joinNeeded(core, task, worker);
}

function joinNeeded(core: WorkerCore, task: WorkerTask, worker: number): void {
  let heap = core.needed.get(worker);
  if (heap === undefined) core.needed.set(worker, (heap = new FairHeap()));
  heap.add(task);
}

/** Takes it off the lists of what to fetch. */
function leaveNeeded(core: WorkerCore, task: WorkerTask): void {
  for (const worker of task.holders ?? []) leaveNeededOf(core, task, worker);
}

function leaveNeededOf(core: WorkerCore, task: WorkerTask, worker: number): void {
  const heap = core.needed.get(worker);
  heap?.delete(task);
  if (heap?.size === 0) core.needed.delete(worker);
}

function fetchFlight(core: WorkerCore, task: WorkerTask): void {
  leaveNeeded(core, task);
  task.state = 'flight';
  task.done = false;
}

function flightFetch(core: WorkerCore, task: WorkerTask): void {
  if (!task.done) return;
  settle(task);
  toFetch(core, task);
}

/** The one place where a value enters memory. */
function toMemory(core: WorkerCore, task: WorkerTask, report: 'finished' | 'added' | null): void {
  const { dependents } = task;
  settle(task);
  task.error = null;
  task.acquire = false;
  task.state = 'memory';
  core.nbytes += task.nbytes;
  forgetHolders(core, task);
  unlinkDependencies(core, task);
  task.clearSpec();
  for (const dependent of dependents ?? []) {
    const { waitingFor } = dependent;
    if (waitingFor?.delete(task) === true && waitingFor.size === 0) {
      if (core.recommendations.get(dependent) !== 'released') core.recommend(dependent, 'ready');
    }
  }
  if (report === 'finished') core.reportFinished(task);
  else if (report === 'added') core.reportAdded(task.tid);
  task.inline = null;
}

function toError(core: WorkerCore, task: WorkerTask): void {
  settle(task);
  task.state = 'error';
  unlinkDependencies(core, task);
  task.clearSpec();
  if (task.error !== null) core.reportErred(task, task.error);
}

function memoryReleased(core: WorkerCore, task: WorkerTask): void {
  core.nbytes -= task.nbytes;
  core.reportReleased(task.tid);
  for (const dependent of task.dependents ?? []) {
    const pending = core.recommendations.get(dependent);
    if (dependent.state === 'waiting') {
      // It had counted on this value; `ready` may have been recommended on account of it.
      if (pending === 'ready') core.recommendations.delete(dependent);
      (dependent.waitingFor ??= new Set()).add(task);
    } else if (dependent.state === 'ready' || dependent.state === 'constrained') {
      if (pending === undefined) core.recommend(dependent, 'waiting');
    }
  }
  release(core, task);
}

// ------------------------------------------------------------------ cancelled and resumed

function endCancelled(core: WorkerCore, task: WorkerTask): void {
  if (task.done) release(core, task);
}

function cancelledMemory(core: WorkerCore, task: WorkerTask): void {
  // A copy that was given up while it was on its way, and is awaited again by the time it is here.
  if (task.previous === 'flight' && isAwaited(task)) return toMemory(core, task, 'added');
  core.dropData(task.tid);
  endCancelled(core, task);
}

function cancelledFetch(core: WorkerCore, task: WorkerTask): void {
  if (task.done) {
    release(core, task);
  } else if (task.previous === 'flight') {
    task.state = 'flight';
    task.previous = null;
  } else {
    task.state = 'resumed';
    task.next = 'fetch';
  }
}

function cancelledWaiting(core: WorkerCore, task: WorkerTask): void {
  const { previous } = task;
  if (previous === 'flight') {
    task.state = 'resumed';
    task.next = 'waiting';
    return;
  }
  task.state = previous === 'long-running' ? 'long-running' : 'executing';
  task.previous = null;
  if (previous === 'long-running') {
    core.send({ op: 'long-running', tid: task.tid, runId: task.runId, duration: task.took });
  }
}

/** The activity that ended is not the one the scheduler has asked for: it hears of that one. */
function resumedMemory(core: WorkerCore, task: WorkerTask): void {
  toMemory(core, task, task.previous === 'flight' ? 'finished' : 'added');
}

function resumedNext(core: WorkerCore, task: WorkerTask): void {
  const { next } = task;
  settle(task);
  task.error = null;
  task.state = 'released';
  if (next === 'waiting') releasedWaiting(core, task);
  else {
    unlinkDependencies(core, task);
    task.clearSpec();
    toFetch(core, task);
  }
}

function resumedFetch(core: WorkerCore, task: WorkerTask): void {
  // A transfer that brought nothing: compute it, as the scheduler asked.
  if (task.done) resumedNext(core, task);
}

function resumedReleased(core: WorkerCore, task: WorkerTask): void {
  task.state = 'cancelled';
  task.next = null;
  if (task.done) release(core, task);
}

// ------------------------------------------------------------------ holders

/** A more urgent task has come to need it. Of several clients that need it, the first pays. */
export function raisePriority(
  core: WorkerCore,
  task: WorkerTask,
  priority: Priority,
  owner: Share
): void {
  const known = task.owner === owner || task.owner.id === 0;
  if (known ? comparePriority(priority, task.priority) >= 0 : priority[0] >= task.priority[0])
    return;
  if (task.state === 'fetch') leaveNeeded(core, task);
  task.priority = priority;
  task.owner = owner;
  if (task.state === 'fetch') {
    for (const worker of task.holders ?? []) joinNeeded(core, task, worker);
  }
}

/** Replaces what is known about who holds the value; fetch and missing follow from it. */
export function setHolders(core: WorkerCore, task: WorkerTask, workers: readonly number[]): void {
  if (task.state === 'memory') return;
  const now = new Set<number>();
  for (const worker of workers) {
    if (worker !== core.options.worker && core.peers.has(worker)) now.add(worker);
  }
  for (const worker of [...(task.holders ?? [])]) {
    if (!now.has(worker)) removeHolder(core, task, worker);
  }
  for (const worker of now) addHolder(core, task, worker);
  if (task.state === 'missing' && now.size > 0) core.recommend(task, 'fetch');
}

function addHolder(core: WorkerCore, task: WorkerTask, worker: number): void {
  if (task.holders?.has(worker) === true) return;
  (task.holders ??= new Set()).add(worker);
  let held = core.hasWhat.get(worker);
  if (held === undefined) core.hasWhat.set(worker, (held = new Set()));
  held.add(task);
  if (task.state === 'fetch') joinNeeded(core, task, worker);
}

/** The peer holds it no more; the last holder gone takes a task in fetch to missing. */
export function removeHolder(core: WorkerCore, task: WorkerTask, worker: number): void {
  if (task.holders?.delete(worker) !== true) return;
  const held = core.hasWhat.get(worker);
  held?.delete(task);
  if (held?.size === 0) core.hasWhat.delete(worker);
  if (task.state !== 'fetch') return;
  leaveNeededOf(core, task, worker);
  if (task.holders.size === 0) core.recommend(task, 'missing');
}

function forgetHolders(core: WorkerCore, task: WorkerTask): void {
  for (const worker of [...(task.holders ?? [])]) removeHolder(core, task, worker);
  task.holders = null;
}
