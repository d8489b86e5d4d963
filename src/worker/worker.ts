/**
 * A worker's shell: the control thread. Carries out what the state asks for (executors, peers, the
 * scheduler) and tells the state what happens. User code never runs in this thread.
 *
 * A worker that loses its scheduler goes on with what it has and dials again. To the scheduler that
 * greets it, it is a worker with values: all that works under the numbers of the one before (state,
 * executor pool, transfers) is made anew, values and running executions are taken over. Without a
 * scheduler for long it ends: its nanny or whoever made it decides what follows.
 */
import { hostname } from 'node:os';
import { formatDuration } from '../base/duration.ts';
import { lifetimeOf } from '../config/lifetime.ts';
import type { LifetimeShape } from '../config/lifetime.ts';
import { answerRequest } from '../comm/rpc.ts';
import type { RequestHandler } from '../comm/rpc.ts';
import { CommServer } from '../comm/server.ts';
import { drainTime } from '../config/duration.ts';
import { ownVersions, packageVersion } from '../config/runtime.ts';
import { Log } from '../diagnostics/log.ts';
import { PROTOCOL_VERSION } from '../protocol/limits.ts';
import type {
  RegisterWorker,
  SchedulerToWorker,
  WorkerHello,
  WorkersChanged
} from '../protocol/messages.ts';
import type { ThreadSetup } from './executor/messages.ts';
import { Orphans } from './executor/orphans.ts';
import type { TaskToRun } from './executor/pool-options.ts';
import { WorkerMemory } from './memory.ts';
import type { WorkerOptions } from './options.ts';
import { makeParts } from './parts.ts';
import type { Parts, UnderScheduler } from './parts.ts';
import { WorkerPython } from './python.ts';
import { requestHandlers } from './requests.ts';
import { SchedulerLink } from './scheduler-link.ts';
import type { DataLost, Pause, Unpause } from './state/events.ts';
import { WorkerState } from './state/state.ts';
import type { Instruction, WorkerEvent } from './state/state.ts';
import { StoreView } from './store-view.ts';
import { holding, takeOver } from './take-over.ts';
import type { Held } from './take-over.ts';
import { Timers } from './timers.ts';
import { Vitals } from './vitals.ts';

/** ms after the hello when threads start that no task has asked for yet. */
const WARM_UP_MS = 25;
/** ms that running tasks and values may take to leave a worker whose lifetime is over. */
const DRAIN_MS = 60_000;
/** The longest that a timer of Node can be set to. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;
/** ms between looks at timeouts and lost dependencies. */
const TICK_MS = 250;
/** ms for which executions of a scheduler that is gone wait to be taken over. */
const ORPHANS_MS = 60_000;

/** A worker that listens and is, or was, registered. */
export class Worker {
  readonly address: string;
  readonly log: Log;
  /** Resolves with the reason when the worker has ended. */
  readonly finished: Promise<string>;
  private readonly options: WorkerOptions;
  private readonly server: CommServer;
  private readonly memory: WorkerMemory;
  private readonly python: WorkerPython;
  private parts: Parts;
  private readonly orphans = new Orphans();
  private readonly vitals: Vitals;
  private readonly requests: ReadonlyMap<string, RequestHandler>;
  private readonly timers = new Timers();
  private readonly link: SchedulerLink;
  /** Memory is short, since this event. */
  private pause: Pause | null = null;
  /** What was announced in the registration that is not answered yet. */
  private held: Held | null = null;
  private state: WorkerState | null = null;
  private events: WorkerEvent[] = [];
  private handling = false;
  private closing: Promise<void> | null = null;
  /** Its process is to end in order: why, until when, and whether its nanny starts it anew. */
  private leaving: { reason: string; until: number; restart: boolean } | null = null;
  private finish: (reason: string) => void = () => undefined;

  /** Listens, starts its executors and registers with the scheduler at the same time. */
  static async start(options: WorkerOptions): Promise<Worker> {
    const server = new CommServer({
      token: options.token,
      host: options.host ?? '127.0.0.1',
      port: options.port ?? 0,
      insecure: options.insecure ?? false
    });
    const worker = new Worker(options, server, await server.listen());
    try {
      await worker.startPython();
      await worker.link.open();
    } catch (error) {
      await worker.close('it could not register');
      throw error;
    }
    const { lifetime } = options;
    if (lifetime !== undefined) worker.endAfter(lifetimeOf(lifetime, Math.random()), lifetime);
    return worker;
  }

  private constructor(options: WorkerOptions, server: CommServer, address: string) {
    this.options = options;
    this.server = server;
    this.address = address;
    this.log = new Log(`worker ${options.name}`, options.onLog ?? null);
    this.finished = new Promise(resolve => (this.finish = resolve));
    this.python = new WorkerPython(options);
    this.memory = this.manageMemory();
    this.parts = this.makeParts('', new StoreView(this.memory.store));
    this.vitals = new Vitals({
      options,
      address,
      memory: this.memory,
      python: this.python,
      current: () => this.current
    });
    this.link = new SchedulerLink({
      address: options.schedulerAddress,
      token: options.token,
      reconnectMs: options.reconnectMs,
      registration: () => this.registration(),
      onHello: hello => this.greet(hello),
      onMessages: messages => this.receive(messages),
      onLost: reason => this.log.warn(`${reason}; dialling it again`),
      onGone: reason => void this.close(reason)
    });
    this.requests = requestHandlers({
      root: options.root ?? process.cwd(),
      address,
      memoryLimit: options.memoryLimit,
      context: () => this.taskContext(),
      log: this.log,
      history: keys => this.state?.history(keys) ?? [],
      tasks: () => this.state?.tasks.values() ?? [],
      info: () => this.vitals.info(),
      executing: () => this.vitals.executing(Date.now()),
      runPython: (blob, args) => this.parts.pool.runPython(blob, args),
      stacks: timeoutMs => this.parts.pool.stacks(timeoutMs),
      profiles: (wanted, timeoutMs) => this.parts.pool.profiles(wanted, timeoutMs)
    });
    server.data((message, socket) => this.parts.data.handle(message, socket));
    server.route('GET', '/info', () => ({ status: 200, body: this.vitals.info() }));
    server.route('GET', '/logs', () => ({ status: 200, body: { lines: this.log.tail() } }));
  }

  private async startPython(): Promise<void> {
    const reason = await this.python.start(this.parts.pool);
    if (reason !== null) this.log.warn(`It runs no Python tasks: ${reason}`);
  }

  private manageMemory(): WorkerMemory {
    const { memoryLimit, memory, localDirectory } = this.options;
    return new WorkerMemory({
      memoryLimit,
      settings: memory,
      localDirectory,
      onEvent: event => this.tell(this.numbered(event)),
      onEvicted: places => this.parts.pool.drop(this.parts.store.numbersOf(places)),
      executorBytes: shared => this.python.residentBytes(this.parts.pool, shared),
      onUsed: bytes => this.python.relieve(this.parts.pool, bytes),
      onCollect: () => this.parts.pool.collectGarbage(),
      onLog: (level, text) => this.log.add(level, text),
      onDisk: message => {
        const tids = this.parts.store.numbersOf(message.tids);
        if (tids.length > 0) this.link.send({ ...message, tids });
      }
    });
  }

  /** What tasks are told of where they run. */
  private taskContext(): ThreadSetup['context'] {
    const { name, nthreads, memoryLimit, token } = this.options;
    const worker = { name, address: this.address, nthreads, memoryLimit };
    return { worker, scheduler: { address: this.link.address, token } };
  }

  /** The store speaks of places; the state of numbers. */
  private numbered(event: Pause | Unpause | DataLost): WorkerEvent {
    if (event.op !== 'data-lost') {
      this.pause = event.op === 'pause' ? event : null;
      return event;
    }
    return { ...event, tids: this.parts.store.numbersOf(event.tids) };
  }

  private get current(): UnderScheduler {
    const { parts, state, orphans } = this;
    return { parts, state, orphans };
  }

  /** What works under the numbers of one scheduler. Of one before, nothing is heard any more. */
  private makeParts(epoch: string, store: StoreView): Parts {
    const parts: Parts = makeParts(epoch, store, {
      options: this.options,
      address: this.address,
      log: this.log,
      state: () => this.state,
      context: () => this.taskContext(),
      python: () => this.python.shape,
      sharing: () => this.python.sharing,
      send: message => this.link.send(message),
      onEvent: event => {
        if (this.parts === parts) this.tell(event);
      },
      onBegan: (tid, runId) => this.begin(tid, runId),
      onBroken: reason => void this.close(reason)
    });
    return parts;
  }

  // ---------------------------------------------------------------- the scheduler's link

  private registration(): RegisterWorker {
    const { name, nthreads, memoryLimit, resources, nanny } = this.options;
    const { packages } = this.python;
    // From here on nothing begins that is not announced.
    if (this.state !== null) this.tell({ op: 'pause', reason: 'it has a scheduler again' });
    const held = holding(this.current);
    this.held = held;
    return {
      op: 'register-worker',
      protocol: PROTOCOL_VERSION,
      name,
      address: this.address,
      host: hostname(),
      pid: process.pid,
      nthreads,
      memoryLimit,
      resources: { ...resources },
      languages: packages === null ? {} : { python: packages['python'] ?? '' },
      nanny: nanny ?? '',
      version: packageVersion(),
      versions: { ...ownVersions(), ...(packages === null ? {} : { packages }) },
      ...held
    };
  }

  /** Everything that listens on the port (for tests and docs). */
  listRoutes(): string[] {
    return this.server.listRoutes();
  }

  /** The state lives from the hello on: it needs the number that the scheduler has given us. */
  private greet(hello: WorkerHello): void {
    const { nthreads, memoryLimit, resources, name } = this.options;
    const before = this.state;
    const { adopted, store } = takeOver(hello, this.held, this.current);
    const { pool } = this.parts;
    this.parts = this.makeParts(hello.epoch, store);
    this.python.follow(pool, this.parts.pool, before !== null);
    this.vitals.startOver();
    this.events = [];
    this.state = new WorkerState({
      worker: hello.worker,
      address: this.address,
      host: hostname(),
      nthreads,
      memoryLimit,
      seed: hello.worker,
      ...(resources === undefined ? {} : { resources })
    });
    if (adopted.tids.length > 0) this.tell(adopted);
    if (this.pause !== null) this.tell(this.pause);
    this.memory.watch();
    // Not before: starting threads would take the time in which the cluster could be ready.
    this.timers.later(WARM_UP_MS, () => this.parts.pool.startThreads());
    if (before === null) {
      this.timers.every(TICK_MS, () => this.tell({ op: 'tick' }));
      this.timers.every(hello.heartbeat, () => this.heartbeat());
    } else this.timers.later(ORPHANS_MS, () => this.orphans.expire());
    this.log.info(`${name} registered as worker ${hello.worker} of cluster ${hello.cluster.name}`);
    this.askToLeave();
  }

  private receive(messages: SchedulerToWorker[]): void {
    for (const message of messages) {
      switch (message.op) {
        case 'hello':
          break;
        case 'functions':
          message.fns.forEach((fn, i) =>
            this.parts.pool.addFunction(
              fn,
              message.names[i] ?? '',
              message.blobs[i] ?? new Uint8Array(),
              message.languages?.[i]
            )
          );
          break;
        case 'forget-functions':
          this.parts.pool.forgetFunctions(message.fns);
          this.events.push(message);
          break;
        case 'request':
          void answerRequest(message, this.requests, response => this.link.send(response));
          break;
        case 'close':
          void this.close(message.reason);
          break;
        case 'workers':
          this.peersChanged(message);
          break;
        default:
          this.events.push(message);
      }
    }
    this.work();
  }

  private peersChanged(message: WorkersChanged): void {
    for (const { worker, address } of message.added) this.parts.gatherer.addPeer(worker, address);
    this.events.push(message);
    for (const worker of message.removed) this.parts.gatherer.removePeer(worker);
  }

  private heartbeat(): void {
    const heartbeat = this.vitals.heartbeat();
    if (heartbeat !== null) this.link.send(heartbeat);
  }

  // ---------------------------------------------------------------- events and instructions

  /** Tells the state of an event; instructions are carried out before the next event. */
  private tell(event: WorkerEvent): void {
    this.events.push(event);
    this.work();
  }

  private work(): void {
    // Carrying out an instruction may cause events: they wait for their turn.
    if (this.handling || this.state === null || this.closing !== null) return;
    this.handling = true;
    try {
      for (let i = 0; i < this.events.length; i++) {
        const event = this.events[i] as WorkerEvent;
        for (const instruction of this.state.handle(event, steadyNow())) this.carryOut(instruction);
      }
    } finally {
      this.events = [];
      this.handling = false;
    }
    this.parts.pool.flush();
  }

  private carryOut(instruction: Instruction): void {
    switch (instruction.op) {
      case 'execute':
        return this.execute(instruction.tid, instruction.runId);
      case 'send':
        this.link.send(instruction.message);
        return;
      case 'drop-data':
        for (const tid of instruction.tids) this.parts.store.delete(tid);
        return this.parts.pool.drop(instruction.tids);
      case 'gather':
        void this.parts.gatherer.gather(instruction);
        return;
      case 'retry-busy': {
        const { worker, after } = instruction;
        return this.timers.later(after, () => this.tell({ op: 'retry-busy', worker }));
      }
      case 'kill-execution':
        if (this.orphans.kill(instruction.tid, instruction.runId)) return;
        return this.parts.pool.kill(instruction.tid, instruction.runId);
      case 'recall-executions':
        return this.parts.pool.recall(instruction.tids, instruction.runIds);
    }
  }

  private execute(tid: number, runId: number): void {
    const task = this.state?.get(tid);
    if (task === undefined) return;
    const { pool, poolEvents, store } = this.parts;
    const toRun: TaskToRun = {
      tid,
      runId,
      key: task.key,
      fn: task.fn,
      args: task.args,
      deps: task.deps.map(dep => dep.tid),
      announce: task.timeout > 0,
      wanted: task.wanted
    };
    if (!this.orphans.claim(toRun, poolEvents, store)) pool.execute(toRun);
  }

  /** A task with a timeout has begun; its end is looked for when it is due. */
  private begin(tid: number, runId: number): void {
    this.tell({ op: 'execution-began', tid, runId });
    const deadline = this.state?.get(tid)?.deadline ?? 0;
    if (deadline > 0)
      this.timers.later(deadline - steadyNow() + 1, () => this.tell({ op: 'tick' }));
  }

  // ---------------------------------------------------------------- the end

  /** It leaves when its time is up. Timers of Node last for 24 days at most: longer ones are chained. */
  private endAfter(ms: number, lifetime: LifetimeShape): void {
    const part = Math.min(ms, LONGEST_TIMER_MS);
    this.timers.later(part, () => {
      if (part < ms) return this.endAfter(ms - part, lifetime);
      const reason = `its lifetime of ${formatDuration(lifetime.lifetimeMs)} is over`;
      void this.closeGracefully(reason, DRAIN_MS, lifetime.restart);
    });
  }

  /** Ends the worker: leaves the cluster, ends its executors, drops its values. */
  close(reason: string): Promise<void> {
    this.closing ??= this.end(reason);
    return this.closing;
  }

  /**
   * Ends the worker after the scheduler has moved its values to others and its tasks have ended or
   * were given away: at the latest after `timeoutMs`, and at once when there is no scheduler to ask.
   * `restart`: its nanny is to start it anew.
   */
  async closeGracefully(reason: string, timeoutMs: number, restart = false): Promise<void> {
    if (this.closing !== null || !this.link.isOpen || timeoutMs <= 0) {
      return this.close(reason);
    }
    this.log.info(`leaving: ${reason}`);
    this.leaving ??= { reason, until: performance.now() + drainTime(timeoutMs), restart };
    this.askToLeave();
    this.timers.later(timeoutMs, () => void this.close(reason));
    await this.finished;
  }

  /** Also of a scheduler that has come back, which knows nothing of it. */
  private askToLeave(): void {
    if (this.leaving === null) return;
    const { reason, until, restart } = this.leaving;
    const timeout = Math.max(0, until - performance.now());
    this.link.send({ op: 'close-gracefully', reason, timeout, restart });
  }

  private async end(reason: string): Promise<void> {
    this.log.info(`closing: ${reason}`);
    this.timers.clear();
    this.vitals.close();
    this.link.send({ op: 'worker-status-change', status: 'closing' });
    this.link.close(reason);
    const { gatherer, pool } = this.parts;
    gatherer.close();
    await Promise.all([pool.close(), this.orphans.close(), this.server.close()]);
    await this.memory.close();
    this.python.close();
    this.finish(reason);
  }
}

/** ms since the epoch, on a clock that nobody sets: a timeout must not come early or never. */
function steadyNow(): number {
  return performance.timeOrigin + performance.now();
}
