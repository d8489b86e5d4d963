/**
 * The data of a worker's state and the buffers in which one event's output is collected. The rules
 * are elsewhere: handlers.ts (events), transitions.ts (table), gather.ts (what to fetch),
 * ready.ts (what to run), validate.ts.
 */
import type {
  ErrorRecord,
  StealResponse,
  TaskErred,
  TasksFinished,
  WorkerToScheduler
} from '../../protocol/messages.ts';
import type { Instruction } from './events.ts';
import { FairServer, Share } from '../../base/fair.ts';
import { FairHeap } from './fair-heap.ts';
import { NOBODY, WorkerTask } from './tasks.ts';
import type { Priority, WorkerTaskState } from './tasks.ts';

/** Everything a worker's state is told when it is made. */
export interface WorkerStateOptions {
  /** Its number, from the scheduler's hello. */
  worker: number;
  /** For error records. */
  address: string;
  /** Fetching from the same host comes first. */
  host: string;
  nthreads: number;
  /** Bytes; 0 = no limit. */
  memoryLimit: number;
  resources?: Readonly<Record<string, number>>;
  seed?: number;
  /** Outgoing fetches at once. Default 50. */
  connections?: number;
  /** Bytes asked of one peer at once. Default 50 MB. */
  messageBytes?: number;
  /** Share of the memory limit that may be on its way in. Default 0.1. */
  transferShare?: number;
  /** ms after which a busy peer is asked again. Default 150. */
  busyRetry?: number;
  /** ms between questions about lost dependencies. Default 500. */
  findMissing?: number;
  /** Entries kept for stories. Default 10,000. */
  storyLength?: number;
}

/** Something that happened to a task. */
export interface LogEntry {
  tid: number;
  key: string;
  text: string;
  stimulus: string;
  at: number;
}

/** A ring of the last transitions. */
export class StoryLog {
  private readonly entries: LogEntry[] = [];
  private next = 0;
  private readonly capacity: number;

  constructor(capacity: number) {
    this.capacity = capacity;
  }

  add(task: WorkerTask, text: string, stimulus: string, at: number): void {
    const entry = this.entries[this.next];
    if (entry === undefined) {
      this.entries.push({ tid: task.tid, key: task.key, text, stimulus, at });
    } else {
      // The ring's records are written again: this runs several times a task.
      entry.tid = task.tid;
      entry.key = task.key;
      entry.text = text;
      entry.stimulus = stimulus;
      entry.at = at;
    }
    this.next = (this.next + 1) % this.capacity;
  }

  /** Entries that pass, oldest first; copies. */
  select(test: (entry: Readonly<LogEntry>) => boolean): LogEntry[] {
    const found: LogEntry[] = [];
    for (let i = 0; i < this.entries.length; i++) {
      const entry = this.entries[(this.next + i) % this.entries.length];
      if (entry !== undefined && test(entry)) found.push({ ...entry });
    }
    return found;
  }

  /** Lines about a task, oldest first. */
  of(which: number | string): string[] {
    return this.select(({ tid, key }) => tid === which || key === which).map(entry => {
      const at = new Date(entry.at).toISOString();
      return `${at} ${entry.key} ${entry.text} (${entry.stimulus})`;
    });
  }
}

export class WorkerCore {
  readonly options: Required<Omit<WorkerStateOptions, 'resources'>>;
  readonly tasks = new Map<number, WorkerTask>();
  /** Clients share the slots of this worker by what their tasks take. */
  readonly fair = new FairServer();
  /** By the scheduler's number of the client. */
  readonly shares = new Map<number, Share>();
  readonly ready = new FairHeap(this.fair);
  readonly constrained = new FairHeap(this.fair);
  /** Handed to executors, cancelled ones included. */
  readonly executing = new Set<WorkerTask>();
  readonly longRunning = new Set<WorkerTask>();
  readonly missing = new Set<WorkerTask>();
  /** Executions that have begun and have a deadline. */
  readonly timed = new Set<WorkerTask>();
  /** Tasks to fetch, by peer that holds them. */
  readonly needed = new Map<number, FairHeap>();
  readonly hasWhat = new Map<number, Set<WorkerTask>>();
  /** The one request out to each peer. */
  readonly gathering = new Map<number, { tasks: WorkerTask[]; nbytes: number }>();
  readonly busy = new Set<number>();
  readonly peers = new Map<number, { host: string; failures: number }>();
  /** Unused amounts of this worker's resources. */
  readonly available: Record<string, number>;
  /** Mean ms of an execution, by function. */
  readonly measured = new Map<number, number>();
  /** Asked back by the scheduler and recalled from an executor: run ids of the requests, by tid. */
  readonly stealing = new Map<number, number>();
  readonly recommendations = new Map<WorkerTask, WorkerTaskState>();
  readonly log: StoryLog;
  running = true;
  /** Retiring: starts and fetches nothing, gives back what has not begun, keeps serving. */
  draining = false;
  incomingBytes = 0;
  /** Bytes of all values in memory. */
  nbytes = 0;
  /** Expected ms of all that executors have been handed and have not finished. */
  handedMs = 0;
  /** Bytes of their inputs. */
  handedBytes = 0;
  arrivals = 0;
  lastFindMissing = Number.NEGATIVE_INFINITY;
  now = 0;
  stimulus = '';
  private events = 0;
  private random: number;

  private instructions: Instruction[] = [];
  private finished: TasksFinished | null = null;
  private added: number[] = [];
  private refused: number[] = [];
  private releasedData: number[] = [];
  private dropped: number[] = [];
  private refresh: number[] = [];
  private recalled: number[] = [];
  private recalledRuns: number[] = [];
  private stolen: StealResponse | null = null;

  constructor(options: WorkerStateOptions) {
    const { resources, ...rest } = options;
    this.options = {
      seed: 0,
      connections: 50,
      messageBytes: 50e6,
      transferShare: 0.1,
      busyRetry: 150,
      findMissing: 500,
      storyLength: 10_000,
      ...rest
    };
    this.available = { ...resources };
    this.random = (this.options.seed + 0x9e3779b9) | 0;
    this.log = new StoryLog(this.options.storyLength);
  }

  /** Starts the handling of one event. */
  begin(now: number, stimulus: string | undefined, op: string): void {
    this.now = now;
    this.events++;
    this.stimulus = stimulus ?? `${op}-${this.events}`;
  }

  /** [0, 1), the same for the same seed and events. */
  nextRandom(): number {
    this.random = (this.random + 0x6d2b79f5) | 0;
    let t = Math.imul(this.random ^ (this.random >>> 15), 1 | this.random);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }

  ensureTask(tid: number, key: string, priority: Priority): WorkerTask {
    let task = this.tasks.get(tid);
    if (task === undefined) {
      task = new WorkerTask(tid, key, priority);
      this.tasks.set(tid, task);
    }
    return task;
  }

  /** The share of a client in this worker. */
  shareOf(owner: number, weight: number): Share {
    if (owner === 0) return NOBODY;
    let share = this.shares.get(owner);
    if (share === undefined) {
      share = new Share(owner, weight);
      this.shares.set(owner, share);
    }
    share.weight = weight;
    return share;
  }

  /** The last recommendation about a task wins. */
  recommend(task: WorkerTask, finish: WorkerTaskState): void {
    this.recommendations.set(task, finish);
  }

  push(instruction: Instruction): void {
    this.instructions.push(instruction);
  }

  send(message: WorkerToScheduler): void {
    this.instructions.push({ op: 'send', message });
  }

  reportFinished(task: WorkerTask): void {
    this.finished ??= {
      op: 'tasks-finished',
      tids: [],
      runIds: [],
      nbytes: [],
      types: [],
      lanes: [],
      starts: [],
      durations: [],
      inline: []
    };
    this.finished.tids.push(task.tid);
    this.finished.runIds.push(task.runId);
    this.finished.nbytes.push(task.nbytes);
    this.finished.types.push(task.type);
    this.finished.lanes.push(task.lane);
    this.finished.starts.push(task.start === 0 ? this.now : task.start);
    this.finished.durations.push(task.took);
    this.finished.inline.push(task.inline);
  }

  reportErred(task: WorkerTask, error: ErrorRecord): void {
    const { tid, runId, lane, took } = task;
    const start = task.start === 0 ? this.now : task.start;
    const message: TaskErred = { op: 'task-erred', tid, runId, error, lane, start, duration: took };
    this.send(message);
  }

  reportAdded(tid: number): void {
    this.added.push(tid);
  }

  /** It was to be dropped and stays. */
  reportRefused(tid: number): void {
    this.refused.push(tid);
  }

  /** A copy that was asked for is not here and will not come. */
  reportAbsent(tid: number): void {
    this.releasedData.push(tid);
  }

  reportReleased(tid: number): void {
    this.releasedData.push(tid);
    this.dropped.push(tid);
  }

  dropData(tid: number): void {
    this.dropped.push(tid);
  }

  askHolders(tid: number): void {
    this.refresh.push(tid);
  }

  recall(task: WorkerTask): void {
    this.recalled.push(task.tid);
    this.recalledRuns.push(task.execution);
  }

  /** What a task that the scheduler asks back is doing. */
  answerSteal(tid: number, runId: number, state: WorkerTaskState): void {
    this.stolen ??= { op: 'steal-response', tids: [], runIds: [], states: [] };
    this.stolen.tids.push(tid);
    this.stolen.runIds.push(runId);
    this.stolen.states.push(state);
  }

  /** All that this event brought about. */
  take(): Instruction[] {
    if (this.finished !== null) this.send(this.finished);
    if (this.added.length > 0) this.send({ op: 'add-keys', tids: this.added });
    if (this.refused.length > 0) {
      this.send({ op: 'add-keys', tids: this.refused, refused: true });
    }
    if (this.releasedData.length > 0) {
      this.send({ op: 'release-worker-data', tids: this.releasedData });
    }
    if (this.refresh.length > 0) this.send({ op: 'request-refresh-who-has', tids: this.refresh });
    if (this.stolen !== null) this.send(this.stolen);
    if (this.dropped.length > 0) this.push({ op: 'drop-data', tids: this.dropped });
    if (this.recalled.length > 0) {
      this.push({ op: 'recall-executions', tids: this.recalled, runIds: this.recalledRuns });
    }
    const instructions = this.instructions;
    this.clear();
    return instructions;
  }

  private clear(): void {
    this.instructions = [];
    this.finished = null;
    this.stolen = null;
    if (this.added.length > 0) this.added = [];
    if (this.refused.length > 0) this.refused = [];
    if (this.releasedData.length > 0) this.releasedData = [];
    if (this.dropped.length > 0) this.dropped = [];
    if (this.refresh.length > 0) this.refresh = [];
    if (this.recalled.length > 0) {
      this.recalled = [];
      this.recalledRuns = [];
    }
  }
}
