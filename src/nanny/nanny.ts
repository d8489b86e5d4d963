/**
 * The nanny's shell: one a host, it starts and watches all workers of that host and, for a local
 * cluster, the scheduler too. What to do is decided by the pure state (state/); here are the
 * processes, the clock, the readings of memory and the link to the scheduler.
 *
 * Workers start at the same time as the scheduler and learn its address as soon as it is known.
 * All children hold a pipe to the nanny and end when it is gone, however it went. The scheduler of
 * a local cluster is started again when it dies (scheduler-process.ts); workers and clients wait for
 * it and bring what they have.
 */
import { hostname } from 'node:os';
import { ClusterError } from '../base/errors.ts';
import { Child } from '../config/child.ts';
import type { ChildExit } from '../config/child.ts';
import { removeFoldersOf } from '../config/folder.ts';
import { LastWordsFolder } from '../config/last-words.ts';
import type { Executing } from '../config/last-words.ts';
import { LineRing } from '../config/lines.ts';
import type { ClusterSetup, WorkerShape } from '../config/process-messages.ts';
import type { ClusterLogs } from '../protocol/launcher.ts';
import { drainTime } from '../config/duration.ts';
import { NannyLink } from './link.ts';
import { requestHandlers } from './requests.ts';
import { kernelKills, READING_MS, readResident } from './resident.ts';
import { SchedulerProcess } from './scheduler-process.ts';
import type { NannyEvent, NannyInstruction } from './state/events.ts';
import { NannyState } from './state/state.ts';
import type { NannySettings } from './state/state.ts';
import { WorkerLogs } from './worker-logs.ts';

/** How a nanny is started. */
export interface NannyOptions {
  /** Id of the nanny, `nanny-7f3a`. */
  id: string;
  token: string;
  /** A whole cluster of its own: the nanny starts the scheduler, too. */
  cluster?: ClusterSetup;
  /** Or the scheduler of a cluster that runs, `http://host:port`. */
  schedulerAddress?: string;
  workers: number;
  shape: WorkerShape;
  settings?: Partial<NannySettings>;
  /** ms for which a scheduler that was lost is dialled again. Default 60 s. */
  redialLimitMs?: number;
  /** What happens, for people: one line each. */
  onLog?: (line: string) => void;
}

/** Variables that keep numeric libraries from starting a pool of threads in every worker. */
const WORKER_ENVIRONMENT: Record<string, string> = {
  OMP_NUM_THREADS: '1',
  MKL_NUM_THREADS: '1',
  OPENBLAS_NUM_THREADS: '1',
  MALLOC_TRIM_THRESHOLD_: '65536'
};

/** A nanny with its processes. */
export class Nanny {
  readonly id: string;
  /** Resolves with the reason when all its processes have ended. */
  readonly finished: Promise<string>;
  private readonly options: NannyOptions;
  private readonly state: NannyState;
  private readonly workers = new Map<string, Child>();
  private readonly workerLogs = new WorkerLogs();
  private readonly words = new LastWordsFolder();
  private readonly events = new LineRing(1000);
  private readonly link: NannyLink;
  private readonly kernelKillsAtStart = kernelKills();
  private scheduler: SchedulerProcess | null = null;
  private schedulerAddress: string | null = null;
  private workersEnded = false;
  private closing: string | null = null;
  private wakeTimer: ReturnType<typeof setTimeout> | null = null;
  private readonly memoryTimer: ReturnType<typeof setInterval>;
  private resolveFinished: (reason: string) => void = () => undefined;
  private onProgress: () => void = () => undefined;

  private constructor(options: NannyOptions) {
    this.options = options;
    this.id = options.id;
    this.finished = new Promise(resolve => {
      this.resolveFinished = resolve;
    });
    this.state = new NannyState({
      namePrefix: `${options.cluster === undefined ? `${options.id}-` : ''}worker-`,
      memoryLimit: options.shape.memoryLimit,
      ...(options.shape.memory === undefined
        ? {}
        : { terminateAt: options.shape.memory.terminate }),
      ...options.settings
    });
    this.link = new NannyLink({
      registration: {
        nanny: options.id,
        host: hostname(),
        pid: process.pid,
        // A cluster is scaled and closed by the nanny that owns it, not by one of many.
        canScale: options.cluster !== undefined
      },
      token: options.token,
      handlers: requestHandlers(this),
      ...(options.redialLimitMs === undefined ? {} : { redialLimitMs: options.redialLimitMs }),
      onLost: reason => this.onLinkLost(reason),
      onBack: () => this.onLinkBack(),
      onGone: reason => this.onLinkGone(reason)
    });
    this.memoryTimer = setInterval(() => this.readMemory(), READING_MS);
  }

  /** Starts all processes and returns at once. */
  static create(options: NannyOptions): Nanny {
    const nanny = new Nanny(options);
    nanny.startScheduler();
    nanny.apply({ type: 'scale', workers: options.workers, close: [] });
    void nanny.link.prepare();
    return nanny;
  }

  /** The same, and resolves when the scheduler serves and every worker has registered. */
  static async start(options: NannyOptions): Promise<Nanny> {
    const nanny = Nanny.create(options);
    await nanny.running();
    return nanny;
  }

  /** Resolves when every worker asked for has registered; rejects if the nanny ends before. */
  async running(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.onProgress = () => {
        const { target, running } = this.state.counts();
        if (running >= target && this.link.isOpen && this.closing === null) resolve();
      };
      void this.finished.then(reason => reject(new ClusterError(reason)));
      this.onProgress();
    });
  }

  /** Where clients connect. */
  get address(): string {
    return this.schedulerAddress ?? '';
  }

  /** So many workers, and which are to go first; how many there are now. */
  scale(
    workers: number,
    close: readonly string[] = []
  ): { target: number; running: number; starting: number } {
    this.apply({ type: 'scale', workers, close });
    return this.state.counts();
  }

  /** Ends workers, null: all, and starts them anew. */
  restartWorkers(names: readonly string[] | null = null): void {
    this.apply({ type: 'restart-workers', names });
  }

  /** Ends workers that are not wanted any more. */
  closeWorkers(names: readonly string[], reason: string): void {
    this.apply({ type: 'close-workers', names, reason });
  }

  /**
   * Ends everything, after the scheduler has moved the values of our workers to others and their
   * tasks have ended or were given away. Without a scheduler to ask, or when time is up, at once.
   */
  async drain(reason: string): Promise<void> {
    const timeout = this.options.shape.drainTimeout;
    if (timeout > 0 && this.closing === null && this.link.isOpen) {
      this.log(`${reason}: values and tasks of its workers are moved to others.`);
      const within = drainTime(timeout);
      this.link.tell({ op: 'close-gracefully', reason, timeout: within, restart: false });
      const timer = setTimeout(() => void this.close(reason), timeout);
      await this.finished;
      clearTimeout(timer);
    } else await this.close(reason);
  }

  /** Ends everything; resolves when no process is left. */
  async close(reason: string): Promise<void> {
    if (this.closing === null) {
      this.closing = reason;
      this.scheduler?.close(reason);
      this.apply({ type: 'close', reason });
    }
    await this.finished;
  }

  /**
   * The nanny's own lines, and those of workers that cannot be asked themselves: they have ended,
   * or have not registered yet.
   */
  logs(): ClusterLogs {
    const logs = [
      { source: `nanny ${this.id}`, lines: this.events.last() },
      ...this.workerLogs.list()
    ];
    for (const { name, status } of this.state.list()) {
      const lines = status === 'starting' ? (this.workers.get(name)?.output.last() ?? []) : [];
      if (lines.length > 0) logs.push({ source: `${name}, starting`, lines });
    }
    return { logs };
  }

  // ---------------------------------------------------------------- starting

  private startScheduler(): void {
    const { cluster, schedulerAddress } = this.options;
    if (cluster === undefined) {
      if (schedulerAddress === undefined) throw new ClusterError('A nanny needs a scheduler.');
      this.useScheduler(schedulerAddress);
      return;
    }
    this.scheduler = new SchedulerProcess({
      cluster,
      onReady: (address, again) => {
        // Who was here before dials again by itself; who came meanwhile hears of it now.
        if (again) this.orderAll(address);
        else this.useScheduler(address);
      },
      onLine: line => this.options.onLog?.(`scheduler: ${line}`),
      onLog: line => this.log(line),
      onEnded: reason => {
        if (this.closing === null) void this.close(reason);
      }
    });
  }

  private orderAll(address: string): void {
    for (const child of this.workers.values()) child.order({ op: 'scheduler', address });
  }

  private useScheduler(address: string): void {
    this.schedulerAddress = address;
    this.orderAll(address);
    this.link.open(address).then(
      () => this.onProgress(),
      (error: Error) => void this.close(`The nanny cannot reach its scheduler: ${error.message}`)
    );
  }

  // ---------------------------------------------------------------- state

  private apply(event: NannyEvent): void {
    for (const instruction of this.state.handle(event, Date.now())) this.perform(instruction);
    this.scheduleWake();
    this.onProgress();
  }

  private scheduleWake(): void {
    if (this.wakeTimer !== null) clearTimeout(this.wakeTimer);
    this.wakeTimer = null;
    const wake = this.state.nextWake;
    if (wake === null) return;
    this.wakeTimer = setTimeout(() => this.apply({ type: 'tick' }), Math.max(0, wake - Date.now()));
  }

  private perform(instruction: NannyInstruction): void {
    switch (instruction.op) {
      case 'spawn':
        return this.spawnWorker(instruction.name);
      case 'ask':
        this.workers.get(instruction.name)?.order({ op: 'close', reason: instruction.reason });
        return;
      case 'signal':
        return this.signalWorker(instruction.name, instruction.signal);
      case 'worker-exited':
      case 'nanny-status':
        return this.link.tell(instruction);
      case 'log':
        return this.log(instruction.line);
      case 'finished':
        this.workersEnded = true;
        this.closing ??= instruction.reason;
        this.scheduler?.close(instruction.reason);
        void this.finish(instruction.reason);
    }
  }

  private spawnWorker(name: string): void {
    const lastWords = this.words.make(name, this.options.shape.threads);
    const child = new Child({
      setup: {
        role: 'worker',
        name,
        token: this.options.token,
        nanny: this.id,
        shape: this.options.shape,
        lastWords
      },
      env: { ...environmentOfWorkers(), ...this.options.shape.environment },
      onReport: report => {
        if (report.op === 'ready') this.apply({ type: 'worker-ready', name });
      },
      onLine: line => this.options.onLog?.(`${name}: ${line}`),
      onExit: exit => this.onWorkerExit(name, child, exit, this.words.take(lastWords))
    });
    this.workers.set(name, child);
    if (this.schedulerAddress !== null && this.scheduler?.isAway !== true) {
      child.order({ op: 'scheduler', address: this.schedulerAddress });
    }
  }

  private signalWorker(name: string, signal: 'SIGTERM' | 'SIGKILL'): void {
    const child = this.workers.get(name);
    if (child === undefined) return;
    this.workerLogs.signalled(name, child.output);
    child.signal(signal);
  }

  private onWorkerExit(
    name: string,
    child: Child,
    exit: ChildExit,
    executing: Executing | null
  ): void {
    // A process that was killed has left what it had spilled.
    removeFoldersOf(child.pid, 'worker', this.options.shape.localDirectory);
    this.workers.delete(name);
    const lastLines = this.workerLogs.keep(name, child.output);
    this.apply({
      type: 'worker-exited',
      name,
      end: {
        ...exit,
        pid: child.pid,
        kernelKilled: kernelKills() > this.kernelKillsAtStart,
        lastLines,
        executing
      }
    });
  }

  private readMemory(): void {
    const { memoryLimit } = this.options.shape;
    if (memoryLimit === 0 && this.workers.size === 0) return;
    const names = new Map([...this.workers].map(([name, child]) => [child.pid, name]));
    const limit = memoryLimit === 0 ? Infinity : memoryLimit;
    readResident([...names.keys()], limit, (pid, rss, tree) => {
      const name = names.get(pid);
      if (name !== undefined) this.apply({ type: 'worker-memory', name, rss, tree });
    });
  }

  // ---------------------------------------------------------------- ending

  private onLinkLost(reason: string): void {
    if (this.closing !== null) return;
    this.log(`The scheduler at ${this.address} is lost (${reason}); it is dialled again.`);
    this.apply({ type: 'scheduler-lost' });
  }

  private onLinkBack(): void {
    if (this.closing !== null) return;
    this.log(`The scheduler at ${this.address} is back.`);
    this.apply({ type: 'scheduler-back' });
  }

  private onLinkGone(reason: string): void {
    if (this.closing !== null) return;
    // A local cluster's scheduler is watched as a process: its exit tells more than its link.
    if (this.options.cluster !== undefined) return;
    void this.close(`The scheduler at ${this.address} is gone: ${reason}`);
  }

  private async finish(reason: string): Promise<void> {
    clearInterval(this.memoryTimer);
    if (this.wakeTimer !== null) clearTimeout(this.wakeTimer);
    await this.scheduler?.ended;
    this.words.close();
    this.link.close();
    this.log(reason);
    this.resolveFinished(reason);
  }

  private log(line: string): void {
    this.events.add(`${new Date().toISOString()} ${line}\n`);
    this.options.onLog?.(line);
  }
}

/** The user's own settings go before ours. */
function environmentOfWorkers(): Record<string, string> {
  const own: Record<string, string> = {};
  for (const [name, value] of Object.entries(WORKER_ENVIRONMENT)) {
    if (process.env[name] === undefined) own[name] = value;
  }
  return own;
}
