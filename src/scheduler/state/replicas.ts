/**
 * Copies of values: who has them, which are on their way, which are being dropped, how many are
 * wished for. Everything that moves copies about (active memory manager, retirement, rebalance,
 * replicate) goes through `acquire` and `drop`, so that these books are the only ones.
 *
 * A drop is a question: the copy leaves the books at once, and until the worker has answered (gone,
 * or kept because a task there needs it) nothing it said earlier puts it back. So two drops can
 * never take the last two copies. An acquisition is a wish: it is kept in the books until the copy
 * comes, the worker gives it up, the value goes, or time is up.
 */
import { smallAdd, smallDelete, smallList } from '../../base/small-set.ts';
import type { SchedulerState } from './state.ts';
import { isActive } from './tasks.ts';
import type { Task } from './tasks.ts';
import type { WorkerRecord } from './workers.ts';

/** ms for a copy to come, beside what its bytes take at 10 MB/s; then it is asked for anew. */
const ARRIVAL_MS = 10_000;
const SLOW_BYTES_A_MS = 10_000;
/** Copies that each holder makes at a time when a value is spread: the tree's branching. */
export const BRANCHING = 2;

/** How many copies somebody asked for, and where. */
export interface Wish {
  count: number;
  /** Names, addresses or hosts; null = any. */
  workers: readonly string[] | null;
}

/** A copy that goes from one worker to another, and is dropped at the first once it has come. */
interface Move {
  from: WorkerRecord;
  to: WorkerRecord;
}

export class ReplicaBooks {
  /** Tasks with more than one copy. */
  readonly replicated = new Set<Task>();
  /** Workers that were told to fetch a copy, and until when that is believed. */
  readonly arriving = new Map<Task, Map<WorkerRecord, number>>();
  /** Workers that were told to drop theirs and have not answered. */
  readonly dropping = new Map<Task, Set<WorkerRecord>>();
  readonly wishes = new Map<Task, Wish>();
  readonly moves = new Map<Task, Move[]>();

  isArriving(task: Task, worker: WorkerRecord): boolean {
    return this.arriving.get(task)?.has(worker) === true;
  }

  isDropping(task: Task, worker: WorkerRecord): boolean {
    return this.dropping.get(task)?.has(worker) === true;
  }

  /** The worker has answered, one way or the other. */
  dropAnswered(task: Task, worker: WorkerRecord): void {
    const workers = this.dropping.get(task);
    if (workers?.delete(worker) === true && workers.size === 0) this.dropping.delete(task);
  }

  arrivalEnded(task: Task, worker: WorkerRecord): void {
    const workers = this.arriving.get(task);
    if (workers?.delete(worker) === true && workers.size === 0) this.arriving.delete(task);
  }

  /** The value is no more: nothing of it is under way, wishes for it stay. */
  valueGone(task: Task): void {
    this.arriving.delete(task);
    this.dropping.delete(task);
    this.moves.delete(task);
  }

  workerGone(worker: WorkerRecord): void {
    for (const task of [...this.arriving.keys()]) this.arrivalEnded(task, worker);
    for (const task of [...this.dropping.keys()]) this.dropAnswered(task, worker);
    for (const [task, moves] of this.moves) {
      const left = moves.filter(move => move.from !== worker && move.to !== worker);
      if (left.length === 0) this.moves.delete(task);
      else this.moves.set(task, left);
    }
  }
}

export function replicaCount(task: Task): number {
  const { whoHas } = task;
  return whoHas === null ? 0 : whoHas instanceof Set ? whoHas.size : 1;
}

/** A worker has told that it holds the value. */
export function addReplica(state: SchedulerState, task: Task, worker: WorkerRecord): void {
  if (worker.hasWhat.has(task)) return;
  worker.hasWhat.add(task);
  worker.nbytes += Math.max(0, task.nbytes);
  worker.arrived(task);
  task.whoHas = smallAdd(task.whoHas, worker);
  const books = state.replicas;
  if (task.whoHas !== worker) books.replicated.add(task);
  if (books.arriving.size > 0) books.arrivalEnded(task, worker);
}

export function removeReplica(state: SchedulerState, task: Task, worker: WorkerRecord): void {
  if (!worker.hasWhat.delete(task)) return;
  worker.nbytes -= Math.max(0, task.nbytes);
  task.whoHas = smallDelete(task.whoHas, worker);
  if (replicaCount(task) < 2) state.replicas.replicated.delete(task);
}

/** Takes the value from all workers and their books, those that are fetching it included. */
export function dropReplicas(state: SchedulerState, task: Task): void {
  for (const worker of smallList(task.whoHas)) {
    worker.hasWhat.delete(task);
    worker.nbytes -= Math.max(0, task.nbytes);
    state.outbox.free(worker, task.id);
  }
  task.whoHas = null;
  const books = state.replicas;
  if (books.replicated.size > 0) books.replicated.delete(task);
  if (books.arriving.size > 0) {
    for (const worker of books.arriving.get(task)?.keys() ?? []) state.outbox.free(worker, task.id);
  }
  if (books.arriving.size + books.dropping.size + books.moves.size > 0) books.valueGone(task);
}

/** Tells the worker to fetch a copy, from these holders or from any. */
export function acquire(
  state: SchedulerState,
  task: Task,
  worker: WorkerRecord,
  holders: readonly WorkerRecord[] = smallList(task.whoHas)
): void {
  const { arriving } = state.replicas;
  let workers = arriving.get(task);
  if (workers === undefined) arriving.set(task, (workers = new Map<WorkerRecord, number>()));
  workers.set(worker, state.now + ARRIVAL_MS + Math.max(0, task.nbytes) / SLOW_BYTES_A_MS);
  state.outbox.acquire(worker, task, holders);
}

/** The worker will not be there for long. */
export function leaves(state: SchedulerState, worker: WorkerRecord): boolean {
  return worker.status === 'closing' || state.retirements.has(worker);
}

/** Whether a copy may be dropped there: another stays on a worker that stays, and no task there is
 * about to use it (`inNeed`). */
export function mayDrop(
  state: SchedulerState,
  task: Task,
  worker: WorkerRecord,
  inNeed: ReadonlySet<WorkerRecord> = workersInNeed(task)
): boolean {
  if (!worker.hasWhat.has(task) || inNeed.has(worker) || !(task.whoHas instanceof Set))
    return false;
  for (const other of task.whoHas) if (other !== worker && !leaves(state, other)) return true;
  return false;
}

/** Workers that run, or are to run, a task that needs the value. */
export function workersInNeed(task: Task): Set<WorkerRecord> {
  const found = new Set<WorkerRecord>();
  let left = task.waiters;
  if (left === 0) return found;
  for (const dependent of smallList(task.dependents)) {
    if (!isActive(dependent.state)) continue;
    if (dependent.processingOn !== null) found.add(dependent.processingOn);
    if (--left === 0) break;
  }
  return found;
}

/** Takes a copy from the worker; it may refuse. Never the last one. */
export function drop(state: SchedulerState, task: Task, worker: WorkerRecord): void {
  removeReplica(state, task, worker);
  const { dropping } = state.replicas;
  const workers = dropping.get(task);
  if (workers === undefined) dropping.set(task, new Set([worker]));
  else workers.add(worker);
  state.outbox.removeReplica(worker, task.id);
}

/** A copy has come: what waited for that goes on. */
export function replicaCame(state: SchedulerState, task: Task, worker: WorkerRecord): void {
  const books = state.replicas;
  if (books.moves.size > 0) finishMoves(state, task, worker);
  if (books.wishes.size > 0 && books.wishes.has(task)) spread(state, task);
}

/** Moves a copy; false when it cannot be done now. */
export function move(
  state: SchedulerState,
  task: Task,
  from: WorkerRecord,
  to: WorkerRecord
): boolean {
  const books = state.replicas;
  if (!from.hasWhat.has(task) || to.hasWhat.has(task)) return false;
  if (books.isDropping(task, to) || books.isArriving(task, to)) return false;
  const moves = books.moves.get(task);
  if (moves === undefined) books.moves.set(task, [{ from, to }]);
  else moves.push({ from, to });
  acquire(state, task, to, [from]);
  return true;
}

function finishMoves(state: SchedulerState, task: Task, to: WorkerRecord): void {
  const { moves } = state.replicas;
  const all = moves.get(task);
  if (all === undefined) return;
  const left = all.filter(one => one.to !== to);
  if (left.length === 0) moves.delete(task);
  else moves.set(task, left);
  for (const { from } of all) {
    if (!left.some(one => one.from === from) && mayDrop(state, task, from)) drop(state, task, from);
  }
}

// ------------------------------------------------------------------ wishes

/** Running workers that a list of names, addresses or hosts means; null = all. */
export function runningNamed(
  state: SchedulerState,
  names: readonly string[] | null
): WorkerRecord[] {
  const all = [...state.runningWorkers];
  if (names === null) return all;
  return all.filter(({ facts }) =>
    [facts.name, facts.address, facts.host].some(name => names.includes(name))
  );
}

/** Wishes for copies of a value; more than there are workers means: one on each. */
export function replicate(state: SchedulerState, task: Task, wish: Wish): void {
  if (wish.count > 1) state.replicas.wishes.set(task, wish);
  else state.replicas.wishes.delete(task);
  if (task.state !== 'memory') return;
  spread(state, task);
  const able = new Set(runningNamed(state, wish.workers));
  const elsewhere = smallList(task.whoHas).filter(worker => !able.has(worker));
  let extra = replicaCount(task) - Math.max(1, Math.min(wish.count, able.size));
  for (const worker of [...elsewhere, ...smallList(task.whoHas).reverse()]) {
    if (extra <= 0) return;
    if (!mayDrop(state, task, worker)) continue;
    drop(state, task, worker);
    extra--;
  }
}

/** Copies still to be made of a value whose copies are wished for; 0 = as wished. */
export function missingCopies(state: SchedulerState, task: Task): number {
  const wish = state.replicas.wishes.get(task);
  if (wish === undefined || task.state !== 'memory') return 0;
  const able = runningNamed(state, wish.workers);
  const there = able.filter(worker => worker.hasWhat.has(task)).length;
  return Math.max(0, Math.min(wish.count, able.length) - there);
}

/**
 * Starts the copies that can be made now: each holder makes two at a time, and who has just got one
 * makes the next ones, so that the first holder's link is not the limit.
 */
export function spread(state: SchedulerState, task: Task): void {
  const books = state.replicas;
  const wish = books.wishes.get(task);
  if (wish === undefined || task.state !== 'memory') return;
  const arriving = books.arriving.get(task)?.size ?? 0;
  const missing = missingCopies(state, task) - arriving;
  if (missing <= 0) return;
  const holders = smallList(task.whoHas);
  const count = Math.min(missing, BRANCHING * holders.length - arriving);
  const able = runningNamed(state, wish.workers).filter(
    worker =>
      !worker.hasWhat.has(task) &&
      !books.isArriving(task, worker) &&
      !books.isDropping(task, worker)
  );
  able.sort((a, b) => a.memory.optimistic(a) - b.memory.optimistic(b) || a.id - b.id);
  // The newest holders first: the older ones are still busy with the round before.
  holders.reverse();
  for (let i = 0; i < Math.min(count, able.length); i++) {
    acquire(state, task, able[i] as WorkerRecord, [
      holders[Math.floor(i / BRANCHING) % holders.length] as WorkerRecord
    ]);
  }
}

/** Gives up what should have come long ago. */
export function expireArrivals(state: SchedulerState): void {
  const books = state.replicas;
  for (const [task, workers] of [...books.arriving]) {
    for (const [worker, until] of [...workers]) {
      if (until <= state.now) arrivalFailed(state, task, worker);
    }
  }
}

/** The worker could not get its copy. */
export function arrivalFailed(state: SchedulerState, task: Task, worker: WorkerRecord): void {
  const books = state.replicas;
  books.arrivalEnded(task, worker);
  const moves = books.moves.get(task)?.filter(one => one.to !== worker);
  if (moves === undefined) return;
  if (moves.length === 0) books.moves.delete(task);
  else books.moves.set(task, moves);
}
