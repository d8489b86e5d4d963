/**
 * Speaks the scheduler state's domain in tests: workers and clients by name, graphs by key. Every
 * event is followed by validate().
 */
import { NO_TASK_OPTIONS } from '../../src/protocol/task-options.ts';
import { DEFAULT_OPTIONS, SchedulerState } from '../../src/scheduler/state/state.ts';
import type {
  Executing,
  SchedulerEvent,
  SchedulerOptions
} from '../../src/scheduler/state/state.ts';
import type { Instruction } from '../../src/scheduler/state/outbox.ts';
import { validate } from '../../src/scheduler/state/validate.ts';
import type {
  ClientToScheduler,
  ErrorRecord,
  Language,
  SchedulerToClient,
  SchedulerToWorker,
  TaskOptions
} from '../../src/protocol/messages.ts';

interface SubmitOptions {
  fn?: string;
  argBytes?: number;
  /** Keys that the client wants; default all. */
  wants?: string[];
  /** Key of the running task that submits. */
  parent?: string;
  order?: number[];
  language?: Language;
}

export class Harness {
  readonly state: SchedulerState;
  now = 1000;
  private readonly cids = new Map<string, number>();
  private readonly functions = new Map<string, number>();
  private nextCid = 1;
  private said: Instruction[] = [];

  constructor(options: Partial<SchedulerOptions> = {}) {
    this.state = new SchedulerState({
      ...DEFAULT_OPTIONS,
      cluster: { id: 'test', name: 'test', kind: 'test' },
      ...options
    });
  }

  handle(event: SchedulerEvent): Instruction[] {
    const instructions = this.state.handle(event, this.now);
    validate(this.state);
    this.said.push(...instructions);
    return instructions;
  }

  worker(
    nthreads = 1,
    more: {
      memoryLimit?: number;
      resources?: Record<string, number>;
      name?: string;
      languages?: { python?: string };
    } = {}
  ): number {
    const worker = this.state.nextWorker;
    const facts = {
      name: more.name ?? `w${worker}`,
      address: `http://w${worker}`,
      host: `host${worker}`,
      pid: worker,
      nthreads,
      memoryLimit: more.memoryLimit ?? 0,
      resources: more.resources ?? {},
      languages: more.languages ?? {},
      nanny: ''
    };
    this.handle({ type: 'add-worker', worker, facts });
    return worker;
  }

  client(id: string, weight = 1): void {
    this.handle({ type: 'add-client', client: id, name: id, weight });
  }

  /** Submits tasks as `{ key: [dependencies] }`, all of function `fn`. */
  submit(
    client: string,
    graph: Record<string, string[]>,
    options: Partial<TaskOptions> & SubmitOptions = {}
  ): void {
    const { fn: name = 'f', argBytes = 1, wants, parent, order, language, ...rest } = options;
    const slot = `${client}/${name}`;
    let fn = this.functions.get(slot);
    if (fn === undefined) {
      fn = this.functions.size + 1;
      this.functions.set(slot, fn);
      const message = {
        op: 'register-function' as const,
        fn,
        hash: name,
        name,
        blob: new Uint8Array(3),
        ...(language === undefined ? {} : { language })
      };
      this.handle({ type: 'client-message', client, message });
    }
    const keys = Object.keys(graph);
    const first = this.nextCid;
    for (const key of keys) this.cids.set(`${client}/${key}`, this.nextCid++);
    const deps: number[] = [];
    const depOffsets = [0];
    for (const key of keys) {
      deps.push(...(graph[key] ?? []).map(dep => this.cid(client, dep)));
      depOffsets.push(deps.length);
    }
    this.handle({
      type: 'client-message',
      client,
      message: {
        op: 'update-graph',
        first,
        keys,
        fn,
        args: new Uint8Array(keys.length * argBytes),
        argOffsets: [...keys.keys(), keys.length].map(i => i * argBytes),
        deps,
        depOffsets,
        options: { ...NO_TASK_OPTIONS, ...rest },
        fifoTimeout: 100,
        wants: wants === undefined ? 'all' : wants.map(key => this.cid(client, key)),
        ...(parent === undefined ? {} : { parent: this.task(parent).id }),
        ...(order === undefined ? {} : { order })
      }
    });
  }

  /** Puts data on a worker. */
  scatter(client: string, key: string, worker: number, nbytes = 8): void {
    const [tid] = this.state.planScatter(client, 1, null).tids;
    const cid = this.nextCid++;
    this.cids.set(`${client}/${key}`, cid);
    const one = { cids: [cid], keys: [key], tids: [tid ?? 0], nbytes: [nbytes], types: ['data'] };
    const message = { op: 'scattered' as const, ...one, workers: [[worker]] };
    this.handle({ type: 'client-message', client, message });
  }

  cid(client: string, key: string): number {
    const cid = this.cids.get(`${client}/${key}`);
    if (cid === undefined) throw new Error(`${client} never submitted ${key}`);
    return cid;
  }

  say(client: string, message: ClientToScheduler): void {
    this.handle({ type: 'client-message', client, message });
  }

  /** The client comes to want a key by its name; its number for it. */
  desire(client: string, key: string): number {
    const cid = this.nextCid++;
    this.cids.set(`${client}/${key}`, cid);
    this.say(client, { op: 'client-desires-keys', cids: [cid], keys: [key] });
    return cid;
  }

  release(client: string, ...keys: string[]): void {
    const cids = keys.map(key => this.cid(client, key));
    this.handle({ type: 'client-message', client, message: { op: 'client-releases-keys', cids } });
  }

  cancel(client: string, key: string, force = false): void {
    const message = {
      op: 'cancel-keys' as const,
      cids: [this.cid(client, key)],
      force,
      reason: 'test'
    };
    this.handle({ type: 'client-message', client, message });
  }

  retry(client: string, key: string): void {
    this.handle({
      type: 'client-message',
      client,
      message: { op: 'retry-keys', cids: [this.cid(client, key)] }
    });
  }

  /** The worker that has to run a task finishes it. */
  finish(key: string, nbytes = 8, duration = 1): void {
    const task = this.task(key);
    if (task.processingOn === null) throw new Error(`${key} is ${task.state}`);
    this.handle({
      type: 'worker-message',
      worker: task.processingOn.id,
      message: {
        op: 'tasks-finished',
        tids: [task.id],
        runIds: [task.runId],
        nbytes: [nbytes],
        types: ['number'],
        lanes: [0],
        starts: [this.now],
        durations: [duration],
        inline: [null]
      }
    });
  }

  fail(key: string, message = 'Error: no'): void {
    const task = this.task(key);
    if (task.processingOn === null) throw new Error(`${key} is ${task.state}`);
    const error: ErrorRecord = {
      code: 'TASK_ERRED',
      message,
      traceback: '',
      exception: null,
      blame: key,
      worker: ''
    };
    this.handle({
      type: 'worker-message',
      worker: task.processingOn.id,
      message: {
        op: 'task-erred',
        tid: task.id,
        runId: task.runId,
        error,
        lane: 0,
        start: this.now,
        duration: 1
      }
    });
  }

  status(worker: number, status: 'running' | 'paused' | 'closing'): void {
    const message = { op: 'worker-status-change' as const, status };
    this.handle({ type: 'worker-message', worker, message });
  }

  /** What it executes (`key: for how many ms`), and the bandwidth it has seen, bytes a second. */
  executing(worker: number, executing: Record<string, number>, bandwidth = 0): void {
    const metrics = {
      ...{ cpu: 0, rss: 0, managed: 0, spilled: 0, executing: 0, ready: 0, inMemory: 0 },
      ...{ netIn: 0, netOut: 0, loopDelay: 0, bandwidth }
    };
    const tids = Object.keys(executing).map(key => this.task(key).id);
    const said = { executing: tids, executingFor: Object.values(executing) };
    const message = { op: 'heartbeat-worker' as const, now: this.now, metrics, ...said };
    this.handle({ type: 'worker-message', worker, message });
  }

  lose(worker: number, expected = false, executing?: Executing): void {
    const known = executing === undefined ? {} : { executing };
    this.handle({ type: 'remove-worker', worker, reason: 'killed by SIGKILL', expected, ...known });
  }

  task(key: string) {
    const task = this.state.byKey.get(key);
    if (task === undefined) throw new Error(`${key} is unknown`);
    return task;
  }

  /** State of each key; `forgotten` for unknown ones. */
  states(...keys: string[]): string[] {
    return keys.map(key => this.state.byKey.get(key)?.state ?? 'forgotten');
  }

  on(key: string): number | undefined {
    return this.task(key).processingOn?.id;
  }

  /** Messages to a worker since the last call. */
  toWorker<Op extends SchedulerToWorker['op']>(
    worker: number,
    op: Op
  ): Extract<SchedulerToWorker, { op: Op }>[] {
    const found: Extract<SchedulerToWorker, { op: Op }>[] = [];
    this.said = this.said.filter(one => {
      if (one.to !== 'worker' || one.worker !== worker || one.message.op !== op) return true;
      found.push(one.message as Extract<SchedulerToWorker, { op: Op }>);
      return false;
    });
    return found;
  }

  /** All messages to a worker since the last call. */
  everythingTo(worker: number): SchedulerToWorker[] {
    const found: SchedulerToWorker[] = [];
    this.said = this.said.filter(one => {
      if (one.to !== 'worker' || one.worker !== worker) return true;
      found.push(one.message);
      return false;
    });
    return found;
  }

  toClient<Op extends SchedulerToClient['op']>(
    client: string,
    op: Op
  ): Extract<SchedulerToClient, { op: Op }>[] {
    const found: Extract<SchedulerToClient, { op: Op }>[] = [];
    this.said = this.said.filter(one => {
      if (one.to !== 'client' || one.client !== client || one.message.op !== op) return true;
      found.push(one.message as Extract<SchedulerToClient, { op: Op }>);
      return false;
    });
    return found;
  }
}
