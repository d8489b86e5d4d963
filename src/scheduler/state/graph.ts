/** A graph arrives: checked as a whole before anything changes, then made into tasks. */
import { ProtocolError } from '../../base/errors.ts';
import { LIMITS } from '../../protocol/limits.ts';
import type { TaskOptions, UpdateGraph } from '../../protocol/messages.ts';
import { bind, tellState } from './clients.ts';
import type { ClientRecord } from './clients.ts';
import { cancelledInputRecord } from './failures.ts';
import type { SchedulerState } from './state.ts';
import type { Demands, Task } from './tasks.ts';
import { failWith, recommend } from './transitions.ts';

/** How far before its parent's generation a task comes that the parent has submitted. */
const CHILD_STEP = 2 ** -20;

export function updateGraph(
  state: SchedulerState,
  client: ClientRecord,
  message: UpdateGraph
): void {
  checkGraph(client, message);
  const demands = demandsOf(state, client, message);
  const wanted = message.wants === 'all' ? null : new Set(message.wants);
  const fresh: Task[] = [];
  for (let i = 0; i < message.keys.length; i++) {
    const key = message.keys[i] as string;
    const cid = message.first + i;
    let task = state.byKey.get(key);
    if (task === undefined) {
      task = addTask(state, client, message, i, demands);
      fresh.push(task);
    } else if (task.state === 'released') fresh.push(task);
    bind(client, cid, task, wanted === null || wanted.has(cid));
    tellState(state, client, cid, task);
  }
  // Reverse: recommendations are worked off last in, first out.
  for (let i = fresh.length - 1; i >= 0; i--) {
    const task = fresh[i] as Task;
    if (task.state !== 'released') continue;
    if (task.wants > 0) recommend(state, task, state.failures.has(task) ? 'erred' : 'waiting');
    else if (task.dependents === null) recommend(state, task, 'forgotten');
  }
}

/**
 * What a running task submits is done for the task's own client, just before what that submitted
 * next: the task waits for it.
 */
function demandsOf(state: SchedulerState, client: ClientRecord, message: UpdateGraph): Demands {
  const { options } = message;
  const parent = state.tasks.get(message.parent ?? 0)?.demands;
  if (parent === undefined) {
    if (state.now - client.lastGraphAt > message.fifoTimeout) client.generation++;
    client.lastGraphAt = state.now;
  }
  return {
    owner: parent?.owner ?? client.share,
    priority: (parent?.priority ?? 0) - options.priority,
    generation: parent === undefined ? client.generation : parent.generation - CHILD_STEP,
    timeout: options.timeout,
    workers: options.workers,
    allowOtherWorkers: options.allowOtherWorkers,
    resources: options.resources
  };
}

function addTask(
  state: SchedulerState,
  client: ClientRecord,
  message: UpdateGraph,
  i: number,
  demands: Demands
): Task {
  const fn = client.functions.get(
    typeof message.fn === 'number' ? message.fn : (message.fn[i] as number)
  );
  if (fn === undefined) throw new Error('checkGraph let an unknown function pass');
  const key = message.keys[i] as string;
  const inputs: Task[] = [];
  let unknown = false;
  const from = message.depOffsets[i] ?? 0;
  const to = message.depOffsets[i + 1] ?? 0;
  for (let at = from; at < to; at++) {
    const dep = client.bindings.get(message.deps[at] as number)?.task;
    if (dep === undefined) unknown = true;
    else inputs.push(dep);
  }
  const deps = unique(inputs);
  const task = state.newTask({
    key,
    fn,
    args: message.args,
    argStart: message.argOffsets[i] as number,
    argEnd: message.argOffsets[i + 1] as number,
    deps,
    demands,
    order: message.order?.[i] ?? i,
    retries: message.options.retries
  });
  if (deps.length < inputs.length) state.repeats.set(task, inputs);
  if (unknown) failWith(state, task, cancelledInputRecord(task));
  return task;
}

/** Two numbers of a client may stand for one task: equal keys are one. */
function unique(inputs: Task[]): Task[] {
  if (inputs.length < 2) return inputs;
  const deps = new Set(inputs);
  return deps.size === inputs.length ? inputs : [...deps];
}

/** Throws before anything changes when a graph does not fit together. */
function checkGraph(client: ClientRecord, message: UpdateGraph): void {
  const count = message.keys.length;
  const bad = (what: string): never => {
    throw new ProtocolError(`update-graph of client ${client.name}: ${what}.`);
  };
  if (count > LIMITS.graphTasks)
    bad(`${count} tasks in one message, at most ${LIMITS.graphTasks} may be`);
  if (message.argOffsets.length !== count + 1) bad('argOffsets must have one entry more than keys');
  checkOptions(message.options, bad);
  let last = 0;
  for (const offset of message.argOffsets) {
    if (!(offset >= last && offset <= message.args.length)) bad('argOffsets must rise within args');
    last = offset;
  }
  const { order, parent } = message;
  if (order !== undefined) {
    const fits = Array.isArray(order) && order.length === count && order.every(isPlace);
    if (!fits) bad('order must have one place a task');
  }
  if (parent !== undefined && !isPlace(parent)) bad('parent must be the number of a task');
  const hasDeps = message.depOffsets.length > 0;
  if (hasDeps && message.depOffsets.length !== count + 1)
    bad('depOffsets must have one entry more than keys');
  for (let i = 0; i < count; i++) {
    const key = message.keys[i];
    if (typeof key !== 'string' || key.length > LIMITS.keyChars)
      bad('a key is not text, or too long');
    const fn = typeof message.fn === 'number' ? message.fn : message.fn[i];
    if (fn === undefined || !client.functions.has(fn)) bad(`function ${fn} was not registered`);
    if (client.bindings.has(message.first + i)) bad(`number ${message.first + i} is in use`);
    const from = message.depOffsets[i] ?? 0;
    const to = message.depOffsets[i + 1] ?? 0;
    if (!(from <= to && to <= message.deps.length)) bad('depOffsets must rise within deps');
    for (let at = from; at < to; at++) {
      if (!((message.deps[at] as number) < message.first + i))
        bad('dependencies must come before dependents');
    }
  }
}

function isPlace(value: unknown): boolean {
  return Number.isInteger(value) && (value as number) >= 0;
}

function checkOptions(options: TaskOptions, bad: (what: string) => never): void {
  for (const name of ['priority', 'retries', 'timeout'] as const) {
    if (typeof options[name] !== 'number') bad(`option ${name} is not a number`);
  }
  if (options.workers !== null && !Array.isArray(options.workers))
    bad('option workers is not a list');
  const { resources } = options;
  if (resources !== null && typeof resources !== 'object') bad('option resources is not a map');
}
