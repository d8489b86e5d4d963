/**
 * The control thread's side of one executor thread: what it has been handed, what is live in it,
 * and its life. It is made anew by its pool when it has died.
 */
import { resourceLimits as ownLimits, Worker } from 'node:worker_threads';
import type { Serialized } from '../../serialize/value.ts';
import type { StoredValue } from '../store.ts';
import type { Death, Executor, Handed } from './executor.ts';
import { BEGUN, HAND_OVER_FROM, LARGE_FRAME, TAKEN } from './messages.ts';
import type {
  FromThread,
  SentFunction,
  SentValue,
  TaskBatch,
  ThreadSetup,
  ToThread
} from './messages.ts';

export interface ThreadOptions {
  lane: number;
  /** How many tasks can be handed over at once. */
  capacity: number;
  setup: Omit<ThreadSetup, 'cells'>;
  /** 0 = Node's own. */
  heapMb: number;
  /** Another file to run, for tests. */
  entry?: URL | undefined;
  onMessage(thread: ExecutorThread, message: FromThread): void;
  onDeath(thread: ExecutorThread, death: Death): void;
}

/** Folder of the executor's own code, as stacks name it. */
export function ownFolder(): string {
  return new URL('./', entry()).href;
}

/** The file a thread runs: beside the bundle, or beside this source. */
function entry(): URL {
  const url = import.meta.url;
  if (url.endsWith('.mjs')) return new URL('./executor.mjs', url);
  return new URL(url.endsWith('.ts') ? './thread-main.ts' : './thread-main.js', url);
}

export class ExecutorThread implements Executor {
  readonly language = 'javascript';
  readonly lane: number;
  /** What is handed over and not finished, by sequence number, in the order of handing over. */
  readonly queue = new Map<number, Handed>();
  /** Tasks that have left their slot and go on. */
  readonly away = new Map<number, Handed>();
  /** Values that are live in the thread, as far as is known here. */
  readonly live = new Set<number>();
  readonly known = new Set<number>();
  private readonly cells: Int32Array;
  private readonly freeCells: number[] = [];
  private readonly worker: Worker;
  private readonly options: ThreadOptions;
  private nextSeq = 1;
  private killed = false;
  private outOfMemory = false;
  private ready = false;
  private error = '';
  /** Not posted yet. */
  private pending: Handed[] = [];
  private values: SentValue[] = [];
  private functions: SentFunction[] = [];

  constructor(options: ThreadOptions) {
    this.options = options;
    this.lane = options.lane;
    this.cells = new Int32Array(new SharedArrayBuffer(4 * (options.capacity + 1)));
    for (let cell = options.capacity; cell > 0; cell--) this.freeCells.push(cell);
    this.worker = new Worker(options.entry ?? entry(), {
      workerData: { ...options.setup, cells: this.cells },
      execArgv: [],
      stdin: false,
      ...(options.heapMb > 0
        ? { resourceLimits: { ...ownLimits, maxOldGenerationSizeMb: options.heapMb } }
        : {})
    });
    this.worker.on('message', (message: FromThread) => {
      if (message.op === 'ready') this.ready = true;
      options.onMessage(this, message);
    });
    this.worker.on('error', error => {
      this.error = error instanceof Error ? error.message : String(error);
      this.outOfMemory = (error as { code?: string }).code === 'ERR_WORKER_OUT_OF_MEMORY';
    });
    this.worker.once('exit', code => this.ended(code));
  }

  /** Node's number of it, for the inspector. */
  get threadId(): number {
    return this.worker.threadId;
  }

  /** How many more it can be handed. */
  get room(): number {
    return this.freeCells.length;
  }

  /** Queues a task for the next `post`. */
  hand(task: Omit<Handed, 'seq' | 'cell'>): Handed {
    const cell = this.freeCells.pop();
    if (cell === undefined) throw new Error('an executor was handed more than it can hold');
    const seq = this.nextSeq;
    this.nextSeq = seq === 0x7fffffff ? 1 : seq + 1;
    const handed = { ...task, seq, cell };
    Atomics.store(this.cells, cell, seq);
    this.queue.set(seq, handed);
    this.pending.push(handed);
    return handed;
  }

  sendFunction(sent: SentFunction): void {
    this.known.add(sent.fn);
    this.functions.push(sent);
  }

  sendValue(tid: number, value: StoredValue): void {
    this.live.add(tid);
    this.values.push({ tid, ...compact(value) });
  }

  /** Sends what has been handed since the last call, as one message. */
  post(): void {
    const { pending } = this;
    if (pending.length === 0) return;
    this.pending = [];
    let size = 0;
    for (const task of pending) size += task.args.length;
    const args = new Uint8Array(size);
    const rows: number[] = [];
    let end = 0;
    for (const task of pending) {
      args.set(task.args, end);
      end += task.args.length;
      const { seq, cell, tid, runId, fn, announce } = task;
      rows.push(seq, cell, tid, runId, fn, announce ? 1 : 0, end);
    }
    const message: TaskBatch = {
      op: 'tasks',
      rows,
      keys: pending.map(task => task.key),
      deps: pending.map(task => task.deps),
      args
    };
    const transfers: ArrayBuffer[] = size >= HAND_OVER_FROM ? [args.buffer] : [];
    if (this.functions.length > 0) {
      message.functions = this.functions;
      this.functions = [];
    }
    if (this.values.length > 0) {
      message.values = this.values;
      for (const { frames } of this.values) {
        for (const frame of frames) {
          if (frame.byteLength >= LARGE_FRAME) transfers.push(frame.buffer as ArrayBuffer);
        }
      }
      this.values = [];
    }
    this.worker.postMessage(message, transfers);
  }

  drop(tids: number[], fns: number[]): void {
    for (const tid of tids) this.live.delete(tid);
    for (const fn of fns) this.known.delete(fn);
    this.worker.postMessage({ op: 'drop', tids, fns } satisfies ToThread);
  }

  collectGarbage(): void {
    this.worker.postMessage({ op: 'collect-garbage' } satisfies ToThread);
  }

  /** Takes a task back if it has not begun. */
  recall(task: Handed): boolean {
    if (task.cell < 0 || !this.queue.has(task.seq)) return false;
    const taken = Atomics.compareExchange(this.cells, task.cell, task.seq, TAKEN) === task.seq;
    if (taken) this.finish(task.seq);
    return taken;
  }

  recallLater(tasks: readonly Handed[]): Promise<Handed[]> {
    return Promise.resolve(tasks.filter(task => this.recall(task)));
  }

  hasBegun(task: Handed): boolean {
    return task.cell < 0 || Atomics.load(this.cells, task.cell) === BEGUN;
  }

  /** The task is over; its cell can serve another. */
  finish(seq: number): Handed | undefined {
    const task = this.queue.get(seq) ?? this.away.get(seq);
    if (task === undefined) return undefined;
    this.queue.delete(seq);
    this.away.delete(seq);
    if (task.cell >= 0) this.freeCells.push(task.cell);
    return task;
  }

  /** The task has left its slot, or come back to it. */
  move(seq: number, leaves: boolean): Handed | undefined {
    const [from, to] = leaves ? [this.queue, this.away] : [this.away, this.queue];
    const task = from.get(seq);
    if (task === undefined) return undefined;
    from.delete(seq);
    to.set(seq, task);
    // Any number may be away: none of them keeps a cell.
    if (task.cell >= 0) this.freeCells.push(task.cell);
    task.cell = -1;
    return task;
  }

  /** Ends the thread; `onDeath` tells what was lost. */
  kill(): void {
    this.killed = true;
    void this.worker.terminate();
  }

  /** Ends the thread and nobody is told. */
  async close(): Promise<void> {
    this.queue.clear();
    this.away.clear();
    this.worker.removeAllListeners('exit');
    this.worker.removeAllListeners('message');
    await this.worker.terminate();
  }

  private ended(exitCode: number): void {
    const current = Atomics.load(this.cells, 0);
    const { outOfMemory, killed, error } = this;
    const all = [...this.queue.values(), ...this.away.values()];
    let running = all.filter(task => task.seq === current);
    // Nothing ran in a slot: it was one of those that have left theirs.
    if (running.length === 0 && !killed) running = [...this.away.values()];
    const others = all.filter(task => !running.includes(task));
    const stillborn = !this.ready && !killed;
    this.queue.clear();
    this.away.clear();
    this.options.onDeath(this, {
      running,
      others,
      outOfMemory,
      exitCode,
      signal: null,
      killed,
      stillborn,
      error
    });
  }
}

/**
 * Frames that can be sent without a larger buffer that they are part of. Large ones are copied
 * here and handed over: a message would take the same copy and another meanwhile.
 */
function compact(value: Serialized): Serialized {
  const frames = value.frames.map(frame =>
    frame.byteLength >= LARGE_FRAME || frame.byteLength * 2 < frame.buffer.byteLength
      ? Uint8Array.from(frame)
      : frame
  );
  return { family: value.family, frames };
}
