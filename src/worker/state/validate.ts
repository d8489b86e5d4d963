/**
 * What must hold between events, one function a state. Used by tests and the simulation after
 * every event; a breach throws with the task's story.
 */
import { TaskloomError } from '../../base/errors.ts';
import type { WorkerCore } from './core.ts';
import { WORKER_STATES } from './tasks.ts';
import type { WorkerTask, WorkerTaskState } from './tasks.ts';

type Check = (core: WorkerCore, task: WorkerTask) => void;

const CHECKS: Record<WorkerTaskState, Check> = {
  released: (core, task) =>
    must(core, task, (task.dependents?.size ?? 0) > 0, 'a released task has dependents'),
  waiting: checkWaiting,
  ready: (core, task) => {
    must(core, task, core.ready.has(task), 'ready tasks are in the ready heap');
    checkInputs(core, task);
  },
  constrained: (core, task) => {
    must(core, task, core.constrained.has(task), 'constrained tasks are in their heap');
    must(core, task, task.resources !== null, 'constrained tasks have resources');
    checkInputs(core, task);
  },
  executing: (core, task) => {
    must(core, task, core.executing.has(task), 'it is among the executing');
    must(core, task, task.execution !== 0, 'its execution has a run id');
  },
  'long-running': (core, task) => {
    must(core, task, core.longRunning.has(task), 'it is among the long-running');
    must(core, task, task.execution !== 0, 'its execution has a run id');
  },
  rescheduled: (core, task) => must(core, task, false, 'rescheduled is left at once'),
  fetch: checkFetch,
  flight: checkFlight,
  missing: (core, task) => {
    must(core, task, core.missing.has(task), 'missing tasks are looked for');
    must(core, task, (task.holders?.size ?? 0) === 0, 'nobody holds a missing task');
    must(core, task, (task.dependents?.size ?? 0) > 0, 'somebody needs a missing task');
  },
  memory: (core, task) => {
    must(core, task, task.deps.length === 0, 'a value has let go of its dependencies');
    must(core, task, task.holders === null, 'holders of local values are not kept');
  },
  error: (core, task) => must(core, task, task.error !== null, 'it has an error record'),
  cancelled: checkInProgress,
  resumed: checkInProgress,
  forgotten: (core, task) => must(core, task, false, 'forgotten tasks are gone')
};

/** Throws when the state contradicts itself. */
export function validateCore(core: WorkerCore): void {
  if (core.recommendations.size > 0) throw new Error('recommendations were left over');
  let nbytes = 0;
  const inFlight = new Set<WorkerTask>();
  for (const [worker, request] of core.gathering) {
    for (const task of request.tasks) {
      must(core, task, !inFlight.has(task), 'a value is on its way once');
      must(core, task, task.comingFrom === worker, 'it comes from the peer that was asked');
      inFlight.add(task);
    }
  }
  for (const task of core.tasks.values()) {
    CHECKS[task.state](core, task);
    checkLinks(core, task);
    checkSets(core, task);
    if (task.state === 'memory') nbytes += task.nbytes;
    const flying = task.state === 'flight' || task.previous === 'flight';
    must(core, task, flying === inFlight.has(task), 'flight means: in a request to a peer');
  }
  checkTotals(core, nbytes);
}

function checkTotals(core: WorkerCore, nbytes: number): void {
  if (Math.abs(nbytes - core.nbytes) > 1e-6) {
    throw new Error(`managed bytes are ${nbytes}, counted as ${core.nbytes}`);
  }
  let handed = 0;
  for (const task of core.executing) handed += task.handedBytes;
  if (Math.abs(handed - core.handedBytes) > 1e-6) {
    throw new Error(`inputs handed over weigh ${handed}, counted as ${core.handedBytes}`);
  }
  let incoming = 0;
  for (const request of core.gathering.values()) incoming += request.nbytes;
  if (Math.abs(incoming - core.incomingBytes) > 1e-6) {
    throw new Error(`incoming bytes are ${incoming}, counted as ${core.incomingBytes}`);
  }
  for (const [name, left] of Object.entries(core.available)) {
    if (left < 0) throw new Error(`resource ${name} is over-used: ${left}`);
  }
  for (const set of [core.executing, core.longRunning, core.missing, core.timed]) {
    for (const task of set) must(core, task, core.tasks.get(task.tid) === task, 'it is known');
  }
  for (const heaps of [...core.needed.values(), core.ready, core.constrained]) {
    for (const task of heaps) must(core, task, core.tasks.get(task.tid) === task, 'it is known');
  }
  if (core.draining && core.ready.size + core.constrained.size > 0) {
    throw new Error('a retiring worker has tasks that have not begun');
  }
  if (core.running && core.ready.size > 0 && core.executing.size < core.options.nthreads) {
    throw new Error('a slot is free while a task is ready');
  }
}

function must(core: WorkerCore, task: WorkerTask, holds: boolean, rule: string): void {
  if (holds) return;
  const story = core.log.of(task.tid).join('\n');
  throw new TaskloomError(
    'INVALID_STATE',
    `Worker ${core.options.worker}, task ${task.key} (${task.tid}) in ${task.state}, previous ` +
      `${task.previous}, next ${task.next}: broken rule "${rule}". Its story:\n${story}`
  );
}

function checkWaiting(core: WorkerCore, task: WorkerTask): void {
  const { waitingFor } = task;
  must(core, task, waitingFor !== null && waitingFor.size > 0, 'it waits for something');
  for (const dep of task.deps) {
    const absent = dep.state !== 'memory';
    must(core, task, absent === waitingFor?.has(dep), 'it waits for what is not in memory');
    must(core, task, dep.state !== 'released', 'what is waited for is being got');
  }
}

function checkInputs(core: WorkerCore, task: WorkerTask): void {
  must(core, task, task.waitingFor === null, 'it waits for nothing');
  const whole = task.deps.every(dep => dep.state === 'memory');
  must(core, task, whole, 'all it needs is in memory');
}

function checkFetch(core: WorkerCore, task: WorkerTask): void {
  must(core, task, (task.holders?.size ?? 0) > 0, 'somebody holds it');
  for (const worker of task.holders ?? []) {
    must(core, task, core.needed.get(worker)?.has(task) === true, 'it is on its holders lists');
  }
  must(core, task, task.acquire || (task.dependents?.size ?? 0) > 0, 'it is wanted');
}

function checkFlight(core: WorkerCore, task: WorkerTask): void {
  must(core, task, task.comingFrom >= 0, 'it comes from somewhere');
  must(core, task, task.acquire || (task.dependents?.size ?? 0) > 0, 'it is wanted');
}

function checkInProgress(core: WorkerCore, task: WorkerTask): void {
  const resumed = task.state === 'resumed';
  must(core, task, resumed === (task.next !== null), 'resumed tasks have a next');
  if (task.previous === 'flight') {
    must(core, task, task.next !== 'fetch', 'a transfer is not resumed by a transfer');
  } else {
    must(core, task, task.next !== 'waiting', 'an execution is not resumed by an execution');
    const set = task.previous === 'executing' ? core.executing : core.longRunning;
    must(core, task, set.has(task), 'its execution is counted');
  }
}

/** Links go both ways and only between known tasks. */
function checkLinks(core: WorkerCore, task: WorkerTask): void {
  must(core, task, !task.done, 'done lasts no longer than its event');
  for (const dep of task.deps) {
    must(core, task, core.tasks.get(dep.tid) === dep, `its dependency ${dep.tid} is known`);
    must(core, task, dep.dependents?.has(task) === true, `${dep.tid} knows of it`);
  }
  for (const dependent of task.dependents ?? []) {
    must(core, task, dependent.deps.includes(task), `its dependent ${dependent.tid} needs it`);
    must(core, task, core.tasks.get(dependent.tid) === dependent, 'its dependents are known');
  }
  for (const worker of task.holders ?? []) {
    must(core, task, core.hasWhat.get(worker)?.has(task) === true, 'holders know what they hold');
    must(core, task, core.peers.has(worker), 'holders are peers');
  }
}

/** Sets and heaps hold tasks of their own state only. */
function checkSets(core: WorkerCore, task: WorkerTask): void {
  const { state, previous } = task;
  const executing = state === 'executing' || previous === 'executing';
  must(core, task, core.executing.has(task) === executing, 'executing means: in its set');
  const longRunning = state === 'long-running' || previous === 'long-running';
  must(core, task, core.longRunning.has(task) === longRunning, 'long-running means: in its set');
  must(core, task, core.ready.has(task) === (state === 'ready'), 'ready means: in its heap');
  must(core, task, core.missing.has(task) === (state === 'missing'), 'missing means: in its set');
  must(core, task, WORKER_STATES.includes(state), 'its state is one of ours');
  if (state !== 'fetch') {
    for (const heap of core.needed.values()) {
      must(core, task, !heap.has(task), 'only tasks in fetch are to be fetched');
    }
  }
}
