/**
 * A cluster on this machine: a nanny process that starts and watches a scheduler and workers. This
 * handle holds the nanny's standard input: when its owner ends, however it ends, the input ends and
 * with it the cluster (a lease), unless it was made to stay. Works in Node and in Deno.
 *
 * The handle does not keep its owner's process running: a script that is done, ends.
 */
import { randomBytes } from 'node:crypto';
import { resolve } from 'node:path';
import { ClusterError, ConfigError, TimeoutError } from '../base/errors.ts';
import { listConnectionFiles } from '../config/connection-file.ts';
import { Child } from '../config/child.ts';
import type { ChildExit } from '../config/child.ts';
import { formatBytes } from '../base/bytes.ts';
import { parseDuration } from '../config/duration.ts';
import { lifetimeShape } from '../config/lifetime.ts';
import type { LifetimeShape, LifetimeWishes } from '../config/lifetime.ts';
import { memoryShape } from '../config/memory.ts';
import type { MemoryWishes } from '../config/memory.ts';
import type { ClusterSetup, NannySetup, ProcessReport } from '../config/process-messages.ts';
import type { ClusterLogs } from '../protocol/launcher.ts';
import { fetchInfo, fetchLogs, requestAdapt, requestRestart, requestScale } from './api.ts';
import type { AdaptOptions, ClusterFacts } from './api.ts';
import type { Cluster } from './cluster.ts';
import { schedulingSetup } from './scheduling.ts';
import type { SchedulingOptions } from './scheduling.ts';
import { checkCount, DRAIN_TIMEOUT, localShape } from './shape.ts';

export interface LocalClusterOptions extends SchedulingOptions, LifetimeWishes {
  /** Unique among the user's clusters. Default: a fresh one. */
  id?: string;
  /** For people; the id when not given. */
  name?: string;
  /** Worker processes. Default: from the number of cores. */
  workers?: number;
  /** Tasks that a worker runs at a time. Default: so that all cores are used. */
  threadsPerWorker?: number;
  /** Of one worker: bytes, or text such as "2 GiB"; "auto" splits the machine's; 0 = no limit. */
  memoryLimit?: number | string;
  /** When a worker spills, pauses and is ended, in parts of the limit. */
  memory?: MemoryWishes;
  /** Where values go that do not fit memory. Default: a temporary folder of the system. */
  localDirectory?: string;
  /** Address to listen on. Default 127.0.0.1. */
  host?: string;
  /** Port of the scheduler. Default 0: a free one. */
  port?: number;
  /** Listen beyond loopback without encryption. */
  insecure?: boolean;
  /** Amounts of resources that each worker offers to tasks. */
  resources?: Record<string, number>;
  /** The interpreter that runs Python tasks. Default: what TASKLOOM_PYTHON names; "none": no Python. */
  python?: string;
  /** Run Python tasks as threads of one process a worker, instead of in a process each. */
  pythonThreads?: boolean;
  /** Where modules that tasks import are looked for. Default: the working directory. */
  root?: string;
  /** Variables of the workers' environment, beside those of this process. */
  environment?: Record<string, string>;
  /** Seconds, or text such as "10 min", without anything to do after which the cluster ends. Default 0: never. */
  idleTimeout?: number | string;
  /** Seconds, or text, without a word after which a worker is restarted. Default "5 min"; 0: never. */
  workerTtl?: number | string;
  /** Seconds, or text, that a worker may take to move its values when it gets SIGTERM. Default "20 s". */
  drainTimeout?: number | string;
  /** Folder in which the scheduler keeps a journal: datasets and history outlive it. Default: none. */
  journal?: string;
  /** Start the scheduler again when it dies, results and all. Default true. */
  superviseScheduler?: boolean;
  /** End with this process. Default true; false: it stays until it is stopped. */
  lease?: boolean;
  /** Shown beside the cluster: who made it. */
  madeBy?: ClusterSetup['madeBy'];
  /** What happens to its processes, one line each, for people. */
  onLog?: (line: string) => void;
}

/** ms in which a cluster must have started. */
const START_LIMIT_MS = 60_000;
/** ms for an orderly end before the nanny is killed. */
const CLOSE_LIMIT_MS = 10_000;

export class LocalCluster implements Cluster {
  readonly id: string;
  readonly name: string;
  readonly kind = 'local';
  readonly token: string;
  readonly finished: Promise<string>;
  /** Workers it was asked for, last. */
  private workers: number;
  private readonly threads: number;
  private readonly memoryLimit: number;
  private schedulerAddress = '';
  private readonly nanny: Child;
  private ended: string | null = null;
  private closing: string | null = null;
  private resolveFinished: (reason: string) => void = () => undefined;
  private resolveReady: () => void = () => undefined;

  private constructor(options: LocalClusterOptions) {
    const shape = localShape(options);
    this.id = options.id ?? createClusterId('local');
    this.name = options.name ?? this.id;
    this.token = randomBytes(32).toString('base64url');
    this.workers = shape.workers;
    this.threads = shape.threads;
    this.memoryLimit = shape.memoryLimit;
    this.finished = new Promise(resolve => {
      this.resolveFinished = resolve;
    });
    const host = options.host ?? '127.0.0.1';
    const insecure = options.insecure === true;
    const setup: NannySetup = {
      role: 'nanny',
      lease: options.lease !== false,
      cluster: {
        id: this.id,
        name: this.name,
        kind: this.kind,
        token: this.token,
        host,
        port: options.port ?? 0,
        insecure,
        supervise: options.superviseScheduler !== false,
        ...(options.journal === undefined ? {} : { journal: resolve(options.journal) }),
        madeBy: options.madeBy ?? defaultMaker(),
        ...inMs('idleTimeout', options.idleTimeout),
        ...inMs('workerTtl', options.workerTtl),
        scheduling: schedulingSetup(options)
      },
      workers: shape.workers,
      shape: {
        threads: shape.threads,
        memoryLimit: shape.memoryLimit,
        memory: memoryShape(options.memory),
        localDirectory: options.localDirectory ?? '',
        host,
        insecure,
        resources: options.resources ?? {},
        root: options.root ?? process.cwd(),
        ...(options.python === undefined ? {} : { python: options.python }),
        ...(options.pythonThreads === true ? { pythonThreads: true } : {}),
        drainTimeout: parseDuration(options.drainTimeout ?? DRAIN_TIMEOUT),
        environment: options.environment ?? {},
        ...livesFor(options)
      }
    };
    this.nanny = new Child({
      setup,
      reportsOnStdout: true,
      // The terminal's Ctrl-C and a notebook's interrupt are for the owner, not for the cluster.
      detached: true,
      onReport: report => this.onReport(report),
      onExit: exit => this.onExit(exit),
      ...(options.onLog === undefined ? {} : { onLine: options.onLog })
    });
  }

  /**
   * Starts the cluster; resolves when all its workers have registered. Rejects with ConfigError
   * when the options make no sense, and with ClusterError, quoting the last lines of the process
   * that failed, when it does not start.
   */
  static async create(options: LocalClusterOptions = {}): Promise<LocalCluster> {
    checkName(options.name);
    const cluster = new LocalCluster(options);
    try {
      await cluster.started();
    } catch (error) {
      cluster.nanny.signal('SIGKILL');
      throw error;
    }
    cluster.nanny.unref();
    return cluster;
  }

  get address(): string {
    return this.schedulerAddress;
  }

  async scale(workers: number): Promise<void> {
    checkCount('workers', workers, 0);
    this.mustLive();
    await requestScale(this, workers);
    this.workers = workers;
  }

  async adapt(options: AdaptOptions | null): Promise<void> {
    this.mustLive();
    await requestAdapt(this, options);
  }

  async waitForWorkers(workers: number, options: { timeoutMs?: number } = {}): Promise<void> {
    const timeoutMs = options.timeoutMs ?? 30_000;
    const end = Date.now() + timeoutMs;
    for (;;) {
      this.mustLive();
      const { running } = (await this.info()).workers;
      if (running >= workers) return;
      if (Date.now() > end) {
        throw new TimeoutError(
          `${running} of ${workers} workers of ${this.name} came within ${timeoutMs / 1000} s. ` +
            `cluster.logs() shows what keeps the others.`
        );
      }
      await new Promise(resolve => setTimeout(resolve, 50));
    }
  }

  async restartWorkers(): Promise<void> {
    this.mustLive();
    await requestRestart(this);
  }

  info(): Promise<ClusterFacts> {
    this.mustLive();
    return fetchInfo(this);
  }

  logs(): Promise<ClusterLogs> {
    this.mustLive();
    return fetchLogs(this);
  }

  async close(reason = `closed by its owner`): Promise<void> {
    if (this.closing === null && this.ended === null) {
      this.closing = reason;
      this.nanny.ref();
      this.nanny.order({ op: 'close', reason });
      const killer = setTimeout(() => this.nanny.signal('SIGKILL'), CLOSE_LIMIT_MS);
      await this.finished;
      clearTimeout(killer);
    }
    await this.finished;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** `LocalCluster(local-7f3a, http://127.0.0.1:40123, 4 workers × 1 thread, 2 GiB each)` */
  toString(): string {
    const state = this.ended === null ? '' : `, ended: ${this.ended}`;
    const memory = this.memoryLimit === 0 ? 'no limit' : `${formatBytes(this.memoryLimit)} each`;
    const threads = `${this.threads} thread${this.threads === 1 ? '' : 's'}`;
    const workers = `${this.workers} worker${this.workers === 1 ? '' : 's'}`;
    const label = this.name === this.id ? this.id : `${this.name} (${this.id})`;
    return `LocalCluster(${label}, ${this.address}, ${workers} × ${threads}, ${memory}${state})`;
  }

  /** What Node prints, without the token. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString();
  }

  /** What Deno prints, without the token. */
  [Symbol.for('Deno.customInspect')](): string {
    return this.toString();
  }

  private mustLive(): void {
    if (this.ended === null) return;
    throw new ClusterError(`The cluster ${this.name} has ended: ${this.ended}. Create a new one.`);
  }

  private started(): Promise<void> {
    return new Promise((resolve, reject) => {
      const limit = setTimeout(
        () => reject(this.notStarted(`it took more than ${START_LIMIT_MS / 1000} s`)),
        START_LIMIT_MS
      );
      this.resolveReady = () => {
        clearTimeout(limit);
        resolve();
      };
      void this.finished.then(reason => {
        clearTimeout(limit);
        reject(this.notStarted(reason));
      });
    });
  }

  private notStarted(reason: string): ClusterError {
    return new ClusterError(`The local cluster ${this.name} did not start: ${reason}`);
  }

  private onReport(report: ProcessReport): void {
    if (report.op !== 'ready') return;
    this.schedulerAddress = report.address;
    this.resolveReady();
  }

  private onExit(exit: ChildExit): void {
    this.ended = exit.said ?? this.closing ?? this.howNannyEnded(exit);
    this.resolveFinished(this.ended);
  }

  private howNannyEnded(exit: ChildExit): string {
    if (exit.startError !== null) return `no process could be started: ${exit.startError}`;
    const how = exit.signal === null ? `exit code ${exit.code}` : `killed by ${exit.signal}`;
    const lines = this.nanny.output.last(10).map(line => `\n  ${line}`);
    return `its nanny ended (${how})${lines.join('')}`;
  }
}

/** A short id that no cluster of this user has. */
export function createClusterId(kind: string): string {
  const taken = new Set(listConnectionFiles().map(file => file.id));
  for (;;) {
    const id = `${kind}-${randomBytes(2).toString('hex')}`;
    if (!taken.has(id)) return id;
  }
}

function checkName(name: string | undefined): void {
  if (name === undefined) return;
  if (typeof name !== 'string' || name.trim() === '' || name.length > 100) {
    throw new ConfigError('A cluster needs a name of 1 to 100 characters, or none at all.');
  }
}

function livesFor(options: LifetimeWishes): { lifetime?: LifetimeShape } {
  const lifetime = lifetimeShape(options);
  return lifetime === undefined ? {} : { lifetime };
}

function inMs<Name extends string>(
  name: Name,
  time: number | string | undefined
): Partial<Record<Name, number>> {
  if (time === undefined) return {};
  return { [name]: parseDuration(time) } as Record<Name, number>;
}

function defaultMaker(): ClusterSetup['madeBy'] {
  const notebook = process.env['JPY_SESSION_NAME'];
  if (notebook !== undefined && notebook !== '') return { kind: 'notebook', label: notebook };
  if (process.env['TASKLOOM_KERNEL'] !== undefined) return { kind: 'notebook', label: 'notebook' };
  const script = process.argv[1];
  return { kind: 'script', label: script === undefined ? 'script' : script.replace(/^.*\//, '') };
}
