/**
 * All executors of a worker: a thread for each slot, and processes beside them that run Python.
 * Gives every task to the executor that suits it best (idle first, then where its inputs are live),
 * moves queued tasks from an executor that is taking long to one that is idle, and replaces those
 * that die. A dead one is blamed only on the task that ran in it.
 */
import type { ErrorRecord, Language } from '../../protocol/messages.ts';
import type { ProfileWish } from '../../protocol/profile.ts';
import type { ExecuteSuccess } from '../state/events.ts';
import { MOST_HANDED } from '../state/ready.ts';
import type { ValueStore } from '../store.ts';
import { budgetOf } from './budget.ts';
import type { Budget } from './budget.ts';
import { choose, longestQueue } from './choice.ts';
import { deathError } from './death.ts';
import type { Death, Executor, Handed } from './executor.ts';
import { GivenTasks } from './given.ts';
import { foreignInput, isForeign, noPython } from './languages.ts';
import type { Failure, FromThread, SentFunction } from './messages.ts';
import type { PoolEvents, PoolOptions, TaskToRun } from './pool-options.ts';
import { PythonProcesses } from './processes.ts';
import { PythonExecutor } from './python.ts';
import { kill, recall } from './recall.ts';
import { resultsOf } from './results.ts';
import type { Result } from './results.ts';
import type { ThreadStack } from './stacks.ts';
import { addSuccess, emptySuccess } from './successes.ts';
import { ExecutorThread } from './thread.ts';

/** So many executors may fail to start in a row before the pool gives up. */
const STILLBORN_MOST = 5;

/** The executors of one worker, and what they have been given. */
export class ExecutorPool {
  readonly python: PythonProcesses;
  private options: PoolOptions;
  private readonly threads: ExecutorThread[] = [];
  private readonly functions = new Map<number, SentFunction>();
  private readonly given: GivenTasks;
  private readonly budget: Budget;
  private closed = false;
  /** Starts nothing any more: only what has begun goes on. */
  private retired = false;
  /** Executors in a row that died before their code ran. */
  private stillborn = 0;
  private flushing: NodeJS.Immediate | null = null;
  /** Who hears what may take a moment: once it is closed, nobody. */
  private readonly ears = (): PoolEvents | null => (this.closed ? null : this.options.events);
  /** Values of retired executors are on their way into the store. */
  private rescue: Promise<unknown> = Promise.resolve();

  constructor(options: PoolOptions) {
    this.options = options;
    this.given = new GivenTasks(options.store);
    this.budget = budgetOf(options.memoryLimit, options.nthreads);
    this.python = new PythonProcesses({
      ...options,
      capacity: MOST_HANDED * options.nthreads,
      liveBytes: this.budget.liveBytes,
      onMessage: (executor, message) => this.receive(executor, message),
      onResults: (executor, results, evicted) => this.results(executor, results, evicted),
      onDeath: (executor, death) => this.died(executor, death)
    });
  }

  /** Starts the threads, if they have not been; the first task of theirs does, too. */
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

  /** Calls a Python function beside the tasks; packFrames of its result. */
  async runPython(
    blob: Uint8Array,
    args: Uint8Array
  ): Promise<Uint8Array | { error: ErrorRecord }> {
    const answer = await this.python.run(blob, args);
    return answer instanceof Uint8Array ? answer : { error: this.errorOf(answer, 'run') };
  }

  private get executors(): Executor[] {
    return [...this.threads, ...this.python.executors];
  }

  private isAlive(executor: Executor): boolean {
    return this.executors.includes(executor);
  }

  /** Threads that run nothing. */
  get idle(): number {
    return this.threads.filter(thread => thread.queue.size === 0).length;
  }

  addFunction(fn: number, name: string, blob: Uint8Array, language: Language = 'javascript'): void {
    // Its own copy: a view of a larger buffer would be sent to threads with all of that buffer.
    this.functions.set(fn, { fn, name, blob: Uint8Array.from(blob), language });
  }

  functionName(fn: number): string {
    return this.functions.get(fn)?.name ?? '';
  }

  forgetFunctions(fns: readonly number[]): void {
    for (const fn of fns) this.functions.delete(fn);
    for (const executor of this.executors) {
      const known = fns.filter(fn => executor.known.has(fn));
      if (known.length > 0) executor.drop([], known);
    }
  }

  /** Hands a task to an executor, at once or when its inputs are there; `flush` sends it. */
  execute(task: TaskToRun): void {
    if (this.functions.get(task.fn)?.language !== 'python') this.startThreads();
    const executor = this.choose(task);
    if (executor === null) return this.refuse(task, noPython(task.key));
    // What is live in a process is not brought here for a task that runs in that process.
    const pinned =
      executor.language === 'python' ? task.deps.filter(tid => !executor.live.has(tid)) : task.deps;
    const coming = this.options.store.pin(pinned);
    if (coming === null) return this.handTo(executor, task, pinned);
    const loading = { task, executor, pinned };
    this.given.loading.set(task.tid, loading);
    void coming.then(() => {
      if (this.given.loading.get(task.tid) !== loading || this.closed) return;
      this.given.loading.delete(task.tid);
      const same = executor.language === 'python' && this.isAlive(executor);
      this.handAgain(same ? executor : this.choose(task), task, pinned);
      this.flush();
    });
  }

  /** Asks all executors to collect garbage between tasks. */
  collectGarbage(): void {
    for (const executor of this.executors) executor.collectGarbage();
  }

  /** Sends what has been handed over, when this turn ends: as one message an executor. */
  flush(): void {
    if (this.flushing !== null) return;
    this.flushing = setImmediate(() => {
      this.flushing = null;
      for (const executor of this.executors) executor.post();
    });
  }

  /** These values are gone from the store. */
  drop(tids: readonly number[]): void {
    for (const executor of this.executors) {
      if (executor.live.size === 0) continue;
      const live = tids.filter(tid => executor.live.has(tid));
      if (live.length > 0) executor.drop(live, []);
    }
  }

  /** Takes back what has not begun: each task is told by onReturned or onKept. */
  recall(tids: readonly number[], runIds: readonly number[]): void {
    recall(this.given, tids, runIds, this.ears);
  }

  /** Ends an execution, and its executor if it runs there; `onKilled` follows unless it ended first. */
  kill(tid: number, runId: number): void {
    kill(this.given, tid, runId, this.ears);
  }

  /** Numbers of the tasks whose code runs now. */
  running(): number[] {
    return this.given.begun();
  }

  /** Stacks of the tasks whose code runs now, by number. */
  stacks(timeoutMs: number): Promise<Map<number, ThreadStack>> {
    return this.given.stacks(this.python, timeoutMs);
  }

  /** What the profilers of the Python executors have seen. */
  profiles(wanted: ProfileWish, timeoutMs: number): Promise<Uint8Array[]> {
    return this.python.profiles(wanted, timeoutMs);
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
    this.given.retire(store);
    const { store: before } = this.options;
    this.rescue = Promise.all(this.python.executors.map(one => before.rescue?.(one)));
    const none = (): void => undefined;
    const { onLog } = this.options.events;
    const deaf = { onKept: none, onBegan: none, onBroken: none, onSeceded: none };
    const heard = { ...events, ...deaf, onLog };
    this.options = { ...this.options, store, events: heard };
    for (const thread of this.threads) {
      if (thread.queue.size + thread.away.size === 0) void thread.close();
    }
    return [...this.given.running.values()].map(({ task: { tid, runId, key } }) => ({
      tid,
      runId,
      key
    }));
  }

  async close(): Promise<void> {
    this.closed = true;
    if (this.flushing !== null) clearImmediate(this.flushing);
    await this.rescue;
    await Promise.all(this.executors.map(executor => executor.close()));
  }

  private choose(task: TaskToRun): Executor | null {
    const isPython = this.functions.get(task.fn)?.language === 'python';
    const executors = isPython ? this.python.executors : this.threads;
    return choose(executors, task, tid => this.options.store.sizeOf(tid));
  }

  private handTo(executor: Executor, task: TaskToRun, pinned: number[]): void {
    const { store } = this.options;
    const sent = this.functions.get(task.fn);
    for (const tid of task.deps) {
      const value = executor.live.has(tid) ? undefined : store.get(tid);
      if (value === undefined) continue;
      if (isForeign(executor.language, value.family)) {
        const input = this.options.keyOf?.(tid) ?? `number ${tid}`;
        store.unpin(pinned);
        return this.refuse(task, foreignInput(executor.language, value.family, task.key, input));
      }
      executor.sendValue(tid, value);
    }
    if (sent !== undefined && !executor.known.has(task.fn)) executor.sendFunction(sent);
    const { tid, runId, key, fn, args, announce } = task;
    const deps = task.deps.length === 0 ? null : task.deps;
    const handed = executor.hand({ tid, runId, key, fn, args, deps, announce });
    this.given.running.set(tid, { task, handed, executor, pinned });
  }

  /** The task fails without having run. */
  private refuse({ tid, runId, key }: TaskToRun, failure: Failure): void {
    this.options.events.onFailure({ tid, runId }, this.errorOf(failure, key), 0, Date.now(), 0);
  }

  private errorOf(failure: Failure, key: string): ErrorRecord {
    return { ...failure, blame: key, worker: this.options.address };
  }

  /** Hands over a task whose inputs are pinned; given back when one is gone from the store. */
  private handAgain(executor: Executor | null, task: TaskToRun, pinned: number[]): void {
    const { store, events } = this.options;
    const has = (tid: number): boolean =>
      executor?.live.has(tid) === true || store.get(tid) !== undefined;
    if (executor !== null && task.deps.every(has)) return this.handTo(executor, task, pinned);
    if (this.given.running.has(task.tid)) this.given.forget(task.tid);
    else store.unpin(pinned);
    events.onReturned([task.tid], [task.runId]);
  }

  private receive(executor: Executor, message: FromThread): void {
    switch (message.op) {
      case 'ready':
        this.stillborn = 0;
        return;
      case 'results':
        return this.results(executor, resultsOf(message), message.evicted ?? []);
      case 'began': {
        const task = executor.queue.get(message.seq);
        if (task !== undefined) this.options.events.onBegan(task.tid, task.runId);
        return;
      }
      case 'lacking':
        return this.sendAgain(executor, message.seqs);
      case 'seceded': {
        const task = executor.move(message.seq, true);
        if (task === undefined) return;
        this.options.events.onSeceded(task.tid, task.runId, message.duration);
        if (executor.queue.size === 0) void this.balance(executor);
        return;
      }
      case 'rejoined':
        executor.move(message.seq, false);
        return;
      case 'reschedule': {
        const task = executor.finish(message.seq);
        if (task === undefined) return;
        this.given.forget(task.tid);
        return this.options.events.onReschedule(task.tid, task.runId);
      }
      case 'log':
        return this.options.events.onLog(message.level, message.key, message.text);
    }
  }

  private results(
    executor: Executor,
    results: readonly Result[],
    evicted: readonly number[]
  ): void {
    for (const tid of evicted) executor.live.delete(tid);
    const event = emptySuccess();
    for (const result of results) {
      const handed = executor.finish(result.seq);
      if (handed === undefined) continue;
      const { start, duration, failure } = result;
      if (failure !== null) {
        this.given.forget(handed.tid);
        const error = this.errorOf(failure, handed.key);
        this.options.events.onFailure(handed, error, executor.lane, start, duration);
        continue;
      }
      if (result.live) executor.live.add(handed.tid);
      const holder = result.owned && executor instanceof PythonExecutor ? executor : null;
      if (holder !== null && this.options.store.putLive === undefined) {
        void this.fetchResult(holder, handed, result);
      } else this.succeeded(event, result, handed, executor.lane, holder);
    }
    if (event.tids.length > 0) this.options.events.onSuccess(event);
    if (executor.queue.size === 0 && !this.retired) void this.balance(executor);
  }

  /** A result that its process has kept, for a store that takes frames only. */
  private async fetchResult(
    executor: PythonExecutor,
    handed: Handed,
    result: Result
  ): Promise<void> {
    const { tid, runId } = handed;
    const value = await executor.fetch(tid, true);
    if (value === null) {
      this.given.forget(tid);
      return this.options.events.onReturned([tid], [runId]);
    }
    const event = emptySuccess();
    const whole = { ...result, family: value.family, frames: [], stored: value, owned: false };
    this.succeeded(event, whole, handed, executor.lane, null);
    this.options.events.onSuccess(event);
  }

  /** `holder`: the value stays live there. */
  private succeeded(
    event: ExecuteSuccess,
    result: Result,
    handed: Handed,
    lane: number,
    holder: PythonExecutor | null
  ): void {
    const { tid } = handed;
    const { family, frames, nbytes, type, stored } = result;
    if (holder === null) {
      const value = stored ?? { family, frames, nbytes, type };
      value.type = type;
      this.options.store.put(tid, value);
    } else this.options.store.putLive?.(tid, { nbytes, type, holder, handle: tid });
    addSuccess(event, handed, lane, result, this.given.running.get(tid)?.task.wanted === true);
    this.given.forget(tid);
  }

  /** Values it counted on had been pushed out of the executor. */
  private sendAgain(executor: Executor, seqs: readonly number[]): void {
    for (const seq of seqs) {
      const handed = executor.queue.get(seq);
      const entry = handed === undefined ? undefined : this.given.running.get(handed.tid);
      if (handed === undefined || entry === undefined) continue;
      // A process has let go of it already.
      if (executor.language === 'python') executor.finish(seq);
      else if (!executor.recall(handed)) continue;
      for (const tid of entry.task.deps) executor.live.delete(tid);
      this.handAgain(executor, entry.task, entry.pinned);
    }
    executor.post();
  }

  /** Gives an idle executor half of what waits behind the task of another. */
  private async balance(idle: Executor): Promise<void> {
    const group = idle.language === 'python' ? this.python.executors : this.threads;
    const longest = longestQueue(group);
    if (longest === null) return;
    const { from, half } = longest;
    if (from.language === 'javascript') {
      for (const handed of half) if (from.recall(handed)) this.moveTo(idle, handed);
    } else {
      for (const handed of await from.recallLater(half)) this.moveTo(idle, handed);
    }
    if (this.isAlive(idle)) idle.post();
  }

  private moveTo(idle: Executor, handed: Handed): void {
    const entry = this.given.running.get(handed.tid);
    if (entry?.handed !== handed || this.closed) return;
    this.handAgain(this.isAlive(idle) ? idle : null, entry.task, entry.pinned);
  }

  private died(executor: Executor, death: Death): void {
    if (executor instanceof PythonExecutor) this.options.store.lose?.(executor);
    if (this.closed) return;
    const { events } = this.options;
    if (death.stillborn && ++this.stillborn > STILLBORN_MOST) return this.broke(executor, death);
    if (!this.retired) this.replace(executor);
    const returned: Handed[] = [];
    for (const task of [...death.running, ...death.others]) {
      const wasKilled = this.given.killing.has(task.tid);
      this.given.forget(task.tid);
      if (wasKilled) events.onKilled(task.tid, task.runId);
      else if (!death.running.includes(task) || death.killed) returned.push(task);
      else this.blame(executor, task, death);
    }
    if (returned.length > 0) {
      events.onReturned(
        returned.map(task => task.tid),
        returned.map(task => task.runId)
      );
    }
  }

  private replace({ language, lane }: Executor): void {
    if (language === 'python') this.python.replace(lane);
    else this.threads[lane] = this.start(lane);
  }

  /** Executors that die before they run anything are started no more. */
  private broke({ language }: Executor, { error, running, others }: Death): void {
    const hadNone = running.length + others.length === 0;
    if (language === 'python' && hadNone && this.python.giveUp(error)) return;
    this.closed = true;
    this.options.events.onBroken(`its executors cannot start: ${error || 'no reason given'}`);
  }

  private blame({ language, lane }: Executor, task: Handed, death: Death): void {
    const { nthreads, memoryLimit, address, events } = this.options;
    const limits = { heapMb: this.budget.heapMb, memoryLimit, nthreads };
    const error = deathError(language, task.key, address, death, limits);
    events.onLog('error', task.key, error.message);
    events.onFailure(task, error, lane, Date.now(), 0);
  }
}
