/**
 * The scheduler's mind: events in, instructions out. Owns every task's state and nothing of the
 * world: no clock (the time comes with the event), no sockets, no randomness, no settings look-up.
 * Values and functions are opaque bytes.
 *
 * Bad input from a peer throws ProtocolError before anything has changed; stale input (a result of
 * a run that was given up, a message about a forgotten task) is answered or ignored, never an error.
 */
import { smallAdd, smallList } from '../../base/small-set.ts';
import { keyPrefix } from '../../graph/keys.ts';
import type {
  ClientToScheduler,
  ErrorRecord,
  Language,
  WorkerToScheduler
} from '../../protocol/messages.ts';
import { BUILT_IN_POLICIES, goOnManaging, manageMemory } from './amm.ts';
import type { Policy } from './amm.ts';
import { clientMessage, loseClient, removeClient, restoreBindings } from './client-events.ts';
import { addClient } from './clients.ts';
import type { ClientRecord } from './clients.ts';
import { endForgotten } from './lasting.ts';
import type { Dataset } from './lasting.ts';
import { noWorkerRecord } from './failures.ts';
import { Outbox } from './outbox.ts';
import type { Instruction } from './outbox.ts';
import { nextQueued } from './placement.ts';
import { TaskQueue } from './queue.ts';
import { StreamRecorder } from './recorder.ts';
import { Recovery, endsHolding, startRecovery, tickRecovery } from './recovery.ts';
import type { HeldValues } from './recovery.ts';
import { rebalance } from './rebalance.ts';
import { ReplicaBooks, replicate, runningNamed } from './replicas.ts';
import { driveRetirements, keepWorkers, retireWorkers } from './retire.ts';
import type { Retirement, RetireOptions } from './retire.ts';
import { planScatter } from './scatter.ts';
import type { Promised } from './scatter.ts';
import { StealRequests } from './steal-requests.ts';
import { balance } from './stealing.ts';
import { Story } from './story.ts';
import { FunctionRecord, TASK_STATES, Task, TaskGroup, TaskPrefix } from './tasks.ts';
import type { TaskSpec } from './tasks.ts';
import { failWith, recommend, runTransitions } from './transitions.ts';
import { Warnings, lookForUnmet } from './warnings.ts';
import { addWorker, removeWorker, startWorkers, workerMessage } from './worker-events.ts';
import type { Network, WorkerFacts, WorkerRecord } from './workers.ts';

export interface SchedulerOptions {
  cluster: { id: string; name: string; kind: string };
  /** Tasks a thread before root tasks wait in the queue. Default 1. */
  workerSaturation: number;
  /** Deaths of workers that were executing a task which it survives. Default 3. */
  allowedFailures: number;
  /** ms after which a task that no worker may run fails; 0 = never (default). */
  noWorkersTimeout: number;
  /** ms between looks for work that idle workers can take over from busy ones; 0 = never. Default 1000. */
  stealInterval: number;
  /** ms between runs of the active memory manager; 0 = off. Default 2000. */
  ammInterval: number;
  /** Transitions kept for `story`. */
  storyLines: number;
  /** Rectangles kept for the task stream. */
  streamLines: number;
  /** Unlike that of any scheduler before: numbers of one mean nothing to another. */
  epoch?: string;
  /** ms for which a client whose link broke may come back before it is forgotten. Default 5 s. */
  clientGrace: number;
  /** ms for which values that workers brought back are kept unasked for. Default 60 s. */
  recoveredGrace: number;
}

export const DEFAULT_OPTIONS: Omit<SchedulerOptions, 'cluster' | 'epoch'> = {
  workerSaturation: 1,
  allowedFailures: 3,
  noWorkersTimeout: 0,
  stealInterval: 1000,
  ammInterval: 2000,
  storyLines: 20_000,
  streamLines: 100_000,
  clientGrace: 5000,
  recoveredGrace: 60_000
};

/** Tasks, and under which runs. */
export interface Executing {
  tids: readonly number[];
  runIds: readonly number[];
}

export type SchedulerEvent =
  /** First of all, in place of a scheduler that died: it had so many workers; wait for them so long. */
  | { type: 'recover'; workers: number; within: number }
  | { type: 'add-worker'; worker: number; facts: WorkerFacts; held?: HeldValues }
  /**
   * `expected`: asked for, so that what it executed is not to blame. `executing`: what it executed,
   * when that is known for certain. `mayReturn`: ms in which the process may be back with its
   * values, when nobody has seen it end.
   */
  | {
      type: 'remove-worker';
      worker: number;
      reason: string;
      expected: boolean;
      executing?: Executing;
      mayReturn?: number;
    }
  /** A client that is `away` is back. */
  | { type: 'add-client'; client: string; name: string; weight?: number }
  /** Its link broke: it may come back. */
  | { type: 'client-lost'; client: string }
  /** From a journal: none of the clients is here, they may come back so long. */
  | { type: 'clients-away'; within: number }
  /** From a journal: the keys that a client spoke of. */
  | {
      type: 'restore-bindings';
      client: string;
      cids: number[];
      keys: string[];
      wanted: boolean[];
    }
  /** From a journal: fired and forgotten, and had ended. */
  | { type: 'forgotten-ended'; keys: string[] }
  | { type: 'remove-client'; client: string }
  | { type: 'worker-message'; worker: number; message: WorkerToScheduler }
  | { type: 'client-message'; client: string; message: ClientToScheduler }
  /** Workers that shall leave, losing nothing (retire.ts). */
  | { type: 'retire-workers'; workers: readonly number[]; options: RetireOptions }
  /** Those that were to leave and shall stay after all. */
  | { type: 'keep-workers'; workers: readonly number[]; reason: string }
  /** So many copies of each of these, on these workers. */
  | {
      type: 'replicate';
      tasks: readonly number[];
      count: number;
      workers: readonly string[] | null;
    }
  /** Even out memory; null: by all values, among all workers. */
  | {
      type: 'rebalance';
      tasks: readonly number[] | null;
      workers: readonly string[] | null;
    }
  | { type: 'tick' };

export class SchedulerState {
  readonly options: SchedulerOptions;
  readonly epoch: string;
  readonly tasks = new Map<number, Task>();
  readonly byKey = new Map<string, Task>();
  readonly groups = new Map<string, TaskGroup>();
  readonly prefixes = new Map<string, TaskPrefix>();
  readonly functions = new Map<string, FunctionRecord>();
  readonly workers = new Map<number, WorkerRecord>();
  readonly runningWorkers = new Set<WorkerRecord>();
  /** Languages that all of them run, beside JavaScript. */
  spoken: readonly Language[] = [];
  /** The same, to be looked at by position. */
  runningList: readonly WorkerRecord[] = [];
  /** The smallest memory limit of a running worker; Infinity when none has one. */
  leastMemoryLimit = Infinity;
  /** What is known of the links between workers. */
  readonly network: Network = { bandwidth: 100_000 };
  /** What is known of room for queued tasks: whom one was found for, and who last got rid of a task. */
  readonly room: {
    found: { task: Task; worker: WorkerRecord } | null;
    freed: WorkerRecord | null;
  } = { found: null, freed: null };
  readonly stealing = new StealRequests();
  readonly warnings = new Warnings();
  /** Since when no worker has been running, or -1. */
  noWorkersSince = -1;
  readonly clients = new Map<string, ClientRecord>();
  /** See clients.ts: wishes that outlive the client that had them. */
  readonly pseudoClients = new Map<string, ClientRecord>();
  readonly datasets = new Map<string, Dataset>();
  readonly queued = new TaskQueue();
  /** Tasks in state no-worker, and since when. */
  readonly unrunnable = new Map<Task, number>();
  /** Running tasks that a forced cancel kills, during one event. */
  readonly killOnRelease = new Set<Task>();
  /** Why tasks that are recommended as erred have failed, during one event. */
  readonly failures = new Map<Task, ErrorRecord>();
  /** Inputs in the order of the arguments, of tasks that name one of them more than once. */
  readonly repeats = new Map<Task, readonly Task[]>();
  /** Tasks that were submitted with an input that was gone: they fail whenever they are to run. */
  readonly incomplete = new Set<Task>();
  readonly recommended: Task[] = [];
  readonly replicas = new ReplicaBooks();
  /** Workers on their way out. */
  readonly retirements = new Map<WorkerRecord, Retirement>();
  /** What the last `retire-workers` event has begun. */
  retirementsBegun: readonly Retirement[] = [];
  retirementsDrivenAt = -Infinity;
  /** What clients are putting on workers, by number of the value. */
  readonly promised = new Map<number, Promised>();
  /** What the active memory manager runs, by name. */
  /** Policies that had more to do than was good for one go. */
  unfinished: Policy[] = [];
  readonly policies = new Map<string, Policy>(BUILT_IN_POLICIES.map(one => [one.name, one]));
  private memoryManagedAt = -Infinity;
  readonly outbox = new Outbox();
  readonly recovery = new Recovery();
  /** Keys of fired and forgotten tasks that have ended; null: nobody takes note of them. */
  endedForgotten: string[] | null = null;
  readonly story: Story;
  readonly stream: StreamRecorder;
  totalThreads = 0;
  nextRunId = 1;
  nextRoundRobin = 0;
  /** The number the next `add-worker` event must carry. */
  nextWorker = 1;
  now = 0;
  private nextTask = 1;
  private nextFunction = 1;
  private stimuli = 0;
  private nextOwner = 1;
  private lastGroup: TaskGroup | null = null;

  constructor(options: SchedulerOptions) {
    this.options = options;
    this.epoch = options.epoch ?? '';
    this.story = new Story(options.storyLines);
    this.stream = new StreamRecorder(options.streamLines);
  }

  handle(event: SchedulerEvent, now: number): Instruction[] {
    this.now = now;
    const op = 'message' in event ? event.message.op : event.type;
    this.outbox.stimulus = `${op}-${++this.stimuli}`;
    this.dispatch(event);
    if (this.recovery.holding && endsHolding(this)) startWorkers(this);
    runTransitions(this);
    if (this.retirements.size > 0) {
      driveRetirements(this, event.type === 'tick');
      runTransitions(this);
    }
    this.assignQueued();
    this.killOnRelease.clear();
    this.failures.clear();
    return this.outbox.flush();
  }

  private dispatch(event: SchedulerEvent): void {
    switch (event.type) {
      case 'recover':
        return startRecovery(this, event.workers, event.within);
      case 'add-worker':
        return addWorker(this, event.worker, event.facts, event.held ?? null);
      case 'remove-worker':
        return removeWorker(this, event);
      case 'add-client':
        return addClient(this, event.client, event.name, event.weight ?? 1);
      case 'client-lost':
        return loseClient(this, event.client, this.options.clientGrace);
      case 'clients-away':
        for (const id of this.clients.keys()) loseClient(this, id, event.within);
        return;
      case 'restore-bindings':
        return restoreBindings(this, event.client, event.cids, event.keys, event.wanted);
      case 'forgotten-ended':
        for (const key of event.keys) {
          const task = this.byKey.get(key);
          if (task !== undefined) endForgotten(this, task);
        }
        return;
      case 'remove-client':
        return removeClient(this, event.client);
      case 'worker-message': {
        const worker = this.workers.get(event.worker);
        if (worker !== undefined) workerMessage(this, worker, event.message);
        return;
      }
      case 'client-message': {
        const client = this.clients.get(event.client);
        if (client !== undefined) clientMessage(this, client, event.message);
        return;
      }
      case 'retire-workers':
        return retireWorkers(this, event.workers, event.options);
      case 'keep-workers':
        return keepWorkers(this, event.workers, event.reason);
      case 'replicate':
        for (const task of this.known(event.tasks)) replicate(this, task, event);
        return;
      case 'rebalance': {
        const only = event.tasks === null ? null : new Set(this.known(event.tasks));
        rebalance(this, runningNamed(this, event.workers), only);
        return;
      }
      case 'tick':
        return this.tick();
    }
  }

  private known(tids: readonly number[]): Task[] {
    return tids.map(tid => this.tasks.get(tid)).filter(task => task !== undefined);
  }

  private assignQueued(): void {
    for (let task = nextQueued(this); task !== null; task = nextQueued(this)) {
      recommend(this, task, 'processing');
      runTransitions(this);
      // No room after all would come back as queued: then everything waits for the next event.
      if (task.state === 'queued') break;
    }
    this.queued.compact();
  }

  // ---------------------------------------------------------------- books

  /** The function of this content, kept once. */
  functionOf(
    hash: string,
    name: string,
    blob: Uint8Array,
    language: Language = 'javascript'
  ): FunctionRecord {
    let fn = this.functions.get(hash);
    if (fn === undefined) {
      fn = new FunctionRecord(this.nextFunction++, hash, name, blob, language);
      this.functions.set(hash, fn);
    }
    return fn;
  }

  /** One user less. */
  releaseFunction(fn: FunctionRecord): void {
    if (--fn.users > 0) return;
    this.functions.delete(fn.hash);
    for (const worker of this.workers.values()) this.outbox.forgetFunction(worker, fn.id);
  }

  /** Into all books, released. */
  newTask(spec: Omit<TaskSpec, 'id' | 'group'> & { id?: number; group?: TaskGroup }): Task {
    const group = spec.group ?? this.groupOf(spec.key, spec.fn?.name ?? 'scatter');
    const prefix = group.prefix;
    const task = new Task({ ...spec, id: spec.id ?? this.takeTaskId(), group });
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

  /**
   * `map-name-3` and `map-name-4` are of one group: the key up to its last dash. `name`: of the
   * function; '' where the key says what the task does.
   */
  private groupOf(key: string, name: string): TaskGroup {
    const cut = key.lastIndexOf('-');
    const last = this.lastGroup;
    if (last !== null && last.name.length === cut && last.size > 0 && key.startsWith(last.name))
      return last;
    const groupName = cut > 0 ? key.slice(0, cut) : key;
    let group = this.groups.get(groupName);
    if (group === undefined) {
      group = new TaskGroup(groupName, this.prefixOf(name === '' ? keyPrefix(key) : name));
      this.groups.set(groupName, group);
    }
    this.lastGroup = group;
    return group;
  }

  prefixOf(name: string): TaskPrefix {
    let prefix = this.prefixes.get(name);
    if (prefix === undefined) {
      prefix = new TaskPrefix(name, this.prefixes.size);
      this.prefixes.set(name, prefix);
    }
    return prefix;
  }

  /** A task whose function has become known: out of the group of those without one. */
  moveToOwnGroup(task: Task, name: string): void {
    const old = task.group;
    const group = this.groupOf(task.key, name);
    const at = TASK_STATES.indexOf(task.state);
    old.prefix.counts[at]!--;
    old.prefix.live--;
    if (--old.size === 0) this.groups.delete(old.name);
    if (group.prefix.live++ === 0) group.prefix.done = 0;
    group.prefix.counts[at]!++;
    group.size++;
    task.group = group;
  }

  /** Nothing points at the task any more: out of all books. Called by the transition loop. */
  forget(task: Task): void {
    this.tasks.delete(task.id);
    if (this.repeats.size > 0) this.repeats.delete(task);
    if (this.replicas.wishes.size > 0) this.replicas.wishes.delete(task);
    if (this.incomplete.size > 0) this.incomplete.delete(task);
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

  /** A number for a task that is about to be. */
  takeTaskId(): number {
    return this.nextTask++;
  }

  /** A number for a client that shares the workers with others. */
  takeOwnerId(): number {
    return this.nextOwner++;
  }

  /** Whether a task ever had, or was promised, this number. */
  gaveOut(tid: number): boolean {
    return tid < this.nextTask;
  }

  /** See scatter.ts. */
  planScatter(
    client: string,
    count: number,
    restrictTo: readonly string[] | null
  ): ReturnType<typeof planScatter> {
    return planScatter(this, client, count, restrictTo);
  }

  // ---------------------------------------------------------------- time

  private tick(): void {
    tickRecovery(this, id => removeClient(this, id));
    const { ammInterval, stealInterval, noWorkersTimeout: limit } = this.options;
    if (stealInterval > 0 && this.now - this.stealing.balancedAt >= stealInterval) balance(this);
    lookForUnmet(this);
    if (ammInterval > 0 && this.now - this.memoryManagedAt >= ammInterval) {
      this.memoryManagedAt = this.now;
      manageMemory(this);
    } else goOnManaging(this);
    if (limit <= 0) return;
    for (const [task, since] of this.unrunnable) {
      if (this.now - since >= limit) failWith(this, task, noWorkerRecord(this, task, limit));
    }
    if (this.noWorkersSince < 0 || this.now - this.noWorkersSince < limit) return;
    if (this.queued.count === 0) return;
    for (const task of this.tasks.values()) {
      if (task.state === 'queued') failWith(this, task, noWorkerRecord(this, task, limit));
    }
  }
}
