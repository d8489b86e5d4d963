/**
 * A scheduler as a child process that is started again, at the same address, when it dies: by the
 * nanny of a local cluster, or by `taskloom scheduler --supervise`. Each start in place of another
 * is told how many workers there were, so that it waits for them.
 *
 * The connection file stays while the scheduler is away, and says why.
 */
import {
  markRestarting,
  readConnectionFileOf,
  removeConnectionFile
} from '../config/connection-file.ts';
import { Child } from '../config/child.ts';
import type { ChildExit } from '../config/child.ts';
import type { ClusterSetup, ProcessReport } from '../config/process-messages.ts';
import { Restarts } from './state/restarts.ts';

export interface SchedulerProcessOptions {
  cluster: ClusterSetup;
  /** It serves at this address, again or for the first time. */
  onReady(address: string, again: boolean): void;
  onLine(line: string): void;
  /** What happens to it, for people. */
  onLog(line: string): void;
  /** It has ended for good, not asked to: the reason. */
  onEnded(reason: string): void;
}

/** Lines of its log that an end is told with. */
const LAST_LINES = 20;
/** ms to end by itself. */
const GRACE_MS = 2500;

export class SchedulerProcess {
  private readonly options: SchedulerProcessOptions;
  private readonly restarts = new Restarts();
  /** Resolves when the process has ended and none is started any more. */
  readonly ended: Promise<void>;
  private resolveEnded: () => void = () => undefined;
  private child: Child | null = null;
  private timer: ReturnType<typeof setTimeout> | null = null;
  private cluster: ClusterSetup;
  private served = false;
  private serves = false;
  private workers = 0;
  private closing = false;

  constructor(options: SchedulerProcessOptions) {
    this.options = options;
    this.cluster = { ...options.cluster, supervisor: process.pid };
    this.ended = new Promise(resolve => (this.resolveEnded = resolve));
    this.start();
  }

  /** It is being started again. */
  get isAway(): boolean {
    return this.served && !this.serves;
  }

  close(reason: string): void {
    if (this.closing) return;
    this.closing = true;
    if (this.timer !== null) {
      clearTimeout(this.timer);
      return this.finish();
    }
    const { child } = this;
    child?.order({ op: 'close', reason });
    const killer = setTimeout(() => child?.signal('SIGKILL'), GRACE_MS);
    void this.ended.then(() => clearTimeout(killer));
  }

  private start(): void {
    this.timer = null;
    this.child = new Child({
      setup: { role: 'scheduler', cluster: this.cluster, recoverWorkers: this.workers },
      onReport: report => this.onReport(report),
      onLine: line => this.options.onLine(line),
      onExit: exit => this.onExit(exit)
    });
  }

  private onReport(report: ProcessReport): void {
    if (report.op === 'workers') this.workers = report.count;
    if (report.op !== 'ready') return;
    const again = this.served;
    this.served = true;
    this.serves = true;
    // The same port from here on, and the age of the cluster, not of this process.
    const startedAt = readConnectionFileOf(this.cluster.id)?.startedAt;
    const port = Number(new URL(report.address).port);
    this.cluster = { ...this.cluster, port, ...(startedAt === undefined ? {} : { startedAt }) };
    if (again) this.options.onLog(`The scheduler serves again at ${report.address}.`);
    this.options.onReady(report.address, again);
  }

  private onExit(exit: ChildExit): void {
    this.serves = false;
    if (this.closing) return this.finish();
    // By itself, or because somebody sent it SIGTERM.
    const orderly = exit.said !== null && (exit.code === 0 || exit.code === 143);
    if (orderly) return this.end(exit.said ?? '');
    const how = exit.startError ?? (exit.signal === null ? exit.said : `killed by ${exit.signal}`);
    const why = `The scheduler ended: ${how ?? `exit code ${exit.code}`}.`;
    const lines = (this.child?.output.last(LAST_LINES) ?? []).map(line => `\n  ${line}`).join('');
    // One that never served will not do better the next time.
    if (!this.served) return this.end(`${why}${lines}`);
    if (this.options.cluster.supervise === false) {
      const lost = 'The states of its tasks went with it: start a new cluster.';
      return this.end(`${why} ${lost}${lines}`);
    }
    const pause = this.restarts.after(performance.now());
    if (pause === null) {
      return this.end(`${why} It did so ${this.restarts.budget} and is not started again.${lines}`);
    }
    this.options.onLog(`${why} It is started again${pause > 0 ? ` in ${pause} ms` : ''}.${lines}`);
    markRestarting(this.cluster.id, `${why} It is started again.`);
    this.timer = setTimeout(() => this.start(), pause);
  }

  private end(reason: string): void {
    this.finish();
    this.options.onEnded(reason);
  }

  private finish(): void {
    // A scheduler that was killed has not taken its file away.
    removeConnectionFile(this.cluster.id);
    this.resolveEnded();
  }
}
