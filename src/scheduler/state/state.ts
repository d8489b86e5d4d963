/**
 * The scheduler's mind: events in, instructions out. Owns every task's state and nothing of the
 * world: no clock (the time comes with the event), no sockets, no randomness, no settings look-up.
 * Values and functions are opaque bytes.
 *
 * Bad input from a peer throws ProtocolError before anything has changed; stale input (a result of
 * a run that was given up, a message about a forgotten task) is answered or ignored, never an error.
 */
import { ProtocolError } from '../../base/errors.ts';
import { Heap } from '../../base/heap.ts';
import { smallAdd, smallDelete, smallList } from '../../base/small-set.ts';
import { LIMITS, PROTOCOL_VERSION } from '../../protocol/limits.ts';
import type {
  CancelKeys,
  ClientDesiresKeys,
  ClientToScheduler,
  ErrorRecord,
  Scattered,
  TaskErred,
  TaskOptions,
  TasksFinished,
  UpdateGraph,
  WorkerToScheduler
} from '../../protocol/messages.ts';
import { ClientRecord } from './clients.ts';
import type { Binding } from './clients.ts';
import { Outbox } from './outbox.ts';
import type { Instruction } from './outbox.ts';
import { markLongRunning, nextQueued, validWorkers } from './placement.ts';
import { StreamRecorder } from './recorder.ts';
import { Story } from './story.ts';
import { FunctionRecord, Task, TaskGroup, TaskPrefix, runsBefore } from './tasks.ts';
import type { Demands, TaskSpec } from './tasks.ts';
import {
  addReplica,
  failWith,
  letGo,
  recommend,
  removeReplica,
  replicaLost,
  runTransitions
} from './transitions.ts';
import { WorkerRecord } from './workers.ts';
import type { WorkerFacts } from './workers.ts';

export interface SchedulerOptions {
  cluster: { id: string; name: string; kind: string };
  /** Tasks a thread before root tasks wait in the queue. Default 1.1. */
  workerSaturation: number;
  /** Deaths of workers that were executing a task which it survives. Default 3. */
  allowedFailures: number;
  /** ms after which a task that no worker may run fails; 0 = never (default). */
  noWorkersTimeout: number;
  /** Transitions kept for `story`. */
  storyLines: number;
  /** Rectangles kept for the task stream. */
  streamLines: number;
}

export const DEFAULT_OPTIONS: Omit<SchedulerOptions, 'cluster'> = {
  workerSaturation: 1.1,
  allowedFailures: 3,
  noWorkersTimeout: 0,
  storyLines: 20_000,
  streamLines: 100_000
};

export type SchedulerEvent =
  | { type: 'add-worker'; worker: number; facts: WorkerFacts }
  /** `expected`: asked for, so that what it executed is not to blame. */
  | { type: 'remove-worker'; worker: number; reason: string; expected: boolean }
  | { type: 'add-client'; client: string; name: string }
  | { type: 'remove-client'; client: string }
  | { type: 'worker-message'; worker: number; message: WorkerToScheduler }
  | { type: 'client-message'; client: string; message: ClientToScheduler }
  | { type: 'tick' };

const EMPTY = new Uint8Array(0);

export class SchedulerState {
  readonly options: SchedulerOptions;
  readonly tasks = new Map<number, Task>();
  readonly byKey = new Map<string, Task>();
  readonly groups = new Map<string, TaskGroup>();
  readonly prefixes = new Map<string, TaskPrefix>();
  readonly functions = new Map<string, FunctionRecord>();
  readonly workers = new Map<number, WorkerRecord>();
  readonly runningWorkers = new Set<WorkerRecord>();
  readonly clients = new Map<string, ClientRecord>();
  readonly queued = new Heap<Task>(runsBefore);
  /** Tasks in state queued; the heap may hold stale entries beside them. */
  queuedCount = 0;
  /** Tasks in state no-worker, and since when. */
  readonly unrunnable = new Map<Task, number>();
  /** Running tasks that a forced cancel kills, during one event. */
  readonly killOnRelease = new Set<Task>();
  /** Why tasks that are recommended as erred have failed, during one event. */
  readonly failures = new Map<Task, ErrorRecord>();
  readonly recommended: Task[] = [];
  readonly outbox = new Outbox();
  readonly story: Story;
  readonly stream: StreamRecorder;
  totalThreads = 0;
  nextRunId = 1;
  nextRoundRobin = 0;
  now = 0;
  private nextTask = 1;
  private nextFunction = 1;
  private nextWorkerId = 1;
  private stimuli = 0;
  private generation = 0;
  private lastGraphAt = -Infinity;
  private lastGroup: TaskGroup | null = null;

  constructor(options: SchedulerOptions) {
    this.options = options;
    this.story = new Story(options.storyLines);
    this.stream = new StreamRecorder(options.streamLines);
  }

  /** The number the next `add-worker` event must carry. */
  get nextWorker(): number {
    return this.nextWorkerId;
  }

  handle(event: SchedulerEvent, now: number): Instruction[] {
    this.now = now;
    const op = 'message' in event ? event.message.op : event.type;
    this.outbox.stimulus = `${op}-${++this.stimuli}`;
    this.dispatch(event);
    runTransitions(this);
    this.assignQueued();
    this.killOnRelease.clear();
    this.failures.clear();
    return this.outbox.flush();
  }

  private dispatch(event: SchedulerEvent): void {
    switch (event.type) {
      case 'add-worker':
        return this.addWorker(event.worker, event.facts);
      case 'remove-worker':
        return this.removeWorker(event.worker, event.reason, event.expected);
      case 'add-client':
        this.clients.set(event.client, new ClientRecord(event.client, event.name, this.now));
        return;
      case 'remove-client':
        return this.removeClient(event.client);
      case 'worker-message': {
        const worker = this.workers.get(event.worker);
        if (worker !== undefined) this.workerMessage(worker, event.message);
        return;
      }
      case 'client-message': {
        const client = this.clients.get(event.client);
        if (client !== undefined) this.clientMessage(client, event.message);
        return;
      }
      case 'tick':
        return this.tick();
    }
  }

  private assignQueued(): void {
    for (let task = nextQueued(this); task !== null; task = nextQueued(this)) {
      recommend(this, task, 'processing');
      runTransitions(this);
      // No room after all would come back as queued: then everything waits for the next event.
      if (task.state === 'queued') break;
    }
    if (this.queued.size > 1000 && this.queued.size > 2 * this.queuedCount) {
      const seen = new Set<Task>();
      this.queued.retain(
        task => task.state === 'queued' && !seen.has(task) && seen.add(task) !== undefined
      );
    }
  }

  // ---------------------------------------------------------------- workers

  private addWorker(id: number, facts: WorkerFacts): void {
    if (id !== this.nextWorkerId) throw new Error(`worker number ${id} is not the next`);
    this.nextWorkerId++;
    const worker = new WorkerRecord(id, facts, this.now);
    this.outbox.toWorker(worker, {
      op: 'hello',
      protocol: PROTOCOL_VERSION,
      worker: id,
      cluster: this.options.cluster,
      heartbeat: heartbeatInterval(this.workers.size + 1)
    });
    const table = (w: WorkerRecord) => ({
      worker: w.id,
      address: w.facts.address,
      host: w.facts.host
    });
    for (const peer of this.workers.values()) {
      this.outbox.toWorker(peer, { op: 'workers', added: [table(worker)], removed: [] });
    }
    this.workers.set(id, worker);
    this.outbox.toWorker(worker, {
      op: 'workers',
      added: [...this.workers.values()].map(table),
      removed: []
    });
    this.setRunning(worker, true);
  }

  private setRunning(worker: WorkerRecord, running: boolean): void {
    if (running === this.runningWorkers.has(worker)) return;
    if (!running) {
      this.runningWorkers.delete(worker);
      this.totalThreads -= worker.facts.nthreads;
      return;
    }
    this.runningWorkers.add(worker);
    this.totalThreads += worker.facts.nthreads;
    for (const task of [...this.unrunnable.keys()].reverse()) {
      if (validWorkers(this, task).length > 0) recommend(this, task, 'processing');
    }
  }

  private removeWorker(id: number, reason: string, expected: boolean): void {
    const worker = this.workers.get(id);
    if (worker === undefined) return;
    this.workers.delete(id);
    this.setRunning(worker, false);
    this.outbox.dropWorker(worker);
    for (const peer of this.workers.values()) {
      this.outbox.toWorker(peer, { op: 'workers', added: [], removed: [id] });
    }
    const suspects = expected ? new Set<Task>() : suspectsOf(worker);
    const tasks = [...worker.processing].sort((a, b) => (runsBefore(a, b) ? 1 : -1));
    for (const task of tasks) {
      if (suspects.has(task) && ++task.suspicious > this.options.allowedFailures) {
        failWith(this, task, killedRecord(task, worker, reason));
      } else {
        recommend(this, task, task.needed ? 'waiting' : 'released');
      }
    }
    for (const task of [...worker.hasWhat].reverse()) {
      removeReplica(task, worker);
      replicaLost(this, task);
    }
  }

  private workerMessage(worker: WorkerRecord, message: WorkerToScheduler): void {
    worker.lastSeen = this.now;
    switch (message.op) {
      case 'tasks-finished':
        return this.tasksFinished(worker, message);
      case 'task-erred':
        return this.taskErred(worker, message);
      case 'reschedule': {
        const task = this.running(worker, message.tid, message.runId);
        if (task !== null) recommend(this, task, task.needed ? 'waiting' : 'released');
        return;
      }
      case 'long-running': {
        const task = this.running(worker, message.tid, message.runId);
        if (task === null) return;
        this.learnDuration(task.group.prefix, message.duration);
        markLongRunning(task);
        return;
      }
      case 'add-keys':
        return this.addKeys(worker, message.tids);
      case 'release-worker-data':
        for (const task of this.known(message.tids)) {
          removeReplica(task, worker);
          replicaLost(this, task);
        }
        return;
      case 'missing-data':
        return this.missingData(worker, message.tids, message.worker);
      case 'request-refresh-who-has':
        return this.refreshWhoHas(worker, message.tids);
      case 'heartbeat-worker':
        worker.metrics = message.metrics;
        worker.executing = message.executing;
        return;
      case 'worker-status-change':
        worker.status = message.status;
        this.setRunning(worker, message.status === 'running');
        return;
      case 'start-stops':
        message.tids.forEach((tid, i) => {
          const prefix = this.tasks.get(tid)?.group.prefix;
          if (prefix === undefined) return;
          this.stream.add(
            worker.id,
            message.lanes[i] ?? 0,
            prefix.id,
            message.kinds[i] ?? 0,
            message.starts[i] ?? 0,
            message.durations[i] ?? 0
          );
        });
        return;
      case 'register-worker':
      case 'response':
        return;
    }
  }

  /** The task, when this worker is to run it and this is the run. */
  private running(worker: WorkerRecord, tid: number, runId: number): Task | null {
    const task = this.tasks.get(tid);
    return task !== undefined && task.processingOn === worker && task.runId === runId ? task : null;
  }

  private known(tids: readonly number[]): Task[] {
    const found: Task[] = [];
    for (const tid of tids) {
      const task = this.tasks.get(tid);
      if (task !== undefined) found.push(task);
    }
    return found;
  }

  private tasksFinished(worker: WorkerRecord, message: TasksFinished): void {
    for (let i = 0; i < message.tids.length; i++) {
      const tid = message.tids[i] as number;
      const task = this.running(worker, tid, message.runIds[i] as number);
      if (task === null) {
        this.staleResult(worker, tid);
        continue;
      }
      const duration = message.durations[i] ?? 0;
      task.nbytes = message.nbytes[i] ?? 0;
      task.type = message.types[i] ?? '';
      task.inline = task.wants > 0 ? (message.inline[i] ?? null) : null;
      const prefix = task.group.prefix;
      if (!task.longRunning) this.learnDuration(prefix, duration);
      this.stream.add(
        worker.id,
        message.lanes[i] ?? 0,
        prefix.id,
        0,
        message.starts[i] ?? this.now,
        duration
      );
      addReplica(task, worker);
      recommend(this, task, 'memory');
      // At once: what it sets free may be chosen by where its value is.
      runTransitions(this);
    }
  }

  /** A result nobody waits for: of a run that was given up, or of a forgotten task. */
  private staleResult(worker: WorkerRecord, tid: number): void {
    const task = this.tasks.get(tid);
    // Given to this worker anew: it will answer for the new run.
    if (task !== undefined && (task.processingOn === worker || worker.hasWhat.has(task))) return;
    this.outbox.free(worker, tid);
  }

  private learnDuration(prefix: TaskPrefix, duration: number): void {
    prefix.duration = prefix.duration < 0 ? duration : 0.5 * prefix.duration + 0.5 * duration;
  }

  private taskErred(worker: WorkerRecord, message: TaskErred): void {
    const task = this.running(worker, message.tid, message.runId);
    if (task === null) {
      this.staleResult(worker, message.tid);
      return;
    }
    this.stream.add(
      worker.id,
      message.lane,
      task.group.prefix.id,
      4,
      message.start,
      message.duration
    );
    if (task.retries > 0) {
      task.retries--;
      recommend(this, task, task.needed ? 'waiting' : 'released');
      return;
    }
    failWith(this, task, { ...message.error, blame: task.key, worker: worker.facts.address });
  }

  private addKeys(worker: WorkerRecord, tids: readonly number[]): void {
    for (const tid of tids) {
      const task = this.tasks.get(tid);
      if (task?.state === 'memory' && task.recommended === null) addReplica(task, worker);
      else if (task?.processingOn !== worker) this.outbox.free(worker, tid);
    }
  }

  /** `reporter` could not get these from `holder`. */
  private missingData(reporter: WorkerRecord, tids: readonly number[], holderId: number): void {
    const holder = this.workers.get(holderId);
    if (holder === undefined || holder === reporter) return;
    for (const task of this.known(tids)) {
      if (!holder.hasWhat.has(task)) continue;
      removeReplica(task, holder);
      this.outbox.free(holder, task.id);
      replicaLost(this, task);
    }
  }

  private refreshWhoHas(worker: WorkerRecord, tids: readonly number[]): void {
    this.outbox.toWorker(worker, {
      op: 'refresh-who-has',
      stimulus: this.outbox.stimulus,
      tids: [...tids],
      holders: tids.map(tid =>
        smallList(this.tasks.get(tid)?.whoHas ?? null).map(holder => holder.id)
      )
    });
  }

  // ---------------------------------------------------------------- clients

  private removeClient(id: string): void {
    const client = this.clients.get(id);
    if (client === undefined) return;
    this.clients.delete(id);
    this.outbox.dropClient(client);
    for (const binding of [...client.bindings.values()].reverse()) this.unbind(binding);
    for (const fn of client.functions.values()) this.releaseFunction(fn);
    client.functions.clear();
  }

  private clientMessage(client: ClientRecord, message: ClientToScheduler): void {
    client.lastSeen = this.now;
    switch (message.op) {
      case 'register-function': {
        if (message.blob.length > LIMITS.functionBytes)
          throw new ProtocolError('A function is too large.');
        const fn = this.functionOf(message.hash, message.name, message.blob);
        fn.users++;
        client.functions.set(message.fn, fn);
        return;
      }
      case 'release-functions':
        for (const number of message.fns) {
          const fn = client.functions.get(number);
          client.functions.delete(number);
          if (fn !== undefined) this.releaseFunction(fn);
        }
        return;
      case 'update-graph':
        return this.updateGraph(client, message);
      case 'client-desires-keys':
        return this.desireKeys(client, message);
      case 'client-releases-keys':
        for (const cid of message.cids) {
          const binding = client.bindings.get(cid);
          if (binding !== undefined) this.unbind(binding);
        }
        return;
      case 'cancel-keys':
        return this.cancelKeys(client, message);
      case 'retry-keys':
        for (const cid of message.cids) this.retry(client.bindings.get(cid)?.task ?? null);
        return;
      case 'scattered':
        return this.scattered(client, message);
      case 'register-client':
      case 'heartbeat-client':
      case 'request':
        return;
    }
  }

  private functionOf(hash: string, name: string, blob: Uint8Array): FunctionRecord {
    let fn = this.functions.get(hash);
    if (fn === undefined) {
      fn = new FunctionRecord(this.nextFunction++, hash, name, blob);
      this.functions.set(hash, fn);
    }
    return fn;
  }

  private releaseFunction(fn: FunctionRecord): void {
    if (--fn.users > 0) return;
    this.functions.delete(fn.hash);
    for (const worker of this.workers.values()) this.outbox.forgetFunction(worker, fn.id);
  }

  private bind(client: ClientRecord, cid: number, task: Task, wanted: boolean): void {
    const binding: Binding = { client, cid, task, wanted };
    client.bindings.set(cid, binding);
    task.bindings = smallAdd(task.bindings, binding);
    if (wanted) task.wants++;
  }

  private unbind(binding: Binding): void {
    const task = binding.task;
    binding.client.bindings.delete(binding.cid);
    task.bindings = smallDelete(task.bindings, binding);
    if (!binding.wanted) return;
    binding.wanted = false;
    task.wants--;
    if (!task.needed) letGo(this, task);
  }

  private updateGraph(client: ClientRecord, message: UpdateGraph): void {
    checkGraph(client, message);
    if (this.now - this.lastGraphAt > message.fifoTimeout) this.generation++;
    this.lastGraphAt = this.now;
    const { options } = message;
    const demands: Demands = {
      priority: -options.priority,
      generation: this.generation,
      timeout: options.timeout,
      workers: options.workers,
      allowOtherWorkers: options.allowOtherWorkers,
      resources: options.resources
    };
    const wanted = message.wants === 'all' ? null : new Set(message.wants);
    const fresh: Task[] = [];
    for (let i = 0; i < message.keys.length; i++) {
      const key = message.keys[i] as string;
      const cid = message.first + i;
      let task = this.byKey.get(key);
      if (task === undefined) {
        task = this.addTask(client, message, i, demands);
        fresh.push(task);
      } else if (task.state === 'released') fresh.push(task);
      this.bind(client, cid, task, wanted === null || wanted.has(cid));
      this.tellState(client, cid, task);
    }
    // Reverse: recommendations are worked off last in, first out.
    for (let i = fresh.length - 1; i >= 0; i--) {
      const task = fresh[i] as Task;
      if (task.state !== 'released') continue;
      if (task.wants > 0) recommend(this, task, this.failures.has(task) ? 'erred' : 'waiting');
      else if (task.dependents === null) recommend(this, task, 'forgotten');
    }
  }

  private addTask(client: ClientRecord, message: UpdateGraph, i: number, demands: Demands): Task {
    const fn = client.functions.get(
      typeof message.fn === 'number' ? message.fn : (message.fn[i] as number)
    );
    if (fn === undefined) throw new Error('checkGraph let an unknown function pass');
    const key = message.keys[i] as string;
    const deps: Task[] = [];
    let unknown = false;
    const from = message.depOffsets[i] ?? 0;
    const to = message.depOffsets[i + 1] ?? 0;
    for (let at = from; at < to; at++) {
      const dep = client.bindings.get(message.deps[at] as number)?.task;
      if (dep === undefined) unknown = true;
      else deps.push(dep);
    }
    const task = this.newTask({
      key,
      fn,
      args: message.args,
      argStart: message.argOffsets[i] as number,
      argEnd: message.argOffsets[i + 1] as number,
      deps,
      demands,
      order: i,
      retries: message.options.retries
    });
    if (unknown) failWith(this, task, cancelledInputRecord(task));
    return task;
  }

  private newTask(spec: Omit<TaskSpec, 'id' | 'group'> & { id?: number }): Task {
    const group = this.groupOf(spec.key, spec.fn?.name ?? 'scatter');
    const prefix = group.prefix;
    const task = new Task({ ...spec, id: spec.id ?? this.nextTask++, group });
    if (prefix.live++ === 0) prefix.done = 0;
    prefix.counts[0]!++;
    group.size++;
    for (const dep of spec.deps) {
      dep.dependents = smallAdd(dep.dependents, task);
      if (dep.group !== group) group.dependencies.add(dep.group);
    }
    if (spec.fn !== null) spec.fn.users++;
    this.tasks.set(task.id, task);
    this.byKey.set(task.key, task);
    return task;
  }

  /** `map-name-3` and `map-name-4` are of one group: the key up to its last dash. */
  private groupOf(key: string, name: string): TaskGroup {
    const cut = key.lastIndexOf('-');
    const last = this.lastGroup;
    if (last !== null && last.name.length === cut && last.size > 0 && key.startsWith(last.name))
      return last;
    const groupName = cut > 0 ? key.slice(0, cut) : key;
    let group = this.groups.get(groupName);
    if (group === undefined) {
      let prefix = this.prefixes.get(name);
      if (prefix === undefined) {
        prefix = new TaskPrefix(name, this.prefixes.size);
        this.prefixes.set(name, prefix);
      }
      group = new TaskGroup(groupName, prefix);
      this.groups.set(groupName, group);
    }
    this.lastGroup = group;
    return group;
  }

  /** Nothing points at the task any more: out of all books. Called by the transition loop. */
  forget(task: Task): void {
    this.tasks.delete(task.id);
    if (this.byKey.get(task.key) === task) this.byKey.delete(task.key);
    for (const binding of smallList(task.bindings)) binding.client.bindings.delete(binding.cid);
    task.bindings = null;
    const group = task.group;
    group.prefix.live--;
    if (--group.size === 0) {
      this.groups.delete(group.name);
      if (this.lastGroup === group) this.lastGroup = null;
    }
    if (task.fn !== null) this.releaseFunction(task.fn);
  }

  /** A client that comes to want a task which is finished already learns so at once. */
  private tellState(client: ClientRecord, cid: number, task: Task): void {
    if (task.state === 'memory') this.outbox.inMemory(client, cid, task);
    else if (task.state === 'erred' && task.error !== null)
      this.outbox.erred(client, cid, task.error);
  }

  private desireKeys(client: ClientRecord, message: ClientDesiresKeys): void {
    message.cids.forEach((cid, i) => {
      const key = message.keys[i] ?? '';
      const task = this.byKey.get(key);
      if (task === undefined) {
        this.outbox.cancelled(client, cid, `no task or data named ${key} is known to this cluster`);
        return;
      }
      this.bind(client, cid, task, true);
      this.tellState(client, cid, task);
      if (task.state === 'released') recommend(this, task, 'waiting');
    });
  }

  private cancelKeys(client: ClientRecord, message: CancelKeys): void {
    const stack: Task[] = [];
    for (const cid of message.cids) {
      const binding = client.bindings.get(cid);
      if (binding !== undefined) stack.push(binding.task);
    }
    const seen = new Set(stack);
    while (stack.length > 0) {
      const task = stack.pop() as Task;
      for (const dependent of smallList(task.dependents)) {
        if (!seen.has(dependent)) stack.push(dependent);
        seen.add(dependent);
      }
    }
    for (const task of seen) {
      if (message.force && task.state === 'processing') this.killOnRelease.add(task);
      for (const binding of smallList(task.bindings)) {
        if (!binding.wanted || (binding.client !== client && !message.force)) continue;
        this.outbox.cancelled(binding.client, binding.cid, message.reason);
        this.unbind(binding);
      }
      if (!task.needed) letGo(this, task);
    }
  }

  /** Runs the failed roots again that a failed task stands on; each task is looked at once. */
  private retry(task: Task | null): void {
    if (task?.state !== 'erred') return;
    const stack = [task];
    const seen = new Set(stack);
    for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
      next.suspicious = 0;
      const failed = next.deps.filter(dep => dep.state === 'erred');
      if (failed.length === 0) recommend(this, next, 'waiting');
      for (const dep of failed) {
        if (!seen.has(dep)) stack.push(dep);
        seen.add(dep);
      }
    }
  }

  /** Numbers and workers for values that a client is about to put on workers itself. */
  planScatter(
    count: number,
    restrictTo: readonly string[] | null
  ): { tids: number[]; workers: WorkerRecord[] } {
    const workers = [...this.runningWorkers].filter(({ facts }) => {
      return (
        restrictTo === null ||
        [facts.name, facts.address, facts.host].some(n => restrictTo.includes(n))
      );
    });
    const tids: number[] = [];
    const chosen: WorkerRecord[] = [];
    for (let i = 0; i < count && workers.length > 0; i++) {
      tids.push(this.nextTask++);
      chosen.push(workers[this.nextRoundRobin++ % workers.length] as WorkerRecord);
    }
    return { tids, workers: chosen };
  }

  private scattered(client: ClientRecord, message: Scattered): void {
    message.cids.forEach((cid, i) => {
      const key = message.keys[i] ?? '';
      const tid = message.tids[i] ?? 0;
      if (tid >= this.nextTask) throw new ProtocolError(`Task number ${tid} was never given out.`);
      let task = this.byKey.get(key);
      if (task === undefined) {
        const demands = { ...NO_DEMANDS, generation: this.generation };
        const plain = {
          fn: null,
          args: EMPTY,
          argStart: 0,
          argEnd: 0,
          deps: [],
          order: 0,
          retries: 0
        };
        task = this.newTask({ ...plain, id: tid, key, demands });
        task.nbytes = message.nbytes[i] ?? 0;
        task.type = message.types[i] ?? '';
      }
      this.bind(client, cid, task, true);
      for (const id of message.workers[i] ?? []) {
        const worker = this.workers.get(id);
        if (worker === undefined) continue;
        if (task.id === tid) addReplica(task, worker);
        else this.outbox.free(worker, tid);
      }
      if (task.state === 'memory') this.tellState(client, cid, task);
      else if (task.state === 'released')
        recommend(this, task, task.whoHas === null ? 'waiting' : 'memory');
    });
  }

  // ---------------------------------------------------------------- time

  private tick(): void {
    const limit = this.options.noWorkersTimeout;
    if (limit <= 0) return;
    for (const [task, since] of this.unrunnable) {
      if (this.now - since >= limit) failWith(this, task, noWorkerRecord(this, task, limit));
    }
  }
}

const NO_DEMANDS: Demands = {
  priority: 0,
  generation: 0,
  timeout: 0,
  workers: null,
  allowOtherWorkers: false,
  resources: null
};

/** Throws before anything changes when a graph does not fit together. */
function checkGraph(client: ClientRecord, message: UpdateGraph): void {
  const count = message.keys.length;
  const bad = (what: string): never => {
    throw new ProtocolError(`update-graph of client ${client.name}: ${what}.`);
  };
  if (count > LIMITS.graphTasks)
    bad(`${count} tasks in one message, at most ${LIMITS.graphTasks} may be`);
  if (message.argOffsets.length !== count + 1) bad('argOffsets must have one entry more than keys');
  checkOptions(message.options, bad);
  let last = 0;
  for (const offset of message.argOffsets) {
    if (!(offset >= last && offset <= message.args.length)) bad('argOffsets must rise within args');
    last = offset;
  }
  const hasDeps = message.depOffsets.length > 0;
  if (hasDeps && message.depOffsets.length !== count + 1)
    bad('depOffsets must have one entry more than keys');
  for (let i = 0; i < count; i++) {
    const key = message.keys[i];
    if (typeof key !== 'string' || key.length > LIMITS.keyChars)
      bad('a key is not text, or too long');
    const fn = typeof message.fn === 'number' ? message.fn : message.fn[i];
    if (fn === undefined || !client.functions.has(fn)) bad(`function ${fn} was not registered`);
    if (client.bindings.has(message.first + i)) bad(`number ${message.first + i} is in use`);
    const from = message.depOffsets[i] ?? 0;
    const to = message.depOffsets[i + 1] ?? 0;
    if (!(from <= to && to <= message.deps.length)) bad('depOffsets must rise within deps');
    for (let at = from; at < to; at++) {
      if (!((message.deps[at] as number) < message.first + i))
        bad('dependencies must come before dependents');
    }
  }
}

function checkOptions(options: TaskOptions, bad: (what: string) => never): void {
  for (const name of ['priority', 'retries', 'timeout'] as const) {
    if (typeof options[name] !== 'number') bad(`option ${name} is not a number`);
  }
  if (options.workers !== null && !Array.isArray(options.workers))
    bad('option workers is not a list');
  const { resources } = options;
  if (resources !== null && typeof resources !== 'object') bad('option resources is not a map');
}

/** ms between a worker's heartbeats: fewer when there are many. */
export function heartbeatInterval(workers: number): number {
  if (workers <= 10) return 500;
  if (workers < 50) return 1000;
  if (workers < 200) return 2000;
  return 1000 + workers * 5;
}

/** What the worker was executing, as far as is known: its last heartbeat, and what came first. */
function suspectsOf(worker: WorkerRecord): Set<Task> {
  const suspects = new Set<Task>();
  const said = new Set(worker.executing);
  const inOrder = [...worker.processing].sort((a, b) => (runsBefore(a, b) ? -1 : 1));
  for (const task of inOrder) if (said.has(task.id)) suspects.add(task);
  for (const task of inOrder) {
    if (suspects.size >= worker.facts.nthreads) break;
    suspects.add(task);
  }
  return suspects;
}

function record(task: Task, code: string, message: string): ErrorRecord {
  return { code, message, traceback: '', exception: null, blame: task.key, worker: '' };
}

function killedRecord(task: Task, worker: WorkerRecord, reason: string) {
  const name = `${worker.facts.name} (${worker.facts.address})`;
  return {
    ...record(
      task,
      'KILLED_WORKER',
      `KilledWorkerError: task ${task.key} was executing on ${task.suspicious} workers that died, so it is not ` +
        `tried again. The last was ${name}: ${reason}. Look at that worker's log, give the workers more memory, or ` +
        `raise scheduler.allowed-failures.`
    ),
    worker: worker.facts.address
  };
}

function cancelledInputRecord(task: Task) {
  return record(
    task,
    'CANCELLED',
    `CancelledError: ${task.key} depends on a future that was cancelled or released before it was submitted.`
  );
}

function noWorkerRecord(state: SchedulerState, task: Task, limit: number) {
  const { workers, resources } = task.demands;
  const wish = [
    workers === null ? '' : `workers ${workers.join(', ')}`,
    resources === null ? '' : `resources ${JSON.stringify(resources)}`
  ].filter(text => text !== '');
  const why =
    state.runningWorkers.size === 0
      ? 'no worker is running'
      : `none of ${state.runningWorkers.size} workers offers ${wish.join(' and ')}`;
  return record(
    task,
    'NO_VALID_WORKER',
    `NoValidWorkerError: task ${task.key} found no worker within ${limit / 1000} s: ${why}. Start workers, or change ` +
      `what client.with({ workers, resources }) asks for.`
  );
}
