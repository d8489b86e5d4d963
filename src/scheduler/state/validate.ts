/**
 * Recomputes from scratch what the state keeps by counting, and compares. Slow; run after every
 * event in simulations and tests. Throws on the first difference.
 */
import { smallHas, smallList } from '../../base/small-set.ts';
import { isUnsettled } from './recovery.ts';
import { replicaCount } from './replicas.ts';
import type { SchedulerState } from './state.ts';
import { TASK_STATES, isActive } from './tasks.ts';
import type { Task } from './tasks.ts';
import type { WorkerRecord } from './workers.ts';

export function validate(state: SchedulerState): void {
  check(state.recommended.length === 0, null, 'recommendations are left over');
  let queued = 0;
  let unrunnable = 0;
  for (const task of state.tasks.values()) {
    checkTask(state, task);
    if (task.state === 'queued') queued++;
    if (task.state === 'no-worker') unrunnable++;
  }
  check(
    queued === state.queued.count,
    null,
    `queued.count is ${state.queued.count}, ${queued} tasks are queued`
  );
  check(unrunnable === state.unrunnable.size, null, 'unrunnable differs from the no-worker tasks');
  check(state.byKey.size === state.tasks.size, null, 'byKey and tasks differ in size');
  for (const task of [...state.repeats.keys(), ...state.incomplete])
    check(state.tasks.get(task.id) === task, task, 'what is known of its inputs outlives it');
  for (const { client } of state.promised.values())
    check(state.clients.has(client), null, `values are promised to ${client}, which is gone`);
  checkBooks(state);
}

function check(truth: boolean, task: Task | null, what: string): asserts truth {
  if (truth) return;
  throw new Error(task === null ? what : `${task.key} (${task.id}, ${task.state}): ${what}`);
}

function checkTask(state: SchedulerState, task: Task): void {
  check(task.state !== 'forgotten', task, 'forgotten but still known');
  check(state.byKey.get(task.key) === task, task, 'not found by its key');
  const dependents = smallList(task.dependents);
  for (const dependent of dependents) {
    check(
      state.tasks.get(dependent.id) === dependent,
      task,
      `dependent ${dependent.key} is unknown`
    );
    check(dependent.deps.includes(task), task, `dependent ${dependent.key} does not depend on it`);
  }
  const waiters = dependents.filter(dependent => isActive(dependent.state)).length;
  check(
    task.waiters === waiters,
    task,
    `waiters is ${task.waiters}, ${waiters} dependents are active`
  );
  const wants = smallList(task.bindings).filter(binding => binding.wanted).length;
  check(task.wants === wants, task, `wants is ${task.wants}, ${wants} bindings want it`);
  for (const dep of task.deps) {
    check(state.tasks.get(dep.id) === dep, task, `dependency ${dep.key} is forgotten`);
    check(smallHas(dep.dependents, task), task, `dependency ${dep.key} does not know it`);
  }
  check(
    (task.whoHas === null) === (task.state !== 'memory'),
    task,
    'replicas exist exactly in memory'
  );
  check(
    (task.processingOn === null) === (task.state !== 'processing'),
    task,
    'has a worker exactly when processing'
  );
  check(
    (task.error !== null) === (task.state === 'erred'),
    task,
    'has an error exactly when erred'
  );
  check(
    task.needed || task.dependents !== null || isUnsettled(state, task),
    task,
    'nothing points at it'
  );
  for (const worker of smallList(task.whoHas)) {
    check(
      state.workers.get(worker.id) === worker,
      task,
      `held by worker ${worker.id}, which is gone`
    );
    check(worker.hasWhat.has(task), task, `worker ${worker.id} does not have it in its books`);
  }
  checkByState(state, task);
}

function checkByState(state: SchedulerState, task: Task): void {
  const missing = task.deps.filter(dep => dep.state !== 'memory').length;
  if (task.state === 'waiting') {
    check(
      task.waitingOn === missing,
      task,
      `waitingOn is ${task.waitingOn}, ${missing} inputs are missing`
    );
    check(missing > 0, task, 'waits for nothing');
    check(task.needed, task, 'waits and nobody needs it');
    for (const dep of task.deps)
      check(
        dep.state !== 'released' || isHeldBack(state, dep),
        task,
        `input ${dep.key} is not being made`
      );
  } else check(task.waitingOn === 0, task, 'counts missing inputs without waiting');
  if (task.state === 'processing' || task.state === 'queued' || task.state === 'no-worker') {
    check(missing === 0, task, 'input is missing');
    check(task.needed, task, 'is to run and nobody needs it');
  }
  if (task.state === 'processing') {
    const worker = task.processingOn as WorkerRecord;
    check(state.workers.get(worker.id) === worker, task, 'is processed by a worker that is gone');
    check(worker.processing.has(task), task, 'its worker does not have it in its books');
  }
  if (task.state === 'memory') check(task.needed, task, 'is kept and nobody needs it');
  if (task.state === 'released' && !isHeldBack(state, task))
    check(!task.needed, task, 'is needed and nobody makes it');
  if (task.fn === null) {
    check(
      task.state === 'memory' || task.state === 'erred' || task.state === 'released',
      task,
      'data cannot run'
    );
  }
  if (task.state === 'no-worker') check(state.unrunnable.has(task), task, 'not in unrunnable');
}

/** Needed and not being made, rightly: recovery waits for somebody. */
function isHeldBack(state: SchedulerState, task: Task): boolean {
  return state.recovery.awaited.has(task) || isUnsettled(state, task);
}

function checkBooks(state: SchedulerState): void {
  let threads = 0;
  for (const worker of state.workers.values()) {
    const running = worker.status === 'running' && !state.recovery.holding;
    check(
      state.runningWorkers.has(worker) === running,
      null,
      `worker ${worker.id}: running set is wrong`
    );
    if (running) threads += worker.facts.nthreads;
    let longRunning = 0;
    const load = new Map(worker.load);
    for (const task of worker.processing) {
      const { owner } = task.demands;
      if (!task.longRunning) load.set(owner, (load.get(owner) ?? 0) - 1);
      check(task.processingOn === worker, task, `worker ${worker.id} thinks it processes it`);
      if (task.longRunning) longRunning++;
    }
    check(
      [...load.values()].every(left => left === 0),
      null,
      `worker ${worker.id}: load is wrong`
    );
    checkOccupancy(worker);
    check(longRunning === worker.longRunning, null, `worker ${worker.id}: longRunning is wrong`);
    let nbytes = 0;
    for (const task of worker.hasWhat) {
      check(smallHas(task.whoHas, worker), task, `worker ${worker.id} thinks it has it`);
      nbytes += Math.max(0, task.nbytes);
    }
    check(
      nbytes === worker.nbytes,
      null,
      `worker ${worker.id}: ${worker.nbytes} bytes in the books, ${nbytes} held`
    );
  }
  check(threads === state.totalThreads, null, 'totalThreads is wrong');
  const list = new Set(state.runningList);
  check(
    list.size === state.runningWorkers.size &&
      [...list].every(one => state.runningWorkers.has(one)),
    null,
    'runningList differs from runningWorkers'
  );
  checkStealing(state);
  checkCounts(state);
  checkReplicas(state);
  checkRetirements(state);
}

/** Copies: the set of those with several, and what is under way. */
function checkReplicas(state: SchedulerState): void {
  const { replicated, arriving, dropping, moves, wishes } = state.replicas;
  for (const task of state.tasks.values()) {
    check(replicated.has(task) === replicaCount(task) > 1, task, 'replicated: set is wrong');
  }
  const underWay = (task: Task, workers: Iterable<WorkerRecord>, what: string): void => {
    check(task.state === 'memory', task, `${what} a copy of what is not in memory`);
    let count = 0;
    for (const worker of workers) {
      count++;
      check(state.workers.get(worker.id) === worker, task, `${what}: worker ${worker.id} is gone`);
      check(!worker.hasWhat.has(task), task, `${what}: worker ${worker.id} holds it`);
    }
    check(count > 0, task, `${what}: nothing`);
  };
  for (const [task, workers] of arriving) underWay(task, workers.keys(), 'arriving');
  for (const [task, workers] of dropping) {
    underWay(task, workers, 'dropping');
    for (const worker of workers) {
      check(arriving.get(task)?.has(worker) !== true, task, 'fetched where it is being dropped');
    }
  }
  for (const [task, all] of moves) {
    check(all.length > 0, task, 'moves: none');
    for (const { to } of all) {
      check(arriving.get(task)?.has(to) === true, task, `moves to ${to.id}, which fetches nothing`);
    }
  }
  for (const task of wishes.keys()) {
    check(state.tasks.get(task.id) === task, task, 'copies of a forgotten task are wished for');
  }
}

function checkRetirements(state: SchedulerState): void {
  for (const worker of state.workers.values()) {
    if (worker.status === 'closing') continue;
    check(
      state.retirements.has(worker) === (worker.status === 'closing-gracefully'),
      null,
      `worker ${worker.id}: ${worker.status}, and its retirement says otherwise`
    );
  }
  for (const worker of state.retirements.keys()) {
    check(state.workers.get(worker.id) === worker, null, `worker ${worker.id} retires and is gone`);
  }
}

/** Occupancy is computed from these. */
function checkOccupancy(worker: WorkerRecord): void {
  const load = new Map<object, number>();
  const inputs = new Set<Task>();
  for (const task of worker.processing) {
    if (task.longRunning) continue;
    const { prefix } = task.group;
    load.set(prefix, (load.get(prefix) ?? 0) + 1);
    for (const dep of task.deps) inputs.add(dep);
  }
  check(
    load.size === worker.prefixes.size,
    null,
    `worker ${worker.id}: load has prefixes too many`
  );
  for (const [prefix, count] of worker.prefixes) {
    check(load.get(prefix) === count, null, `worker ${worker.id}: load of ${prefix.name} is wrong`);
  }
  let bytes = 0;
  for (const dep of worker.needs.keys()) {
    check(inputs.has(dep), dep, `worker ${worker.id} thinks it needs it`);
    check(!worker.hasWhat.has(dep), dep, `worker ${worker.id} has it and thinks it must fetch it`);
    bytes += Math.max(0, dep.nbytes);
  }
  check(bytes === worker.neededBytes, null, `worker ${worker.id}: neededBytes is wrong`);
}

/** Every request is about a task that its victim processes, and counted with both workers. */
function checkStealing(state: SchedulerState): void {
  const sums = new Map<WorkerRecord, { ms: number; tasks: number }>();
  const add = (worker: WorkerRecord, ms: number, tasks: number): void => {
    const sum = sums.get(worker) ?? { ms: 0, tasks: 0 };
    sums.set(worker, { ms: sum.ms + ms, tasks: sum.tasks + tasks });
  };
  for (const [task, request] of state.stealing.byTask) {
    check(request.task === task, task, 'is booked under another steal request');
    check(task.processingOn === request.victim, task, 'is asked back from where it is not');
    check(task.runId === request.runId, task, 'is asked back under another run');
    check(request.thief !== request.victim, task, 'is stolen from itself');
    add(request.victim, -request.victimMs, -1);
    add(request.thief, request.thiefMs, 1);
  }
  for (const worker of state.workers.values()) {
    const { ms, tasks } = sums.get(worker) ?? { ms: 0, tasks: 0 };
    check(worker.stealTasks === tasks, null, `worker ${worker.id}: stealTasks is wrong`);
    check(Math.abs(worker.stealMs - ms) < 1e-3, null, `worker ${worker.id}: stealMs drifted`);
  }
}

function checkCounts(state: SchedulerState): void {
  const users = new Map<object, number>();
  for (const client of [...state.clients.values(), ...state.pseudoClients.values()]) {
    for (const fn of client.functions.values()) users.set(fn, (users.get(fn) ?? 0) + 1);
    for (const [cid, binding] of client.bindings) {
      check(
        binding.cid === cid && smallHas(binding.task.bindings, binding),
        binding.task,
        'binding is one-sided'
      );
    }
  }
  const counts = new Map<object, number[]>();
  for (const task of state.tasks.values()) {
    if (task.fn !== null) users.set(task.fn, (users.get(task.fn) ?? 0) + 1);
    const row = counts.get(task.group.prefix) ?? TASK_STATES.map(() => 0);
    row[TASK_STATES.indexOf(task.state)]!++;
    counts.set(task.group.prefix, row);
  }
  for (const fn of state.functions.values()) {
    check(fn.users === (users.get(fn) ?? 0), null, `function ${fn.name}: users is ${fn.users}`);
  }
  for (const prefix of state.prefixes.values()) {
    const row = counts.get(prefix) ?? TASK_STATES.map(() => 0);
    for (let i = 0; i < TASK_STATES.length - 1; i++) {
      check(
        prefix.counts[i] === row[i],
        null,
        `prefix ${prefix.name}: count of ${TASK_STATES[i]} is wrong`
      );
    }
  }
  let groups = 0;
  for (const group of state.groups.values()) groups += group.size;
  check(groups === state.tasks.size, null, 'group sizes do not add up');
}

/** True when nothing of any client is left: for leak checks at the end of a run. */
export function isEmpty(state: SchedulerState): boolean {
  let held = 0;
  for (const worker of state.workers.values()) held += worker.hasWhat.size + worker.processing.size;
  if (state.datasets.size > 0) return false;
  for (const { bindings } of state.pseudoClients.values()) if (bindings.size > 0) return false;
  return state.tasks.size === 0 && state.functions.size === 0 && held === 0;
}
