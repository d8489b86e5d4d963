/**
 * What a worker knows of one task: the 15 states and the record that carries them. Only this room
 * writes records; the shell reads them when it executes a task.
 *
 * Links: `deps` are what the task needs, in the order its arguments refer to them; `dependents`
 * are the tasks of this worker that are not finished and need this one. A finished or released
 * task unlinks itself, so that a record without dependents can be forgotten.
 */
import { Share, compareShares } from '../../base/fair.ts';
import type { ErrorRecord } from '../../protocol/messages.ts';

export const WORKER_STATES = [
  'released',
  'waiting',
  'ready',
  'constrained',
  'executing',
  'long-running',
  'rescheduled',
  'fetch',
  'flight',
  'missing',
  'memory',
  'error',
  'cancelled',
  'resumed',
  'forgotten'
] as const;
export type WorkerTaskState = (typeof WORKER_STATES)[number];

/** Smaller runs first: -user priority, generation, order, and -arrival (the last in runs first). */
export type Priority = readonly [number, number, number, number];

/** Fetches that no task of this worker waits for: after ordinary tasks, before unimportant ones. */
export const REPLICA_PRIORITY: Priority = [1, Number.NEGATIVE_INFINITY, 0, 0];

/** Owner of copies that nobody has asked to compute with. */
export const NOBODY = new Share(0);

const NO_BYTES = new Uint8Array(0);

export class WorkerTask {
  readonly tid: number;
  key: string;
  state: WorkerTaskState = 'released';
  /** Of cancelled and resumed tasks: what is still going on. */
  previous: 'executing' | 'long-running' | 'flight' | null = null;
  /** Of resumed tasks: what is to happen once that has ended. */
  next: 'fetch' | 'waiting' | null = null;
  /** The execution or transfer of this record has ended; its event is being handled. */
  done = false;

  /** The run the scheduler waits for; a result is reported under it. */
  runId = 0;
  /** The run under which the present execution was started; 0 = none. */
  execution = 0;
  fn = 0;
  args: Uint8Array = NO_BYTES;
  priority: Priority;
  /** Whose task it is; what it costs is charged there. */
  owner: Share = NOBODY;
  /** ms the scheduler expects of an execution. */
  duration = 500;
  /** Expected ms that were added to the worker's total when it was handed to an executor. */
  handedMs = 0;
  /** Likewise, bytes of its inputs. */
  handedBytes = 0;
  /** A client wants the result: small ones are sent along. */
  wanted = false;
  /** Seconds an execution may last; 0 = no limit. */
  timeout = 0;
  /** When the running execution is to be killed, ms since the epoch; 0 = never. */
  deadline = 0;
  /** Why its execution is being killed. */
  killing: 'timeout' | 'cancelled' | null = null;
  resources: Readonly<Record<string, number>> | null = null;

  deps: WorkerTask[] = [];
  dependents: Set<WorkerTask> | null = null;
  waitingFor: Set<WorkerTask> | null = null;
  /** Peers said to hold the value. */
  holders: Set<number> | null = null;
  /** The scheduler asked for a copy, whether or not a task needs it. */
  acquire = false;
  /** Peer it is being fetched from, of tasks in flight. */
  comingFrom = -1;

  nbytes = 0;
  type = '';
  lane = 0;
  start = 0;
  took = 0;
  inline: Uint8Array | null = null;
  error: ErrorRecord | null = null;

  constructor(tid: number, key: string, priority: Priority) {
    this.tid = tid;
    this.key = key;
    this.priority = priority;
  }

  /** Forgets what was needed to run it. */
  clearSpec(): void {
    this.args = NO_BYTES;
    this.resources = null;
    this.timeout = 0;
  }
}

/**
 * Negative when a comes before b. Tasks of one client go by their priorities; between clients only
 * what users said counts, then whose turn it is.
 */
export function compareTasks(a: WorkerTask, b: WorkerTask): number {
  if (a.owner === b.owner) return comparePriority(a.priority, b.priority);
  if (a.priority[0] !== b.priority[0]) return a.priority[0] - b.priority[0];
  return compareShares(a.owner, b.owner);
}

/** Negative when a comes before b; of tasks of one client. */
export function comparePriority(a: Priority, b: Priority): number {
  for (let i = 0; i < 4; i++) {
    const left = a[i] as number;
    const right = b[i] as number;
    if (left !== right) return left < right ? -1 : 1;
  }
  return 0;
}
