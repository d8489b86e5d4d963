/**
 * The tasks of a pool: those that executors have been given, and those whose inputs are not in
 * memory yet. Inputs stay pinned in the store from the moment a task comes until it is over,
 * however it ends.
 */
import type { ValueStore } from '../store.ts';
import type { Executor, Handed } from './executor.ts';
import type { TaskToRun } from './pool-options.ts';
import type { PythonProcesses } from './processes.ts';
import { stacksOf } from './stacks.ts';
import type { ThreadStack } from './stacks.ts';
import { ExecutorThread, ownFolder } from './thread.ts';

/** A task that waits for inputs, and the executor that has the others. */
export interface Loading {
  task: TaskToRun;
  executor: Executor;
  pinned: number[];
}

/** A task that has been handed over. */
export interface Running {
  task: TaskToRun;
  handed: Handed;
  executor: Executor;
  /** Inputs that are kept in the store's memory: all that are not live in its process. */
  pinned: number[];
}

export class GivenTasks {
  readonly running = new Map<number, Running>();
  /** Tasks that wait for inputs to be read from disk, or serialised by another executor. */
  readonly loading = new Map<number, Loading>();
  /** Those whose executor is being ended over them. */
  readonly killing = new Set<number>();
  private store: ValueStore;

  constructor(store: ValueStore) {
    this.store = store;
  }

  /** The execution, if it has been handed over and is not over. */
  find(tid: number, runId: number): Running | undefined {
    const entry = this.running.get(tid);
    return entry?.task.runId === runId ? entry : undefined;
  }

  /** True when the task was waiting for its inputs; it does not any more. */
  stopLoading(tid: number, runId: number): boolean {
    const loading = this.loading.get(tid);
    if (loading === undefined || loading.task.runId !== runId) return false;
    this.loading.delete(tid);
    this.store.unpin(loading.pinned);
    return true;
  }

  /** Its execution is over, however it ended: its inputs may leave memory. */
  forget(tid: number): void {
    const entry = this.running.get(tid);
    if (entry === undefined) return;
    this.running.delete(tid);
    // It may have ended just before its kill took effect.
    this.killing.delete(tid);
    this.store.unpin(entry.pinned);
  }

  /** Gives back, silently, what has not begun; results of the rest go to another store. */
  retire(store: ValueStore): void {
    for (const { pinned } of this.loading.values()) this.store.unpin(pinned);
    this.loading.clear();
    for (const [tid, { handed, executor, pinned }] of this.running) {
      this.store.unpin(pinned);
      if (executor.recall(handed)) this.running.delete(tid);
    }
    this.store = store;
  }

  /** Numbers of the tasks whose code runs now. */
  begun(): number[] {
    const tids: number[] = [];
    for (const { handed, executor } of this.running.values()) {
      if (executor.hasBegun(handed)) tids.push(handed.tid);
    }
    return tids;
  }

  /** Stacks of the tasks whose code runs now, by number. */
  async stacks(python: PythonProcesses, timeoutMs: number): Promise<Map<number, ThreadStack>> {
    const threads = new Map<number, number>();
    for (const { handed, executor } of this.running.values()) {
      if (!(executor instanceof ExecutorThread)) continue;
      if (executor.hasBegun(handed)) threads.set(handed.tid, executor.threadId);
    }
    const [looks, ofPython] = await Promise.all([
      stacksOf([...threads.values()], timeoutMs, ownFolder()),
      python.stacks(timeoutMs)
    ]);
    const stacks = new Map<number, ThreadStack>();
    // A task that has ended since would be shown with the stack of another.
    for (const [tid, { handed, executor }] of this.running) {
      const stack =
        executor.language === 'python'
          ? ofPython.get(executor)?.get(handed.seq)
          : looks.get(threads.get(tid) ?? -1);
      if (stack !== undefined) stacks.set(tid, stack);
    }
    return stacks;
  }
}
