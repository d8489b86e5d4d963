/**
 * Whose turn it is in an executor thread. One task at a time has the slot; a task that secedes goes
 * on beside it, as far as one thread can: while the others await something. A task that waits for
 * other tasks leaves its slot meanwhile and takes it again when it is free; it never waits for that,
 * so what it needs and what runs in its place cannot lock each other up.
 *
 * Code knows which task it belongs to by its asynchronous context.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { TaskContext } from '../../base/task-context.ts';
import type { RejoinedMessage, SecededMessage } from './messages.ts';

/** A task whose code has begun and not ended. */
export class RunningTask implements TaskContext {
  readonly key: string;
  readonly tid: number;
  readonly runId: number;
  readonly seq: number;
  readonly start: number;
  /** It has no slot. */
  away = false;
  over = false;
  /** Fails it from outside: an exception in one of its callbacks. */
  fail: ((error: unknown) => void) | null = null;
  /** Resolves when it has ended. */
  ended: Promise<void> | null = null;
  /** Lets the loop go on without it. */
  leave: (() => void) | null = null;
  private readonly turns: Turns;
  /** It left its slot only to wait. */
  private implicit = false;
  private waits = 0;

  constructor(turns: Turns, task: { key: string; tid: number; runId: number; seq: number }) {
    this.turns = turns;
    this.key = task.key;
    this.tid = task.tid;
    this.runId = task.runId;
    this.seq = task.seq;
    this.start = performance.now();
  }

  secede(): void {
    this.implicit = false;
    this.turns.leave(this);
  }

  rejoin(): Promise<void> {
    return this.turns.rejoin(this);
  }

  async waiting<T>(wait: () => Promise<T>): Promise<T> {
    if (this.waits++ === 0 && !this.away) {
      this.implicit = true;
      this.turns.leave(this);
    }
    try {
      return await wait();
    } finally {
      if (--this.waits === 0 && this.implicit) {
        this.implicit = false;
        this.turns.returnIfFree(this);
      }
    }
  }
}

export interface TurnsOptions {
  /** Cell 0 tells the control thread which task has the slot. */
  cells: Int32Array;
  send(message: SecededMessage | RejoinedMessage): void;
  /** Makes the loop run, if it does not. */
  wake(): void;
  /** The task has the slot from now on. */
  onHold(task: RunningTask): void;
}

export class Turns {
  private readonly options: TurnsOptions;
  private readonly storage = new AsyncLocalStorage<RunningTask>();
  private readonly away = new Set<RunningTask>();
  private readonly returning: { task: RunningTask; resolve: () => void }[] = [];
  private holder: RunningTask | null = null;

  constructor(options: TurnsOptions) {
    this.options = options;
  }

  /** The task to which the code that asks belongs; else the one that has the slot. */
  get current(): RunningTask | null {
    const task = this.storage.getStore();
    return task?.over === false ? task : this.holder;
  }

  /** The task that an exception nobody caught is most likely of. */
  get suspect(): RunningTask | null {
    const [only] = this.away.size === 1 ? this.away : [];
    return this.current ?? only ?? null;
  }

  /** Whether tasks without a slot are going on: they need the thread to come to rest at times. */
  get anyAway(): boolean {
    return this.away.size > 0;
  }

  begin(task: RunningTask): void {
    this.hold(task);
  }

  /** Calls the task's code. */
  call<T>(task: RunningTask, code: () => T): T {
    return this.storage.run(task, code);
  }

  end(task: RunningTask): void {
    task.over = true;
    this.away.delete(task);
    if (this.holder === task) this.hold(null);
  }

  /** Resolves when the task, which goes on, has ended or left its slot. */
  untilFree(task: RunningTask, ended: Promise<void>): Promise<void> {
    task.ended = ended;
    if (task.away) return Promise.resolve();
    return new Promise(resolve => {
      task.leave = resolve;
      void ended.then(resolve);
    });
  }

  /** What the loop must await before it begins another task: one that has come back. */
  nextReturn(): Promise<void> | null {
    let task = this.holder;
    while (task === null) {
      const next = this.returning.shift();
      if (next === undefined) return null;
      if (!next.task.over && next.task.away) this.comeBack((task = next.task));
      next.resolve();
    }
    return task.ended === null ? null : this.untilFree(task, task.ended);
  }

  leave(task: RunningTask): void {
    if (task.over || task.away) return;
    task.away = true;
    this.away.add(task);
    if (this.holder === task) this.hold(null);
    const duration = performance.now() - task.start;
    this.options.send({ op: 'seceded', seq: task.seq, duration });
    const { leave } = task;
    task.leave = null;
    leave?.();
  }

  rejoin(task: RunningTask): Promise<void> {
    if (task.over || !task.away) return Promise.resolve();
    return new Promise(resolve => {
      this.returning.push({ task, resolve });
      this.options.wake();
    });
  }

  returnIfFree(task: RunningTask): void {
    if (task.over || !task.away || this.holder !== null) return;
    this.comeBack(task);
    this.options.wake();
  }

  /** The thread ends by the doing of the code that runs: the control thread can see whose. */
  ending(): void {
    const task = this.suspect;
    if (task !== null) Atomics.store(this.options.cells, 0, task.seq);
  }

  private comeBack(task: RunningTask): void {
    task.away = false;
    this.away.delete(task);
    this.hold(task);
    this.options.send({ op: 'rejoined', seq: task.seq });
  }

  private hold(task: RunningTask | null): void {
    this.holder = task;
    Atomics.store(this.options.cells, 0, task?.seq ?? 0);
    if (task !== null) this.options.onHold(task);
  }
}
