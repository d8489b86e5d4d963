/**
 * What the scheduler knows of a worker. Written by the state room only.
 *
 * Occupancy, the ms of work that a worker is expected to have, is not kept but computed when asked
 * for, from how many tasks of which prefix it processes and from the bytes it has yet to fetch: so
 * it always rests on the newest durations and bandwidth, and a task needs no number of its own.
 */
import type { Share } from '../../base/fair.ts';
import type { Language, WorkerMetrics } from '../../protocol/messages.ts';
import { MemoryMeasure } from './memory-measure.ts';
import type { Task, TaskPrefix } from './tasks.ts';

export interface WorkerFacts {
  name: string;
  address: string;
  host: string;
  pid: number;
  nthreads: number;
  memoryLimit: number;
  resources: Record<string, number>;
  /** Languages beside JavaScript, and their versions. */
  languages?: Partial<Record<Language, string>>;
  nanny: string;
}

/** `closing-gracefully`: retiring, see retire.ts. `closing`: it has said that it ends. */
export type WorkerStatus = 'running' | 'paused' | 'closing-gracefully' | 'closing';

/** How fast values move between workers, one object for the whole cluster. */
export interface Network {
  /** bytes a ms */
  bandwidth: number;
}

export class WorkerRecord {
  /** Its number, never used again. */
  readonly id: number;
  readonly facts: WorkerFacts;
  readonly startedAt: number;
  status: WorkerStatus = 'running';
  /** Why it is paused, or ''. */
  statusReason = '';
  /** What it said people should know of it, such as a full disk, or ''. */
  trouble = '';
  readonly hasWhat = new Set<Task>();
  readonly processing = new Set<Task>();
  longRunning = 0;
  /** Tasks that need a slot, by the client they are done for. */
  readonly load = new Map<Share, number>();
  /** The same tasks by their prefix. */
  readonly prefixes = new Map<TaskPrefix, number>();
  /** Inputs of those tasks that it did not hold when it was given them, and how many need each. */
  readonly needs = new Map<Task, number>();
  /** Bytes of all `needs` together. */
  neededBytes = 0;
  /** What steal requests under way would bring it (thief), or take from it (victim, negative). */
  stealMs = 0;
  stealTasks = 0;
  /** Bytes of the values it holds. */
  nbytes = 0;
  /** Functions it has been sent. */
  readonly functions = new Set<number>();
  metrics: WorkerMetrics | null = null;
  readonly memory = new MemoryMeasure();
  /** tids it said to be executing in its last heartbeat. */
  executing: number[] = [];
  lastSeen: number;
  /** ms to add to its clock to have ours: the least that a heartbeat has shown. Infinity: none came. */
  clockOffset = Infinity;
  private readonly network: Network;

  constructor(id: number, facts: WorkerFacts, now: number, network: Network) {
    this.id = id;
    this.facts = facts;
    this.startedAt = now;
    this.lastSeen = now;
    this.network = network;
  }

  /** ms of work it is expected to have: executions, and fetching what they need. */
  get occupancy(): number {
    let ms = this.neededBytes / this.network.bandwidth;
    for (const [prefix, count] of this.prefixes) ms += prefix.expected * count;
    return ms;
  }

  /** The task takes a slot here and needs its inputs. */
  addLoad(task: Task): void {
    const { prefix } = task.group;
    const { owner } = task.demands;
    this.prefixes.set(prefix, (this.prefixes.get(prefix) ?? 0) + 1);
    this.load.set(owner, (this.load.get(owner) ?? 0) + 1);
    for (const dep of task.deps) {
      if (this.hasWhat.has(dep)) continue;
      const users = this.needs.get(dep) ?? 0;
      if (users === 0) this.neededBytes += Math.max(0, dep.nbytes);
      this.needs.set(dep, users + 1);
    }
  }

  /** Undoes addLoad. */
  removeLoad(task: Task): void {
    countDown(this.prefixes, task.group.prefix);
    countDown(this.load, task.demands.owner);
    if (this.needs.size === 0) return;
    for (const dep of task.deps) {
      const users = this.needs.get(dep);
      if (users === undefined) continue;
      if (users > 1) this.needs.set(dep, users - 1);
      else this.arrived(dep);
    }
  }

  /** The value need not be fetched any more. */
  arrived(task: Task): void {
    if (this.needs.size > 0 && this.needs.delete(task))
      this.neededBytes -= Math.max(0, task.nbytes);
  }
}

/** One less; none is no entry. */
function countDown<T>(counts: Map<T, number>, of: T): void {
  const count = (counts.get(of) ?? 0) - 1;
  if (count > 0) counts.set(of, count);
  else counts.delete(of);
}
