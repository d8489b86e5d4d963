/**
 * What a heartbeat tells of the process and its executors: processor time, memory, the delay of
 * this thread, bytes to and from others. Rates are those since the last heartbeat.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { WorkerMetrics } from '../protocol/messages.ts';

/** ms between samples of the loop's delay; a sample cannot be shorter. */
const RESOLUTION_MS = 20;

/** What the worker knows itself. */
export type OwnMetrics = Pick<
  WorkerMetrics,
  'rss' | 'managed' | 'spilled' | 'executing' | 'ready' | 'inMemory' | 'bandwidth'
> & {
  /** Processor ms since the start of each of the executors that are processes, by their ids. */
  executorMs: ReadonlyMap<number, number>;
  /** Since the start. */
  bytesIn: number;
  bytesOut: number;
};

export class ProcessMetrics {
  private readonly delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  private cpu = process.cpuUsage();
  private executorMs: ReadonlyMap<number, number> = new Map();
  private at = performance.now();
  private bytesIn = 0;
  private bytesOut = 0;

  constructor() {
    this.delay.enable();
  }

  read(own: OwnMetrics): WorkerMetrics {
    const now = performance.now();
    const seconds = Math.max(0.001, (now - this.at) / 1000);
    const used = process.cpuUsage(this.cpu);
    this.cpu = process.cpuUsage();
    this.at = now;
    const worst = this.delay.max / 1e6 - RESOLUTION_MS;
    this.delay.reset();
    const { bytesIn, bytesOut, executorMs, ...rest } = own;
    const metrics = {
      ...rest,
      cpu: ((used.user + used.system) / 1e4 + this.msOf(executorMs) / 10) / seconds,
      netIn: (bytesIn - this.bytesIn) / seconds,
      netOut: (bytesOut - this.bytesOut) / seconds,
      loopDelay: Math.max(0, worst)
    };
    this.bytesIn = bytesIn;
    this.bytesOut = bytesOut;
    return metrics;
  }

  /** What executors have used since the last time. */
  private msOf(executorMs: ReadonlyMap<number, number>): number {
    let used = 0;
    for (const [pid, ms] of executorMs) used += Math.max(0, ms - (this.executorMs.get(pid) ?? 0));
    this.executorMs = executorMs;
    return used;
  }

  close(): void {
    this.delay.disable();
  }
}
