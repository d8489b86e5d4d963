/**
 * All executor threads of a worker: one slot each. Gives every task to the thread that suits it
 * best (idle first, then where its inputs are live), moves queued tasks from a thread that is
 * taking long to one that is idle, and replaces threads that die. A dead thread is blamed only on
 * the task that ran in it.
 */
import { LIMITS } from '../../protocol/limits.ts';
import { packFrames } from '../../serialize/value.ts';
import type { ExecuteSuccess } from '../state/events.ts';
import type { StoredValue, ValueStore } from '../store.ts';
import { budgetOf } from './budget.ts';
import type { Budget } from './budget.ts';
import { deathError } from './death.ts';
import type { FromThread, ResultBatch, SentFunction } from './messages.ts';
import type { PoolEvents, PoolOptions, TaskToRun } from './pool-options.ts';
import { resultsOf } from './results.ts';
import { stacksOf } from './stacks.ts';
import type { ThreadStack } from './stacks.ts';
import { MOST_HANDED } from '../state/ready.ts';
import { compact, ExecutorThread, ownFolder } from './thread.ts';
import type { Death, Handed } from './thread.ts';

/** So many threads may fail to start in a row before the pool gives up. */
const STILLBORN_MOST = 5;

/** The threads of one worker, and what they have been given. */
export class ExecutorPool {
  private options: PoolOptions;
  private readonly threads: ExecutorThread[] = [];
  private readonly functions = new Map<number, SentFunction>();
  private readonly tasks = new Map<number, { task: TaskToRun; handed: Handed; lane: number }>();
  /** Tasks that wait for inputs to be read from disk. */
  private readonly loading = new Map<number, TaskToRun>();
  private readonly killing = new Set<number>();
  private readonly budget: Budget;
  private closed = false;
  /** Starts nothing any more: only what has begun goes on. */
  private retired = false;
  /** Threads in a row that died before their code ran. */
  private stillborn = 0;
  private flushing: NodeJS.Immediate | null = null;

  constructor(options: PoolOptions) {
    this.options = options;
    this.budget = budgetOf(options.memoryLimit, options.nthreads);
  }

  /** Starts the threads, if they have not been; the first task does, too. */
  startThreads(): void {
    if (this.threads.length > 0) return;
    for (let lane = 0; lane < this.options.nthreads; lane++) this.threads.push(this.start(lane));
  }

  private start(lane: number): ExecutorThread {
    const { nthreads, memoryLimit, root, address } = this.options;
    const context = this.options.context?.() ?? null;
    const { heapMb, liveBytes, garbageBytes } = this.budget;
    return new ExecutorThread({
      lane,
      capacity: MOST_HANDED * nthreads,
      setup: {
        root,
        address,
        memoryLimit,
        liveBytes,
        context,
        lane,
        lastWords: this.options.lastWords ?? '',
        garbageBytes
      },
      heapMb,
      entry: this.options.entry,
      onMessage: (thread, message) => this.receive(thread, message),
      onDeath: (thread, death) => this.died(thread, death)
    });
  }

  /** Threads that run nothing. */
  get idle(): number {
    return this.threads.filter(thread => thread.queue.size === 0).length;
  }

  addFunction(fn: number, name: string, blob: Uint8Array): void {
    // Its own copy: a view of a larger buffer would be sent to threads with all of that buffer.
    this.functions.set(fn, { fn, name, blob: Uint8Array.from(blob) });
  }

  functionName(fn: number): string {
    return this.functions.get(fn)?.name ?? '';
  }

  forgetFunctions(fns: readonly number[]): void {
    for (const fn of fns) this.functions.delete(fn);
    for (const thread of this.threads) {
      const known = fns.filter(fn => thread.known.has(fn));
      if (known.length > 0) thread.drop([], known);
    }
  }

  /** Hands a task to a thread, at once or when its inputs are in memory; `flush` sends it. */
  execute(task: TaskToRun): void {
    this.startThreads();
    const coming = this.options.store.pin(task.deps);
    if (coming === null) return this.handTo(this.choose(task), task);
    this.loading.set(task.tid, task);
    void coming.then(() => {
      if (this.loading.get(task.tid) !== task || this.closed) return;
      this.loading.delete(task.tid);
      this.handAgain(this.choose(task), task);
      this.flush();
    });
  }

  /** Asks all threads to collect garbage between tasks. */
  collectGarbage(): void {
    for (const thread of this.threads) thread.collectGarbage();
  }

  /** Sends what has been handed over, when this turn ends: as one message a thread. */
  flush(): void {
    if (this.flushing !== null) return;
    this.flushing = setImmediate(() => {
      this.flushing = null;
      for (const thread of this.threads) thread.post();
    });
  }

  /** These values are gone from the store. */
  drop(tids: readonly number[]): void {
    for (const thread of this.threads) {
      if (thread.live.size === 0) continue;
      const live = tids.filter(tid => thread.live.has(tid));
      if (live.length > 0) thread.drop(live, []);
    }
  }

  /** Takes back what has not begun: each task is told by onReturned or onKept. */
  recall(tids: readonly number[], runIds: readonly number[]): void {
    const returned: number[] = [];
    const kept: number[] = [];
    const runOf = new Map(tids.map((tid, i) => [tid, runIds[i] as number]));
    for (const [tid, runId] of runOf) {
      if (this.stopLoading(tid, runId)) {
        returned.push(tid);
        continue;
      }
      const entry = this.tasks.get(tid);
      const isIt = entry !== undefined && entry.task.runId === runId;
      if (isIt && this.threads[entry.lane]?.recall(entry.handed)) {
        this.forget(tid);
        returned.push(tid);
      } else kept.push(tid);
    }
    const runs = (of: number[]): number[] => of.map(tid => runOf.get(tid) as number);
    if (returned.length > 0) this.options.events.onReturned(returned, runs(returned));
    if (kept.length > 0) this.options.events.onKept(kept, runs(kept));
  }

  /** Ends an execution, and its thread if it runs there; `onKilled` follows unless it ended first. */
  kill(tid: number, runId: number): void {
    if (this.stopLoading(tid, runId)) return this.options.events.onKilled(tid, runId);
    const entry = this.tasks.get(tid);
    if (entry === undefined || entry.task.runId !== runId) return;
    const thread = this.threads[entry.lane];
    if (thread === undefined) return;
    if (thread.recall(entry.handed)) {
      this.forget(tid);
      this.options.events.onKilled(tid, runId);
      return;
    }
    this.killing.add(tid);
    thread.kill();
  }

  /** Numbers of the tasks whose code runs now. */
  running(): number[] {
    const tids: number[] = [];
    for (const { handed, lane } of this.tasks.values()) {
      if (this.threads[lane]?.hasBegun(handed)) tids.push(handed.tid);
    }
    return tids;
  }

  /** Stacks of the tasks whose code runs now, by number. */
  async stacks(timeoutMs: number): Promise<Map<number, ThreadStack>> {
    const threads = new Map<number, number>();
    for (const { handed, lane } of this.tasks.values()) {
      const thread = this.threads[lane];
      if (thread?.hasBegun(handed) === true) threads.set(handed.tid, thread.threadId);
    }
    const looks = await stacksOf([...threads.values()], timeoutMs, ownFolder());
    const stacks = new Map<number, ThreadStack>();
    for (const [tid, threadId] of threads) {
      const stack = looks.get(threadId);
      // A task that has ended since would be shown with the stack of another.
      const entry = this.tasks.get(tid);
      if (stack !== undefined && entry !== undefined) stacks.set(tid, stack);
    }
    return stacks;
  }

  /**
   * Gives back what has not begun, silently, and ends the threads that run nothing. What runs goes
   * on, and is told to other ears; its numbers and keys.
   */
  retire(
    store: ValueStore,
    events: Omit<PoolEvents, 'onKept' | 'onBegan' | 'onBroken' | 'onSeceded' | 'onLog'>
  ): { tid: number; runId: number; key: string }[] {
    this.retired = true;
    for (const task of this.loading.values()) this.options.store.unpin(task.deps);
    this.loading.clear();
    for (const [tid, { handed, lane, task }] of this.tasks) {
      this.options.store.unpin(task.deps);
      if (this.threads[lane]?.recall(handed) !== false) this.tasks.delete(tid);
    }
    const none = (): void => undefined;
    const { onLog } = this.options.events;
    const deaf = { onKept: none, onBegan: none, onBroken: none, onSeceded: none };
    const heard = { ...events, ...deaf, onLog };
    this.options = { ...this.options, store, events: heard };
    for (const thread of this.threads) {
      if (thread.queue.size + thread.away.size === 0) void thread.close();
    }
    return [...this.tasks.values()].map(({ task: { tid, runId, key } }) => ({ tid, runId, key }));
  }

  async close(): Promise<void> {
    this.closed = true;
    if (this.flushing !== null) clearImmediate(this.flushing);
    await Promise.all(this.threads.map(thread => thread.close()));
  }

  /** True when the task was waiting for its inputs; it does not any more. */
  private stopLoading(tid: number, runId: number | undefined): boolean {
    const task = this.loading.get(tid);
    if (task === undefined || task.runId !== runId) return false;
    this.loading.delete(tid);
    this.options.store.unpin(task.deps);
    return true;
  }

  /** Its execution is over, however it ended: its inputs may leave memory. */
  private forget(tid: number): void {
    const entry = this.tasks.get(tid);
    if (entry === undefined) return;
    this.tasks.delete(tid);
    // It may have ended just before its kill took effect.
    this.killing.delete(tid);
    this.options.store.unpin(entry.task.deps);
  }

  /** The idle thread with most of its inputs, else the one with the shortest queue. */
  private choose(task: TaskToRun): ExecutorThread {
    let best = this.threads[0] as ExecutorThread;
    if (this.threads.length === 1) return best;
    let bestQueue = Number.POSITIVE_INFINITY;
    let bestLive = -1;
    for (const thread of this.threads) {
      if (thread.room === 0) continue;
      const queue = thread.queue.size;
      if (queue > bestQueue) continue;
      const live = this.liveBytes(thread, task);
      if (queue === bestQueue && live <= bestLive) continue;
      best = thread;
      bestQueue = queue;
      bestLive = live;
    }
    return best;
  }

  private liveBytes(thread: ExecutorThread, task: TaskToRun): number {
    let bytes = 0;
    for (const tid of task.deps) {
      if (thread.live.has(tid)) bytes += this.options.store.sizeOf(tid);
    }
    return bytes;
  }

  private handTo(thread: ExecutorThread, task: TaskToRun): void {
    const { store } = this.options;
    const sent = this.functions.get(task.fn);
    if (sent !== undefined && !thread.known.has(task.fn)) thread.sendFunction(sent);
    for (const tid of task.deps) {
      const value = thread.live.has(tid) ? undefined : store.get(tid);
      if (value !== undefined) thread.sendValue({ tid, ...compact(value) });
    }
    const { tid, runId, key, fn, args, announce } = task;
    const deps = task.deps.length === 0 ? null : task.deps;
    const handed = thread.hand({ tid, runId, key, fn, args, deps, announce });
    this.tasks.set(tid, { task, handed, lane: thread.lane });
  }

  /** Hands over a task whose inputs are pinned; given back when one is gone from the store. */
  private handAgain(thread: ExecutorThread, task: TaskToRun): void {
    const { store, events } = this.options;
    if (task.deps.every(tid => thread.live.has(tid) || store.get(tid) !== undefined)) {
      return this.handTo(thread, task);
    }
    if (this.tasks.has(task.tid)) this.forget(task.tid);
    else store.unpin(task.deps);
    events.onReturned([task.tid], [task.runId]);
  }

  private receive(thread: ExecutorThread, message: FromThread): void {
    switch (message.op) {
      case 'ready':
        this.stillborn = 0;
        return;
      case 'results':
        return this.results(thread, message);
      case 'began': {
        const task = thread.queue.get(message.seq);
        if (task !== undefined) this.options.events.onBegan(task.tid, task.runId);
        return;
      }
      case 'lacking':
        return this.sendAgain(thread, message.seqs);
      case 'seceded': {
        const task = thread.move(message.seq, true);
        if (task === undefined) return;
        this.options.events.onSeceded(task.tid, task.runId, message.duration);
        if (thread.queue.size === 0) this.balance(thread);
        return;
      }
      case 'rejoined':
        thread.move(message.seq, false);
        return;
      case 'reschedule': {
        const task = thread.finish(message.seq);
        if (task === undefined) return;
        this.tasks.delete(task.tid);
        return this.options.events.onReschedule(task.tid, task.runId);
      }
      case 'log':
        return this.options.events.onLog(message.level, message.key, message.text);
    }
  }

  private results(thread: ExecutorThread, batch: ResultBatch): void {
    for (const tid of batch.evicted ?? []) thread.live.delete(tid);
    const event = emptySuccess();
    for (const result of resultsOf(batch)) {
      const handed = thread.finish(result.seq);
      if (handed === undefined) continue;
      const { tid, runId, key } = handed;
      const { start, duration, failure, family, frames, nbytes, type } = result;
      if (failure !== null) {
        this.forget(tid);
        const error = { ...failure, blame: key, worker: this.options.address };
        this.options.events.onFailure({ tid, runId }, error, thread.lane, start, duration);
        continue;
      }
      if (result.live) thread.live.add(tid);
      this.succeeded(event, { family, frames, nbytes, type }, tid, runId);
      event.lanes.push(thread.lane);
      event.starts.push(start);
      event.durations.push(duration);
    }
    if (event.tids.length > 0) this.options.events.onSuccess(event);
    if (thread.queue.size === 0 && !this.retired) this.balance(thread);
  }

  private succeeded(event: ExecuteSuccess, value: StoredValue, tid: number, runId: number): void {
    this.options.store.put(tid, value);
    const small = value.nbytes + 4 + 4 * value.frames.length <= LIMITS.inlineResultBytes;
    const wanted = this.tasks.get(tid)?.task.wanted === true;
    this.forget(tid);
    event.tids.push(tid);
    event.runIds.push(runId);
    event.nbytes.push(value.nbytes);
    event.types.push(value.type);
    event.inline.push(wanted && small ? packFrames(value) : null);
  }

  /** Values it counted on had been pushed out of the thread. */
  private sendAgain(thread: ExecutorThread, seqs: readonly number[]): void {
    for (const seq of seqs) {
      const handed = thread.queue.get(seq);
      const entry = handed === undefined ? undefined : this.tasks.get(handed.tid);
      if (handed === undefined || entry === undefined || !thread.recall(handed)) continue;
      for (const tid of entry.task.deps) thread.live.delete(tid);
      this.handAgain(thread, entry.task);
    }
    thread.post();
  }

  /** Gives an idle thread half of what waits behind the task of another. */
  private balance(idle: ExecutorThread): void {
    let longest: ExecutorThread | null = null;
    for (const thread of this.threads) {
      if (thread.queue.size > Math.max(1, longest?.queue.size ?? 1)) longest = thread;
    }
    if (longest === null) return;
    const waiting = [...longest.queue.values()].filter(task => !longest.hasBegun(task));
    // The nearest half stays where it is: it is about to be run.
    for (const handed of waiting.slice(Math.floor(waiting.length / 2))) {
      const entry = this.tasks.get(handed.tid);
      if (entry !== undefined && longest.recall(handed)) this.handAgain(idle, entry.task);
    }
    idle.post();
  }

  private died(thread: ExecutorThread, death: Death): void {
    if (this.closed) return;
    const { events } = this.options;
    if (death.stillborn && ++this.stillborn > STILLBORN_MOST) {
      this.closed = true;
      return events.onBroken(`its executors cannot start: ${death.error || 'no reason given'}`);
    }
    if (!this.retired) this.threads[thread.lane] = this.start(thread.lane);
    const returned: Handed[] = [];
    for (const task of [...death.running, ...death.others]) {
      const wasKilled = this.killing.has(task.tid);
      this.forget(task.tid);
      if (wasKilled) events.onKilled(task.tid, task.runId);
      else if (!death.running.includes(task) || death.killed) returned.push(task);
      else this.blame(thread, task, death);
    }
    if (returned.length > 0) {
      events.onReturned(
        returned.map(task => task.tid),
        returned.map(task => task.runId)
      );
    }
  }

  private blame(thread: ExecutorThread, task: Handed, death: Death): void {
    const { nthreads, memoryLimit, address, events } = this.options;
    const limits = { heapMb: this.budget.heapMb, memoryLimit, nthreads };
    const error = deathError(task.key, address, death, limits);
    events.onLog('error', task.key, error.message);
    events.onFailure(task, error, thread.lane, Date.now(), 0);
  }
}

function emptySuccess(): ExecuteSuccess {
  return {
    op: 'execute-success',
    tids: [],
    runIds: [],
    nbytes: [],
    types: [],
    lanes: [],
    starts: [],
    durations: [],
    inline: []
  };
}
