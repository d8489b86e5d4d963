/**
 * What the scheduler knows of a task, its function, its prefix (all tasks of one function name) and
 * its group (the tasks of one map). Fields are written by the state room only.
 */
import type { Share } from '../../base/fair.ts';
import type { SmallSet } from '../../base/small-set.ts';
import type { ErrorRecord, Language } from '../../protocol/messages.ts';
import type { Binding } from './clients.ts';
import type { WorkerRecord } from './workers.ts';

/** docs/states.md has two lines on each. */
export const TASK_STATES = [
  'released',
  'waiting',
  'no-worker',
  'queued',
  'processing',
  'memory',
  'erred',
  'forgotten'
] as const;
export type TaskState = (typeof TASK_STATES)[number];

/** A function and what it captured, kept while a client may use it or a task needs it. */
export class FunctionRecord {
  readonly id: number;
  readonly hash: string;
  readonly name: string;
  readonly blob: Uint8Array;
  readonly language: Language;
  /** Client registrations and tasks that point here. */
  users = 0;

  constructor(id: number, hash: string, name: string, blob: Uint8Array, language: Language) {
    this.id = id;
    this.hash = hash;
    this.name = name;
    this.blob = blob;
    this.language = language;
  }
}

/** ms assumed for a function that never ran. */
const UNKNOWN_DURATION = 500;
/** ms assumed for functions that are known to do next to nothing, until they have run. */
const FAST_DURATION = 0.001;
const FAST_PREFIXES = new Set([
  'rechunk-split',
  'split-shuffle',
  'split-taskshuffle',
  'split-stage'
]);

/** All tasks of one function name: durations are learnt and progress is counted here. */
export class TaskPrefix {
  readonly name: string;
  /** Number in the dashboard feed. */
  readonly id: number;
  /** Known by its name to take no time: never worth moving. */
  readonly fast: boolean;
  /** Mean ms of an execution (newest counts half), -1 unknown. */
  duration: number;
  /** Mean bytes of a result (newest counts half). */
  resultBytes = 0;
  /** ms for which one has been executing, of those that were seen since the last one ended. */
  longest = 0;
  /** Tasks by state, TASK_STATES order. */
  readonly counts: number[] = TASK_STATES.map(() => 0);
  /** Finished and let go of since the prefix last had no tasks at all. */
  done = 0;
  /** Tasks not forgotten. */
  live = 0;

  constructor(name: string, id: number) {
    this.name = name;
    this.id = id;
    this.fast = FAST_PREFIXES.has(name);
    this.duration = this.fast ? FAST_DURATION : -1;
  }

  /** ms that an execution is expected to take. */
  get expected(): number {
    if (this.duration >= 0) return this.duration;
    return this.longest > 0 ? 2 * this.longest : UNKNOWN_DURATION;
  }

  /** One has ended, with a result of so many bytes. */
  learnBytes(bytes: number): void {
    this.resultBytes = 0.5 * this.resultBytes + 0.5 * bytes;
  }

  /** One has ended after `ms`. */
  learn(ms: number): void {
    this.duration = this.duration < 0 ? ms : 0.5 * this.duration + 0.5 * ms;
    this.longest = 0;
  }

  /** One has been executing for `ms`: when that is twice the mean, the mean is no guide any more. */
  noteExecuting(ms: number): void {
    if (ms > this.longest) this.longest = ms;
    if (this.duration >= 0 && this.longest > 2 * this.duration) this.duration = -1;
  }
}

export class TaskGroup {
  readonly name: string;
  readonly prefix: TaskPrefix;
  /** Tasks not forgotten. */
  size = 0;
  /** Groups that tasks of this one depend on. */
  readonly dependencies = new Set<TaskGroup>();
  /** Where its next roots go while they are not queued, and how many more; see placement.ts. */
  lastWorker: WorkerRecord | null = null;
  lastWorkerLeft = 0;

  constructor(name: string, prefix: TaskPrefix) {
    this.name = name;
    this.prefix = prefix;
  }
}

/** What tasks of one submission share, one object for all of them. */
export interface Demands {
  /** The client it is done for. */
  owner: Share;
  /** -user priority */
  priority: number;
  generation: number;
  timeout: number;
  workers: readonly string[] | null;
  allowOtherWorkers: boolean;
  resources: Readonly<Record<string, number>> | null;
  /** null: JavaScript, which every worker runs. */
  language: Language | null;
}

/** What a task is made from; lives only until it is made. */
export interface TaskSpec {
  id: number;
  key: string;
  group: TaskGroup;
  fn: FunctionRecord | null;
  args: Uint8Array;
  argStart: number;
  argEnd: number;
  deps: readonly Task[];
  demands: Demands;
  order: number;
  retries: number;
}

export class Task {
  readonly id: number;
  readonly key: string;
  // From here to `order`: given later to a value that came back before its graph (recovery.ts).
  group: TaskGroup;
  /** null: data that was scattered and cannot be computed, or not known yet. */
  fn: FunctionRecord | null;
  /** Arguments of the whole submission; this task's are [argStart, argEnd). A view a task would weigh more. */
  args: Uint8Array;
  argStart: number;
  argEnd: number;
  deps: readonly Task[];
  demands: Demands;
  /** Position in its submission. */
  order: number;

  state: TaskState = 'released';
  /** What the transition loop shall make of it, or null. */
  recommended: TaskState | null = null;
  dependents: SmallSet<Task> = null;
  /** Dependencies not in memory; kept while waiting, else 0. */
  waitingOn = 0;
  /** Dependents that are waiting, no-worker, queued or processing: they need its value. */
  waiters = 0;
  bindings: SmallSet<Binding> = null;
  /** Bindings that want the value. */
  wants = 0;
  whoHas: SmallSet<WorkerRecord> = null;
  processingOn: WorkerRecord | null = null;
  runId = -1;
  longRunning = false;
  /** -1 until first computed. */
  nbytes = -1;
  type = '';
  retries: number;
  /** Deaths of workers that were executing it. */
  suspicious = 0;
  error: ErrorRecord | null = null;
  /** Counted in prefix.done. */
  countedDone = false;
  /** A small result on its way to the clients; empty at the end of each event. */
  inline: Uint8Array | null = null;

  constructor(spec: TaskSpec) {
    this.id = spec.id;
    this.key = spec.key;
    this.group = spec.group;
    this.fn = spec.fn;
    this.args = spec.args;
    this.argStart = spec.argStart;
    this.argEnd = spec.argEnd;
    this.deps = spec.deps;
    this.demands = spec.demands;
    this.order = spec.order;
    this.retries = spec.retries;
  }

  get needed(): boolean {
    return this.waiters > 0 || this.wants > 0;
  }
}

/** Its value is needed to run something: these states hold their dependencies. */
export function isActive(state: TaskState): boolean {
  return (
    state === 'waiting' || state === 'queued' || state === 'processing' || state === 'no-worker'
  );
}

/**
 * Runs before: user priority, generation, order in its graph, age. Between clients only what users
 * said counts; workers take turns between them (queue.ts).
 */
export function runsBefore(a: Task, b: Task): boolean {
  const x = a.demands;
  const y = b.demands;
  if (x.priority !== y.priority) return x.priority < y.priority;
  if (x.owner !== y.owner) return x.owner.id < y.owner.id;
  if (x.generation !== y.generation) return x.generation < y.generation;
  if (a.order !== b.order) return a.order < b.order;
  return a.id < b.id;
}
