/** What goes into a pool of executors, and what comes out of it. */
import type { ErrorRecord } from '../../protocol/messages.ts';
import type { ExecuteSuccess } from '../state/events.ts';
import type { ValueStore } from '../store.ts';
import type { ThreadSetup } from './messages.ts';
import type { PythonSetup } from './python-process.ts';

/** A task to be run; its inputs are in the store. */
export interface TaskToRun {
  tid: number;
  runId: number;
  key: string;
  fn: number;
  args: Uint8Array;
  deps: number[];
  /** Say when it begins. */
  announce: boolean;
  /** Pack small results for sending along. */
  wanted: boolean;
}

/** What a pool tells its worker. */
export interface PoolEvents {
  /** The values of these are in the store. */
  onSuccess(event: ExecuteSuccess): void;
  onFailure(
    task: { tid: number; runId: number },
    error: ErrorRecord,
    lane: number,
    start: number,
    duration: number
  ): void;
  onReturned(tids: number[], runIds: number[]): void;
  /** It has left its slot after so many ms, and goes on. */
  onSeceded(tid: number, runId: number, duration: number): void;
  /** It threw Reschedule. */
  onReschedule(tid: number, runId: number): void;
  /** Recalled, and not given back. */
  onKept(tids: number[], runIds: number[]): void;
  onKilled(tid: number, runId: number): void;
  onBegan(tid: number, runId: number): void;
  onLog(level: 'info' | 'error', key: string, text: string): void;
  /** Executors die before they can run anything: none is started any more. */
  onBroken(reason: string): void;
}

/** How a worker runs Python. */
export interface PythonShape extends Pick<PythonSetup, 'python' | 'packagePath' | 'folders'> {
  /** One process with as many threads as the worker has, instead of a process each. */
  threads: boolean;
}

/** What a pool is made of. */
export interface PoolOptions {
  nthreads: number;
  /** Bytes; 0 = no limit. */
  memoryLimit: number;
  root: string;
  address: string;
  store: ValueStore;
  /** File in which threads note what they run; absent or '' = nowhere. */
  lastWords?: string;
  events: PoolEvents;
  /** What tasks are told of their worker, once it is registered; null: nothing. */
  context?: () => ThreadSetup['context'];
  /** Key of a task, for messages. */
  keyOf?: (tid: number) => string;
  /** How Python tasks are run; absent: not at all. */
  python?: PythonShape | undefined;
  /** Another file for the threads to run, for tests. */
  entry?: URL;
}
