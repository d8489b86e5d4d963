/**
 * A worker's shell: the control thread. Carries out what the state asks for (executors, peers, the
 * scheduler) and tells the state what happens. User code never runs in this thread. A worker that
 * loses its scheduler ends: its nanny or whoever made it decides what follows.
 */
import { hostname } from 'node:os';
import { CommClosedError, ProtocolVersionError, TimeoutError } from '../base/errors.ts';
import type { CloseReason, Connection } from '../comm/connection.ts';
import { versionError } from '../comm/refusal.ts';
import { answerRequest } from '../comm/rpc.ts';
import type { RequestHandler } from '../comm/rpc.ts';
import { CommServer } from '../comm/server.ts';
import { dial } from '../comm/websocket.ts';
import { ownVersions, packageVersion } from '../config/runtime.ts';
import { Log } from '../diagnostics/log.ts';
import { CLOSE, LIMITS, PROTOCOL_VERSION } from '../protocol/limits.ts';
import type {
  SchedulerToWorker,
  WorkerHello,
  WorkersChanged,
  WorkerToScheduler
} from '../protocol/messages.ts';
import { DataService } from './data-service.ts';
import type { ThreadSetup } from './executor/messages.ts';
import { ExecutorPool } from './executor/pool.ts';
import { Gatherer } from './gatherer.ts';
import { WorkerMemory } from './memory.ts';
import { ProcessMetrics } from './metrics.ts';
import { requestHandlers } from './requests.ts';
import type { ExecutingTask } from './requests.ts';
import { WorkerState } from './state/state.ts';
import type { Instruction, WorkerEvent } from './state/state.ts';
import type { ValueStore } from './store.ts';
import type { MemorySettings } from './state/memory.ts';

/** ms after the hello when threads start that no task has asked for yet. */
const WARM_UP_MS = 25;
/** ms between looks at timeouts and lost dependencies. */
const TICK_MS = 250;

export interface WorkerOptions {
  /** `http://host:port`; while a promise of it is out, the worker gets ready. */
  schedulerAddress: string | Promise<string>;
  token: string;
  name: string;
  nthreads: number;
  /** Bytes; 0 = no limit. */
  memoryLimit: number;
  /** When values go to disk and the worker pauses; parts of the limit, 0 = off. */
  memory?: Partial<Omit<MemorySettings, 'memoryLimit'>> | undefined;
  /** Where values go that do not fit memory. Default: a temporary folder of the system. */
  localDirectory?: string | undefined;
  /** Where it listens. Default 127.0.0.1. */
  host?: string | undefined;
  /** Default 0: a free one. */
  port?: number | undefined;
  resources?: Readonly<Record<string, number>> | undefined;
  /** Id of the nanny that watches it, or ''. */
  nanny?: string | undefined;
  /** File in which threads note what they run, for its nanny; '' = nowhere. */
  lastWords?: string | undefined;
  /** Allow an address beyond loopback without encryption. */
  insecure?: boolean | undefined;
  /** Folder from which tasks' imports are resolved. Default: the current one. */
  root?: string | undefined;
  onLog?: ((line: string) => void) | undefined;
}

type Link = Connection<WorkerToScheduler>;

export class Worker {
  readonly address: string;
  readonly log: Log;
  /** Resolves with the reason when the worker has ended. */
  readonly finished: Promise<string>;
  private readonly options: WorkerOptions;
  private readonly server: CommServer;
  private readonly memory: WorkerMemory;
  private readonly store: ValueStore;
  private readonly pool: ExecutorPool;
  private readonly gatherer: Gatherer;
  private readonly data: DataService;
  private readonly metrics = new ProcessMetrics();
  private readonly requests: ReadonlyMap<string, RequestHandler>;
  private readonly timers = new Set<ReturnType<typeof setTimeout>>();
  private readonly began = new Map<number, number>();
  private link: Link | null = null;
  private schedulerAddress = '';
  private state: WorkerState | null = null;
  private events: WorkerEvent[] = [];
  private handling = false;
  private closing: Promise<void> | null = null;
  private finish: (reason: string) => void = () => undefined;
  private greeted: () => void = () => undefined;
  private refused: (error: Error) => void = () => undefined;

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
      await worker.register();
    } catch (error) {
      await worker.close('it could not register');
      throw error;
    }
    return worker;
  }

  private constructor(options: WorkerOptions, server: CommServer, address: string) {
    this.options = options;
    this.server = server;
    this.address = address;
    this.log = new Log(`worker ${options.name}`, options.onLog ?? null);
    this.finished = new Promise(resolve => (this.finish = resolve));
    const { memoryLimit, nthreads } = options;
    this.memory = this.manageMemory();
    this.store = this.memory.store;
    this.data = new DataService({
      store: this.store,
      memoryLimit,
      keyOf: tid => this.state?.get(tid)?.key ?? '',
      isPaused: () => this.state?.paused === true,
      onPut: event => this.tell(event)
    });
    this.gatherer = new Gatherer({
      token: options.token,
      store: this.store,
      onEvent: event => this.tell(event),
      onTransfer: message => this.link?.send(message),
      onLog: text => this.log.warn(text)
    });
    this.pool = new ExecutorPool({
      nthreads,
      memoryLimit,
      root: options.root ?? process.cwd(),
      address,
      store: this.store,
      lastWords: options.lastWords ?? '',
      context: () => this.taskContext(),
      events: {
        onSuccess: event => this.tell(event),
        onFailure: ({ tid, runId }, error, lane, start, duration) =>
          this.tell({ op: 'execute-failure', tid, runId, error, lane, start, duration }),
        onReturned: (tids, runIds) => this.tell({ op: 'execute-returned', tids, runIds }),
        onKept: (tids, runIds) => this.tell({ op: 'execute-kept', tids, runIds }),
        onSeceded: (tid, runId, duration) => this.tell({ op: 'secede', tid, runId, duration }),
        onReschedule: (tid, runId) => this.tell({ op: 'execute-reschedule', tid, runId }),
        onKilled: (tid, runId) => this.tell({ op: 'execution-killed', tid, runId }),
        onBegan: (tid, runId) => this.begin(tid, runId),
        onLog: (level, key, text) => this.log.add(level, key === '' ? text : `[${key}] ${text}`),
        onBroken: reason => void this.close(reason)
      }
    });
    this.requests = requestHandlers({
      root: options.root ?? process.cwd(),
      address,
      memoryLimit,
      context: () => this.taskContext(),
      log: this.log,
      history: keys => this.state?.history(keys) ?? [],
      tasks: () => this.state?.tasks.values() ?? [],
      info: () => this.info(),
      executing: () => this.executing(Date.now()),
      stacks: timeoutMs => this.pool.stacks(timeoutMs)
    });
    server.data(this.data.handle);
    server.route('GET', '/info', () => ({ status: 200, body: this.info() }));
    server.route('GET', '/logs', () => ({ status: 200, body: { lines: this.log.tail() } }));
  }

  private manageMemory(): WorkerMemory {
    const { memoryLimit, memory, localDirectory } = this.options;
    return new WorkerMemory({
      memoryLimit,
      settings: memory,
      localDirectory,
      onEvent: event => this.tell(event),
      onEvicted: tids => this.pool.drop(tids),
      onCollect: () => this.pool.collectGarbage(),
      onLog: (level, text) => this.log.add(level, text),
      onDisk: message => this.link?.send(message)
    });
  }

  /** What tasks are told of where they run. */
  private taskContext(): ThreadSetup['context'] {
    const { name, nthreads, memoryLimit, token } = this.options;
    const worker = { name, address: this.address, nthreads, memoryLimit };
    return { worker, scheduler: { address: this.schedulerAddress, token } };
  }

  // ---------------------------------------------------------------- the scheduler's link

  private async register(): Promise<void> {
    const { token } = this.options;
    const schedulerAddress = await this.options.schedulerAddress;
    this.schedulerAddress = schedulerAddress;
    const hello = new Promise<void>((resolve, reject) => {
      this.greeted = resolve;
      this.refused = reject;
    });
    const timer = setTimeout(() => {
      const seconds = LIMITS.handshakeMs / 1000;
      this.refused(
        new TimeoutError(`The scheduler at ${schedulerAddress} said no hello in ${seconds} s.`)
      );
    }, LIMITS.handshakeMs);
    // It may be refused while `dial` is still on its way; whoever awaits it hears of it later.
    hello.catch(() => undefined);
    try {
      this.link = await dial<WorkerToScheduler, SchedulerToWorker>(
        { address: schedulerAddress, path: '/worker', token },
        {
          onMessages: messages => this.receive(messages),
          onClose: reason => {
            this.refused(registrationError(schedulerAddress, reason));
            if (this.state !== null) void this.close(lossReason(schedulerAddress, reason));
          }
        }
      );
      this.link.send(this.registration());
      await hello;
    } finally {
      clearTimeout(timer);
    }
  }

  private registration(): WorkerToScheduler {
    const { name, nthreads, memoryLimit, resources, nanny } = this.options;
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
      nanny: nanny ?? '',
      version: packageVersion(),
      versions: ownVersions(),
      epoch: '',
      tids: [],
      keys: [],
      nbytes: [],
      types: []
    };
  }

  /** Everything that listens on the port (for tests and docs). */
  listRoutes(): string[] {
    return this.server.listRoutes();
  }

  /** The state lives from the hello on: it needs the number that the scheduler has given us. */
  private greet(hello: WorkerHello): void {
    if (hello.protocol !== PROTOCOL_VERSION) {
      const peer = `The scheduler at ${this.link?.peer ?? 'its address'}`;
      return this.refused(new ProtocolVersionError(PROTOCOL_VERSION, hello.protocol, peer));
    }
    const { nthreads, memoryLimit, resources, name } = this.options;
    this.state = new WorkerState({
      worker: hello.worker,
      address: this.address,
      host: hostname(),
      nthreads,
      memoryLimit,
      seed: hello.worker,
      ...(resources === undefined ? {} : { resources })
    });
    this.every(TICK_MS, () => this.tell({ op: 'tick' }));
    this.memory.watch();
    // Not before: starting threads would take the time in which the cluster could be ready.
    this.later(WARM_UP_MS, () => this.pool.startThreads());
    this.every(hello.heartbeat, () => this.heartbeat());
    this.log.info(`${name} registered as worker ${hello.worker} of cluster ${hello.cluster.name}`);
    this.greeted();
  }

  private receive(messages: SchedulerToWorker[]): void {
    for (const message of messages) {
      switch (message.op) {
        case 'hello':
          this.greet(message);
          break;
        case 'functions':
          message.fns.forEach((fn, i) =>
            this.pool.addFunction(fn, message.names[i] ?? '', message.blobs[i] ?? new Uint8Array())
          );
          break;
        case 'forget-functions':
          this.pool.forgetFunctions(message.fns);
          this.events.push(message);
          break;
        case 'request':
          void answerRequest(message, this.requests, response => this.link?.send(response));
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
    for (const { worker, address } of message.added) this.gatherer.addPeer(worker, address);
    this.events.push(message);
    for (const worker of message.removed) this.gatherer.removePeer(worker);
  }

  private heartbeat(): void {
    const { state } = this;
    if (state === null) return;
    const now = Date.now();
    const { counts } = state;
    const running = this.executing(now);
    const executing = running.map(task => task.tid);
    this.link?.send({
      op: 'heartbeat-worker',
      now,
      executing,
      executingFor: running.map(task => task.forMs),
      trouble: this.memory.trouble,
      metrics: this.metrics.read({
        managed: this.store.nbytes,
        spilled: this.store.spilled,
        executing: executing.length - counts.longRunning,
        ready: counts.ready + counts.executing + counts.longRunning - executing.length,
        inMemory: this.store.size,
        bandwidth: this.gatherer.bandwidth,
        bytesIn: this.gatherer.receivedBytes + this.data.receivedBytes,
        bytesOut: this.data.sentBytes
      })
    });
    for (const tid of this.began.keys()) if (!executing.includes(tid)) this.began.delete(tid);
  }

  /** When the running task began, as exactly as heartbeats see it. */
  private startOf(tid: number, now: number): number {
    const known = this.began.get(tid);
    if (known === undefined) this.began.set(tid, now);
    return known ?? now;
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
    this.pool.flush();
  }

  private carryOut(instruction: Instruction): void {
    switch (instruction.op) {
      case 'execute':
        return this.execute(instruction.tid, instruction.runId);
      case 'send':
        this.link?.send(instruction.message);
        return;
      case 'drop-data':
        for (const tid of instruction.tids) this.store.delete(tid);
        return this.pool.drop(instruction.tids);
      case 'gather':
        void this.gatherer.gather(instruction);
        return;
      case 'retry-busy': {
        const { worker, after } = instruction;
        return this.later(after, () => this.tell({ op: 'retry-busy', worker }));
      }
      case 'kill-execution':
        return this.pool.kill(instruction.tid, instruction.runId);
      case 'recall-executions':
        return this.pool.recall(instruction.tids, instruction.runIds);
    }
  }

  private execute(tid: number, runId: number): void {
    const task = this.state?.get(tid);
    if (task === undefined) return;
    this.pool.execute({
      tid,
      runId,
      key: task.key,
      fn: task.fn,
      args: task.args,
      deps: task.deps.map(dep => dep.tid),
      announce: task.timeout > 0,
      wanted: task.wanted
    });
  }

  /** A task with a timeout has begun; its end is looked for when it is due. */
  private begin(tid: number, runId: number): void {
    this.tell({ op: 'execution-began', tid, runId });
    const deadline = this.state?.get(tid)?.deadline ?? 0;
    if (deadline > 0) this.later(deadline - steadyNow() + 1, () => this.tell({ op: 'tick' }));
  }

  // ---------------------------------------------------------------- questions from outside

  private executing(now: number): ExecutingTask[] {
    return this.pool.running().map(tid => ({
      tid,
      key: this.state?.get(tid)?.key ?? '',
      forMs: now - this.startOf(tid, now)
    }));
  }

  private info(): Record<string, unknown> {
    const { name, nthreads, memoryLimit, nanny } = this.options;
    return {
      name,
      address: this.address,
      pid: process.pid,
      nthreads,
      memoryLimit,
      nanny: nanny ?? '',
      version: packageVersion(),
      inMemory: this.store.size,
      managed: this.store.nbytes,
      spilled: this.store.spilled,
      disk: this.memory.disk,
      paused: this.state?.paused === true,
      states: this.state?.countStates() ?? {}
    };
  }

  // ---------------------------------------------------------------- timers and the end

  private later(ms: number, act: () => void): void {
    const timer = setTimeout(() => {
      this.timers.delete(timer);
      act();
    }, ms);
    this.timers.add(timer);
  }

  private every(ms: number, act: () => void): void {
    this.timers.add(setInterval(act, ms));
  }

  /** Ends the worker: leaves the cluster, ends its executors, drops its values. */
  close(reason: string): Promise<void> {
    this.closing ??= this.end(reason);
    return this.closing;
  }

  private async end(reason: string): Promise<void> {
    this.log.info(`closing: ${reason}`);
    for (const timer of this.timers) clearTimeout(timer);
    this.timers.clear();
    this.metrics.close();
    if (this.link?.isOpen === true) {
      this.link.send({ op: 'worker-status-change', status: 'closing' });
      this.link.close(CLOSE.goingAway, reason);
    }
    this.gatherer.close();
    await Promise.all([this.pool.close(), this.server.close()]);
    await this.memory.close();
    this.finish(reason);
  }
}

/** ms since the epoch, on a clock that nobody sets: a timeout must not come early or never. */
function steadyNow(): number {
  return performance.timeOrigin + performance.now();
}

function registrationError(address: string, { code, reason }: CloseReason): Error {
  if (code === CLOSE.badVersion) {
    return versionError(`The scheduler at ${address}`, reason);
  }
  return new CommClosedError(
    `The scheduler at ${address} closed the link before it said hello: ${reason || `code ${code}`}.`
  );
}

function lossReason(address: string, { code, reason }: CloseReason): string {
  if (reason !== '') return `the scheduler closed the link: ${reason}`;
  return `the scheduler at ${address} is gone (link closed with code ${code})`;
}
