/**
 * What a client says to its scheduler, in order. Tasks submitted one by one within a turn are put
 * into one graph message; a task whose function must first be looked at asynchronously holds up all
 * that come after it, so that dependencies always arrive before dependents.
 */
import { staticOrder } from '../graph/order.ts';
import { LIMITS } from '../protocol/limits.ts';
import type { ClientToScheduler, TaskOptions, UpdateGraph } from '../protocol/messages.ts';

/** Bytes of arguments in one graph message. */
const GRAPH_BYTES = 16 * 1024 * 1024;

export interface TaskToSend {
  cid: number;
  key: string;
  fn: number;
  args: Uint8Array;
  deps: number[];
  /** The running task that submits it (its tid); 0 = none. */
  parent: number;
}

/** One graph message in the making. */
class Graph {
  readonly message: UpdateGraph;
  private readonly parts: Uint8Array[] = [];
  private bytes = 0;

  constructor({ cid, parent }: TaskToSend, options: TaskOptions, fifoTimeout: number) {
    this.message = {
      op: 'update-graph',
      first: cid,
      keys: [],
      fn: [],
      args: new Uint8Array(0),
      argOffsets: [0],
      deps: [],
      depOffsets: [0],
      options,
      fifoTimeout,
      wants: 'all',
      ...(parent === 0 ? {} : { parent })
    };
  }

  takes({ cid, parent }: TaskToSend, options: TaskOptions): boolean {
    const { first, keys } = this.message;
    return (
      this.message.options === options &&
      (this.message.parent ?? 0) === parent &&
      first + keys.length === cid &&
      keys.length < LIMITS.graphTasks &&
      this.bytes < GRAPH_BYTES
    );
  }

  add(task: TaskToSend): void {
    const { message } = this;
    message.keys.push(task.key);
    (message.fn as number[]).push(task.fn);
    this.parts.push(task.args);
    this.bytes += task.args.length;
    message.argOffsets.push(this.bytes);
    for (const dep of task.deps) message.deps.push(dep);
    message.depOffsets.push(message.deps.length);
  }

  finish(): UpdateGraph {
    const { message } = this;
    message.args = joined(this.parts, this.bytes);
    const fns = message.fn as number[];
    if (fns.every(fn => fn === fns[0])) message.fn = fns[0] ?? 0;
    if (message.deps.length === 0) message.depOffsets = [];
    else {
      const order = orderWithin(message);
      if (order !== null) message.order = order;
    }
    return message;
  }
}

/**
 * Loops here and in the ledger are functions of their own: the engine compiles a long loop in the
 * middle of a function for that one state of affairs, and for every single task submitted after a
 * `map` it would then enter that code and fall out of it again behind the loop.
 */
function joined(parts: readonly Uint8Array[], bytes: number): Uint8Array {
  const whole = new Uint8Array(bytes);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** The static order of tasks that depend on each other; null when there is nothing to say. */
function orderWithin({ first, deps, depOffsets }: UpdateGraph): number[] | null {
  if (!deps.some(dep => dep >= first)) return null;
  const offsets = [0];
  const inner: number[] = [];
  for (let i = 0; i + 1 < depOffsets.length; i++) {
    for (let at = depOffsets[i] as number; at < (depOffsets[i + 1] as number); at++) {
      const dep = (deps[at] as number) - first;
      if (dep >= 0) inner.push(dep);
    }
    offsets.push(inner.length);
  }
  return staticOrder({ offsets, deps: inner });
}

export class GraphOutbox {
  private readonly send: (message: ClientToScheduler) => void;
  private readonly dispatch: () => void;
  private graph: Graph | null = null;
  private flushing = false;
  /** Set while something waits for an asynchronous look at a function. */
  private line: Promise<void> | null = null;

  /** `dispatch`: what was sent may leave at once, for a turn has been waited for already. */
  constructor(send: (message: ClientToScheduler) => void, dispatch: () => void) {
    this.send = send;
    this.dispatch = dispatch;
  }

  /** Runs `action` now, or, when earlier ones wait, after them. `ready` makes it wait itself. */
  inOrder(action: () => void, ready: Promise<unknown> | null = null): void {
    if (ready === null && this.line === null) {
      action();
      return;
    }
    const before = this.line ?? Promise.resolve();
    const line = before.then(() => ready).then(action);
    this.line = line;
    void line.finally(() => {
      if (this.line === line) this.line = null;
    });
  }

  /** Resolves when all that was queued has been handed to the link. */
  async settled(): Promise<void> {
    while (this.line !== null) await this.line;
    this.flush();
  }

  task(task: TaskToSend, options: TaskOptions, fifoTimeout: number): void {
    if (this.graph?.takes(task, options) !== true) {
      this.flush();
      this.graph = new Graph(task, options, fifoTimeout);
    }
    this.graph?.add(task);
    if (this.flushing) return;
    this.flushing = true;
    setImmediate(() => {
      this.flushing = false;
      this.flush();
      this.dispatch();
    });
  }

  /** Sends a message after the tasks before it. */
  message(message: ClientToScheduler): void {
    this.flush();
    this.send(message);
  }

  /** Ends the graph in the making: what comes next is another submission. */
  flush(): void {
    if (this.graph === null) return;
    const message = this.graph.finish();
    this.graph = null;
    this.send(message);
  }
}
