/**
 * Events of workers: they come, go, and tell what became of tasks and values. Stale tidings (of a
 * run that was given up, about a forgotten task) are answered or ignored, never an error.
 */
import { smallList } from '../../base/small-set.ts';
import { PROTOCOL_VERSION } from '../../protocol/limits.ts';
import type {
  HeartbeatWorker,
  Language,
  TaskErred,
  TasksFinished,
  WorkerStatusChange,
  WorkerToScheduler
} from '../../protocol/messages.ts';
import { killedRecord } from './failures.ts';
import { exceedsEveryWorker, markLongRunning, validWorkers } from './placement.ts';
import { adopt, awaitValue, giveUpAwaited } from './recovery.ts';
import type { HeldValues } from './recovery.ts';
import { addReplica, arrivalFailed, removeReplica, replicaCame } from './replicas.ts';
import type { Executing, SchedulerEvent, SchedulerState } from './state.ts';
import { stealResponse } from './stealing.ts';
import { runsBefore } from './tasks.ts';
import type { Task } from './tasks.ts';
import { failWith, recommend, replicaLost, runTransitions } from './transitions.ts';
import { workersCame } from './warnings.ts';
import { WorkerRecord } from './workers.ts';
import type { WorkerFacts } from './workers.ts';

/** Beside JavaScript. */
const LANGUAGES: readonly Language[] = ['python'];

export function addWorker(
  state: SchedulerState,
  id: number,
  facts: WorkerFacts,
  held: HeldValues | null
): void {
  if (id !== state.nextWorker) throw new Error(`worker number ${id} is not the next`);
  state.nextWorker++;
  const worker = new WorkerRecord(id, facts, state.now, state.network);
  state.workers.set(id, worker);
  state.outbox.toWorker(worker, {
    op: 'hello',
    protocol: PROTOCOL_VERSION,
    worker: id,
    cluster: state.options.cluster,
    heartbeat: heartbeatInterval(state.workers.size),
    epoch: state.epoch,
    adopted: held === null ? [] : adopt(state, worker, held)
  });
  const table = (w: WorkerRecord) => ({
    worker: w.id,
    address: w.facts.address,
    host: w.facts.host
  });
  for (const peer of state.workers.values()) {
    if (peer !== worker)
      state.outbox.toWorker(peer, { op: 'workers', added: [table(worker)], removed: [] });
  }
  state.outbox.toWorker(worker, {
    op: 'workers',
    added: [...state.workers.values()].map(table),
    removed: []
  });
  // What it has brought along is not to be placed.
  runTransitions(state);
  setRunning(state, worker, true);
}

/** Holding back has ended: all that are here may be given tasks. */
export function startWorkers(state: SchedulerState): void {
  for (const worker of state.workers.values()) {
    if (worker.status === 'running') setRunning(state, worker, true);
  }
  giveUpAwaited(state);
}

/** Whether it is given tasks and copies. */
export function setRunning(state: SchedulerState, worker: WorkerRecord, running: boolean): void {
  if (running && state.recovery.holding) return;
  if (running === state.runningWorkers.has(worker)) return;
  const { nthreads } = worker.facts;
  if (running) state.runningWorkers.add(worker);
  else state.runningWorkers.delete(worker);
  state.totalThreads += running ? nthreads : -nthreads;
  state.runningList = [...state.runningWorkers];
  state.leastMemoryLimit = Infinity;
  for (const { facts } of state.runningList) {
    const limit = facts.memoryLimit;
    if (limit > 0) state.leastMemoryLimit = Math.min(state.leastMemoryLimit, limit);
  }
  state.spoken = LANGUAGES.filter(one =>
    state.runningList.every(({ facts }) => facts.languages?.[one] !== undefined)
  );
  if (!running) {
    if (state.runningWorkers.size === 0) state.noWorkersSince = state.now;
    return;
  }
  state.noWorkersSince = -1;
  // It takes its share of what others have at the next tick.
  state.stealing.balancedAt = -Infinity;
  for (const task of [...state.unrunnable.keys()].reverse()) {
    const canRun = validWorkers(state, task).length > 0;
    // One that is too large for all of them fails; it has waited for somebody to compare it with.
    if (canRun || exceedsEveryWorker(state, task) !== null) recommend(state, task, 'processing');
  }
  workersCame(state);
}

export function removeWorker(
  state: SchedulerState,
  event: Extract<SchedulerEvent, { type: 'remove-worker' }>
): void {
  const { worker: id, reason, expected, executing = null, mayReturn = 0 } = event;
  const worker = state.workers.get(id);
  if (worker === undefined) return;
  state.workers.delete(id);
  if (mayReturn > 0) state.recovery.departed.set(id, state.now + mayReturn);
  setRunning(state, worker, false);
  state.outbox.dropWorker(worker);
  state.replicas.workerGone(worker);
  const retirement = state.retirements.get(worker);
  if (retirement !== undefined) {
    if (retirement.outcome === 'moving') retirement.outcome = 'gone';
    state.retirements.delete(worker);
  }
  for (const peer of state.workers.values()) {
    state.outbox.toWorker(peer, { op: 'workers', added: [], removed: [id] });
  }
  const suspects = expected ? new Set<Task>() : suspectsOf(state, worker, executing);
  const tasks = [...worker.processing].sort((a, b) => (runsBefore(a, b) ? 1 : -1));
  for (const task of tasks) {
    if (suspects.has(task) && ++task.suspicious > state.options.allowedFailures) {
      failWith(state, task, killedRecord(task, worker, reason));
    } else {
      recommend(state, task, task.needed ? 'waiting' : 'released');
    }
  }
  for (const task of [...worker.hasWhat].reverse()) {
    removeReplica(state, task, worker);
    if (mayReturn > 0) awaitValue(state, task, mayReturn);
    replicaLost(state, task);
  }
}

export function workerMessage(
  state: SchedulerState,
  worker: WorkerRecord,
  message: WorkerToScheduler
): void {
  worker.lastSeen = state.now;
  switch (message.op) {
    case 'tasks-finished':
      return tasksFinished(state, worker, message);
    case 'task-erred':
      return taskErred(state, worker, message);
    case 'reschedule': {
      const task = running(state, worker, message.tid, message.runId);
      if (task !== null) recommend(state, task, task.needed ? 'waiting' : 'released');
      return;
    }
    case 'long-running': {
      const task = running(state, worker, message.tid, message.runId);
      if (task === null) return;
      task.group.prefix.learn(message.duration);
      markLongRunning(task);
      return;
    }
    case 'add-keys':
      return addKeys(state, worker, message.tids, message.refused === true);
    case 'release-worker-data':
      for (const task of known(state, message.tids)) {
        state.replicas.dropAnswered(task, worker);
        if (state.replicas.isArriving(task, worker)) arrivalFailed(state, task, worker);
        removeReplica(state, task, worker);
        replicaLost(state, task);
      }
      return;
    case 'missing-data':
      return missingData(state, worker, message.tids, message.worker);
    case 'request-refresh-who-has':
      return refreshWhoHas(state, worker, message.tids);
    case 'heartbeat-worker':
      worker.metrics = message.metrics;
      worker.memory.add(message.metrics, state.now);
      worker.executing = message.executing;
      worker.clockOffset = Math.min(worker.clockOffset, state.now - message.now);
      noteHeartbeat(state, worker, message);
      worker.trouble = message.trouble ?? '';
      return;
    case 'steal-response':
      return stealResponse(state, worker, message);
    case 'worker-status-change':
      worker.statusReason = message.reason ?? '';
      return statusChange(state, worker, message.status);
    case 'start-stops':
      message.tids.forEach((tid, i) => {
        const prefix = state.tasks.get(tid)?.group.prefix;
        if (prefix === undefined) return;
        state.stream.add(
          worker.id,
          message.lanes[i] ?? 0,
          prefix.id,
          message.kinds[i] ?? 0,
          message.starts[i] ?? 0,
          message.durations[i] ?? 0
        );
      });
      return;
    case 'close-gracefully':
    case 'register-worker':
    case 'response':
      return;
  }
}

/** The task, when state worker is to run it and state is the run. */
function running(
  state: SchedulerState,
  worker: WorkerRecord,
  tid: number,
  runId: number
): Task | null {
  const task = state.tasks.get(tid);
  return task !== undefined && task.processingOn === worker && task.runId === runId ? task : null;
}

function known(state: SchedulerState, tids: readonly number[]): Task[] {
  const found: Task[] = [];
  for (const tid of tids) {
    const task = state.tasks.get(tid);
    if (task !== undefined) found.push(task);
  }
  return found;
}

function tasksFinished(state: SchedulerState, worker: WorkerRecord, message: TasksFinished): void {
  for (let i = 0; i < message.tids.length; i++) {
    const tid = message.tids[i] as number;
    const task = running(state, worker, tid, message.runIds[i] as number);
    if (task === null) {
      staleResult(state, worker, tid);
      continue;
    }
    const duration = message.durations[i] ?? 0;
    task.nbytes = message.nbytes[i] ?? 0;
    task.type = message.types[i] ?? '';
    task.inline = task.wants > 0 ? (message.inline[i] ?? null) : null;
    const prefix = task.group.prefix;
    if (!task.longRunning) prefix.learn(duration);
    prefix.learnBytes(task.nbytes);
    state.stream.add(
      worker.id,
      message.lanes[i] ?? 0,
      prefix.id,
      0,
      message.starts[i] ?? state.now,
      duration
    );
    addReplica(state, task, worker);
    recommend(state, task, 'memory');
    // At once: what it sets free may be chosen by where its value is.
    runTransitions(state);
  }
}

/** A result nobody waits for: of a run that was given up, or of a forgotten task. */
function staleResult(state: SchedulerState, worker: WorkerRecord, tid: number): void {
  const task = state.tasks.get(tid);
  // Given to state worker anew: it will answer for the new run.
  if (task !== undefined && (task.processingOn === worker || worker.hasWhat.has(task))) return;
  state.outbox.free(worker, tid);
}

function taskErred(state: SchedulerState, worker: WorkerRecord, message: TaskErred): void {
  const task = running(state, worker, message.tid, message.runId);
  if (task === null) {
    staleResult(state, worker, message.tid);
    return;
  }
  state.stream.add(
    worker.id,
    message.lane,
    task.group.prefix.id,
    4,
    message.start,
    message.duration
  );
  if (task.retries > 0) {
    task.retries--;
    recommend(state, task, task.needed ? 'waiting' : 'released');
    return;
  }
  failWith(state, task, { ...message.error, blame: task.key, worker: worker.facts.address });
}

/** A worker has paused, goes on, or ends. While it retires, pauses only count for afterwards. */
function statusChange(
  state: SchedulerState,
  worker: WorkerRecord,
  status: WorkerStatusChange['status']
): void {
  const retirement = state.retirements.get(worker);
  if (retirement !== undefined && status !== 'closing') {
    retirement.statusBefore = status;
    return;
  }
  worker.status = status;
  setRunning(state, worker, status === 'running');
}

/** `refused`: it was told to drop these and keeps them. */
function addKeys(
  state: SchedulerState,
  worker: WorkerRecord,
  tids: readonly number[],
  refused: boolean
): void {
  for (const tid of tids) {
    const task = state.tasks.get(tid);
    const promise = task === undefined ? state.promised.get(tid) : undefined;
    if (promise !== undefined) promise.holders.push(worker.id);
    else if (task?.state === 'memory' && task.recommended === null) {
      if (refused) state.replicas.dropAnswered(task, worker);
      // Said before it heard that it should drop it: the answer to that is still to come.
      else if (state.replicas.isDropping(task, worker)) continue;
      addReplica(state, task, worker);
      replicaCame(state, task, worker);
    } else if (task?.processingOn !== worker) state.outbox.free(worker, tid);
  }
}

/** `reporter` could not get these from `holder`. */
function missingData(
  state: SchedulerState,
  reporter: WorkerRecord,
  tids: readonly number[],
  holderId: number
): void {
  const holder = state.workers.get(holderId);
  if (holder === undefined || holder === reporter) return;
  for (const task of known(state, tids)) {
    if (!holder.hasWhat.has(task)) continue;
    removeReplica(state, task, holder);
    state.outbox.free(holder, task.id);
    replicaLost(state, task);
  }
}

function refreshWhoHas(state: SchedulerState, worker: WorkerRecord, tids: readonly number[]): void {
  state.outbox.toWorker(worker, {
    op: 'refresh-who-has',
    stimulus: state.outbox.stimulus,
    tids: [...tids],
    holders: tids.map(tid =>
      smallList(state.tasks.get(tid)?.whoHas ?? null).map(holder => holder.id)
    )
  });
}

/** What a heartbeat teaches: the speed of links, and tasks that take longer than was thought. */
function noteHeartbeat(
  state: SchedulerState,
  worker: WorkerRecord,
  { metrics, executing, executingFor }: HeartbeatWorker
): void {
  if (metrics.bandwidth > 0) {
    const share = 1 / Math.max(1, state.workers.size);
    const { network } = state;
    network.bandwidth = network.bandwidth * (1 - share) + (metrics.bandwidth / 1000) * share;
  }
  executing.forEach((tid, i) => {
    const task = state.tasks.get(tid);
    if (task?.processingOn !== worker || task.longRunning) return;
    task.group.prefix.noteExecuting(executingFor[i] ?? 0);
  });
}

/** ms between a worker's heartbeats: fewer when there are many. */
export function heartbeatInterval(workers: number): number {
  if (workers <= 10) return 500;
  if (workers < 50) return 1000;
  if (workers < 200) return 2000;
  return 1000 + workers * 5;
}

/**
 * What the worker was executing: by the word of its nanny, or else as far as is known from its last
 * heartbeat and from what came first of that which could begin. A task whose inputs were still on
 * their way was not executing.
 */
function suspectsOf(
  state: SchedulerState,
  worker: WorkerRecord,
  executing: Executing | null
): Set<Task> {
  const suspects = new Set<Task>();
  if (executing !== null) {
    executing.tids.forEach((tid, i) => {
      const task = state.tasks.get(tid);
      // An execution that was given up and then wanted again goes on under its first run.
      if (task?.processingOn === worker && task.runId >= (executing.runIds[i] as number)) {
        suspects.add(task);
      }
    });
    return suspects;
  }
  const said = new Set(worker.executing);
  const inOrder = [...worker.processing].sort((a, b) => (runsBefore(a, b) ? -1 : 1));
  let threads = worker.facts.nthreads;
  for (const task of inOrder) {
    if (!task.longRunning && !said.has(task.id)) continue;
    suspects.add(task);
    if (!task.longRunning) threads--;
  }
  for (const task of inOrder) {
    if (threads <= 0) break;
    if (suspects.has(task) || task.deps.some(dep => !worker.hasWhat.has(dep))) continue;
    suspects.add(task);
    threads--;
  }
  return suspects;
}
