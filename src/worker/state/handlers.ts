/**
 * One function an event. Each notes what has happened and recommends transitions; none of them
 * throws for a message that has been overtaken: run ids decide which execution an event is about.
 */
import type {
  AcquireReplicas,
  CancelCompute,
  ComputeTasks,
  RefreshWhoHas,
  RemoveReplicas,
  SetWorkerStatus,
  StealRequest,
  WorkersChanged
} from '../../protocol/messages.ts';
import type { WorkerCore } from './core.ts';
import type {
  ExecuteFailure,
  ExecuteKept,
  ExecuteReturned,
  ExecuteSuccess,
  ExecutionBegan,
  ExecutionKilled,
  GatherBusy,
  GatherFailure,
  GatherSuccess,
  PutData,
  Secede,
  WorkerEvent
} from './events.ts';
import { endGather } from './gather.ts';
import { endExecution, learnDuration } from './slots.ts';
import { REPLICA_PRIORITY } from './tasks.ts';
import type { Share } from '../../base/fair.ts';
import type { Priority, WorkerTask } from './tasks.ts';
import { linkDependencies, raisePriority, removeHolder, setHolders } from './transitions.ts';

const EMPTY: readonly number[] = [];

/** Sends an event to its handler. */
export function dispatch(core: WorkerCore, event: WorkerEvent): void {
  switch (event.op) {
    case 'compute-tasks':
      return computeTasks(core, event);
    case 'free-keys':
      return freeKeys(core, event.tids);
    case 'cancel-compute':
      return cancelCompute(core, event);
    case 'steal-request':
      return stealRequest(core, event);
    case 'refresh-who-has':
      return refreshWhoHas(core, event);
    case 'acquire-replicas':
      return acquireReplicas(core, event);
    case 'remove-replicas':
      return removeReplicas(core, event);
    case 'worker-status-change':
      return setStatus(core, event);
    case 'workers':
      return workersChanged(core, event);
    case 'forget-functions':
      return event.fns.forEach(fn => core.measured.delete(fn));
    case 'execute-success':
      return executeSuccess(core, event);
    case 'execute-failure':
      return executeFailure(core, event);
    case 'execute-reschedule':
      return executeReschedule(core, event.tid, event.runId);
    case 'execute-returned':
      return executeReturned(core, event);
    case 'execute-kept':
      return executeKept(core, event);
    case 'execution-killed':
      return executionKilled(core, event);
    case 'execution-began':
      return executionBegan(core, event);
    case 'secede':
      return secede(core, event);
    case 'gather-success':
      return gatherSuccess(core, event);
    case 'gather-busy':
      return gatherBusy(core, event);
    case 'gather-failure':
      return gatherFailure(core, event);
    case 'retry-busy':
      core.busy.delete(event.worker);
      return;
    case 'put-data':
      return putData(core, event);
    case 'data-lost':
      return dataLost(core, event.tids);
    case 'pause':
      return setRunning(core, false, event.reason);
    case 'unpause':
      return setRunning(core, true);
    case 'tick':
      return tick(core);
  }
}

// ------------------------------------------------------------------ the scheduler's messages

function computeTasks(core: WorkerCore, message: ComputeTasks): void {
  for (let i = 0; i < message.tids.length; i++) {
    const tid = message.tids[i] as number;
    const priority: Priority = [
      message.priorities[3 * i] as number,
      message.priorities[3 * i + 1] as number,
      message.priorities[3 * i + 2] as number,
      -++core.arrivals
    ];
    const task = core.ensureTask(tid, message.keys[i] as string, priority);
    const owner = core.shareOf(message.owners?.[i] ?? 0, message.weights?.[i] ?? 1);
    const runId = message.runIds[i] as number;
    const again = task.runId === runId;
    task.runId = runId;
    task.wanted = message.wanted[i] === 1;
    core.log.add(task, `compute-tasks (run ${runId}) while ${task.state}`, core.stimulus, core.now);
    switch (task.state) {
      case 'waiting':
      case 'ready':
      case 'constrained':
      case 'executing':
      case 'long-running':
        break;
      case 'memory':
        core.reportFinished(task);
        break;
      default:
        if (task.state === 'error' && again && task.error !== null) {
          core.reportErred(task, task.error);
        } else {
          setSpec(core, task, message, i, priority, owner);
          core.recommend(task, 'waiting');
        }
    }
  }
}

function setSpec(
  core: WorkerCore,
  task: WorkerTask,
  message: ComputeTasks,
  i: number,
  priority: Priority,
  owner: Share
): void {
  task.priority = priority;
  task.acquire = false;
  task.fn = message.fns[i] as number;
  task.args = message.args[i] as Uint8Array;
  task.duration = message.durations[i] as number;
  task.start = 0;
  task.took = 0;
  task.lane = 0;
  task.inline = null;
  task.timeout = message.timeouts?.[i] ?? 0;
  // What an execution that still goes on holds must be given back as it was taken.
  if (task.execution === 0) {
    task.resources = message.resources?.[i] ?? null;
    task.owner = owner;
  }
  const first = message.depOffsets[i] as number;
  const last = message.depOffsets[i + 1] as number;
  const deps: WorkerTask[] = [];
  for (let j = first; j < last; j++) {
    const dep = core.ensureTask(message.deps[j] as number, message.depKeys[j] as string, priority);
    deps.push(dep);
    if (dep.state === 'memory') continue;
    if (dep.comingFrom < 0) dep.nbytes = message.depNbytes[j] as number;
    setHolders(core, dep, message.depHolders[j] ?? EMPTY);
    raisePriority(core, dep, priority, owner);
  }
  linkDependencies(core, task, deps);
}

function freeKeys(core: WorkerCore, tids: readonly number[]): void {
  for (const tid of tids) {
    const task = core.tasks.get(tid);
    if (task === undefined) continue;
    task.acquire = false;
    core.recommend(task, 'released');
  }
}

function cancelCompute(core: WorkerCore, message: CancelCompute): void {
  for (const tid of message.tids) {
    const task = core.tasks.get(tid);
    if (task === undefined) continue;
    const inProgress = core.executing.has(task) || core.longRunning.has(task);
    if (message.force && inProgress) kill(core, task, 'cancelled');
    const { state } = task;
    if (state === 'executing' || state === 'long-running' || isQueued(task)) {
      core.recommend(task, 'released');
    }
  }
}

function isQueued(task: WorkerTask): boolean {
  return task.state === 'waiting' || task.state === 'ready' || task.state === 'constrained';
}

function kill(core: WorkerCore, task: WorkerTask, why: 'timeout' | 'cancelled'): void {
  core.timed.delete(task);
  if (task.killing !== null) return;
  task.killing = why;
  core.push({ op: 'kill-execution', tid: task.tid, runId: task.execution });
}

function stealRequest(core: WorkerCore, message: StealRequest): void {
  message.tids.forEach((tid, i) => {
    const runId = message.runIds[i] as number;
    const task = core.tasks.get(tid);
    if (task?.state === 'executing' && task.runId === runId) {
      // It may wait in an executor behind another: what comes of the recall is the answer.
      core.stealing.set(tid, runId);
      core.recall(task);
    } else answerSteal(core, tid, runId);
  });
}

/** A task that has not begun is let go of, and the answer says so. */
function answerSteal(core: WorkerCore, tid: number, runId: number): void {
  const task = core.tasks.get(tid);
  if (task === undefined || task.runId !== runId) return core.answerSteal(tid, runId, 'forgotten');
  core.answerSteal(tid, runId, task.state);
  if (!isQueued(task)) return;
  core.log.add(task, `given back (run ${runId})`, core.stimulus, core.now);
  core.recommend(task, 'released');
}

function refreshWhoHas(core: WorkerCore, message: RefreshWhoHas): void {
  message.tids.forEach((tid, i) => {
    const task = core.tasks.get(tid);
    if (task !== undefined) setHolders(core, task, message.holders[i] ?? EMPTY);
  });
}

function acquireReplicas(core: WorkerCore, message: AcquireReplicas): void {
  message.tids.forEach((tid, i) => {
    const task = core.ensureTask(tid, message.keys[i] as string, REPLICA_PRIORITY);
    const { state } = task;
    if (state === 'memory') return core.reportAdded(tid);
    // A task that is computed here needs no copy.
    if (isQueued(task) || state === 'executing' || state === 'long-running') return;
    if (state === 'resumed' && task.next === 'waiting') return;
    if (task.comingFrom < 0) task.nbytes = message.nbytes[i] as number;
    task.acquire = true;
    setHolders(core, task, message.holders[i] ?? EMPTY);
    if (state !== 'fetch' && state !== 'flight' && state !== 'resumed') {
      core.recommend(task, 'fetch');
    }
  });
}

function removeReplicas(core: WorkerCore, message: RemoveReplicas): void {
  for (const tid of message.tids) {
    const task = core.tasks.get(tid);
    const needed = (task?.dependents?.size ?? 0) > 0;
    if (task?.state === 'memory') {
      // The scheduler has struck this copy off already: it hears that it stays, or that it is gone.
      if (needed) core.reportRefused(tid);
      else core.recommend(task, 'released');
      continue;
    }
    core.reportAbsent(tid);
    if (task === undefined) continue;
    task.acquire = false;
    const coming = task.state === 'fetch' || task.state === 'flight' || task.next === 'fetch';
    if (coming && !needed) core.recommend(task, 'released');
  }
}

function workersChanged(core: WorkerCore, message: WorkersChanged): void {
  for (const { worker, host } of message.added) core.peers.set(worker, { host, failures: 0 });
  for (const worker of message.removed) {
    dropPeer(core, worker);
    core.peers.delete(worker);
    core.busy.delete(worker);
  }
}

/** Nothing is fetched from this peer any more, unless the scheduler names it again. */
function dropPeer(core: WorkerCore, worker: number): void {
  for (const task of [...(core.hasWhat.get(worker) ?? [])]) removeHolder(core, task, worker);
}

// ------------------------------------------------------------------ executions

/** The task, if the event is about the execution that is going on; its end after so many ms is noted. */
function endOf(core: WorkerCore, tid: number, runId: number, took: number): WorkerTask | null {
  const task = core.tasks.get(tid);
  if (task === undefined || task.execution === 0 || task.execution !== runId) return null;
  endExecution(core, task, took);
  return task;
}

function executeSuccess(core: WorkerCore, event: ExecuteSuccess): void {
  for (let i = 0; i < event.tids.length; i++) {
    const tid = event.tids[i] as number;
    const took = event.durations[i] as number;
    const known = core.tasks.get(tid);
    const seceded = known !== undefined && core.longRunning.has(known);
    const task = endOf(core, tid, event.runIds[i] as number, took);
    if (task === null) {
      if (core.tasks.get(tid)?.state !== 'memory') core.dropData(tid);
      continue;
    }
    if (!seceded) learnDuration(core, task.fn, took);
    task.nbytes = event.nbytes[i] as number;
    task.type = event.types[i] as string;
    task.lane = event.lanes[i] as number;
    task.start = event.starts[i] as number;
    task.took = took;
    task.inline = event.inline[i] as Uint8Array | null;
    core.recommend(task, 'memory');
  }
}

function executeFailure(core: WorkerCore, event: ExecuteFailure): void {
  const task = endOf(core, event.tid, event.runId, event.duration);
  if (task === null) return;
  task.lane = event.lane;
  task.start = event.start;
  task.took = event.duration;
  task.error = event.error;
  core.recommend(task, 'error');
}

function executeReschedule(core: WorkerCore, tid: number, runId: number): void {
  const task = endOf(core, tid, runId, 0);
  if (task !== null) core.recommend(task, 'rescheduled');
}

function executeReturned(core: WorkerCore, event: ExecuteReturned): void {
  event.tids.forEach((tid, i) => {
    const task = endOf(core, tid, event.runIds[i] as number, 0);
    const asked = core.stealing.get(tid);
    core.stealing.delete(tid);
    if (task === null) return;
    if (task.state === 'executing' && task.runId === asked) {
      core.answerSteal(tid, asked, 'ready');
      core.recommend(task, 'released');
    } else runAgain(core, task);
  });
}

function executeKept(core: WorkerCore, event: ExecuteKept): void {
  for (const tid of event.tids) {
    const asked = core.stealing.get(tid);
    if (asked === undefined) continue;
    core.stealing.delete(tid);
    answerSteal(core, tid, asked);
  }
}

/** Its execution ended without an outcome: if it is wanted still, it is queued again. */
function runAgain(core: WorkerCore, task: WorkerTask): void {
  const unwanted = task.state === 'cancelled' || task.state === 'resumed';
  core.recommend(task, unwanted ? 'rescheduled' : 'waiting');
}

function executionKilled(core: WorkerCore, event: ExecutionKilled): void {
  const known = core.tasks.get(event.tid);
  const task = endOf(core, event.tid, event.runId, known?.handedMs ?? 0);
  if (task === null) return;
  if (task.killing !== 'timeout' || task.state === 'cancelled' || task.state === 'resumed') {
    return runAgain(core, task);
  }
  task.error = {
    code: 'TASK_TIMEOUT',
    message:
      `TaskTimeoutError: Task ${task.key} ran longer than its timeout of ${task.timeout} s and was killed. ` +
      `Give it more time with client.with({ timeout }), or make it smaller.`,
    traceback: '',
    exception: null,
    blame: task.key,
    worker: core.options.address
  };
  task.took = task.timeout * 1000;
  task.start = core.now - task.took;
  core.recommend(task, 'error');
}

function executionBegan(core: WorkerCore, event: ExecutionBegan): void {
  const task = core.tasks.get(event.tid);
  if (task === undefined || task.execution === 0 || task.execution !== event.runId) return;
  if (task.timeout <= 0) return;
  task.deadline = core.now + task.timeout * 1000;
  core.timed.add(task);
}

function secede(core: WorkerCore, event: Secede): void {
  const task = core.tasks.get(event.tid);
  if (task === undefined || task.execution === 0 || task.execution !== event.runId) return;
  if (core.longRunning.has(task)) return;
  task.took = event.duration;
  learnDuration(core, task.fn, event.duration);
  core.recommend(task, 'long-running');
}

// ------------------------------------------------------------------ transfers

function gatherSuccess(core: WorkerCore, event: GatherSuccess): void {
  const peer = core.peers.get(event.worker);
  if (peer !== undefined) peer.failures = 0;
  const at = new Map(event.tids.map((tid, i) => [tid, i]));
  const lacking: number[] = [];
  for (const task of endGather(core, event.worker)) {
    const i = at.get(task.tid);
    at.delete(task.tid);
    if (i === undefined) {
      lacking.push(task.tid);
      removeHolder(core, task, event.worker);
      core.recommend(task, 'fetch');
    } else {
      task.nbytes = event.nbytes[i] as number;
      task.type = event.types[i] as string;
      core.recommend(task, 'memory');
    }
  }
  if (lacking.length > 0) core.send({ op: 'missing-data', tids: lacking, worker: event.worker });
  for (const tid of at.keys()) if (core.tasks.get(tid)?.state !== 'memory') core.dropData(tid);
}

function gatherBusy(core: WorkerCore, event: GatherBusy): void {
  const { worker } = event;
  if (core.peers.has(worker)) {
    core.busy.add(worker);
    core.push({ op: 'retry-busy', worker, after: core.options.busyRetry });
  }
  for (const task of endGather(core, worker)) {
    core.recommend(task, 'fetch');
    const allBusy = [...(task.holders ?? [])].every(holder => core.busy.has(holder));
    if (allBusy && task.state === 'flight') core.askHolders(task.tid);
  }
}

/**
 * The peer counts as dead, with all it holds. The scheduler knows better: asked about what is
 * missing it may name the peer again. Failing twice in a row is told as missing-data, so that a
 * peer that only we cannot reach does not hold up our tasks.
 */
function gatherFailure(core: WorkerCore, event: GatherFailure): void {
  const { worker } = event;
  const peer = core.peers.get(worker);
  if (peer !== undefined) peer.failures++;
  const tasks = endGather(core, worker);
  for (const task of tasks) core.recommend(task, 'fetch');
  dropPeer(core, worker);
  if (tasks.length > 0 && peer !== undefined && peer.failures > 1) {
    core.send({ op: 'missing-data', tids: tasks.map(task => task.tid), worker });
  }
}

function putData(core: WorkerCore, event: PutData): void {
  event.tids.forEach((tid, i) => {
    const task = core.ensureTask(tid, event.keys[i] as string, REPLICA_PRIORITY);
    const { state } = task;
    // Numbers of scattered values are fresh; a task that is being made here is left alone.
    if (!['released', 'fetch', 'missing', 'error', 'memory'].includes(state)) return;
    if (state === 'memory') core.nbytes += (event.nbytes[i] as number) - task.nbytes;
    task.nbytes = event.nbytes[i] as number;
    task.type = event.types[i] as string;
    core.recommend(task, 'memory');
    // The client tells the scheduler, unless it dies before that.
    core.reportAdded(tid);
  });
}

function dataLost(core: WorkerCore, tids: readonly number[]): void {
  for (const tid of tids) {
    const task = core.tasks.get(tid);
    if (task?.state === 'memory') core.recommend(task, 'released');
  }
}

// ------------------------------------------------------------------ the worker itself

/** Retiring: what waits or has not begun is given back (state.ts); executors are asked for it. */
function setStatus(core: WorkerCore, message: SetWorkerStatus): void {
  const draining = message.status === 'closing-gracefully';
  if (core.draining === draining) return;
  core.draining = draining;
  if (!draining) return;
  for (const task of core.executing) {
    if (task.state === 'executing' && task.killing === null) core.recall(task);
  }
}

function setRunning(core: WorkerCore, running: boolean, reason = ''): void {
  if (core.running === running) return;
  core.running = running;
  core.send({ op: 'worker-status-change', status: running ? 'running' : 'paused', reason });
}

function tick(core: WorkerCore): void {
  for (const task of core.timed) if (core.now >= task.deadline) kill(core, task, 'timeout');
  if (core.missing.size === 0) return;
  const since = core.now - core.lastFindMissing;
  // Negative: the clock was set back.
  if (since >= 0 && since < core.options.findMissing) return;
  core.lastFindMissing = core.now;
  for (const task of core.missing) core.askHolders(task.tid);
}
