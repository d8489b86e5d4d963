/**
 * A worker's shell: the control thread. Carries out what the state asks for (executors, peers, the
 * scheduler) and tells the state what happens. User code never runs in this thread.
 *
 * A worker that loses its scheduler goes on with what it has and dials again. To the scheduler that
 * greets it, it is a worker with values: all that works under the numbers of the one before (state,
 * executor pool, transfers) is made anew, values and running executions are taken over. Without a
 * scheduler for long it ends: its nanny or whoever made it decides what follows.
 */
import { existsSync, readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { formatDuration } from '../base/duration.ts';
import { lifetimeOf } from '../config/lifetime.ts';
import type { LifetimeShape } from '../config/lifetime.ts';
import { answerRequest } from '../comm/rpc.ts';
import type { RequestHandler } from '../comm/rpc.ts';
import { CommServer } from '../comm/server.ts';
import { drainTime } from '../config/duration.ts';
import { ProcessFolder } from '../config/folder.ts';
import { choosePython } from '../config/python.ts';
import type { PythonChoice } from '../config/python.ts';
import { ownVersions, packageVersion } from '../config/runtime.ts';
import { Log } from '../diagnostics/log.ts';
import { PROTOCOL_VERSION } from '../protocol/limits.ts';
import type {
  RegisterWorker,
  SchedulerToWorker,
  WorkerHello,
  WorkersChanged
} from '../protocol/messages.ts';
import { DataService } from './data-service.ts';
import type { ThreadSetup } from './executor/messages.ts';
import { Orphans } from './executor/orphans.ts';
import { ExecutorPool } from './executor/pool.ts';
import type { PoolEvents, PythonShape, TaskToRun } from './executor/pool.ts';
import { Gatherer } from './gatherer.ts';
import { WorkerMemory } from './memory.ts';
import { ProcessMetrics } from './metrics.ts';
import { requestHandlers } from './requests.ts';
import type { ExecutingTask } from './requests.ts';
import type { DataLost, Pause, PutData, Unpause } from './state/events.ts';
import { WorkerState } from './state/state.ts';
import type { Instruction, WorkerEvent } from './state/state.ts';
import type { MemorySettings } from './state/memory.ts';
import { SchedulerLink } from './scheduler-link.ts';
import { StoreView } from './store-view.ts';

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
/** Values that are announced to the next scheduler at most. */
const HELD_MOST = 500_000;

/** Part of the memory limit at which a Python process is ended, as a nanny ends a worker. */
const TERMINATE = 0.95;
const SHARED_MEMORY = '/dev/shm';

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
  /** When it leaves the cluster by itself; absent = never. */
  lifetime?: LifetimeShape | undefined;
  /** Where it listens. Default 127.0.0.1. */
  host?: string | undefined;
  /** Default 0: a free one. */
  port?: number | undefined;
  resources?: Readonly<Record<string, number>> | undefined;
  /** Id of the nanny that watches it, or ''. */
  nanny?: string | undefined;
  /** File in which threads note what they run, for its nanny; '' = nowhere. */
  lastWords?: string | undefined;
  /** The interpreter that runs Python tasks; absent: TASKLOOM_PYTHON, `none`: no Python. */
  python?: string | undefined;
  /** Python tasks run as threads of one process, instead of in a process each. */
  pythonThreads?: boolean | undefined;
  /** Allow an address beyond loopback without encryption. */
  insecure?: boolean | undefined;
  /** Folder from which tasks' imports are resolved. Default: the current one. */
  root?: string | undefined;
  /** ms for which a lost scheduler is dialled again; 0 = not at all. Default 60,000. */
  reconnectMs?: number | undefined;
  onLog?: ((line: string) => void) | undefined;
}

/** What speaks the numbers of one scheduler, and is made anew for the next. */
interface Parts {
  epoch: string;
  store: StoreView;
  pool: ExecutorPool;
  poolEvents: PoolEvents;
  gatherer: Gatherer;
  data: DataService;
}

/** Values by number, as they are announced to the next scheduler. */
type Held = Pick<RegisterWorker, 'epoch' | 'tids' | 'keys' | 'nbytes' | 'types' | 'running'>;

export class Worker {
  readonly address: string;
  readonly log: Log;
  /** Resolves with the reason when the worker has ended. */
  readonly finished: Promise<string>;
  private readonly options: WorkerOptions;
  private readonly server: CommServer;
  private readonly memory: WorkerMemory;
  private python: PythonChoice | null;
  /** Versions of its Python and of packages that values depend on; null = it has none. */
  private packages: Record<string, string> | null = null;
  private readonly shared: ProcessFolder;
  private parts: Parts;
  private readonly orphans = new Orphans();
  private readonly metrics = new ProcessMetrics();
  private readonly requests: ReadonlyMap<string, RequestHandler>;
  private readonly timers = new Set<ReturnType<typeof setTimeout>>();
  private readonly began = new Map<number, number>();
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
    this.python = choosePython(options.python);
    this.shared = new ProcessFolder('worker', existsSync(SHARED_MEMORY) ? SHARED_MEMORY : '');
    this.memory = this.manageMemory();
    this.parts = this.makeParts('', new StoreView(this.memory.store));
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
      info: () => this.info(),
      executing: () => this.executing(Date.now()),
      runPython: (blob, args) => this.parts.pool.runPython(blob, args),
      stacks: timeoutMs => this.parts.pool.stacks(timeoutMs)
    });
    server.data((message, socket) => this.parts.data.handle(message, socket));
    server.route('GET', '/info', () => ({ status: 200, body: this.info() }));
    server.route('GET', '/logs', () => ({ status: 200, body: { lines: this.log.tail() } }));
  }

  /** Which Python there is must be known when the worker registers; its processes stay. */
  private async startPython(): Promise<void> {
    if (this.python === null) return;
    const started = await this.parts.pool.startPython();
    if ('packages' in started) this.packages = started.packages;
    else {
      this.python = null;
      this.log.warn(`It runs no Python tasks: ${started.reason}`);
    }
  }

  /** How the pool is to run Python. */
  private pythonShape(): PythonShape | undefined {
    if (this.python === null) return undefined;
    const folder = this.shared.file('python');
    return { ...this.python, folder, threads: this.options.pythonThreads === true };
  }

  private manageMemory(): WorkerMemory {
    const { memoryLimit, memory, localDirectory } = this.options;
    return new WorkerMemory({
      memoryLimit,
      settings: memory,
      localDirectory,
      onEvent: event => this.tell(this.numbered(event)),
      onEvicted: places => this.parts.pool.drop(this.parts.store.numbersOf(places)),
      executorBytes: () => this.executorBytes(),
      onCollect: () => this.parts.pool.collectGarbage(),
      onLog: (level, text) => this.log.add(level, text),
      onDisk: message => {
        const tids = this.parts.store.numbersOf(message.tids);
        if (tids.length > 0) this.link.send({ ...message, tids });
      }
    });
  }

  /** Resident bytes of Python processes; the largest has to go before the worker itself would. */
  private executorBytes(): number {
    const { memoryLimit } = this.options;
    const sizes = this.parts.pool.processes.map(pid => ({ pid, bytes: residentBytes(pid) }));
    const total = sizes.reduce((sum, { bytes }) => sum + bytes, 0);
    const used = total + process.memoryUsage.rss();
    const [largest] = sizes.sort((a, b) => b.bytes - a.bytes);
    if (largest !== undefined && memoryLimit > 0 && used > TERMINATE * memoryLimit) {
      this.parts.pool.killForMemory(largest.pid);
    }
    return total;
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

  /** What works under the numbers of one scheduler. Of one before, nothing is heard any more. */
  private makeParts(epoch: string, store: StoreView): Parts {
    const { options } = this;
    const { memoryLimit, nthreads, token } = options;
    const tell = (event: WorkerEvent): void => {
      if (this.parts === parts) this.tell(event);
    };
    const poolEvents: PoolEvents = {
      onSuccess: tell,
      onFailure: ({ tid, runId }, error, lane, start, duration) =>
        tell({ op: 'execute-failure', tid, runId, error, lane, start, duration }),
      onReturned: (tids, runIds) => tell({ op: 'execute-returned', tids, runIds }),
      onKept: (tids, runIds) => tell({ op: 'execute-kept', tids, runIds }),
      onSeceded: (tid, runId, duration) => tell({ op: 'secede', tid, runId, duration }),
      onReschedule: (tid, runId) => tell({ op: 'execute-reschedule', tid, runId }),
      onKilled: (tid, runId) => tell({ op: 'execution-killed', tid, runId }),
      onBegan: (tid, runId) => this.begin(tid, runId),
      onLog: (level, key, text) => this.log.add(level, key === '' ? text : `[${key}] ${text}`),
      onBroken: reason => void this.close(reason)
    };
    const keyOf = (tid: number): string => this.state?.get(tid)?.key ?? '';
    const root = options.root ?? process.cwd();
    const parts: Parts = {
      epoch,
      store,
      poolEvents,
      pool: new ExecutorPool({
        nthreads,
        memoryLimit,
        root,
        address: this.address,
        store,
        lastWords: options.lastWords ?? '',
        context: () => this.taskContext(),
        keyOf,
        python: this.pythonShape(),
        events: poolEvents
      }),
      gatherer: new Gatherer({
        token,
        epoch,
        store,
        keyOf,
        onEvent: tell,
        onTransfer: message => this.link.send(message),
        onLog: text => this.log.warn(text)
      }),
      data: new DataService({
        epoch,
        store,
        memoryLimit,
        keyOf,
        isPaused: () => this.state?.paused === true,
        onPut: tell
      })
    };
    return parts;
  }

  // ---------------------------------------------------------------- the scheduler's link

  private registration(): RegisterWorker {
    const { name, nthreads, memoryLimit, resources, nanny } = this.options;
    const held = this.holding();
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
      languages: this.packages === null ? {} : { python: this.packages['python'] ?? '' },
      nanny: nanny ?? '',
      version: packageVersion(),
      versions: {
        ...ownVersions(),
        ...(this.packages === null ? {} : { packages: this.packages })
      },
      ...held
    };
  }

  /** Values and executions that the next scheduler may take over. */
  private holding(): Held {
    const { epoch, store } = this.parts;
    // From here on nothing begins that is not announced.
    if (this.state !== null) this.tell({ op: 'pause', reason: 'it has a scheduler again' });
    const held: Held = { epoch, tids: [], keys: [], nbytes: [], types: [], running: [] };
    for (const task of this.state?.tasks.values() ?? []) {
      if (task.state !== 'memory' || !store.has(task.tid) || held.tids.length === HELD_MOST)
        continue;
      held.tids.push(task.tid);
      held.keys.push(task.key);
      held.nbytes.push(task.nbytes);
      held.types.push(task.type);
    }
    for (const { key } of this.state?.executing ?? []) held.running.push(key);
    for (const { key, state } of this.state?.tasks.values() ?? [])
      if (state === 'long-running') held.running.push(key);
    held.running.push(...this.orphans.keys);
    for (const tid of this.orphans.running()) held.running.push(this.state?.get(tid)?.key ?? '');
    return held;
  }

  /** Everything that listens on the port (for tests and docs). */
  listRoutes(): string[] {
    return this.server.listRoutes();
  }

  /** The state lives from the hello on: it needs the number that the scheduler has given us. */
  private greet(hello: WorkerHello): void {
    const { nthreads, memoryLimit, resources, name } = this.options;
    const before = this.state;
    const adopted = this.startOver(hello);
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
    this.later(WARM_UP_MS, () => this.parts.pool.startThreads());
    if (before === null) {
      this.every(TICK_MS, () => this.tell({ op: 'tick' }));
      this.every(hello.heartbeat, () => this.heartbeat());
    } else this.later(ORPHANS_MS, () => this.orphans.expire());
    this.log.info(`${name} registered as worker ${hello.worker} of cluster ${hello.cluster.name}`);
    this.askToLeave();
  }

  /** Parts for this scheduler; what it has taken over of the values that were announced. */
  private startOver(hello: WorkerHello): PutData {
    const { held, parts } = this;
    const adopted: PutData = { op: 'put-data', tids: [], keys: [], nbytes: [], types: [] };
    const numbers = new Map<number, number>();
    held?.tids.forEach((tid, i) => {
      const now = hello.adopted[i] ?? -1;
      if (now < 0) return;
      numbers.set(tid, now);
      adopted.tids.push(now);
      adopted.keys.push(held.keys[i] ?? '');
      adopted.nbytes.push(held.nbytes[i] ?? 0);
      adopted.types.push(held.types[i] ?? '');
    });
    // Before the first hello it has run nothing, and its processes are taken over below.
    if (this.state !== null) this.orphans.adopt(parts.pool);
    const running = new Set(held?.running);
    for (const { tid, key, state, lane, start, took } of this.state?.tasks.values() ?? []) {
      if (numbers.has(tid)) continue;
      const value = state === 'memory' && running.has(key) ? parts.store.get(tid) : undefined;
      if (value !== undefined) {
        // Its own copy: what leaves the store is detached.
        const frames = value.frames.map(frame => frame.slice());
        const own = { ...value, frames };
        this.orphans.keep(key, { value: own, error: null, lane, start, duration: took });
      }
      parts.store.delete(tid);
    }
    parts.gatherer.close();
    const view = this.state === null ? parts.store : parts.store.next(numbers);
    this.parts = this.makeParts(hello.epoch, view);
    if (this.state === null) this.parts.pool.takeProcesses(parts.pool);
    else if (this.python !== null) void this.parts.pool.startPython();
    this.began.clear();
    return adopted;
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
    const { state } = this;
    if (state === null) return;
    const now = Date.now();
    const { counts } = state;
    const running = this.executing(now);
    const executing = running.map(task => task.tid);
    this.link.send({
      op: 'heartbeat-worker',
      now,
      executing,
      executingFor: running.map(task => task.forMs),
      trouble: this.memory.trouble,
      metrics: this.metrics.read({
        managed: this.parts.store.nbytes,
        spilled: this.parts.store.spilled,
        executing: executing.length - counts.longRunning,
        ready: counts.ready + counts.executing + counts.longRunning - executing.length,
        inMemory: this.parts.store.size,
        bandwidth: this.parts.gatherer.bandwidth,
        bytesIn: this.parts.gatherer.receivedBytes + this.parts.data.receivedBytes,
        bytesOut: this.parts.data.sentBytes
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
        return this.later(after, () => this.tell({ op: 'retry-busy', worker }));
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
    if (deadline > 0) this.later(deadline - steadyNow() + 1, () => this.tell({ op: 'tick' }));
  }

  // ---------------------------------------------------------------- questions from outside

  private executing(now: number): ExecutingTask[] {
    const running = [...this.parts.pool.running(), ...this.orphans.running()];
    return running.map(tid => ({
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
      inMemory: this.parts.store.size,
      managed: this.parts.store.nbytes,
      spilled: this.parts.store.spilled,
      disk: this.memory.disk,
      paused: this.state?.paused === true,
      states: this.state?.countStates() ?? {}
    };
  }

  // ---------------------------------------------------------------- timers and the end

  /** It leaves when its time is up. Timers of Node last for 24 days at most: longer ones are chained. */
  private endAfter(ms: number, lifetime: LifetimeShape): void {
    const part = Math.min(ms, LONGEST_TIMER_MS);
    this.later(part, () => {
      if (part < ms) return this.endAfter(ms - part, lifetime);
      const reason = `its lifetime of ${formatDuration(lifetime.lifetimeMs)} is over`;
      void this.closeGracefully(reason, DRAIN_MS, lifetime.restart);
    });
  }

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
    this.later(timeoutMs, () => void this.close(reason));
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
    for (const timer of this.timers) clearTimeout(timer);
    this.timers.clear();
    this.metrics.close();
    this.link.send({ op: 'worker-status-change', status: 'closing' });
    this.link.close(reason);
    const { gatherer, pool } = this.parts;
    gatherer.close();
    await Promise.all([pool.close(), this.orphans.close(), this.server.close()]);
    await this.memory.close();
    this.shared.remove();
    this.finish(reason);
  }
}

/** What the system says that a process uses; 0 where it does not say. */
function residentBytes(pid: number): number {
  try {
    return 4096 * Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1]);
  } catch {
    return 0;
  }
}

/** ms since the epoch, on a clock that nobody sets: a timeout must not come early or never. */
function steadyNow(): number {
  return performance.timeOrigin + performance.now();
}
