/**
 * The active memory manager: every two seconds policies look at who holds what and suggest copies
 * to make or to drop; here it is decided where, or that it is not done. A policy is a generator: it
 * yields a suggestion and is told which worker was chosen (null: none fits), so that its next
 * suggestion can follow from that.
 *
 * Copies are made on the running worker with the least memory in use, dropped where the most is,
 * workers that do not run first. The last copy is never dropped, nor one on a worker that has a
 * task which needs it. Memory of workers is counted as it will be once the round is carried out.
 */
import { smallList } from '../../base/small-set.ts';
import {
  acquire,
  drop,
  expireArrivals,
  mayDrop,
  replicaCount,
  spread,
  workersInNeed
} from './replicas.ts';
import type { SchedulerState } from './state.ts';
import type { Task } from './tasks.ts';
import type { WorkerRecord } from './workers.ts';

/** Copies dropped in one go: more would hold up what else scheduler and workers have to do. */
const DROPS_AT_ONCE = 250;
/** Waiters up to which the workers that need a value are counted one by one. */
const EXACT_WAITERS = 20;

/** What a policy yields. */
export interface Suggestion {
  op: 'replicate' | 'drop';
  task: Task;
  /** Workers to choose from; absent or null = any. */
  candidates?: Iterable<WorkerRecord> | null;
}

/** What runs every round; an embedding program can give the scheduler policies of its own. */
export interface Policy {
  /** Unique: a policy of the same name takes the place of the first. */
  readonly name: string;
  /**
   * Reads the state, never writes it. Gets the chosen worker back from each `yield`. Returns true
   * when there is more to suggest than should be done at once: it is run again at the next tick.
   */
  run(state: SchedulerState): Generator<Suggestion, boolean | void, WorkerRecord | null>;
}

/** Drops copies that no worker needs: one stays for each worker with a task that waits for it. */
const REDUCE_REPLICAS: Policy = {
  name: 'reduce-replicas',
  *run(state) {
    const books = state.replicas;
    let left = DROPS_AT_ONCE;
    for (const task of books.replicated) {
      const wished = books.wishes.get(task)?.count ?? 1;
      const waiters = task.waiters > EXACT_WAITERS ? task.waiters : distinctWaiters(task);
      const arriving = books.arriving.get(task)?.size ?? 0;
      const extra = replicaCount(task) + arriving - Math.max(wished, waiters, 1);
      for (let i = 0; i < extra; i++) {
        if (left === 0) return true;
        if ((yield { op: 'drop', task }) === null) break;
        left--;
      }
    }
    return false;
  }
};

/** One a worker that is to run tasks which need it, one a task that has no worker yet. */
function distinctWaiters(task: Task): number {
  if (task.waiters === 0) return 0;
  let placed = 0;
  for (const dependent of smallList(task.dependents)) if (dependent.processingOn !== null) placed++;
  return workersInNeed(task).size + Math.max(0, task.waiters - placed);
}

/** Names of the policies that every scheduler starts with. */
export const BUILT_IN_POLICIES: readonly Policy[] = [REDUCE_REPLICAS];

/** One run of policies, with the memory of workers as it will be. */
class Round {
  private readonly state: SchedulerState;
  private readonly memory = new Map<WorkerRecord, number>();

  constructor(state: SchedulerState) {
    this.state = state;
    for (const worker of state.workers.values())
      this.memory.set(worker, worker.memory.optimistic(worker));
    for (const [task, workers] of state.replicas.arriving)
      for (const worker of workers.keys()) this.count(worker, task.nbytes);
  }

  decide(suggestion: Suggestion): WorkerRecord | null {
    return suggestion.op === 'replicate' ? this.replicate(suggestion) : this.drop(suggestion);
  }

  private count(worker: WorkerRecord, bytes: number): void {
    this.memory.set(worker, Math.max(0, (this.memory.get(worker) ?? 0) + bytes));
  }

  private replicate({ task, candidates }: Suggestion): WorkerRecord | null {
    const { state } = this;
    if (task.state !== 'memory' || task.recommended !== null) return null;
    const books = state.replicas;
    let chosen: WorkerRecord | null = null;
    let least = Infinity;
    for (const worker of candidates ?? state.runningWorkers) {
      if (!state.runningWorkers.has(worker) || worker.hasWhat.has(task)) continue;
      if (books.isArriving(task, worker) || books.isDropping(task, worker)) continue;
      const used = this.memory.get(worker) ?? 0;
      if (used >= least) continue;
      chosen = worker;
      least = used;
    }
    if (chosen === null) return null;
    acquire(state, task, chosen);
    this.count(chosen, Math.max(0, task.nbytes));
    return chosen;
  }

  private drop({ task, candidates }: Suggestion): WorkerRecord | null {
    const { state } = this;
    if (task.state !== 'memory' || task.recommended !== null) return null;
    const needed = workersInNeed(task);
    let chosen: WorkerRecord | null = null;
    for (const worker of candidates ?? smallList(task.whoHas)) {
      if (!mayDrop(state, task, worker, needed)) continue;
      if (chosen === null || this.dropsBefore(worker, chosen)) chosen = worker;
    }
    if (chosen === null) return null;
    drop(state, task, chosen);
    this.count(chosen, -Math.max(0, task.nbytes));
    return chosen;
  }

  private dropsBefore(a: WorkerRecord, b: WorkerRecord): boolean {
    const aRuns = a.status === 'running';
    if (aRuns !== (b.status === 'running')) return !aRuns;
    return (this.memory.get(a) ?? 0) > (this.memory.get(b) ?? 0);
  }
}

/** Runs policies once and carries out what is decided; gives those that have more to do. */
export function runPolicies(state: SchedulerState, policies: Iterable<Policy>): Policy[] {
  const round = new Round(state);
  const unfinished: Policy[] = [];
  for (const policy of policies) {
    const suggestions = policy.run(state);
    let answer: WorkerRecord | null = null;
    for (;;) {
      const next: IteratorResult<Suggestion, boolean | void> = suggestions.next(answer);
      if (next.done === true) {
        if (next.value === true) unfinished.push(policy);
        break;
      }
      answer = round.decide(next.value);
    }
  }
  return unfinished;
}

/** The regular run: what never came is given up, wishes are looked after, then the policies. */
export function manageMemory(state: SchedulerState): void {
  expireArrivals(state);
  for (const task of state.replicas.wishes.keys()) spread(state, task);
  if (state.workers.size > 1) state.unfinished = runPolicies(state, state.policies.values());
}

/** Between regular runs: what was too much for one go. */
export function goOnManaging(state: SchedulerState): void {
  if (state.unfinished.length > 0) state.unfinished = runPolicies(state, state.unfinished);
}
