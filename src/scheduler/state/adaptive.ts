/**
 * How many workers a cluster should have, and when to act on it.
 *
 * What is suggested each second follows from the work (so that it is done within the target
 * duration), from memory (more workers when it is short), and downwards from who can go: idle
 * workers, as long as twice the memory in use remains. A suggestion is acted on when it has been
 * made three times in a row, both upwards (then by the least of the three) and downwards (per
 * worker): a cluster that follows every change does nothing but start and end processes. Workers
 * that were asked for and have not come count as there, and are the first to be called off.
 */
import type { SchedulerState } from './state.ts';
import { TASK_STATES } from './tasks.ts';
import type { WorkerRecord } from './workers.ts';

/** Part of the memory of all workers in use from which on it is short. */
const MEMORY_SHORT = 0.6;
/** Memory that stays, as a multiple of what is in use. */
const MEMORY_RATIO = 2;
/** Lines kept of decisions. */
const LOG_LINES = 1000;

const QUEUED = TASK_STATES.indexOf('queued');
const NO_WORKER = TASK_STATES.indexOf('no-worker');

/** Workers that are there to stay. */
function staying(state: SchedulerState): WorkerRecord[] {
  return [...state.workers.values()].filter(
    worker => worker.status !== 'closing' && !state.retirements.has(worker)
  );
}

export interface CloseOptions {
  /** How many to choose; absent: as many as are idle and not needed for their memory. */
  count?: number;
  /** Keep at least so many. */
  minimum?: number;
  /** Workers that end together, such as those of one job, have one name. Default: each for itself. */
  groupBy?: (worker: WorkerRecord) => string | number;
}

interface Group {
  workers: WorkerRecord[];
  idle: boolean;
  longRunning: boolean;
  nbytes: number;
}

/**
 * Which workers can go, the first first: idle ones, then those that hold least. Never one with a
 * long-running task, unless so many were asked for by number that there is no other.
 */
export function workersToClose(state: SchedulerState, options: CloseOptions = {}): WorkerRecord[] {
  const all = staying(state);
  const { count, minimum = 0, groupBy = worker => worker.id } = options;
  const most = Math.min(count ?? all.length, all.length - minimum);
  let limit = 0;
  let nbytes = 0;
  for (const worker of all) {
    limit += worker.facts.memoryLimit;
    nbytes += worker.nbytes;
  }
  const chosen: WorkerRecord[] = [];
  for (const group of groupsOf(all, groupBy)) {
    if (chosen.length + group.workers.length > most) continue;
    if (count === undefined) {
      if (!group.idle) break;
      const left = limit - group.workers.reduce((sum, one) => sum + one.facts.memoryLimit, 0);
      if (limit > 0 && left < MEMORY_RATIO * nbytes) break;
      limit = left;
    }
    chosen.push(...group.workers);
  }
  return chosen;
}

function groupsOf(
  workers: readonly WorkerRecord[],
  groupBy: (worker: WorkerRecord) => string | number
): Group[] {
  const groups = new Map<string | number, Group>();
  for (const worker of workers) {
    const name = groupBy(worker);
    let group = groups.get(name);
    if (group === undefined) {
      groups.set(name, (group = { workers: [], idle: true, longRunning: false, nbytes: 0 }));
    }
    group.workers.push(worker);
    group.idle &&= worker.processing.size === 0;
    group.longRunning ||= worker.longRunning > 0;
    group.nbytes += worker.nbytes;
  }
  const newest = (group: Group): number => group.workers.at(-1)?.id ?? 0;
  return [...groups.values()].sort(
    (a, b) =>
      Number(a.longRunning) - Number(b.longRunning) ||
      Number(b.idle) - Number(a.idle) ||
      a.nbytes - b.nbytes ||
      newest(b) - newest(a)
  );
}

/** What the work and the memory in use ask for, and why. */
export function adaptiveTarget(
  state: SchedulerState,
  targetDuration: number
): { workers: number; reason: string } {
  const all = staying(state);
  let ms = 0;
  let tasks = 0;
  let threads = 0;
  for (const worker of all) {
    ms += worker.occupancy;
    tasks += worker.processing.size - worker.longRunning;
    threads += worker.facts.nthreads;
  }
  let waiting = 0;
  for (const prefix of state.prefixes.values()) {
    const count = (prefix.counts[QUEUED] ?? 0) + (prefix.counts[NO_WORKER] ?? 0);
    waiting += count;
    ms += count * prefix.expected;
  }
  // A few long tasks cannot use many threads.
  const useful = Math.min(Math.ceil(ms / targetDuration), tasks + waiting);
  let workers = all.length === 0 ? useful : Math.ceil((useful / threads) * all.length);
  if (waiting > 0 && all.length === 0) workers = Math.max(1, workers);
  let reason = `${tasks + waiting} tasks of ${(ms / 1000).toFixed(1)} s together`;
  const limit = all.reduce((sum, worker) => sum + worker.facts.memoryLimit, 0);
  const used = all.reduce((sum, worker) => sum + worker.nbytes, 0);
  if (limit > 0 && used > MEMORY_SHORT * limit && workers < 2 * all.length) {
    workers = 2 * all.length;
    reason = `${Math.round((100 * used) / limit)} % of the memory is taken by values`;
  }
  if (workers >= all.length) return { workers, reason };
  const close = workersToClose(state).length;
  if (close === 0) reason += `, and no worker can go`;
  return { workers: Math.max(workers, all.length - close), reason };
}

export interface AdaptiveOptions {
  minimum: number;
  maximum: number;
  /** ms in which work should be done. */
  targetDuration: number;
  /** Times that a change must be suggested in a row. */
  waitCount: number;
}

export const ADAPTIVE_DEFAULTS: AdaptiveOptions = {
  minimum: 0,
  maximum: Infinity,
  targetDuration: 5000,
  waitCount: 3
};

/** What to do now: have so many workers, and close these. */
export interface Decision {
  workers: number;
  close: WorkerRecord[];
  reason: string;
}

export class Adaptive {
  readonly options: AdaptiveOptions;
  /** Decisions, for people; the newest last. */
  readonly log: { at: number; text: string }[] = [];
  /** Targets above what is planned, suggested in a row. */
  private ups: number[] = [];
  /** Times in a row that a worker, or (null) calling off some that have not come, was suggested. */
  private downs = new Map<WorkerRecord | null, number>();

  constructor(options: Partial<AdaptiveOptions>) {
    this.options = { ...ADAPTIVE_DEFAULTS, ...options };
  }

  /** Called once an interval. `planned`: workers there and asked for. Null: nothing to do yet. */
  decide(state: SchedulerState, planned: number): Decision | null {
    const { minimum, maximum, targetDuration } = this.options;
    const target = adaptiveTarget(state, targetDuration);
    const wanted = Math.max(minimum, Math.min(maximum, target.workers));
    const reason =
      wanted === target.workers
        ? target.reason
        : `${target.reason}; it is to have ${wanted < target.workers ? 'at most' : 'at least'} ${wanted}`;
    const running = staying(state).length;
    if (wanted === planned) {
      this.ups = [];
      this.downs.clear();
      return null;
    }
    const decision =
      wanted > planned
        ? this.up(wanted, planned, running)
        : this.down(state, wanted, planned, running);
    if (decision === null) return null;
    const text = `${planned} -> ${decision.workers} workers: ${reason}`;
    this.log.push({ at: state.now, text });
    if (this.log.length > LOG_LINES) this.log.shift();
    return { ...decision, reason };
  }

  private up(wanted: number, planned: number, running: number): Omit<Decision, 'reason'> | null {
    this.downs.clear();
    this.ups.push(wanted);
    const { minimum, waitCount } = this.options;
    // Nothing runs and nothing is coming, or somebody asked for more: there is nothing to wait for.
    const urgent = (running === 0 && planned === 0) || planned < minimum;
    if (!urgent && this.ups.length < waitCount) return null;
    const workers = urgent ? wanted : Math.min(...this.ups.slice(-waitCount));
    this.ups = [];
    return { workers, close: [] };
  }

  private down(
    state: SchedulerState,
    wanted: number,
    planned: number,
    running: number
  ): Omit<Decision, 'reason'> | null {
    this.ups = [];
    const { maximum, minimum, waitCount } = this.options;
    const calledOff = planned - Math.max(wanted, running);
    const excess = Math.max(0, running - wanted);
    const candidates =
      planned > maximum
        ? workersToClose(state, { count: excess })
        : workersToClose(state, { minimum }).slice(0, excess);
    const before = this.downs;
    this.downs = new Map();
    const again = (what: WorkerRecord | null): boolean => {
      const count = (before.get(what) ?? 0) + 1;
      this.downs.set(what, count);
      return count >= waitCount || planned > maximum;
    };
    const off = calledOff > 0 && again(null) ? calledOff : 0;
    const close = candidates.filter(again);
    if (off + close.length === 0) return null;
    for (const worker of close) this.downs.delete(worker);
    if (off > 0) this.downs.delete(null);
    return { workers: planned - off - close.length, close };
  }
}
