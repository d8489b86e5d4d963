/**
 * What a process and the children it starts say to each other, as lines of JSON: the parent writes
 * to the child's standard input (first a setup, then orders), the child writes reports to its
 * report descriptor (3 below a nanny, standard output for a nanny). Secrets travel here and never
 * on a command line, which every user of the machine can read.
 *
 * Standard input is also the lease: a child whose input ends knows that its parent is gone.
 */
import type { ConnectionFile } from './connection-file.ts';
import type { LifetimeShape } from './lifetime.ts';
import type { MemoryShape } from './memory.ts';

/** What makes a cluster itself, before any worker. */
export interface ClusterSetup {
  id: string;
  name: string;
  kind: string;
  token: string;
  host: string;
  /** 0 = a free one. */
  port: number;
  /** Listen beyond loopback without encryption. */
  insecure: boolean;
  madeBy: ConnectionFile['madeBy'];
  /** false: not started again when it dies. Default true. */
  supervise?: boolean;
  /** Folder of the scheduler's journal; absent: none is kept. */
  journal?: string;
  /** Process that starts it again, on the same host. */
  supervisor?: number;
  /** When the cluster began, ms since the epoch; absent: now. */
  startedAt?: number;
  /** How tasks are given to workers. */
  scheduling?: SchedulingSetup;
  /** ms without a word after which a worker counts as gone; 0 = never. Default 5 min. */
  workerTtl?: number;
  /** ms without anything to do after which the cluster ends; 0 = never (default). */
  idleTimeout?: number;
}

/** Numbers by which a scheduler decides; what is absent has its default. */
export interface SchedulingSetup {
  /** Tasks a thread before root tasks wait in the queue; 'inf': they do not. Default 1. */
  workerSaturation?: number | 'inf';
  /** Deaths of workers that were executing a task which it survives. Default 3. */
  allowedFailures?: number;
  /** ms after which a task that no worker may run fails; 0 = never (default). */
  noWorkersTimeout?: number;
  /** ms between looks for work that idle workers can take over; 0 = never. Default 1000. */
  stealInterval?: number;
  /** ms between runs of the active memory manager; 0 = off. Default 2000. */
  ammInterval?: number;
}

/** What all workers of one nanny share. */
export interface WorkerShape {
  threads: number;
  /** Bytes; 0 = no limit. */
  memoryLimit: number;
  /** Absent: Dask's thresholds. */
  memory?: MemoryShape;
  /** Where values go that do not fit memory; absent or '': a temporary folder of the system. */
  localDirectory?: string;
  host: string;
  insecure: boolean;
  resources: Record<string, number>;
  /** The interpreter of Python tasks; absent: what TASKLOOM_PYTHON names; `none`. */
  python?: string;
  /** Python tasks run as threads of one process a worker. */
  pythonThreads?: boolean;
  /** Where modules that tasks import are looked for. */
  root: string;
  /** ms that a worker may take to leave when it gets SIGTERM; 0 = none. */
  drainTimeout: number;
  /** Variables of their environment; these go before the nanny's own. */
  environment?: Record<string, string>;
  /** Absent: they live for ever. */
  lifetime?: LifetimeShape;
}

/** First line to a scheduler. */
export interface SchedulerSetup {
  role: 'scheduler';
  cluster: ClusterSetup;
  /** Workers of the scheduler that died and in whose place this one is; 0 = it is the first. */
  recoverWorkers: number;
}

/** First line to a worker; the scheduler's address follows as an order when it is known. */
export interface WorkerSetup {
  role: 'worker';
  name: string;
  token: string;
  /** Id of the nanny that watches it. */
  nanny: string;
  shape: WorkerShape;
  /** File in which its threads note what they run; absent or '' = nowhere. */
  lastWords?: string;
}

/** First line to a nanny that owns a whole cluster. */
export interface NannySetup {
  role: 'nanny';
  /** End the cluster when standard input ends. */
  lease: boolean;
  cluster: ClusterSetup;
  workers: number;
  shape: WorkerShape;
}

export type ProcessSetup = SchedulerSetup | WorkerSetup | NannySetup;

/** Later lines to a child. */
export type ProcessOrder = { op: 'scheduler'; address: string } | { op: 'close'; reason: string };

/** Lines from a child. */
export type ProcessReport =
  /** It serves; a worker has registered, a nanny's workers have. */
  | { op: 'ready'; address: string }
  /** A scheduler: how many workers there are. */
  | { op: 'workers'; count: number }
  /** It cannot start. */
  | { op: 'failed'; code: string; message: string }
  /** It ends by itself, for this reason. */
  | { op: 'finished'; reason: string };
