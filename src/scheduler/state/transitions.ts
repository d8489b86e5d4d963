/**
 * The transition table of the scheduler's tasks (docs/states.md) and the loop that works it off.
 *
 * A transition does its own bookkeeping, says what it must to workers and clients, and recommends
 * others. Recommendations are worked off last in, first out, a later one for the same task taking
 * the place of an earlier one. A pair that is not in the table goes through `released`.
 */
import { InvalidTransitionError } from '../../base/errors.ts';
import { smallDelete, smallFirst, smallList } from '../../base/small-set.ts';
import type { ErrorRecord } from '../../protocol/messages.ts';
import { decideWorker, exceedsEveryWorker, startProcessing, stopProcessing } from './placement.ts';
import { cancelledInputRecord, lostRecord } from './failures.ts';
import { endForgotten } from './lasting.ts';
import { isUnclaimed, releaseRecovered } from './recovery.ts';
import { dropReplicas, spread } from './replicas.ts';
import type { SchedulerState } from './state.ts';
import { TASK_STATES, isActive } from './tasks.ts';
import type { Task, TaskState } from './tasks.ts';
import { warnUnmet } from './warnings.ts';

type Transition = (state: SchedulerState, task: Task) => void;

/** Asks for a transition; worked off by `runTransitions`. */
export function recommend(state: SchedulerState, task: Task, finish: TaskState): void {
  // Its value has come: whatever else was to become of it is decided once it is there.
  if (task.recommended === 'memory') return;
  if (task.recommended === null) state.recommended.push(task);
  task.recommended = finish;
}

export function runTransitions(state: SchedulerState): void {
  const stack = state.recommended;
  for (let task = stack.pop(); task !== undefined; task = stack.pop()) {
    const finish = task.recommended;
    task.recommended = null;
    if (finish !== null) transition(state, task, finish);
  }
}

function transition(state: SchedulerState, task: Task, finish: TaskState): void {
  const start = task.state;
  if (start === finish || start === 'forgotten') return;
  // Let go of, and needed again before its turn came.
  const holds = isActive(start) || (start === 'memory' && task.whoHas !== null);
  if (finish === 'released' && task.needed && holds) return;
  const handler = TRANSITIONS[start][finish];
  if (handler !== undefined) {
    handler(state, task);
    return;
  }
  const viaReleased = TRANSITIONS[start].released;
  if (viaReleased === undefined || TRANSITIONS.released[finish] === undefined) {
    throw new InvalidTransitionError(task.key, start, finish, state.story.of(task.key));
  }
  viaReleased(state, task);
  // What that recommended for this very task gives way to what was asked for.
  recommend(state, task, finish);
}

/** Every change of `task.state` goes through here: counts, the story, holds on dependencies. */
function enter(state: SchedulerState, task: Task, finish: TaskState): void {
  const start = task.state;
  const prefix = task.group.prefix;
  task.state = finish;
  prefix.counts[TASK_STATES.indexOf(start)]!--;
  prefix.counts[TASK_STATES.indexOf(finish)]!++;
  state.story.add(task.key, start, finish, state.outbox.stimulus, state.now);
  const was = isActive(start);
  const is = isActive(finish);
  if (was === is) return;
  for (const dep of task.deps) {
    dep.waiters += is ? 1 : -1;
    if (!is && dep.waiters === 0 && dep.wants === 0) letGo(state, dep);
  }
}

/** Nobody needs the value of this task any more. */
export function letGo(state: SchedulerState, task: Task): void {
  if (task.dependents === null && task.wants === 0) recommend(state, task, 'forgotten');
  else if (task.state !== 'erred' && task.state !== 'released') recommend(state, task, 'released');
}

function releasedWaiting(state: SchedulerState, task: Task): void {
  if (task.fn === null) {
    // One that may still be brought back waits as it is.
    if (task.needed && !state.recovery.awaited.has(task)) failWith(state, task, lostRecord(task));
    return;
  }
  // What needed it has failed since this was recommended.
  if (!task.needed) return settleReleased(state, task);
  if (task.countedDone) {
    task.countedDone = false;
    task.group.prefix.done--;
  }
  let missing = 0;
  const incomplete = state.incomplete.size > 0 && state.incomplete.has(task);
  let failed = incomplete ? cancelledInputRecord(task) : null;
  for (const dep of task.deps) {
    if (dep.state === 'erred') failed = dep.error;
    if (dep.state !== 'memory') missing++;
  }
  enter(state, task, 'waiting');
  task.waitingOn = missing;
  if (failed !== null) {
    failWith(state, task, failed);
    return;
  }
  if (missing === 0) recommend(state, task, 'processing');
  // Reverse, so that the first dependency is on top of the stack.
  for (let i = task.deps.length - 1; i >= 0; i--) {
    const dep = task.deps[i] as Task;
    if (dep.state === 'released') recommend(state, dep, 'waiting');
  }
}

/** From waiting, queued or no-worker: all inputs are there, find a worker. */
function toProcessing(state: SchedulerState, task: Task): void {
  if (task.waitingOn > 0) return;
  if (!task.needed) {
    letGo(state, task);
    return;
  }
  const tooLarge = exceedsEveryWorker(state, task);
  if (tooLarge !== null) {
    failWith(state, task, tooLarge);
    return;
  }
  const choice = decideWorker(state, task);
  if (choice === 'queued') {
    if (task.state !== 'queued') {
      state.unrunnable.delete(task);
      enter(state, task, 'queued');
      state.queued.push(task);
    }
    return;
  }
  if (task.state === 'queued') state.queued.count--;
  if (choice === null) {
    if (task.state !== 'no-worker') {
      enter(state, task, 'no-worker');
      state.unrunnable.set(task, state.now);
      warnUnmet(state, task);
    }
    return;
  }
  state.unrunnable.delete(task);
  enter(state, task, 'processing');
  startProcessing(state, task, choice);
}

function processingMemory(state: SchedulerState, task: Task): void {
  stopProcessing(state, task);
  becomeMemory(state, task);
}

/** The value is there (task.whoHas says where): tell clients, wake dependents, let inputs go. */
function becomeMemory(state: SchedulerState, task: Task): void {
  enter(state, task, 'memory');
  task.suspicious = 0;
  for (const binding of smallList(task.bindings)) {
    if (binding.wanted) state.outbox.inMemory(binding.client, binding.cid, task);
  }
  task.inline = null;
  if (state.pseudoClients.size > 0) endForgotten(state, task);
  const dependents = smallList(task.dependents);
  for (let i = dependents.length - 1; i >= 0; i--) {
    const dependent = dependents[i] as Task;
    if (dependent.state !== 'waiting') continue;
    dependent.waitingOn--;
    if (dependent.waitingOn === 0) recommend(state, dependent, 'processing');
  }
  if (!task.needed) letGo(state, task);
  else if (state.replicas.wishes.size > 0) spread(state, task);
}

/** Dependents that counted on the value must wait for it again. */
function dependentsLose(state: SchedulerState, task: Task): void {
  for (const dependent of smallList(task.dependents)) {
    if (dependent.state === 'waiting') dependent.waitingOn++;
    // One that is about to fail does so: a task that takes down the worker of its own inputs, too.
    else if (isActive(dependent.state) && dependent.recommended !== 'erred')
      recommend(state, dependent, 'waiting');
  }
}

function memoryReleased(state: SchedulerState, task: Task): void {
  dropReplicas(state, task);
  if (task.wants > 0) {
    for (const binding of smallList(task.bindings)) {
      if (binding.wanted) state.outbox.lost(binding.client, binding.cid);
    }
  } else if (!task.countedDone) {
    task.countedDone = true;
    task.group.prefix.done++;
  }
  enter(state, task, 'released');
  settleReleased(state, task);
  dependentsLose(state, task);
}

/** What a task does once released: run again when needed, be forgotten when nothing points at it. */
function settleReleased(state: SchedulerState, task: Task): void {
  if (task.needed) recommend(state, task, 'waiting');
  else if (task.dependents === null) recommend(state, task, 'forgotten');
}

function memoryErred(state: SchedulerState, task: Task): void {
  dropReplicas(state, task);
  becomeErred(state, task);
}

function processingReleased(state: SchedulerState, task: Task): void {
  const worker = task.processingOn;
  stopProcessing(state, task);
  if (worker !== null && state.workers.has(worker.id)) {
    if (state.killOnRelease.has(task)) state.outbox.kill(worker, task.id);
    else state.outbox.free(worker, task.id);
  }
  enter(state, task, 'released');
  settleReleased(state, task);
}

function waitingReleased(state: SchedulerState, task: Task): void {
  task.waitingOn = 0;
  enter(state, task, 'released');
  settleReleased(state, task);
}

function queuedReleased(state: SchedulerState, task: Task): void {
  state.queued.count--;
  waitingReleased(state, task);
}

function noWorkerReleased(state: SchedulerState, task: Task): void {
  state.unrunnable.delete(task);
  waitingReleased(state, task);
}

function processingErred(state: SchedulerState, task: Task): void {
  const worker = task.processingOn;
  stopProcessing(state, task);
  if (worker !== null && state.workers.has(worker.id)) state.outbox.free(worker, task.id);
  becomeErred(state, task);
}

function waitingErred(state: SchedulerState, task: Task): void {
  task.waitingOn = 0;
  becomeErred(state, task);
}

function queuedErred(state: SchedulerState, task: Task): void {
  state.queued.count--;
  waitingErred(state, task);
}

function noWorkerErred(state: SchedulerState, task: Task): void {
  state.unrunnable.delete(task);
  waitingErred(state, task);
}

/** For the reason that `failWith` gave: tell clients, pass it on to all that need the value. */
function becomeErred(state: SchedulerState, task: Task): void {
  const error = state.failures.get(task) as ErrorRecord;
  task.error = error;
  enter(state, task, 'erred');
  for (const binding of smallList(task.bindings)) {
    if (binding.wanted) state.outbox.erred(binding.client, binding.cid, error);
  }
  for (const dependent of smallList(task.dependents)) {
    if (!isActive(dependent.state)) continue;
    failWith(state, dependent, error);
  }
  if (state.pseudoClients.size > 0) endForgotten(state, task);
  if (!task.needed) letGo(state, task);
}

/** Fails a task, unless it turns out that nobody needs it any more. */
export function failWith(state: SchedulerState, task: Task, error: ErrorRecord): void {
  state.failures.set(task, error);
  recommend(state, task, 'erred');
}

/**
 * All that failed because of this task is released with it, before any of it is looked at again:
 * one by one, a task with several ways to the cause would fail anew for each of them.
 */
function erredReleased(state: SchedulerState, task: Task): void {
  const released = new Set([task]);
  for (const one of released) {
    one.error = null;
    enter(state, one, 'released');
    for (const dependent of smallList(one.dependents)) {
      if (dependent.state === 'erred') released.add(dependent);
    }
  }
  for (const one of released) settleReleased(state, one);
}

function releasedForgotten(state: SchedulerState, task: Task): void {
  // Somebody has come to need it since this was recommended.
  if (task.dependents !== null || task.wants > 0) return;
  enter(state, task, 'forgotten');
  for (const dep of task.deps) {
    dep.dependents = smallDelete(dep.dependents, task);
    if (!dep.needed) letGo(state, dep);
  }
  state.forget(task);
}

function memoryForgotten(state: SchedulerState, task: Task): void {
  if (task.dependents !== null || task.wants > 0) return;
  memoryReleased(state, task);
}

function erredForgotten(state: SchedulerState, task: Task): void {
  if (task.dependents !== null || task.wants > 0) return;
  task.error = null;
  enter(state, task, 'released');
  recommend(state, task, 'forgotten');
}

/** The last copy of a value in memory is gone: compute it again, or report it lost. */
export function replicaLost(state: SchedulerState, task: Task): void {
  if (task.state !== 'memory' || smallFirst(task.whoHas) !== null) return;
  if (isUnclaimed(state, task)) releaseRecovered(state, task);
  else if (task.fn === null && !state.recovery.awaited.has(task)) {
    failWith(state, task, lostRecord(task));
  } else recommend(state, task, 'released');
}

/** Exported for docs/states.md, which a test compares with it. */
export const TRANSITIONS: Record<TaskState, Partial<Record<TaskState, Transition>>> = {
  released: {
    waiting: releasedWaiting,
    forgotten: releasedForgotten,
    erred: becomeErred,
    memory: becomeMemory
  },
  waiting: {
    released: waitingReleased,
    processing: toProcessing,
    erred: waitingErred
  },
  'no-worker': { released: noWorkerReleased, processing: toProcessing, erred: noWorkerErred },
  queued: { released: queuedReleased, processing: toProcessing, erred: queuedErred },
  processing: { released: processingReleased, memory: processingMemory, erred: processingErred },
  memory: { released: memoryReleased, forgotten: memoryForgotten, erred: memoryErred },
  erred: { released: erredReleased, forgotten: erredForgotten },
  forgotten: {}
};
