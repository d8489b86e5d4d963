/**
 * What every cluster handle can do, whatever manager its processes come from. Backends implement
 * this interface; test/deploy/contract.ts is the suite that each of them passes.
 */
import type { ClusterLogs } from '../protocol/launcher.ts';
import type { AdaptOptions, ClusterFacts } from './api.ts';

export interface Cluster extends AsyncDisposable {
  /** Unique and short: `local-7f3a`. */
  readonly id: string;
  readonly name: string;
  /** `local`, or the manager it runs on. */
  readonly kind: string;
  /** Where clients connect: `http://host:port`. */
  readonly address: string;
  /** What clients present; never in a log or on a command line. */
  readonly token: string;
  /** Resolves with the reason when the cluster has ended, however it ended. */
  readonly finished: Promise<string>;
  /** Asks for this many workers; resolves when the request has been taken. */
  scale(workers: number): Promise<void>;
  /**
   * From now on it has as many workers as its work asks for, within bounds; null: not any more. The
   * scheduler sees to it, also when whoever asked has gone. `scale` ends it, too.
   */
  adapt(options: AdaptOptions | null): Promise<void>;
  /** Resolves when this many workers run; rejects with TimeoutError, saying how many came. */
  waitForWorkers(workers: number, options?: { timeoutMs?: number }): Promise<void>;
  restartWorkers(): Promise<void>;
  info(): Promise<ClusterFacts>;
  logs(): Promise<ClusterLogs>;
  /** Ends all processes; resolves when they have ended. A second call waits for the first. */
  close(reason?: string): Promise<void>;
}
