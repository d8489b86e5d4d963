/**
 * Workers that are to leave without losing anything. A retiring worker (`closing-gracefully`) gets
 * no task any more and gives back those that have not begun; running ones may end within their
 * time; values that only it holds are copied to others. Then it is ready to be closed: by whoever
 * asked, not by this state.
 *
 * When nobody can take its values it goes back to work, unless it must go (`force`): then it is
 * ready at once, and how many values are lost with it is said.
 */
import { smallList } from '../../base/small-set.ts';
import { runPolicies } from './amm.ts';
import type { Policy } from './amm.ts';
import { leaves } from './replicas.ts';
import type { SchedulerState } from './state.ts';
import type { Task } from './tasks.ts';
import { recommend, runTransitions } from './transitions.ts';
import { setRunning } from './worker-events.ts';
import type { WorkerRecord } from './workers.ts';

/** ms between looks at what is left to move, beside those of ticks. */
const LOOK_MS = 10;

export interface RetireOptions {
  /** ms for running tasks to end; after that they are given to others. */
  timeout: number;
  /** Close it even if values are lost: when nobody can take them, or at the end of the time. */
  force: boolean;
}

/** One worker's way out. Those who asked hold on to it and read `outcome`. */
export class Retirement {
  readonly worker: WorkerRecord;
  readonly deadline: number;
  readonly force: boolean;
  /** `ready`: may be closed, at once. `kept`: back at work. `gone`: it ended by itself meanwhile. */
  outcome: 'moving' | 'ready' | 'kept' | 'gone' = 'moving';
  /** Why it was kept, or what is lost; a sentence. */
  reason = '';
  /** Values that are lost when it is closed. */
  lost = 0;
  /** What it is when it is kept after all. */
  statusBefore: 'running' | 'paused';

  constructor(worker: WorkerRecord, now: number, options: RetireOptions) {
    this.worker = worker;
    this.deadline = now + options.timeout;
    this.force = options.force;
    this.statusBefore = worker.status === 'paused' ? 'paused' : 'running';
  }
}

/** Begins to retire workers; those that retire already go on as they were told first. */
export function retireWorkers(
  state: SchedulerState,
  ids: readonly number[],
  options: RetireOptions
): void {
  const begun: Retirement[] = [];
  for (const id of ids) {
    const worker = state.workers.get(id);
    if (worker === undefined || worker.status === 'closing' || state.retirements.has(worker))
      continue;
    const retirement = new Retirement(worker, state.now, options);
    begun.push(retirement);
    state.retirements.set(worker, retirement);
    worker.status = 'closing-gracefully';
    setRunning(state, worker, false);
    tell(state, worker, 'closing-gracefully');
  }
  state.retirementsBegun = begun;
  driveRetirements(state, true);
}

/** Back to work, with its values. */
export function keepWorkers(state: SchedulerState, ids: readonly number[], reason: string): void {
  for (const id of ids) {
    const worker = state.workers.get(id);
    const retirement = worker === undefined ? undefined : state.retirements.get(worker);
    // One that is ready is being closed by now.
    if (worker === undefined || retirement?.outcome !== 'moving') continue;
    state.retirements.delete(worker);
    retirement.outcome = 'kept';
    retirement.reason = reason;
    worker.status = retirement.statusBefore;
    setRunning(state, worker, worker.status === 'running');
    tell(state, worker, 'running');
  }
}

function tell(
  state: SchedulerState,
  worker: WorkerRecord,
  status: 'running' | 'closing-gracefully'
): void {
  const { stimulus } = state.outbox;
  state.outbox.toWorker(worker, { op: 'worker-status-change', stimulus, status });
}

/** Looks at what is left to do; `now`: whether or not it was done a moment ago. */
export function driveRetirements(state: SchedulerState, now: boolean): void {
  if (state.retirements.size === 0) return;
  if (!now && state.now - state.retirementsDrivenAt < LOOK_MS) return;
  state.retirementsDrivenAt = state.now;
  const left = new Map<Retirement, number>();
  const policies: Policy[] = [];
  for (const retirement of state.retirements.values()) {
    if (retirement.outcome !== 'moving') continue;
    const unique = uniqueValues(state, retirement.worker);
    left.set(retirement, unique.length);
    if (unique.length > 0) policies.push(retireWorkerPolicy(retirement.worker, unique));
  }
  if (policies.length > 0) runPolicies(state, policies);
  for (const [retirement, count] of left) settle(state, retirement, count);
}

function settle(state: SchedulerState, retirement: Retirement, unique: number): void {
  const { worker } = retirement;
  const late = state.now >= retirement.deadline;
  if (unique > 0 && state.runningWorkers.size === 0) {
    const values = `${unique} value${unique === 1 ? '' : 's'} that only it holds`;
    const reason = `no other worker runs that could take the ${values}`;
    if (retirement.force) ready(retirement, unique, reason);
    else keepWorkers(state, [worker.id], reason);
    return;
  }
  if (late && worker.processing.size > 0) giveAway(state, worker);
  if (unique > 0 && late && retirement.force) {
    ready(retirement, unique, `its time was up with ${unique} values not moved`);
  } else if (unique === 0 && worker.processing.size === 0 && !isPromised(state, worker)) {
    ready(retirement, 0, '');
  }
}

/** A client is putting a value there and has not told of it. */
function isPromised(state: SchedulerState, worker: WorkerRecord): boolean {
  for (const promise of state.promised.values()) {
    if (promise.worker === worker && promise.until > state.now) return true;
  }
  return false;
}

function ready(retirement: Retirement, lost: number, reason: string): void {
  retirement.outcome = 'ready';
  retirement.lost = lost;
  retirement.reason = reason;
}

/** What still runs there is run elsewhere: nobody is to blame. */
function giveAway(state: SchedulerState, worker: WorkerRecord): void {
  for (const task of [...worker.processing])
    recommend(state, task, task.needed ? 'waiting' : 'released');
  runTransitions(state);
}

/** Values of which every copy is on a worker that leaves. */
function uniqueValues(state: SchedulerState, worker: WorkerRecord): Task[] {
  const found: Task[] = [];
  for (const task of worker.hasWhat) {
    if (task.recommended !== null) continue;
    if (task.whoHas === worker || smallList(task.whoHas).every(holder => leaves(state, holder)))
      found.push(task);
  }
  return found;
}

/** Copies what only leaving workers hold, unless a copy is on its way already. */
function retireWorkerPolicy(worker: WorkerRecord, unique: readonly Task[]): Policy {
  return {
    name: `retire-worker ${worker.facts.name}`,
    *run(state) {
      for (const task of unique) {
        const coming = [...(state.replicas.arriving.get(task)?.keys() ?? [])];
        if (!coming.some(other => state.runningWorkers.has(other))) yield { op: 'replicate', task };
      }
    }
  };
}
