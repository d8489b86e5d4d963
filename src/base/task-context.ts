/**
 * How the library, when a task uses it, finds the executor that runs the task. The two are modules
 * of their own, loaded into one thread; they meet at a registered symbol.
 */

/** A running task, as its own code may act on it. */
export interface TaskContext {
  readonly key: string;
  readonly tid: number;
  /** Leaves its slot to other tasks, for good unless it rejoins. */
  secede(): void;
  /** Resolves when it has its executor to itself again. */
  rejoin(): Promise<void>;
  /** Around a wait for other tasks: its slot is theirs meanwhile. */
  waiting<T>(wait: () => Promise<T>): Promise<T>;
}

/** The worker that runs the task. */
export interface TaskWorker {
  name: string;
  address: string;
  nthreads: number;
  /** Bytes; 0 = no limit. */
  memoryLimit: number;
}

export interface ExecutorContext {
  readonly worker: TaskWorker;
  /** What a client needs to reach this worker's scheduler. */
  readonly scheduler: { address: string; token: string };
  /** The task whose code runs; null between tasks. */
  current(): TaskContext | null;
}

const PLACE = Symbol.for('taskloom.executor');
type Holder = Record<symbol, ExecutorContext | undefined>;

/** This thread runs tasks. */
export function provideExecutor(context: ExecutorContext): void {
  (globalThis as unknown as Holder)[PLACE] = context;
}

/** Null in a process or thread that runs no tasks. */
export function executorContext(): ExecutorContext | null {
  return (globalThis as unknown as Holder)[PLACE] ?? null;
}

/** One table for all copies of this package that a thread has loaded. */
export function sharedTable<T extends object>(name: string, make: () => T): T {
  const tables = globalThis as unknown as Record<symbol, T | undefined>;
  return (tables[Symbol.for(`taskloom.${name}`)] ??= make());
}
