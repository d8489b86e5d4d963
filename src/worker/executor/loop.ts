/**
 * What runs in an executor thread: takes tasks one at a time, decodes their arguments, calls the
 * user's function, awaits it if need be, and serialises the result at once, so that ending this
 * thread loses no value. User code runs here and nowhere else.
 */
import { receiveMessageOnPort } from 'node:worker_threads';
import type { MessagePort } from 'node:worker_threads';
import { Reschedule, WorkerMemoryError } from '../../base/errors.ts';
import { provideExecutor } from '../../base/task-context.ts';
import { formatBytes } from '../../base/bytes.ts';
import { LastWords } from '../../config/last-words.ts';
import { decodeWithCode, loadImports, rebuildFunction } from '../../serialize/rebuild.ts';
import { deserializeValue, serializeValue, sizeOf, unpackFrames } from '../../serialize/value.ts';
import type { Serialized } from '../../serialize/value.ts';
import { GarbageCollector } from '../garbage.ts';
import { ownFailure, userFailure } from './failure.ts';
import { LiveValues } from './live.ts';
import { BEGUN, TASK_ROW } from './messages.ts';
import type {
  DropBatch,
  FromThread,
  SentFunction,
  SentValue,
  TaskBatch,
  ThreadSetup,
  ToThread
} from './messages.ts';
import { Results } from './results.ts';
import { RunningTask, Turns } from './turns.ts';

/** Results are sent when so many have gathered, or after so many ms, or so many bytes. */
const BATCH = 128;
const BATCH_MS = 2;
const BATCH_BYTES = 4 * 1024 * 1024;
/** ms without a task after which it is noted that none runs. */
const REST_MS = 50;
/** Results of fewer bytes are decoded again when needed: that is cheaper than keeping track. */
const LIVE_FROM_BYTES = 1024;

type Callable = (...args: unknown[]) => unknown;

/** A callable and how many futures it has captured. */
interface Built {
  fn: Callable;
  captured: number;
}

interface Call {
  fn: Callable;
  args: unknown[];
}

interface Task {
  seq: number;
  cell: number;
  tid: number;
  runId: number;
  key: string;
  fn: number;
  args: Uint8Array;
  /** Values of its dependencies. */
  inputs: unknown[];
  announce: boolean;
}

export class ExecutorLoop {
  private readonly setup: ThreadSetup;
  private readonly port: MessagePort;
  private readonly words: LastWords | null;
  private readonly live: LiveValues;
  private readonly garbage = new GarbageCollector();
  private readonly blobs = new Map<number, SentFunction>();
  private readonly functions = new Map<number, Built>();
  private queue: Task[] = [];
  private head = 0;
  private readonly results = new Results();
  private running = false;
  private lastSent = 0;
  /** Bytes of inputs and results since garbage was collected. */
  private passed = 0;
  private readonly turns: Turns;
  private resting: NodeJS.Timeout | null = null;

  constructor(setup: ThreadSetup, port: MessagePort) {
    this.setup = setup;
    this.port = port;
    this.words = setup.lastWords === '' ? null : new LastWords(setup.lastWords, setup.lane);
    this.live = new LiveValues(setup.liveBytes);
    const wake = (): void => {
      if (!this.running) void this.run();
    };
    this.turns = new Turns({
      cells: setup.cells,
      send: message => this.send(message),
      wake,
      onHold: ({ tid, runId }) => this.words?.begin(tid, runId)
    });
    const { context } = setup;
    if (context !== null) provideExecutor({ ...context, current: () => this.turns.current });
    port.on('message', (message: ToThread) => {
      this.receive(message);
      wake();
    });
  }

  /** Key of the running task, or ''. */
  get currentKey(): string {
    return this.turns.current?.key ?? '';
  }

  send(message: FromThread, transfers: ArrayBuffer[] = []): void {
    this.port.postMessage(message, transfers);
  }

  /** An exception nobody caught: the task it is of has failed with it. False when there is none. */
  uncaught(error: unknown): boolean {
    const fail = this.turns.suspect?.fail ?? null;
    if (fail === null) return false;
    fail(error);
    return true;
  }

  /** The thread ends. */
  ending(): void {
    this.turns.ending();
  }

  private receive(message: ToThread): void {
    if (message.op === 'drop') this.drop(message);
    else if (message.op === 'collect-garbage') {
      this.live.clear();
      this.garbage.collect();
    } else this.accept(message);
  }

  private drop(message: DropBatch): void {
    for (const tid of message.tids) this.live.delete(tid);
    for (const fn of message.fns) {
      this.blobs.delete(fn);
      this.functions.delete(fn);
    }
  }

  /** Puts tasks in the queue with their inputs, which later drops and evictions cannot take away. */
  private accept(batch: TaskBatch): void {
    for (const sent of batch.functions ?? []) this.blobs.set(sent.fn, sent);
    const sent = new Map<number, Undecoded>();
    for (const value of batch.values ?? []) {
      const input = new Undecoded(value);
      sent.set(value.tid, input);
      this.live.put(value.tid, input, input.nbytes);
    }
    const lacking: number[] = [];
    const { rows, keys, deps, args } = batch;
    let from = 0;
    for (let i = 0; i < keys.length; i++) {
      const row = i * TASK_ROW;
      const seq = rows[row] as number;
      const to = rows[row + 6] as number;
      const inputs = this.inputsOf(deps[i] ?? null, sent);
      if (inputs === null) lacking.push(seq);
      else {
        this.queue.push({
          seq,
          cell: rows[row + 1] as number,
          tid: rows[row + 2] as number,
          runId: rows[row + 3] as number,
          key: keys[i] as string,
          fn: rows[row + 4] as number,
          args: args.subarray(from, to),
          inputs,
          announce: rows[row + 5] === 1
        });
      }
      from = to;
    }
    if (lacking.length > 0) this.send({ op: 'lacking', seqs: lacking });
  }

  /** Null when one of them is not here. */
  private inputsOf(deps: number[] | null, sent: Map<number, Undecoded>): unknown[] | null {
    if (deps === null) return NO_INPUTS;
    const inputs: unknown[] = [];
    for (const tid of deps) {
      const value = sent.get(tid);
      if (value !== undefined) inputs.push(value);
      else if (this.live.has(tid)) inputs.push(this.live.get(tid));
      else return null;
    }
    return inputs;
  }

  /** Runs until the queue is empty. */
  private async run(): Promise<void> {
    this.running = true;
    const { turns } = this;
    for (;;) {
      const returned = turns.nextReturn();
      if (returned !== null) {
        await returned;
        continue;
      }
      const task = this.next();
      if (task === null) break;
      const { cells } = this.setup;
      if (Atomics.compareExchange(cells, task.cell, task.seq, BEGUN) !== task.seq) continue;
      const running = new RunningTask(turns, task);
      turns.begin(running);
      const pending = this.execute(task, running);
      if (pending === null) turns.end(running);
      else {
        this.flush();
        await turns.untilFree(running, pending);
      }
      this.flushIfDue();
      this.collectIfDue(task);
      // Else a thread that is always busy would never hear what they wait for.
      if (turns.anyAway) await new Promise(resolve => setImmediate(resolve));
    }
    this.running = false;
    this.restSoon();
  }

  /**
   * Notes that nothing runs, if that is still so then: a thread that gets one quick task after the
   * other would write twice for each.
   */
  private restSoon(): void {
    if (this.words === null) return;
    this.resting ??= setTimeout(() => {
      this.resting = null;
      if (!this.running && !this.turns.anyAway) this.words?.rest();
    }, REST_MS);
  }

  /** The next task; before giving up, what has come meanwhile is looked at. */
  private next(): Task | null {
    if (this.head === this.queue.length) {
      this.queue = [];
      this.head = 0;
      this.flush();
      const waiting = receiveMessageOnPort(this.port) as { message: ToThread } | undefined;
      if (waiting !== undefined) this.receive(waiting.message);
      if (this.queue.length === 0) return null;
    }
    return this.queue[this.head++] ?? null;
  }

  private flushIfDue(): void {
    const due = performance.now() - this.lastSent > BATCH_MS;
    if (due || this.results.size >= BATCH || this.results.bytes >= BATCH_BYTES) this.flush();
  }

  /** Large inputs and results that were let go of take memory until they are collected. */
  private collectIfDue(task: Task): void {
    const { garbageBytes } = this.setup;
    if (garbageBytes === 0) return;
    for (const input of task.inputs) {
      if (input instanceof Undecoded) this.passed += input.nbytes;
    }
    if (this.passed < garbageBytes) return;
    task.inputs = NO_INPUTS;
    if (this.garbage.collect()) this.passed = 0;
  }

  private flush(): void {
    this.lastSent = performance.now();
    if (this.results.size === 0) return;
    const { batch, transfers } = this.results.take(this.live.takeEvicted());
    this.send(batch, transfers);
  }

  /** Null when it has ended; a promise when it goes on. */
  private execute(task: Task, running: RunningTask): Promise<void> | null {
    if (task.announce) this.send({ op: 'began', seq: task.seq });
    const { start } = running;
    let call: Call | Promise<Call>;
    try {
      call = this.prepare(task);
    } catch (error) {
      this.failToStart(task, start, error);
      return null;
    }
    return call instanceof Promise
      ? this.callLater(task, running, call)
      : this.call(task, running, call);
  }

  private async callLater(
    task: Task,
    running: RunningTask,
    preparing: Promise<Call>
  ): Promise<void> {
    let call: Call;
    try {
      call = await preparing;
    } catch (error) {
      this.failToStart(task, running.start, error);
      this.turns.end(running);
      return;
    }
    const pending = this.call(task, running, call);
    if (pending === null) this.turns.end(running);
    else await pending;
  }

  private call(task: Task, running: RunningTask, { fn, args }: Call): Promise<void> | null {
    let value: unknown;
    try {
      value = this.turns.call(running, () => fn(...args));
    } catch (error) {
      this.threw(task, running.start, error);
      return null;
    }
    if (isThenable(value)) return this.settle(task, running, value);
    this.succeed(task, running.start, value);
    return null;
  }

  private async settle(
    task: Task,
    running: RunningTask,
    value: PromiseLike<unknown>
  ): Promise<void> {
    const uncaught = new Promise<never>((_resolve, reject) => {
      running.fail = reject;
    });
    try {
      this.succeed(task, running.start, await Promise.race([value, uncaught]));
    } catch (error) {
      this.threw(task, running.start, error);
    }
    // The loop is not waiting for one that is away.
    if (running.away) this.flush();
    this.turns.end(running);
    this.restSoon();
  }

  /** Function and arguments; a promise when modules must be imported first. */
  private prepare(task: Task): Call | Promise<Call> {
    const args = unpackFrames(task.args);
    const waiting = this.importsOf(task, args);
    if (waiting !== null) return waiting.then(() => this.assemble(task, args));
    return this.assemble(task, args);
  }

  private importsOf(task: Task, args: Serialized): Promise<unknown> | null {
    const { root } = this.setup;
    const waiting = [importsOf(args, root)];
    for (const input of task.inputs) {
      if (input instanceof Undecoded) waiting.push(input.imports(root));
    }
    const loading = waiting.filter(one => one !== undefined);
    return loading.length === 0 ? null : Promise.all(loading);
  }

  private assemble(task: Task, args: Serialized): Call | Promise<Call> {
    const built = this.functionOf(task);
    if (built instanceof Promise) {
      return built.then(known => this.withArguments(task, args, known));
    }
    return this.withArguments(task, args, built);
  }

  private withArguments(task: Task, args: Serialized, { fn, captured }: Built): Call {
    const resolve = (index: number): unknown => this.inputOf(task, captured + index);
    const values = decodeValue(args, this.setup.root, resolve);
    if (!Array.isArray(values)) throw new Error('its arguments are not a list');
    return { fn, args: values };
  }

  /**
   * The callable, made once a function number. One that has captured futures is made for every
   * task: its captured futures are the first of the task's dependencies.
   */
  private functionOf(task: Task): Built | Promise<Built> {
    const known = this.functions.get(task.fn);
    if (known !== undefined) return known;
    const sent = this.blobs.get(task.fn);
    if (sent === undefined) throw new Error(`function ${task.fn} was not sent to this executor`);
    let captured = 0;
    const resolve = (index: number): unknown => {
      captured = Math.max(captured, index + 1);
      return this.inputOf(task, index);
    };
    const keep = (fn: unknown): Built => {
      const built = { fn: fn as Callable, captured };
      if (captured === 0 && this.blobs.has(task.fn)) this.functions.set(task.fn, built);
      return built;
    };
    const made = rebuildFunction(sent.blob, { root: this.setup.root, resolve });
    return made instanceof Promise ? made.then(keep) : keep(made);
  }

  /** The value of a dependency, decoded when it is first asked for. */
  private inputOf(task: Task, index: number): unknown {
    if (index >= task.inputs.length) throw new Error(`it has no dependency number ${index}`);
    const input = task.inputs[index];
    if (!(input instanceof Undecoded)) return input;
    return input.decode(this.setup.root);
  }

  private succeed(task: Task, start: number, value: unknown): void {
    const stop = performance.now();
    try {
      const { memoryLimit } = this.setup;
      // Looked at before it is written: writing it would take that much memory once more.
      const size = memoryLimit > 0 && typeof value === 'object' ? sizeOf(value) : 0;
      if (size > memoryLimit) throw tooLarge(task.key, size, memoryLimit);
      const serialized = serializeValue(value, { root: 'result' });
      let nbytes = 0;
      for (const frame of serialized.frames) nbytes += frame.length;
      if (memoryLimit > 0 && nbytes > memoryLimit) throw tooLarge(task.key, nbytes, memoryLimit);
      this.passed += nbytes;
      const keep = task.tid >= 0 && nbytes >= LIVE_FROM_BYTES;
      const live = keep && this.live.put(task.tid, value, nbytes);
      const began = performance.timeOrigin + start;
      this.results.success(
        task.seq,
        began,
        stop - start,
        serialized,
        nbytes,
        typeName(value),
        live
      );
    } catch (error) {
      const what =
        error instanceof WorkerMemoryError
          ? `Task ${task.key}`
          : `The result of task ${task.key} cannot leave its executor`;
      this.fail(task, start, ownFailure(error, what));
    }
  }

  private threw(task: Task, start: number, error: unknown): void {
    if (error instanceof Reschedule) this.send({ op: 'reschedule', seq: task.seq });
    else this.fail(task, start, userFailure(error));
  }

  private failToStart(task: Task, start: number, error: unknown): void {
    this.fail(task, start, ownFailure(error, `Task ${task.key} could not be started`));
  }

  private fail(task: Task, start: number, failure: ReturnType<typeof userFailure>): void {
    const began = performance.timeOrigin + start;
    this.results.failure(task.seq, began, performance.now() - start, failure);
  }
}

const NO_INPUTS: unknown[] = [];

/** An input that came as frames: decoded once, when it is first asked for. */
class Undecoded {
  readonly nbytes: number;
  private sent: SentValue | null;
  private value: unknown = undefined;

  constructor(sent: SentValue) {
    this.sent = sent;
    let nbytes = 0;
    for (const frame of sent.frames) nbytes += frame.length;
    this.nbytes = nbytes;
  }

  /** What must be imported before it can be decoded. */
  imports(root: string): Promise<void> | undefined {
    return this.sent === null ? undefined : importsOf(this.sent, root);
  }

  decode(root: string): unknown {
    if (this.sent !== null) {
      this.value = decodeValue(this.sent, root);
      this.sent = null;
    }
    return this.value;
  }
}

function importsOf(value: Serialized, root: string): Promise<void> | undefined {
  const [head] = value.frames;
  return value.family === 'js' && head !== undefined ? loadImports(head, root) : undefined;
}

function decodeValue(
  value: Serialized,
  root: string,
  resolve?: (index: number) => unknown
): unknown {
  if (value.family !== 'js') return deserializeValue(value);
  return decodeWithCode(value.frames, resolve === undefined ? { root } : { root, resolve });
}

function tooLarge(key: string, nbytes: number, limit: number): WorkerMemoryError {
  return new WorkerMemoryError(
    key,
    `its result is ${formatBytes(nbytes)}, the worker's limit ${formatBytes(limit)}. Return less, ` +
      `split the task, or give the workers more memory (memoryLimit).`
  );
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    typeof value === 'object' &&
    value !== null &&
    typeof (value as { then?: unknown }).then === 'function'
  );
}

/** What people call the type of a value. */
export function typeName(value: unknown): string {
  if (value === null) return 'null';
  if (typeof value !== 'object') return typeof value;
  try {
    const name: unknown = value.constructor?.name;
    return typeof name === 'string' && name !== '' ? name : 'Object';
  } catch {
    return 'Object';
  }
}
