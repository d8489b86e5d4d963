/**
 * Every message of the control links, one union a link and direction, under Dask's names for them.
 *
 * A control frame is one batch: a msgpack array of these messages, all that one turn of the sender's
 * loop produced for that peer. Fields that speak of several tasks are parallel arrays. Numbers stand
 * for names that were sent once:
 *   tid     a task, by the scheduler's numbering (never used again)
 *   cid     a key, by the numbering of one client (never used again by it)
 *   worker  a worker, by the scheduler's numbering (never used again)
 *   fn      a function, by the numbering of the link it travels on
 * Times are ms since the epoch; sizes are bytes; `args` are opaque to everybody but executors.
 */

import type { Versions } from './versions.ts';

/** Why a task has no result. Made by a worker, or by the scheduler itself. */
export interface ErrorRecord {
  /** `TASK_ERRED` for the user's own exception, else the code of a TaskloomError. */
  code: string;
  /** `Name: message` of the exception, for people. */
  message: string;
  /** The remote traceback, or ''. */
  traceback: string;
  /** The serialised exception (packFrames), or null. */
  exception: Uint8Array | null;
  /** Key of the task that failed; the tasks that stand on it fail with the same record. */
  blame: string;
  /** Address of the worker where it failed, or ''. */
  worker: string;
}

/** Languages that tasks are written in. Every worker runs JavaScript. */
export type Language = 'javascript' | 'python';

/** A question and its answer, on any control link. */
export interface RequestMessage {
  op: 'request';
  id: number;
  method: string;
  params: unknown;
}
export interface ResponseMessage {
  op: 'response';
  id: number;
  result?: unknown;
  error?: { code: string; message: string };
}

// ------------------------------------------------------------------ client -> scheduler

export interface RegisterClient {
  op: 'register-client';
  protocol: number;
  client: string;
  name: string;
  version: string;
  versions?: Versions;
  /** Part of the cluster that it gets while other clients have work, too. Default 1. */
  weight?: number;
}

/** Names a function that later graphs of this client use. */
export interface RegisterFunction {
  op: 'register-function';
  fn: number;
  /** Content hash; the scheduler and workers keep one copy of equal functions. */
  hash: string;
  /** What its tasks are called; '' = what their keys say, as Dask's graphs have it. */
  name: string;
  blob: Uint8Array;
  /** What its executor must speak. Default `javascript`. */
  language?: Language;
}

/** The client will not use these functions again (tasks that do keep them alive). */
export interface ReleaseFunctions {
  op: 'release-functions';
  fns: number[];
}

/** What all tasks of one graph message share. */
export interface TaskOptions {
  /** Larger runs first. Default 0. */
  priority: number;
  /** How often a task that throws is tried again. Default 0. */
  retries: number;
  /** Seconds an execution may last before it is killed; 0 = no limit. */
  timeout: number;
  /** Names, addresses or hosts of workers that may run it; null = any. */
  workers: string[] | null;
  /** Take `workers` as a wish. */
  allowOtherWorkers: boolean;
  /** Amounts of worker resources it holds while it runs; null = none. */
  resources: Record<string, number> | null;
}

export interface UpdateGraph {
  op: 'update-graph';
  /** Tasks are numbered first, first + 1, …; dependencies come before dependents. */
  first: number;
  keys: string[];
  /** One function for all, or one a task. */
  fn: number | number[];
  /** Arguments of all tasks, one after the other; task i has [argOffsets[i], argOffsets[i+1]). */
  args: Uint8Array;
  argOffsets: number[];
  /** cids; task i depends on deps[depOffsets[i]..depOffsets[i+1]). Empty depOffsets = no dependencies. */
  deps: number[];
  depOffsets: number[];
  options: TaskOptions;
  /** Later graphs of this client within this many ms share the generation of the first. */
  fifoTimeout: number;
  /** Which of the tasks the client wants: all, or a list of cids. */
  wants: 'all' | number[];
  /** Which of them runs first when several could; absent = in the order of their numbers. */
  order?: number[];
  /** The running task that submits them (its tid): they are done for its client, before the rest. */
  parent?: number;
  /**
   * A client that is back after its link broke says again all that it still wants, under the same
   * numbers, in graphs of which the last is marked so. Nothing of them starts before that one.
   */
  again?: 'part' | 'last';
  /** Numbers of the tasks, rising, when they do not follow each other. */
  cids?: number[];
  /** With `again`: tasks (by place) known to have failed, and errors[which[i]] of tasks[i]. */
  failed?: { tasks: number[]; which: number[]; errors: ErrorRecord[] };
}

/** Wants keys that exist already, by name. */
export interface ClientDesiresKeys {
  op: 'client-desires-keys';
  cids: number[];
  keys: string[];
  /**
   * From a client that is back: keys of its own `data`, or of `others`. What does not exist may
   * still come with a worker, or with the client that made it; if not, it is lost.
   */
  again?: 'data' | 'others';
}
export interface ClientReleasesKeys {
  op: 'client-releases-keys';
  cids: number[];
}
/** force: also when other clients want it, and kill it if it runs. */
export interface CancelKeys {
  op: 'cancel-keys';
  cids: number[];
  /** Tasks that the client has no number for, by name. */
  keys?: string[];
  force: boolean;
  reason: string;
}
export interface RetryKeys {
  op: 'retry-keys';
  cids: number[];
}
/** The client has put these values on workers (their tids came from `scatter-plan`). */
export interface Scattered {
  op: 'scattered';
  cids: number[];
  keys: string[];
  tids: number[];
  nbytes: number[];
  types: string[];
  workers: number[][];
}
/** Keep these wanted until each has ended, even when the client is gone. */
export interface FireAndForget {
  op: 'fire-and-forget';
  cids: number[];
}
/** Keep these wanted under a name, until it is unpublished. Replaces what had that name. */
export interface PublishDataset {
  op: 'publish-dataset';
  name: string;
  cids: number[];
  /** packFrames of the published structure; its references number the cids. Opaque. */
  value: Uint8Array;
}
export interface UnpublishDataset {
  op: 'unpublish-dataset';
  name: string;
}
export interface HeartbeatClient {
  op: 'heartbeat-client';
}

export type ClientToScheduler =
  | RegisterClient
  | RegisterFunction
  | ReleaseFunctions
  | UpdateGraph
  | ClientDesiresKeys
  | ClientReleasesKeys
  | CancelKeys
  | RetryKeys
  | Scattered
  | FireAndForget
  | PublishDataset
  | UnpublishDataset
  | HeartbeatClient
  | RequestMessage;

// ------------------------------------------------------------------ scheduler -> client

export interface ClientHello {
  op: 'hello';
  protocol: number;
  cluster: { id: string; name: string; kind: string };
  /** That versions in this cluster differ, as a sentence and a table. */
  warning?: string;
  /** Differs for each start of a scheduler: tids, workers and fns of one mean nothing to another. */
  epoch: string;
}
export interface KeyInMemory {
  op: 'key-in-memory';
  cids: number[];
  tids: number[];
  nbytes: number[];
  types: string[];
  /** Small values travel along (packFrames); null: fetch from a holder. */
  inline: (Uint8Array | null)[];
}
export interface TaskErredMessage {
  op: 'task-erred';
  cids: number[];
  /** errors[which[i]] is the error of cids[i]: tasks that fail for one reason share its record. */
  which: number[];
  errors: ErrorRecord[];
}
/** In memory no more (a worker was lost); it is being computed again. */
export interface LostKeys {
  op: 'lost-keys';
  cids: number[];
}
/** Will never be there: cancelled, or lost with nothing to compute it from. */
export interface CancelledKeys {
  op: 'cancelled-keys';
  cids: number[];
  reason: string;
}
/** Something that the user should know at once although nothing has failed. */
export interface TaskWarning {
  op: 'task-warning';
  /** What kind: `NO_VALID_WORKER`, `KEY_COLLISION`. */
  code: string;
  text: string;
  /** Some of the keys it is about, and how many they are. */
  cids: number[];
  count: number;
}
export interface SchedulerClosing {
  op: 'closing';
  reason: string;
}

export type SchedulerToClient =
  | ClientHello
  | KeyInMemory
  | TaskErredMessage
  | LostKeys
  | CancelledKeys
  | TaskWarning
  | SchedulerClosing
  | ResponseMessage;

// ------------------------------------------------------------------ worker -> scheduler

export interface RegisterWorker {
  op: 'register-worker';
  protocol: number;
  name: string;
  /** Where peers and clients reach its values: `http://host:port`. */
  address: string;
  host: string;
  pid: number;
  nthreads: number;
  /** 0 = no limit. */
  memoryLimit: number;
  resources: Record<string, number>;
  /** Languages that it runs beside JavaScript, and their versions; absent = none. */
  languages?: Partial<Record<Language, string>>;
  /** Id of the nanny that watches it, or ''. */
  nanny: string;
  version: string;
  versions?: Versions;
  /** Values it brings along, when it had a scheduler before: that one's epoch and numbers. */
  epoch: string;
  tids: number[];
  keys: string[];
  nbytes: number[];
  types: string[];
  /** Keys of tasks that it runs (or has run) for that scheduler, and would go on with. */
  running: string[];
}

export interface TasksFinished {
  op: 'tasks-finished';
  tids: number[];
  runIds: number[];
  nbytes: number[];
  types: string[];
  lanes: number[];
  /** When the execution began, ms since the epoch, and how long it took, ms. */
  starts: number[];
  durations: number[];
  inline: (Uint8Array | null)[];
}
export interface TaskErred {
  op: 'task-erred';
  tid: number;
  runId: number;
  error: ErrorRecord;
  lane: number;
  start: number;
  duration: number;
}
/** The worker gives the task back unexecuted. */
export interface Reschedule {
  op: 'reschedule';
  tid: number;
  runId: number;
}
/** Values the worker has come to hold otherwise: copies it fetched, what clients put there. */
export interface AddKeys {
  op: 'add-keys';
  tids: number[];
  /** Answers `remove-replicas`: a task here needs them, they stay. */
  refused?: boolean;
}
/** Copies the worker holds no more, or cannot get. Answers `remove-replicas`, too. */
export interface ReleaseWorkerData {
  op: 'release-worker-data';
  tids: number[];
}
/** `worker` was said to hold these and does not (or is dead). */
export interface MissingData {
  op: 'missing-data';
  tids: number[];
  worker: number;
}
export interface RequestRefreshWhoHas {
  op: 'request-refresh-who-has';
  tids: number[];
}
/** The task has seceded from the thread pool. */
export interface LongRunning {
  op: 'long-running';
  tid: number;
  runId: number;
  /** ms it ran before that. */
  duration: number;
}
/** What a worker was doing with tasks that it was asked to give back. */
export interface StealResponse {
  op: 'steal-response';
  tids: number[];
  runIds: number[];
  /** Worker task states; ready, constrained and waiting: it has let go of the task. */
  states: string[];
}
export interface WorkerMetrics {
  cpu: number;
  rss: number;
  managed: number;
  spilled: number;
  executing: number;
  ready: number;
  inMemory: number;
  netIn: number;
  netOut: number;
  loopDelay: number;
  /** bytes a second seen on transfers over 1 MB, or 0. */
  bandwidth: number;
}
export interface HeartbeatWorker {
  op: 'heartbeat-worker';
  now: number;
  metrics: WorkerMetrics;
  /** Executing tasks and for how many ms. */
  executing: number[];
  executingFor: number[];
  /** What people should know of it, such as a full disk; '' when all is well. */
  trouble?: string;
}
export interface WorkerStatusChange {
  op: 'worker-status-change';
  status: 'running' | 'paused' | 'closing';
  /** Why, for people; '' when there is nothing to say. */
  reason?: string;
}
/**
 * Its process is to end: its values shall be moved and its tasks given away first, within `timeout`
 * ms. Of a worker, or of a nanny for all its workers. `restart`: its nanny starts the worker anew.
 */
export interface CloseGracefully {
  op: 'close-gracefully';
  reason: string;
  timeout: number;
  restart: boolean;
}
/** Rectangles of the task stream that are not executions (STREAM_KINDS numbers). */
export interface StartStops {
  op: 'start-stops';
  tids: number[];
  lanes: number[];
  kinds: number[];
  starts: number[];
  durations: number[];
}

export type WorkerToScheduler =
  | RegisterWorker
  | TasksFinished
  | TaskErred
  | Reschedule
  | AddKeys
  | ReleaseWorkerData
  | MissingData
  | RequestRefreshWhoHas
  | LongRunning
  | StealResponse
  | HeartbeatWorker
  | WorkerStatusChange
  | CloseGracefully
  | StartStops
  | ResponseMessage;

// ------------------------------------------------------------------ scheduler -> worker

export interface WorkerHello {
  op: 'hello';
  protocol: number;
  /** The number by which everybody speaks of this worker. */
  worker: number;
  cluster: { id: string; name: string; kind: string };
  /** ms between heartbeats. */
  heartbeat: number;
  epoch: string;
  /** The number of each value that it brought along; -1: to be dropped. */
  adopted: number[];
}
/** The table of peers: sent whole at hello (all as added), then as it changes. */
export interface WorkersChanged {
  op: 'workers';
  added: { worker: number; address: string; host: string }[];
  removed: number[];
}
/** Functions that later compute-tasks use; sent once a worker. */
export interface Functions {
  op: 'functions';
  fns: number[];
  names: string[];
  hashes: string[];
  blobs: Uint8Array[];
  /** Absent: all are JavaScript. */
  languages?: Language[];
}
export interface ForgetFunctions {
  op: 'forget-functions';
  fns: number[];
}
export interface ComputeTasks {
  op: 'compute-tasks';
  stimulus: string;
  tids: number[];
  keys: string[];
  runIds: number[];
  fns: number[];
  args: Uint8Array[];
  /** Three numbers a task: -user priority, generation, order. Smaller runs first. */
  priorities: number[];
  /** Whose each task is, by the scheduler's number of the client; 0 = nobody's. */
  owners?: number[];
  /** Part of each owner in the worker beside others; absent = all have the same. */
  weights?: number[];
  /** Expected ms of each execution (500 when unknown). */
  durations: number[];
  /** 1: a client wants the result, send small ones inline. */
  wanted: number[];
  /** Task i needs deps[depOffsets[i]..depOffsets[i+1]), in the order its arguments refer to them. */
  depOffsets: number[];
  deps: number[];
  /** Beside each dependency: its key, size and holders (worker numbers). */
  depKeys: string[];
  depNbytes: number[];
  depHolders: number[][];
  /** Seconds, 0 = none; absent when no task of the batch has one. */
  timeouts?: number[];
  resources?: (Record<string, number> | null)[];
}
/** Drop these: results nobody needs, or tasks not to be run any more. */
export interface FreeKeys {
  op: 'free-keys';
  stimulus: string;
  tids: number[];
}
/** Do not run these; with force also kill them if they run. */
export interface CancelCompute {
  op: 'cancel-compute';
  stimulus: string;
  tids: number[];
  force: boolean;
}
/** Give these back if they have not begun; answered by `steal-response`. */
export interface StealRequest {
  op: 'steal-request';
  stimulus: string;
  tids: number[];
  runIds: number[];
}
export interface RefreshWhoHas {
  op: 'refresh-who-has';
  stimulus: string;
  tids: number[];
  holders: number[][];
}
/** Fetch copies of these. */
export interface AcquireReplicas {
  op: 'acquire-replicas';
  stimulus: string;
  tids: number[];
  keys: string[];
  nbytes: number[];
  holders: number[][];
}
/** Drop copies of these if not needed here; each is answered. */
export interface RemoveReplicas {
  op: 'remove-replicas';
  stimulus: string;
  tids: number[];
}
/** `closing-gracefully`: start nothing, give back what has not begun; `running`: go on. */
export interface SetWorkerStatus {
  op: 'worker-status-change';
  stimulus: string;
  status: 'running' | 'closing-gracefully';
}
export interface CloseWorker {
  op: 'close';
  reason: string;
}

export type SchedulerToWorker =
  | WorkerHello
  | WorkersChanged
  | Functions
  | ForgetFunctions
  | ComputeTasks
  | FreeKeys
  | CancelCompute
  | StealRequest
  | RefreshWhoHas
  | AcquireReplicas
  | RemoveReplicas
  | SetWorkerStatus
  | CloseWorker
  | RequestMessage;

// ------------------------------------------------------------------ nanny <-> scheduler

export interface RegisterNanny {
  op: 'register-nanny';
  protocol: number;
  nanny: string;
  host: string;
  pid: number;
  version: string;
  versions?: Versions;
  /** May the scheduler ask this nanny for more or fewer workers? */
  canScale: boolean;
}
/** A worker's process ended. */
export interface WorkerExited {
  op: 'worker-exited';
  name: string;
  pid: number;
  /** A sentence: `killed by SIGKILL`, `exit code 3`, `out of memory (limit 2 GiB)`. */
  reason: string;
  /** Asked for (scale down, restart, close): no fault of the task it ran. */
  expected: boolean;
  lastLines: string[];
  /**
   * What its executors ran when it ended, and under which runs; if they ran nothing, what they ran
   * last. Absent when that is unknown.
   */
  tids?: number[];
  runIds?: number[];
}
/** How many workers it should have and how many of them are starting; reason when some can't. */
export interface NannyStatus {
  op: 'nanny-status';
  target: number;
  starting: number;
  reason: string | null;
}
export type NannyToScheduler =
  RegisterNanny | WorkerExited | NannyStatus | CloseGracefully | ResponseMessage;

export interface NannyHello {
  op: 'hello';
  protocol: number;
  cluster: { id: string; name: string; kind: string };
}
/** Requests: `scale` {workers, close: string[] names to end}, `close-workers` {names, reason}, `restart-workers` {names}, `logs` {}, `close` {reason}. */
export type SchedulerToNanny = NannyHello | RequestMessage;
