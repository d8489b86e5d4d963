/**
 * All executor threads of a worker: one slot each. Gives every task to the thread that suits it
 * best (idle first, then where its inputs are live), moves queued tasks from a thread that is
 * taking long to one that is idle, and replaces threads that die. A dead thread is blamed only on
 * the task that ran in it.
 */
import { LIMITS } from '../../protocol/limits.ts';
import type { ErrorRecord, Language } from '../../protocol/messages.ts';
import { packFrames } from '../../serialize/value.ts';
import { formatBytes } from '../../base/bytes.ts';
import type { ExecuteSuccess } from '../state/events.ts';
import type { StoredValue, ValueStore } from '../store.ts';
import type { Failure, FromThread, ResultBatch, SentFunction, ThreadSetup } from './messages.ts';
import { framesOf } from './results.ts';
import { stacksOf } from './stacks.ts';
import type { ThreadStack } from './stacks.ts';
import type { Death, Executor, Handed } from './executor.ts';
import { PythonExecutor } from './python.ts';
import type { PythonOwner, PythonSetup } from './python.ts';
import { ExecutorThread, HANDED_OVER, ownFolder } from './thread.ts';

const MIB = 2 ** 20;
const LIVE_BYTES = 64 * MIB;
/** Part of a worker's memory that the heaps of its threads may fill together. */
const HEAP_SHARE = 0.8;
/** What the process needs beside them: else its nanny would end it before a heap is full. */
const OWN_BYTES = 144 * MIB;
const LEAST_HEAP_MB = 64;
/** Part of a thread's memory that may pass through it between collections of garbage. */
const GARBAGE_SHARE = 0.1;
const LEAST_GARBAGE = 8 * MIB;
const MOST_GARBAGE = 32 * MIB;
/** Tasks that are handed to one thread at once, at most, for each thread there is. */
const DEPTH = 65;
/** So many threads may fail to start in a row before the pool gives up. */
const STILLBORN_MOST = 5;

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

/** Whether its Python has come up. */
export type PythonStart = { packages: Record<string, string> } | { reason: string };

/** How a worker runs Python. */
export interface PythonShape extends Pick<PythonSetup, 'python' | 'packagePath' | 'folder'> {
  /** One process with as many threads as the worker has, instead of a process each. */
  threads: boolean;
}

/** A task that waits for inputs, and the executor that has the others. */
interface Loading {
  task: TaskToRun;
  executor: Executor;
  pinned: number[];
}

interface Running {
  task: TaskToRun;
  handed: Handed;
  executor: Executor;
  pinned: number[];
}

export class ExecutorPool implements PythonOwner {
  private options: PoolOptions;
  private readonly threads: ExecutorThread[] = [];
  private readonly functions = new Map<number, SentFunction>();
  private readonly pythons: PythonExecutor[] = [];
  private readonly tasks = new Map<number, Running>();
  /** Tasks that wait for inputs to be read from disk. */
  private readonly loading = new Map<number, Loading>();
  private readonly killing = new Set<number>();
  private readonly heapMb: number;
  private closed = false;
  /** Starts nothing any more: only what has begun goes on. */
  private retired = false;
  /** Threads in a row that died before their code ran. */
  private stillborn = 0;
  private flushing: NodeJS.Immediate | null = null;
  /** Values of retired executors are on their way into the store. */
  private rescue: Promise<unknown> = Promise.resolve();
  private pythonReady: ((packages: Record<string, string>) => void) | null = null;
  private pythonFailed: ((reason: string) => void) | null = null;

  constructor(options: PoolOptions) {
    this.options = options;
    const { memoryLimit, nthreads } = options;
    const all = Math.min(memoryLimit * HEAP_SHARE, memoryLimit - OWN_BYTES) / nthreads;
    this.heapMb = memoryLimit === 0 ? 0 : Math.max(LEAST_HEAP_MB, Math.floor(all / MIB));
  }

  /** Starts the threads, if they have not been; the first task does, too. */
  startThreads(): void {
    if (this.threads.length > 0) return;
    for (let lane = 0; lane < this.options.nthreads; lane++) this.threads.push(this.start(lane));
  }

  private start(lane: number): ExecutorThread {
    const { nthreads, memoryLimit, root, address } = this.options;
    const context = this.options.context?.() ?? null;
    const tenth = memoryLimit === 0 ? LIVE_BYTES : (memoryLimit * 0.1) / nthreads;
    const garbage = Math.min(MOST_GARBAGE, (memoryLimit * GARBAGE_SHARE) / nthreads);
    return new ExecutorThread({
      lane,
      capacity: DEPTH * nthreads,
      setup: {
        root,
        address,
        memoryLimit,
        liveBytes: Math.min(LIVE_BYTES, tenth),
        context,
        lane,
        lastWords: this.options.lastWords ?? '',
        garbageBytes: memoryLimit === 0 ? 0 : Math.max(LEAST_GARBAGE, garbage)
      },
      heapMb: this.heapMb,
      entry: this.options.entry,
      onMessage: (thread, message) => this.receive(thread, message),
      onDeath: (thread, death) => this.died(thread, death)
    });
  }

  /** Starts Python processes; resolves with the versions of the first, or why there is none. */
  startPython(): Promise<PythonStart> {
    const { python, nthreads } = this.options;
    if (python === undefined) return Promise.resolve({ reason: 'none is set' });
    return new Promise(resolve => {
      this.pythonReady = packages => resolve({ packages });
      this.pythonFailed = reason => resolve({ reason });
      const lanes = python.threads ? 1 : nthreads;
      for (let lane = 0; lane < lanes; lane++) this.pythons.push(this.startProcess(lane, python));
    });
  }

  /** Takes over the processes of a pool that has not run anything. */
  takeProcesses(from: ExecutorPool): void {
    for (const one of from.pythons.splice(0)) {
      one.owner = this;
      this.pythons.push(one);
    }
  }

  private startProcess(lane: number, shape: PythonShape): PythonExecutor {
    const { nthreads, memoryLimit, root, store } = this.options;
    const { threads, ...rest } = shape;
    const tenth = memoryLimit === 0 ? LIVE_BYTES : (memoryLimit * 0.1) / nthreads;
    return new PythonExecutor({
      lane,
      capacity: DEPTH * nthreads,
      setup: {
        ...rest,
        threads: threads ? nthreads : 1,
        root,
        memoryLimit,
        liveBytes: Math.floor(Math.min(LIVE_BYTES, tenth)),
        keepsLive: store.putLive !== undefined
      },
      owner: this
    });
  }

  /** Ids of the processes beside this one. */
  get processes(): number[] {
    return this.pythons.map(({ pid }) => pid).filter(pid => pid > 0);
  }

  /** Memory is used up: the process that takes most of it has to go. */
  killForMemory(pid: number): void {
    this.pythons.find(one => one.pid === pid)?.killForMemory();
  }

  /** Calls a Python function beside the tasks; packFrames of its result. */
  async runPython(
    blob: Uint8Array,
    args: Uint8Array
  ): Promise<Uint8Array | { error: ErrorRecord }> {
    const [first] = this.pythons;
    const answer = (await first?.run(blob, args)) ?? noPython('run');
    if (answer instanceof Uint8Array) return answer;
    return { error: { ...answer, blame: 'run', worker: this.options.address } };
  }

  private get executors(): Executor[] {
    return [...this.threads, ...this.pythons];
  }

  /** Executors that run nothing. */
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
    for (const thread of this.executors) {
      const known = fns.filter(fn => thread.known.has(fn));
      if (known.length > 0) thread.drop([], known);
    }
  }

  /** Hands a task to a thread, at once or when its inputs are in memory; `flush` sends it. */
  execute(task: TaskToRun): void {
    if (this.functions.get(task.fn)?.language !== 'python') this.startThreads();
    const executor = this.choose(task);
    if (executor === null) {
      return this.refuse(task, noPython(task.key));
    }
    // What is live in a process is not brought here for a task that runs in that process.
    const pinned =
      executor.language === 'python' ? task.deps.filter(tid => !executor.live.has(tid)) : task.deps;
    const coming = this.options.store.pin(pinned);
    if (coming === null) return this.handTo(executor, task, pinned);
    const loading = { task, executor, pinned };
    this.loading.set(task.tid, loading);
    void coming.then(() => {
      if (this.loading.get(task.tid) !== loading || this.closed) return;
      this.loading.delete(task.tid);
      const same = executor.language === 'python' && this.isAlive(executor);
      this.handAgain(same ? executor : this.choose(task), task, pinned);
      this.flush();
    });
  }

  private isAlive(executor: Executor): boolean {
    return this.executors.includes(executor);
  }

  /** Asks all threads to collect garbage between tasks. */
  collectGarbage(): void {
    for (const thread of this.executors) thread.collectGarbage();
  }

  /** Sends what has been handed over, when this turn ends: as one message a thread. */
  flush(): void {
    if (this.flushing !== null) return;
    this.flushing = setImmediate(() => {
      this.flushing = null;
      for (const thread of this.executors) thread.post();
    });
  }

  /** These values are gone from the store. */
  drop(tids: readonly number[]): void {
    for (const thread of this.executors) {
      if (thread.live.size === 0) continue;
      const live = tids.filter(tid => thread.live.has(tid));
      if (live.length > 0) thread.drop(live, []);
    }
  }

  /** Takes back what has not begun: each task is told by onReturned or onKept. */
  recall(tids: readonly number[], runIds: readonly number[]): void {
    const returned: number[] = [];
    const kept: number[] = [];
    const asked = new Map<Executor, Running[]>();
    const runOf = new Map(tids.map((tid, i) => [tid, runIds[i] as number]));
    for (const [tid, runId] of runOf) {
      if (this.stopLoading(tid, runId)) {
        returned.push(tid);
        continue;
      }
      const entry = this.tasks.get(tid);
      const isIt = entry !== undefined && entry.task.runId === runId;
      if (isIt && entry.executor.recall(entry.handed)) {
        this.forget(tid);
        returned.push(tid);
      } else if (isIt && entry.executor.language === 'python') {
        const those = asked.get(entry.executor);
        if (those === undefined) asked.set(entry.executor, [entry]);
        else those.push(entry);
      } else kept.push(tid);
    }
    this.tellRecalled(returned, kept, runOf);
    for (const [executor, entries] of asked) void this.recallLater(executor, entries, runOf);
  }

  private tellRecalled(
    returned: number[],
    kept: number[],
    runOf: ReadonlyMap<number, number>
  ): void {
    const runs = (of: number[]): number[] => of.map(tid => runOf.get(tid) as number);
    if (returned.length > 0) this.options.events.onReturned(returned, runs(returned));
    if (kept.length > 0) this.options.events.onKept(kept, runs(kept));
  }

  /** Asks a process, which answers when its interpreter gets to it. */
  private async recallLater(
    executor: Executor,
    entries: readonly Running[],
    runOf: ReadonlyMap<number, number>
  ): Promise<void> {
    const back = new Set(await executor.recallLater(entries.map(({ handed }) => handed)));
    if (this.closed) return;
    // What has ended meanwhile was told otherwise.
    const open = entries.filter(entry => this.tasks.get(entry.task.tid) === entry);
    const returned = open.filter(({ handed }) => back.has(handed)).map(({ task }) => task.tid);
    const kept = open.filter(({ handed }) => !back.has(handed)).map(({ task }) => task.tid);
    for (const tid of returned) this.forget(tid);
    this.tellRecalled(returned, kept, runOf);
  }

  /** Ends an execution, and its thread if it runs there; `onKilled` follows unless it ended first. */
  kill(tid: number, runId: number): void {
    if (this.stopLoading(tid, runId)) return this.options.events.onKilled(tid, runId);
    const entry = this.tasks.get(tid);
    if (entry === undefined || entry.task.runId !== runId) return;
    const { executor, handed } = entry;
    if (executor.recall(handed)) {
      this.forget(tid);
      this.options.events.onKilled(tid, runId);
      return;
    }
    if (executor.language === 'python' && !executor.hasBegun(handed)) {
      void executor.recallLater([handed]).then(back => {
        if (this.tasks.get(tid) !== entry) return;
        if (back.length === 0) return this.end(entry);
        this.forget(tid);
        this.options.events.onKilled(tid, runId);
      });
      return;
    }
    this.end(entry);
  }

  private end({ task, executor }: Running): void {
    this.killing.add(task.tid);
    executor.kill();
  }

  /** Numbers of the tasks whose code runs now. */
  running(): number[] {
    const tids: number[] = [];
    for (const { handed, executor } of this.tasks.values()) {
      if (executor.hasBegun(handed)) tids.push(handed.tid);
    }
    return tids;
  }

  /** Stacks of the tasks whose code runs now, by number. */
  async stacks(timeoutMs: number): Promise<Map<number, ThreadStack>> {
    const threads = new Map<number, number>();
    for (const { handed, executor } of this.tasks.values()) {
      if (!(executor instanceof ExecutorThread)) continue;
      if (executor.hasBegun(handed)) threads.set(handed.tid, executor.threadId);
    }
    const [looks, ofPython] = await Promise.all([
      stacksOf([...threads.values()], timeoutMs, ownFolder()),
      Promise.all(this.pythons.map(one => one.stacks(timeoutMs)))
    ]);
    const stacks = new Map<number, ThreadStack>();
    // A task that has ended since would be shown with the stack of another.
    for (const [tid, { handed, executor }] of this.tasks) {
      const at = this.pythons.findIndex(one => one === executor);
      const stack = at >= 0 ? ofPython[at]?.get(handed.seq) : looks.get(threads.get(tid) ?? -1);
      if (stack !== undefined) stacks.set(tid, stack);
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
    for (const { pinned } of this.loading.values()) this.options.store.unpin(pinned);
    this.loading.clear();
    for (const [tid, { handed, executor, pinned }] of this.tasks) {
      this.options.store.unpin(pinned);
      if (executor.recall(handed)) this.tasks.delete(tid);
    }
    const { store: before } = this.options;
    this.rescue = Promise.all(this.pythons.map(one => before.rescue?.(one)));
    const none = (): void => undefined;
    const { onLog } = this.options.events;
    const deaf = { onKept: none, onBegan: none, onBroken: none, onSeceded: none };
    const heard = { ...events, ...deaf, onLog };
    this.options = { ...this.options, store, events: heard };
    for (const thread of this.threads) if (thread.queue.size === 0) void thread.close();
    return [...this.tasks.values()].map(({ task: { tid, runId, key } }) => ({ tid, runId, key }));
  }

  async close(): Promise<void> {
    this.closed = true;
    if (this.flushing !== null) clearImmediate(this.flushing);
    await this.rescue;
    await Promise.all(this.executors.map(executor => executor.close()));
  }

  /** True when the task was waiting for its inputs; it does not any more. */
  private stopLoading(tid: number, runId: number | undefined): boolean {
    const loading = this.loading.get(tid);
    if (loading === undefined || loading.task.runId !== runId) return false;
    this.loading.delete(tid);
    this.options.store.unpin(loading.pinned);
    return true;
  }

  /** Its execution is over, however it ended: its inputs may leave memory. */
  private forget(tid: number): void {
    const entry = this.tasks.get(tid);
    if (entry === undefined) return;
    this.tasks.delete(tid);
    this.options.store.unpin(entry.pinned);
  }

  /** The idle executor with most of its inputs, else the one with the shortest queue. */
  private choose(task: TaskToRun): Executor | null {
    const isPython = this.functions.get(task.fn)?.language === 'python';
    const executors: readonly Executor[] = isPython ? this.pythons : this.threads;
    let best = executors[0] ?? null;
    if (executors.length < 2) return best;
    let bestQueue = Number.POSITIVE_INFINITY;
    let bestLive = -1;
    for (const executor of executors) {
      if (executor.room === 0) continue;
      const queue = executor.queue.size;
      if (queue > bestQueue) continue;
      const live = this.liveBytes(executor, task);
      if (queue === bestQueue && live <= bestLive) continue;
      best = executor;
      bestQueue = queue;
      bestLive = live;
    }
    return best;
  }

  private liveBytes(thread: Executor, task: TaskToRun): number {
    let bytes = 0;
    for (const tid of task.deps) {
      if (thread.live.has(tid)) bytes += this.options.store.sizeOf(tid);
    }
    return bytes;
  }

  private handTo(executor: Executor, task: TaskToRun, pinned: number[]): void {
    const { store } = this.options;
    const sent = this.functions.get(task.fn);
    for (const tid of task.deps) {
      const value = executor.live.has(tid) ? undefined : store.get(tid);
      if (value === undefined) continue;
      const foreign = this.foreignInput(executor.language, tid, value, task);
      if (foreign !== null) {
        store.unpin(pinned);
        return this.refuse(task, foreign);
      }
      // A process takes its own copies: of large frames, in files that it maps.
      const { family, frames } = executor.language === 'python' ? value : compact(value);
      executor.sendValue({ tid, family, frames });
    }
    if (sent !== undefined && !executor.known.has(task.fn)) executor.sendFunction(sent);
    const { tid, runId, key, fn, args, announce } = task;
    const deps = task.deps.length === 0 ? null : task.deps;
    const handed = executor.hand({ tid, runId, key, fn, args, deps, announce });
    this.tasks.set(tid, { task, handed, executor, pinned });
  }

  /** Why the executor cannot read an input, or null. */
  private foreignInput(
    language: Language,
    tid: number,
    { family }: StoredValue,
    task: TaskToRun
  ): Failure | null {
    if (family !== (language === 'python' ? 'js' : 'pickle')) return null;
    const [here, there] =
      language === 'python' ? ['Python', 'TypeScript'] : ['TypeScript', 'Python'];
    const input = this.options.keyOf?.(tid) ?? `number ${tid}`;
    const text =
      `Task ${task.key} runs in ${here} and needs ${input}, whose value is of family ${family}: only ` +
      `${there} reads it. ${language === 'python' ? RETURN_FROM_TYPESCRIPT : RETURN_FROM_PYTHON}`;
    return failed('SERIALIZATION', `SerializationError: ${text}`);
  }

  /** The task fails without having run. */
  private refuse({ tid, runId, key }: TaskToRun, failure: Failure): void {
    const error = { ...failure, blame: key, worker: this.options.address };
    this.options.events.onFailure({ tid, runId }, error, 0, Date.now(), 0);
  }

  /** Hands over a task whose inputs are pinned; given back when one is gone from the store. */
  private handAgain(executor: Executor | null, task: TaskToRun, pinned: number[]): void {
    const { store, events } = this.options;
    const has = (tid: number): boolean =>
      executor?.live.has(tid) === true || store.get(tid) !== undefined;
    if (executor !== null && task.deps.every(has)) return this.handTo(executor, task, pinned);
    if (this.tasks.has(task.tid)) this.forget(task.tid);
    else store.unpin(pinned);
    events.onReturned([task.tid], [task.runId]);
  }

  context(): ThreadSetup['context'] {
    return this.options.context?.() ?? null;
  }

  onReady(packages: Record<string, string>): void {
    this.pythonReady?.(packages);
  }

  receive(thread: Executor, message: FromThread): void {
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
        if (thread.queue.size === 0) void this.balance(thread);
        return;
      }
      case 'rejoined':
        thread.move(message.seq, false);
        return;
      case 'reschedule': {
        const task = thread.finish(message.seq);
        if (task === undefined) return;
        this.forget(task.tid);
        return this.options.events.onReschedule(task.tid, task.runId);
      }
      case 'log':
        return this.options.events.onLog(message.level, message.key, message.text);
    }
  }

  private results(thread: Executor, batch: ResultBatch): void {
    for (const tid of batch.evicted) thread.live.delete(tid);
    const event = emptySuccess();
    const values = batch.values ?? framesOf(batch);
    let failed = 0;
    for (let i = 0; i < batch.seqs.length; i++) {
      const handed = thread.finish(batch.seqs[i] as number);
      const failure = batch.counts[i] === 0 ? batch.failures[failed++] : undefined;
      if (handed === undefined) continue;
      const { tid, runId, key } = handed;
      const start = batch.starts[i] as number;
      const duration = batch.durations[i] as number;
      if (failure !== undefined) {
        this.forget(tid);
        const error = { ...failure, blame: key, worker: this.options.address };
        this.options.events.onFailure({ tid, runId }, error, thread.lane, start, duration);
        continue;
      }
      const value: StoredValue = {
        family: batch.families[i] as StoredValue['family'],
        frames: values[i] as Uint8Array[],
        nbytes: batch.nbytes[i] as number,
        type: batch.types[i] as string
      };
      if (batch.live[i] === 1) thread.live.add(tid);
      const isOwned = batch.owned?.[i] === 1 && thread instanceof PythonExecutor;
      if (isOwned && this.options.store.putLive === undefined) {
        void this.fetchResult(thread, handed, value, start, duration);
        continue;
      }
      this.succeeded(event, value, tid, runId, isOwned ? thread : null);
      event.lanes.push(thread.lane);
      event.starts.push(start);
      event.durations.push(duration);
    }
    if (event.tids.length > 0) this.options.events.onSuccess(event);
    if (thread.queue.size === 0 && !this.retired) void this.balance(thread);
  }

  /** A result that its process has kept, for a store that takes frames only. */
  private async fetchResult(
    executor: PythonExecutor,
    { tid, runId }: Handed,
    { nbytes, type }: StoredValue,
    start: number,
    duration: number
  ): Promise<void> {
    const value = await executor.fetch(tid, true);
    if (value === null) {
      this.forget(tid);
      return this.options.events.onReturned([tid], [runId]);
    }
    const event = emptySuccess();
    this.succeeded(event, { ...value, nbytes, type }, tid, runId, null);
    event.lanes.push(executor.lane);
    event.starts.push(start);
    event.durations.push(duration);
    this.options.events.onSuccess(event);
  }

  private succeeded(
    event: ExecuteSuccess,
    value: StoredValue,
    tid: number,
    runId: number,
    holder: PythonExecutor | null
  ): void {
    const { nbytes, type } = value;
    if (holder === null) this.options.store.put(tid, value);
    else this.options.store.putLive?.(tid, { nbytes, type, holder, handle: tid });
    const small = value.nbytes + 4 + 4 * value.frames.length <= LIMITS.inlineResultBytes;
    const wanted = this.tasks.get(tid)?.task.wanted === true;
    this.forget(tid);
    event.tids.push(tid);
    event.runIds.push(runId);
    event.nbytes.push(value.nbytes);
    event.types.push(value.type);
    event.inline.push(wanted && small && holder === null ? packFrames(value) : null);
  }

  /** Values it counted on had been pushed out of the thread. */
  private sendAgain(thread: Executor, seqs: readonly number[]): void {
    for (const seq of seqs) {
      const handed = thread.queue.get(seq);
      const entry = handed === undefined ? undefined : this.tasks.get(handed.tid);
      if (handed === undefined || entry === undefined) continue;
      // A process has let go of it already.
      if (thread.language === 'python') thread.finish(seq);
      else if (!thread.recall(handed)) continue;
      for (const tid of entry.task.deps) thread.live.delete(tid);
      this.handAgain(thread, entry.task, entry.pinned);
    }
    thread.post();
  }

  /** Gives an idle executor half of what waits behind the task of another. */
  private async balance(idle: Executor): Promise<void> {
    const group: readonly Executor[] = idle.language === 'python' ? this.pythons : this.threads;
    let longest: Executor | null = null;
    for (const executor of group) {
      if (executor.queue.size > Math.max(1, longest?.queue.size ?? 1)) longest = executor;
    }
    if (longest === null) return;
    const from = longest;
    const waiting = [...from.queue.values()].filter(task => !from.hasBegun(task));
    // The nearest half stays where it is: it is about to be run.
    const half = waiting.slice(Math.floor(waiting.length / 2));
    if (from.language === 'javascript') {
      for (const handed of half) if (from.recall(handed)) this.moveTo(idle, handed);
    } else {
      for (const handed of await from.recallLater(half)) this.moveTo(idle, handed);
    }
    if (this.isAlive(idle)) idle.post();
  }

  private moveTo(idle: Executor, handed: Handed): void {
    const entry = this.tasks.get(handed.tid);
    if (entry?.handed !== handed || this.closed) return;
    this.handAgain(this.isAlive(idle) ? idle : null, entry.task, entry.pinned);
  }

  died(executor: Executor, death: Death): void {
    if (executor instanceof PythonExecutor) this.options.store.lose?.(executor);
    if (this.closed) return;
    const { events } = this.options;
    if (death.stillborn && ++this.stillborn > STILLBORN_MOST) return this.broke(executor, death);
    if (!this.retired) this.replace(executor);
    const returned: Handed[] = [];
    for (const task of [...death.running, ...death.others]) {
      this.forget(task.tid);
      if (this.killing.delete(task.tid)) events.onKilled(task.tid, task.runId);
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

  private replace(executor: Executor): void {
    const { lane } = executor;
    const { python } = this.options;
    if (executor.language === 'javascript') this.threads[lane] = this.start(lane);
    else if (python !== undefined) this.pythons[lane] = this.startProcess(lane, python);
  }

  /** Executors that die before they run anything are started no more. */
  private broke(executor: Executor, { error, running, others }: Death): void {
    const reason = `its executors cannot start: ${error || 'no reason given'}`;
    const failed = this.pythonFailed;
    if (executor.language === 'python' && failed !== null && running.length + others.length === 0) {
      for (const one of this.pythons.splice(0)) void one.close();
      return failed(error);
    }
    this.closed = true;
    this.options.events.onBroken(reason);
  }

  private blame(executor: Executor, task: Handed, death: Death): void {
    const { nthreads, memoryLimit, address, events } = this.options;
    if (executor.language === 'python') return this.blamePython(executor, task, death);
    const heap =
      this.heapMb > 0 ? `its executor's heap of ${formatBytes(this.heapMb * MIB)}` : 'heap';
    const limit =
      memoryLimit > 0 ? ` (worker limit ${formatBytes(memoryLimit)}, ${nthreads} threads)` : '';
    const message = death.outOfMemory
      ? `WorkerMemoryError: Task ${task.key} needed more than ${heap}${limit}. Give the workers more memory ` +
        `(memoryLimit), use fewer threads a worker, or make the task smaller.`
      : `TaskError: Task ${task.key} ended its executor (exit code ${death.exitCode}), as process.exit() does. ` +
        `Return from the task or throw an error instead.`;
    const code = death.outOfMemory ? 'WORKER_MEMORY' : 'EXECUTOR_DIED';
    events.onLog('error', task.key, message);
    events.onFailure(
      task,
      { code, message, traceback: '', exception: null, blame: task.key, worker: address },
      executor.lane,
      Date.now(),
      0
    );
  }

  private blamePython(executor: Executor, task: Handed, death: Death): void {
    const { memoryLimit, address, events } = this.options;
    const message = death.outOfMemory
      ? `WorkerMemoryError: Task ${task.key} made its Python process use more memory than the worker has ` +
        `(${formatBytes(memoryLimit)}): it was ended. Give the workers more memory (memoryLimit), use fewer ` +
        `threads a worker, or make the task smaller.`
      : `TaskError: Task ${task.key} ended its Python process: ${death.error}`;
    const code = death.outOfMemory ? 'WORKER_MEMORY' : 'EXECUTOR_DIED';
    events.onLog('error', task.key, message);
    const error = { ...failed(code, message), blame: task.key, worker: address };
    events.onFailure(task, error, executor.lane, Date.now(), 0);
  }
}

const RETURN_FROM_TYPESCRIPT =
  'Let the TypeScript task return plain data (null, booleans, numbers, strings, Uint8Array, arrays, ' +
  'objects with string keys), a typed array, an NdArray or an ArrowData.';
const RETURN_FROM_PYTHON =
  'Let the Python task return plain data (None, bool, int, float, str, bytes, lists, dicts with str ' +
  'keys), a numpy array or an Arrow table.';

function failed(code: string, message: string): Failure {
  return { code, message, traceback: '', exception: null };
}

function noPython(key: string): Failure {
  return failed(
    'NO_VALID_WORKER',
    `NoValidWorkerError: Task ${key} is in Python, and this worker has none.`
  );
}

/**
 * Frames that can be sent without a larger buffer that they are part of. Large ones are copied
 * here and handed over: a message would take the same copy and another meanwhile.
 */
function compact(value: StoredValue): Pick<StoredValue, 'family' | 'frames'> {
  const frames = value.frames.map(frame =>
    frame.byteLength >= HANDED_OVER || frame.byteLength * 2 < frame.buffer.byteLength
      ? Uint8Array.from(frame)
      : frame
  );
  return { family: value.family, frames };
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
