/**
 * Which workers have gone silent, and whether there has been anything to do: looked at with each
 * tick, from the state alone.
 *
 * Only time in which this scheduler was awake counts. A gap between two looks that is much longer
 * than a tick means that the process was suspended or its clock jumped: heartbeats of that time are
 * still in its sockets, so all waiting begins anew.
 */
import { heartbeatInterval } from './worker-events.ts';
import type { SchedulerState } from './state.ts';
import type { WorkerRecord } from './workers.ts';

export interface LivenessOptions {
  /** ms without a word after which a worker counts as gone; 0 = never. At least ten heartbeats. */
  workerTtl: number;
  /** ms without anything to do after which the scheduler closes; 0 = never. */
  idleTimeout: number;
}

/** Dask's defaults. */
export const LIVENESS_DEFAULTS: LivenessOptions = { workerTtl: 300_000, idleTimeout: 0 };

/** ms between two looks from which on the process was not awake. Ticks come every 250 ms. */
const GAP_MS = 5000;
const HEARTBEATS = 10;

export class Liveness {
  private readonly options: LivenessOptions;
  private lastLook: number;
  private awakeSince: number;
  private idleSince: number | null = null;
  private transitions = 0;
  /** The longest interval that a worker was ever told. */
  private heartbeat = 0;
  private readonly told = new WeakSet<WorkerRecord>();

  constructor(options: LivenessOptions, now: number) {
    this.options = options;
    this.lastLook = now;
    this.awakeSince = now;
  }

  /** To be called with each tick. Each silent worker is named once. */
  look(state: SchedulerState, now: number): { silent: WorkerRecord[]; closeIdle: boolean } {
    if (now - this.lastLook > GAP_MS || now < this.lastLook) {
      this.awakeSince = now;
      this.idleSince = null;
    }
    this.lastLook = now;
    return { silent: this.silent(state, now), closeIdle: this.isIdleTooLong(state, now) };
  }

  private silent(state: SchedulerState, now: number): WorkerRecord[] {
    this.heartbeat = Math.max(this.heartbeat, heartbeatInterval(state.workers.size));
    if (this.options.workerTtl <= 0) return [];
    const ttl = Math.max(this.options.workerTtl, HEARTBEATS * this.heartbeat);
    const silent: WorkerRecord[] = [];
    for (const worker of state.workers.values()) {
      // Heard of later than now: the clock was set back since.
      const heard = worker.lastSeen > now ? this.awakeSince : worker.lastSeen;
      if (now - Math.max(heard, this.awakeSince) < ttl || this.told.has(worker)) continue;
      this.told.add(worker);
      silent.push(worker);
    }
    return silent;
  }

  private isIdleTooLong(state: SchedulerState, now: number): boolean {
    if (this.options.idleTimeout <= 0) return false;
    const { count } = state.story;
    if (count !== this.transitions || hasWork(state)) {
      this.transitions = count;
      this.idleSince = null;
      return false;
    }
    this.idleSince ??= now;
    return now - this.idleSince >= this.options.idleTimeout;
  }
}

function hasWork(state: SchedulerState): boolean {
  if (state.queued.count > 0 || state.unrunnable.size > 0) return true;
  for (const worker of state.workers.values()) if (worker.processing.size > 0) return true;
  return false;
}
