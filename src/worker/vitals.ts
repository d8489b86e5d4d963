/** What a worker tells of itself: heartbeats to its scheduler, figures to whoever asks. */
import { packageVersion } from '../config/runtime.ts';
import type { HeartbeatWorker } from '../protocol/messages.ts';
import type { WorkerMemory } from './memory.ts';
import { ProcessMetrics } from './metrics.ts';
import type { WorkerOptions } from './options.ts';
import type { UnderScheduler } from './parts.ts';
import type { PythonProcess, WorkerPython } from './python.ts';
import type { ExecutingTask } from './requests.ts';

/** What is looked at. */
interface Looked {
  readonly options: WorkerOptions;
  readonly address: string;
  readonly memory: WorkerMemory;
  readonly python: WorkerPython;
  /** The scheduler's there is, or the last one's. */
  current(): UnderScheduler;
}

/** Reads the figures of one worker. */
export class Vitals {
  private readonly worker: Looked;
  private readonly metrics = new ProcessMetrics();
  /** When running tasks were first seen. */
  private readonly began = new Map<number, number>();

  constructor(worker: Looked) {
    this.worker = worker;
  }

  /** Tasks have other numbers from now on. */
  startOver(): void {
    this.began.clear();
  }

  close(): void {
    this.metrics.close();
  }

  /** null: it has not registered yet. */
  heartbeat(): HeartbeatWorker | null {
    const { memory } = this.worker;
    const { state, parts } = this.worker.current();
    if (state === null) return null;
    const now = Date.now();
    const { counts } = state;
    const running = this.executing(now);
    const executing = running.map(task => task.tid);
    for (const tid of this.began.keys()) if (!executing.includes(tid)) this.began.delete(tid);
    return {
      op: 'heartbeat-worker',
      now,
      executing,
      executingFor: running.map(task => task.forMs),
      trouble: memory.trouble,
      metrics: this.metrics.read({
        rss: memory.usedBytes,
        executorMs: new Map(this.processes().map(({ pid, cpuMs }) => [pid, cpuMs])),
        managed: parts.store.nbytes,
        spilled: parts.store.spilled,
        executing: executing.length - counts.longRunning,
        ready: counts.ready + counts.executing + counts.longRunning - executing.length,
        inMemory: parts.store.size,
        bandwidth: parts.gatherer.bandwidth,
        bytesIn: parts.gatherer.receivedBytes + parts.data.receivedBytes,
        bytesOut: parts.data.sentBytes
      })
    };
  }

  private processes(): PythonProcess[] {
    return this.worker.python.processes(this.worker.current().parts.pool);
  }

  /** Tasks that run now, orphans included. */
  executing(now: number): ExecutingTask[] {
    const { parts, orphans, state } = this.worker.current();
    const running = [...parts.pool.running(), ...orphans.running()];
    return running.map(tid => ({
      tid,
      key: state?.get(tid)?.key ?? '',
      forMs: now - this.startOf(tid, now)
    }));
  }

  /** When the running task began, as exactly as heartbeats see it. */
  private startOf(tid: number, now: number): number {
    const known = this.began.get(tid);
    if (known === undefined) this.began.set(tid, now);
    return known ?? now;
  }

  /** For `/info` and dumps. */
  info(): Record<string, unknown> {
    const { options, address, memory } = this.worker;
    const { name, nthreads, memoryLimit, nanny } = options;
    const { parts, state } = this.worker.current();
    return {
      name,
      address,
      pid: process.pid,
      nthreads,
      memoryLimit,
      nanny: nanny ?? '',
      version: packageVersion(),
      inMemory: parts.store.size,
      managed: parts.store.nbytes,
      spilled: parts.store.spilled,
      used: memory.usedBytes,
      pythons: this.processes(),
      disk: memory.disk,
      paused: state?.paused === true,
      states: state?.countStates() ?? {}
    };
  }
}
