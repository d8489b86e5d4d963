/**
 * What a scheduler does that was started in the place of another, and with peers that come back
 * after their link broke: values that workers still hold become tasks again, clients say again what
 * they want, and a task that is in memory is not computed again.
 *
 * - While it holds back (`recover` event), workers count as not running: nothing is placed until
 *   those that were there have come back, or the time is over.
 * - A value that a worker announces and no task of this scheduler is known for becomes a task in
 *   memory without a function. The pseudo-client RECOVERED wants it for a grace, so that it is there
 *   when its client comes back. A graph that names it gives it function, arguments and dependencies.
 * - A key that a client speaks of by name only, and that nobody holds (yet), is `awaited`: released
 *   and wanted, until somebody brings it or its time is over; then it is reported lost.
 * - A client whose link broke is `away`: what it wanted stays for `clientGrace`. When it is back it
 *   says all that it still wants, in one or more graphs; the last one ends the return, and what was
 *   not named is let go of.
 */
import { Share } from '../../base/fair.ts';
import { smallAdd, smallList } from '../../base/small-set.ts';
import type { ErrorRecord } from '../../protocol/messages.ts';
import { bind, pseudoClient, removePseudoClient, tellState, unbind } from './clients.ts';
import type { Binding, ClientRecord } from './clients.ts';
import { lostAtRestartRecord, lostRecord } from './failures.ts';
import type { SchedulerState } from './state.ts';
import { TaskGroup, isActive } from './tasks.ts';
import type { Demands, Task, TaskSpec } from './tasks.ts';
import { addReplica } from './replicas.ts';
import { failWith, letGo, recommend } from './transitions.ts';
import type { WorkerRecord } from './workers.ts';

/** The client in whose name values are kept that nobody has asked for yet. */
export const RECOVERED = '(recovered)';

/** Of tasks that nobody has asked for: they are not run. */
const NO_DEMANDS: Demands = {
  owner: new Share(0),
  priority: 0,
  generation: 0,
  timeout: 0,
  workers: null,
  allowOtherWorkers: false,
  resources: null,
  language: null
};

const NO_BYTES = new Uint8Array(0);

/** Values that a worker brings along when it registers, as parallel columns. */
export interface HeldValues {
  /** Of the scheduler that gave them their numbers. */
  epoch: string;
  tids: readonly number[];
  keys: readonly string[];
  nbytes: readonly number[];
  types: readonly string[];
  /** Keys of tasks that it runs already. */
  running: readonly string[];
}

export class Recovery {
  /** Nothing is placed until so many workers are here, or until `holdUntil`. */
  expected = 0;
  holdUntil = -Infinity;
  holding = false;
  /** When what nobody has asked for is let go of. */
  keepUntil = Infinity;
  /** Keys known by name only, and when each is given up. */
  readonly awaited = new Map<Task, number>();
  /** Workers whose link broke, and until when they may be back, under another number. */
  readonly departed = new Map<number, number>();
  /** The group of tasks whose function is not known (yet); null while there never were any. */
  group: TaskGroup | null = null;
  /** Workers that run a task already, by its key: it goes there. */
  readonly running = new Map<string, WorkerRecord>();
  /** Tasks that were given to such a worker: they are not moved. */
  readonly goingOn = new Set<Task>();
  /** RECOVERED; its number of a key is the task's. */
  client: ClientRecord | null = null;
}

/** A client that is on its way back: what it spoke of before and has not named again. */
export interface Return {
  readonly cids: Set<number>;
  readonly functions: Set<number>;
  /** What it wants no more: let go of at the end, since a later graph may need it. */
  readonly unwanted: Set<Binding>;
  /** Tasks of its graphs so far, to be started together, and those that are known to have failed. */
  readonly tasks: Set<Task>;
  readonly failures: Map<Task, ErrorRecord>;
}

/** The `recover` event: a scheduler in the place of one that had so many workers. */
export function startRecovery(state: SchedulerState, workers: number, within: number): void {
  const { recovery } = state;
  recovery.expected = workers;
  recovery.holdUntil = state.now + within;
  recovery.holding = state.workers.size < workers;
}

/** Ends holding back when all are here or the time is over. True when it ended just now. */
export function endsHolding(state: SchedulerState): boolean {
  const { recovery } = state;
  if (!recovery.holding) return false;
  if (state.workers.size < recovery.expected && state.now < recovery.holdUntil) return false;
  recovery.holding = false;
  return true;
}

// ---------------------------------------------------------------- values that come back

/** Takes over what a worker holds; its number of each value, -1 where it shall drop it. */
export function adopt(state: SchedulerState, worker: WorkerRecord, held: HeldValues): number[] {
  const sameScheduler = held.epoch === state.epoch;
  const { recovery } = state;
  if (held.running.length > 0) recovery.keepUntil = state.now + state.options.recoveredGrace;
  for (const key of held.running) recovery.running.set(key, worker);
  return held.keys.map((key, i) => {
    const known = state.byKey.get(key);
    const promise = sameScheduler ? state.promised.get(held.tids[i] ?? -1) : undefined;
    if (promise !== undefined) {
      // Put there by a client that has not told of it yet.
      promise.holders.push(worker.id);
      promise.returned.push(worker.id);
      return held.tids[i] as number;
    }
    // With us all the time: it is the value of this very task, or of one that is no more.
    if (sameScheduler && known?.id !== held.tids[i]) return -1;
    const nbytes = held.nbytes[i] ?? 0;
    const type = held.types[i] ?? '';
    const task = known ?? recoveredTask(state, key);
    return takeValue(state, worker, task, nbytes, type) ? task.id : -1;
  });
}

/** The value of a task is here: whatever was to be done for it need not be. */
function takeValue(
  state: SchedulerState,
  worker: WorkerRecord,
  task: Task,
  nbytes: number,
  type: string
): boolean {
  if (task.state === 'erred') return false;
  if (!task.needed) {
    // What needs it may come with a later graph of the same return.
    if (!isUnsettled(state, task)) return false;
    keepForGrace(state, task);
  }
  if (task.state !== 'memory') {
    task.nbytes = nbytes;
    task.type = type;
    if (task.processingOn !== null) state.outbox.free(task.processingOn, task.id);
    state.recovery.awaited.delete(task);
    recommend(state, task, 'memory');
  }
  addReplica(state, task, worker);
  return true;
}

function recoveredTask(state: SchedulerState, key: string): Task {
  const task = bareTask(state, key);
  keepForGrace(state, task);
  return task;
}

function keepForGrace(state: SchedulerState, task: Task): void {
  const { recovery } = state;
  recovery.client ??= pseudoClient(state, RECOVERED);
  recovery.keepUntil = state.now + state.options.recoveredGrace;
  bind(recovery.client, task.id, task, true);
}

/** A task of which nothing is known but its key. */
function bareTask(state: SchedulerState, key: string): Task {
  const { recovery } = state;
  // Made late: the panels must not show a function that there never was.
  recovery.group ??= new TaskGroup(RECOVERED, state.prefixOf(RECOVERED));
  const { group } = recovery;
  state.groups.set(group.name, group);
  return state.newTask({
    key,
    group,
    fn: null,
    args: NO_BYTES,
    argStart: 0,
    argEnd: 0,
    deps: [],
    demands: NO_DEMANDS,
    order: 0,
    retries: 0
  });
}

/** Nothing is known of it but its key, and perhaps its value. */
export function isBare(state: SchedulerState, task: Task): boolean {
  return task.group === state.recovery.group;
}

/** Of a graph that has not come in whole yet: not to be started, nor let go of. */
export function isUnsettled(state: SchedulerState, task: Task): boolean {
  for (const client of state.clients.values()) {
    if (client.returning?.tasks.has(task) === true) return true;
  }
  return false;
}

/** A graph tells what a bare task is: it has a function from here on, and keeps its value. */
export function giveSpec(
  state: SchedulerState,
  task: Task,
  spec: Omit<TaskSpec, 'id' | 'group' | 'key'>
): void {
  state.moveToOwnGroup(task, spec.fn?.name ?? 'scatter');
  task.fn = spec.fn;
  task.args = spec.args;
  task.argStart = spec.argStart;
  task.argEnd = spec.argEnd;
  task.deps = spec.deps;
  task.demands = spec.demands;
  task.order = spec.order;
  task.retries = spec.retries;
  if (spec.fn !== null) spec.fn.users++;
  for (const dep of spec.deps) {
    dep.dependents = smallAdd(dep.dependents, task);
    if (dep.group !== task.group) task.group.dependencies.add(dep.group);
    if (isActive(task.state)) dep.waiters++;
  }
  state.recovery.awaited.delete(task);
}

/** Somebody real has asked for it (or never will): the pseudo-client lets go. */
export function releaseRecovered(state: SchedulerState, task: Task): void {
  const binding = state.recovery.client?.bindings.get(task.id);
  if (binding !== undefined) unbind(state, binding);
}

/** Its last holder is gone and nobody has asked for it: it is as if it had never come back. */
export function isUnclaimed(state: SchedulerState, task: Task): boolean {
  return task.fn === null && state.recovery.client?.bindings.has(task.id) === true;
}

/** The worker that runs the task already, if it may be given tasks. */
export function whereItRuns(state: SchedulerState, task: Task): WorkerRecord | null {
  const worker = state.recovery.running.get(task.key);
  if (worker === undefined || !state.runningWorkers.has(worker)) return null;
  state.recovery.running.delete(task.key);
  state.recovery.goingOn.add(task);
  return worker;
}

// ---------------------------------------------------------------- keys known by name only

/**
 * A client wants a key back that nobody knows (yet). Data that it had scattered can only come with
 * a worker; a key of another client can also come with that client.
 */
export function awaitKey(state: SchedulerState, key: string, foreign: boolean): Task {
  const task = bareTask(state, key);
  const until = foreign ? state.now + state.options.clientGrace : -Infinity;
  state.recovery.awaited.set(task, until);
  return task;
}

/** Its holder's link broke: what cannot be computed again is lost only when that does not come back. */
export function awaitValue(state: SchedulerState, task: Task, within: number): void {
  const last = task.state === 'memory' && task.whoHas === null;
  if (!last || task.fn !== null || isUnclaimed(state, task)) return;
  state.recovery.awaited.set(task, state.now + within);
}

/** The value was put on workers that are gone: while one of them may be back, so may the value. */
export function awaitScattered(
  state: SchedulerState,
  task: Task,
  workers: readonly number[]
): void {
  const { departed, awaited } = state.recovery;
  const until = Math.max(...workers.map(id => departed.get(id) ?? -Infinity));
  if (until > state.now) awaited.set(task, until);
}

/** Time passes: away clients and values that nobody wants are given up, awaited keys are lost. */
export function tickRecovery(state: SchedulerState, removeClient: (id: string) => void): void {
  const { recovery, now } = state;
  for (const client of state.clients.values()) {
    if (client.away !== null && now >= client.away) removeClient(client.id);
  }
  if (now >= recovery.keepUntil) {
    if (recovery.client !== null) removePseudoClient(state, recovery.client);
    recovery.client = null;
    recovery.running.clear();
    recovery.goingOn.clear();
    recovery.keepUntil = Infinity;
  }
  for (const [id, until] of recovery.departed) if (now >= until) recovery.departed.delete(id);
  giveUpAwaited(state);
}

/** Reports awaited keys as lost whose time is over; none while workers are still awaited. */
export function giveUpAwaited(state: SchedulerState): void {
  if (state.recovery.holding) return;
  for (const [task, until] of state.recovery.awaited) {
    const late = isBare(state, task) ? lostAtRestartRecord : lostRecord;
    if (state.now >= until) failWith(state, task, late(task));
    if (state.now >= until || task.state !== 'released') state.recovery.awaited.delete(task);
  }
}

// ---------------------------------------------------------------- clients that come back

/** What the client spoke of before its link broke. */
export function startReturn(client: ClientRecord): void {
  client.away = null;
  client.returning = {
    cids: new Set(client.bindings.keys()),
    functions: new Set(client.functions.keys()),
    unwanted: new Set(),
    // Its link may have broken a second time in the middle of its return.
    tasks: client.returning?.tasks ?? new Set(),
    failures: client.returning?.failures ?? new Map<Task, ErrorRecord>()
  };
}

/** Binds a key that a returning client names; it may have been bound before. */
export function rebind(
  state: SchedulerState,
  client: ClientRecord,
  cid: number,
  task: Task,
  wanted: boolean,
  failed: boolean
): void {
  client.returning?.cids.delete(cid);
  const old = client.bindings.get(cid);
  if (old !== undefined && old.task !== task) unbind(state, old);
  if (old?.task === task) {
    if (!wanted) client.returning?.unwanted.add(old);
    else {
      client.returning?.unwanted.delete(old);
      if (!old.wanted) task.wants++;
      old.wanted = true;
    }
  } else bind(client, cid, task, wanted);
  if (!wanted) return;
  // It may think it finished: then it hears that it is not, any more.
  if (task.state === 'memory' || task.state === 'erred') tellState(state, client, cid, task);
  else if (!failed) state.outbox.lost(client, cid);
}

/** One graph of a returning client has been taken in; its tasks start with the last one. */
export function continueReturn(
  state: SchedulerState,
  client: ClientRecord,
  tasks: readonly Task[],
  failures: ReadonlyMap<Task, ErrorRecord>,
  last: boolean
): void {
  // To a scheduler that did not know it, all that it names is new.
  client.returning ??= {
    cids: new Set(),
    functions: new Set(),
    unwanted: new Set(),
    tasks: new Set(),
    failures: new Map()
  };
  const back = client.returning;
  for (const task of tasks) back.tasks.add(task);
  for (const [task, error] of failures) back.failures.set(task, error);
  if (last) endReturn(state, client, back);
}

function endReturn(state: SchedulerState, client: ClientRecord, back: Return): void {
  client.returning = null;
  for (const task of back.tasks) releaseRecovered(state, task);
  for (const cid of [...back.cids].reverse()) {
    const binding = client.bindings.get(cid);
    if (binding !== undefined) unbind(state, binding);
  }
  for (const binding of back.unwanted) {
    const { task } = binding;
    if (client.bindings.get(binding.cid) !== binding || !binding.wanted) continue;
    binding.wanted = false;
    task.wants--;
    if (!task.needed) letGo(state, task);
  }
  for (const number of back.functions) {
    const fn = client.functions.get(number);
    client.functions.delete(number);
    if (fn !== undefined) state.releaseFunction(fn);
  }
  settleGraph(state, [...back.tasks], back.failures);
}

/** Starts the tasks of a graph, or lets go of those that nobody needs. */
export function settleGraph(
  state: SchedulerState,
  tasks: readonly Task[],
  failures: ReadonlyMap<Task, ErrorRecord>
): void {
  // Reverse: recommendations are worked off last in, first out.
  for (let i = tasks.length - 1; i >= 0; i--) {
    const task = tasks[i] as Task;
    const failure = failures.get(task);
    // Reported lost while only its name was known; now it can be made.
    if (task.state === 'erred' && failure === undefined && canBeMade(task)) {
      for (const { wanted, client, cid } of smallList(task.bindings))
        if (wanted) state.outbox.lost(client, cid);
      recommend(state, task, 'waiting');
    }
    if (task.state !== 'released') continue;
    if (failure !== undefined && task.needed) failWith(state, task, failure);
    else if (task.wants > 0) recommend(state, task, 'waiting');
    else if (task.dependents === null) recommend(state, task, 'forgotten');
  }
}

function canBeMade({ fn, error, key }: Task): boolean {
  return fn !== null && error?.code === 'LOST_DATA' && error.blame === key;
}

/** A returning client is gone for good: what its graphs left half done is let go of. */
export function abandonReturn(state: SchedulerState, client: ClientRecord): void {
  const back = client.returning;
  client.returning = null;
  for (const task of back?.tasks ?? []) {
    releaseRecovered(state, task);
    if (task.state === 'released' && !task.needed && task.dependents === null)
      recommend(state, task, 'forgotten');
  }
}
