/**
 * How much memory a worker uses, by the measure `optimistic`: the values it holds in memory plus
 * what else its process has used all of the last 30 s. What a running task takes for a moment does
 * not count; what libraries and heaps keep does.
 */
import type { WorkerMetrics } from '../../protocol/messages.ts';

/** ms of readings of which the least is what is always there. */
const RECENT_MS = 30_000;

/** The part of a worker's record that is measured. */
interface Measured {
  /** Bytes of the values it holds. */
  readonly nbytes: number;
  readonly metrics: WorkerMetrics | null;
}

export class MemoryMeasure {
  /** Readings that are less than all after them, oldest first: the first is the least. */
  private readonly readings: { at: number; bytes: number }[] = [];

  /** A heartbeat came. */
  add(metrics: WorkerMetrics, now: number): void {
    const bytes = Math.max(0, metrics.rss - (metrics.managed - metrics.spilled));
    const { readings } = this;
    while (readings.length > 0 && (readings.at(-1)?.bytes ?? 0) >= bytes) readings.pop();
    readings.push({ at: now, bytes });
    while ((readings[0]?.at ?? now) < now - RECENT_MS) readings.shift();
  }

  /** Bytes beside its values that the process has used at every reading of the last 30 s. */
  get unmanagedOld(): number {
    return this.readings[0]?.bytes ?? 0;
  }

  optimistic({ nbytes, metrics }: Measured): number {
    return Math.max(0, nbytes - (metrics?.spilled ?? 0)) + this.unmanagedOld;
  }
}
