/**
 * The file that `client.dumpClusterState` writes and `taskloom dump show` reads: gzip of msgpack of
 * one ClusterDump. A reader takes the versions that it knows and refuses others by number.
 */
import type { Member } from './versions.ts';

export const DUMP_FORMAT = 'taskloom-dump';
export const DUMP_VERSION = 1;

/** One entry a task in each list. */
export interface DumpedTasks {
  ids: number[];
  keys: string[];
  prefixes: string[];
  states: number[];
  deps: number[][];
  whoHas: number[][];
  processingOn: number[];
  runIds: number[];
  nbytes: number[];
  types: string[];
  retries: number[];
  suspicious: number[];
  wants: number[];
  waiters: number[];
}

export interface DumpedScheduler {
  now: number;
  stateNames: readonly string[];
  transitions: number;
  tasks: DumpedTasks;
  errors: Record<string, { code: string; message: string; traceback: string; blame: string }>;
  workers: {
    id: number;
    name: string;
    address: string;
    host: string;
    pid: number;
    nthreads: number;
    memoryLimit: number;
    resources: Record<string, number>;
    status: string;
    lastSeen: number;
    nbytes: number;
    inMemory: number;
    processing: number[];
    executing: number[];
    metrics: object | null;
  }[];
  clients: { id: string; name: string; keys: number; lastSeen: number }[];
  prefixes: { name: string; duration: number; counts: number[] }[];
  explanations: Record<string, string>;
  story: { time: number; key: string; start: string; finish: string; stimulus: string }[];
}

/** What a worker tells of itself. */
export interface DumpedWorkerState {
  info: Record<string, unknown>;
  /** The first so many of the tasks it knows. */
  tasks: { tid: number; key: string; state: string; runId: number; nbytes: number }[];
  /** How many it knows. */
  taskCount: number;
  executing: { key: string; forMs: number }[];
  history: { key: string; text: string; stimulus: string; at: number }[];
}

export interface ClusterDump {
  format: typeof DUMP_FORMAT;
  version: number;
  /** ms since the epoch */
  takenAt: number;
  cluster: { id: string; name: string; kind: string; address: string; startedAt: number };
  settings: Record<string, unknown>;
  versions: Member[];
  scheduler: DumpedScheduler;
  /** By name; a text says why a worker did not tell. */
  workers: Record<string, DumpedWorkerState | string>;
  nannies: { nanny: string; host: string; pid: number; status: object | null }[];
  logs: { source: string; lines: string[] }[];
}
