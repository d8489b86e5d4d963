/** A graph arrives: checked as a whole before anything changes, then made into tasks. */
import { ProtocolError } from '../../base/errors.ts';
import { LIMITS } from '../../protocol/limits.ts';
import type { ErrorRecord, Language, TaskOptions, UpdateGraph } from '../../protocol/messages.ts';
import { bind, tellState } from './clients.ts';
import type { ClientRecord } from './clients.ts';
import {
  continueReturn,
  giveSpec,
  isBare,
  rebind,
  releaseRecovered,
  settleGraph
} from './recovery.ts';
import type { SchedulerState } from './state.ts';
import type { Demands, Task, TaskSpec } from './tasks.ts';
import { warnCollision } from './warnings.ts';

/** How far before its parent's generation a task comes that the parent has submitted. */
const CHILD_STEP = 2 ** -20;

export function updateGraph(
  state: SchedulerState,
  client: ClientRecord,
  message: UpdateGraph
): void {
  checkGraph(client, message);
  const demands = demandsOf(state, client, message);
  const graph: Graph = {
    client,
    message,
    demands,
    foreign: new Map(),
    wanted: message.wants === 'all' ? null : new Set(message.wants),
    failures: givenFailures(message),
    touched: []
  };
  for (let i = 0; i < message.keys.length; i++) takeTask(state, graph, i);
  const { touched, failures } = graph;
  if (message.again === undefined) {
    for (const task of touched) releaseRecovered(state, task);
    settleGraph(state, touched, failures.byTask);
  } else continueReturn(state, client, touched, failures.byTask, message.again === 'last');
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
    resources: options.resources,
    language: null
  };
}

/** The same for tasks in this language, one object for all of them. */
function inLanguage(graph: Graph, language: Language): Demands {
  if (language === 'javascript') return graph.demands;
  let demands = graph.foreign.get(language);
  if (demands === undefined) {
    demands = { ...graph.demands, language };
    graph.foreign.set(language, demands);
  }
  return demands;
}

/** One graph message while it is taken in. */
interface Graph {
  readonly client: ClientRecord;
  readonly message: UpdateGraph;
  readonly demands: Demands;
  /** Demands of tasks in other languages than JavaScript. */
  readonly foreign: Map<Language, Demands>;
  /** null: all. */
  readonly wanted: ReadonlySet<number> | null;
  readonly failures: { at: ReadonlyMap<number, ErrorRecord>; byTask: Map<Task, ErrorRecord> };
  /** Tasks to be started or let go of: made by this graph, or known and not being made. */
  readonly touched: Task[];
}

function givenFailures({ failed }: UpdateGraph): Graph['failures'] {
  const at = new Map<number, ErrorRecord>();
  failed?.tasks.forEach((index, i) => {
    const error = failed.errors[failed.which[i] as number];
    if (error !== undefined) at.set(index, error);
  });
  return { at, byTask: new Map() };
}

function takeTask(state: SchedulerState, graph: Graph, i: number): void {
  const { client, message, wanted, failures, touched } = graph;
  const cid = message.cids?.[i] ?? message.first + i;
  const failure = failures.at.get(i);
  let task = state.byKey.get(message.keys[i] as string);
  if (task === undefined) {
    task = addTask(state, graph, i);
    touched.push(task);
    if (failure !== undefined) failures.byTask.set(task, failure);
  } else {
    const bare = isBare(state, task);
    if (bare) claim(state, graph, task, i);
    else if (message.again === undefined) warnCollision(state, client, message, i, task);
    if (bare || task.state === 'released') touched.push(task);
  }
  const wants = wanted === null || wanted.has(cid);
  if (message.again === undefined) {
    bind(client, cid, task, wants);
    tellState(state, client, cid, task);
  } else rebind(state, client, cid, task, wants, failure !== undefined);
}

/** What the graph says of one task; `complete` is false when an input is not known any more. */
function specOf(
  graph: Graph,
  i: number
): { spec: Omit<TaskSpec, 'id' | 'group' | 'key'>; inputs: Task[]; complete: boolean } {
  const { client, message } = graph;
  const fn = client.functions.get(
    typeof message.fn === 'number' ? message.fn : (message.fn[i] as number)
  );
  if (fn === undefined) throw new Error('checkGraph let an unknown function pass');
  const inputs: Task[] = [];
  let complete = true;
  const from = message.depOffsets[i] ?? 0;
  const to = message.depOffsets[i + 1] ?? 0;
  for (let at = from; at < to; at++) {
    const dep = client.bindings.get(message.deps[at] as number)?.task;
    if (dep === undefined) complete = false;
    else inputs.push(dep);
  }
  const spec = {
    fn,
    args: message.args,
    argStart: message.argOffsets[i] as number,
    argEnd: message.argOffsets[i + 1] as number,
    deps: unique(inputs),
    demands: inLanguage(graph, fn.language),
    order: message.order?.[i] ?? i,
    retries: message.options.retries
  };
  return { spec, inputs, complete };
}

/** Two numbers of a client may stand for one task: equal keys are one. */
function unique(inputs: Task[]): Task[] {
  if (inputs.length < 2) return inputs;
  const deps = new Set(inputs);
  return deps.size === inputs.length ? inputs : [...deps];
}

function addTask(state: SchedulerState, graph: Graph, i: number): Task {
  const { spec, inputs, complete } = specOf(graph, i);
  const task = state.newTask({ ...spec, key: graph.message.keys[i] as string });
  if (spec.deps.length < inputs.length) state.repeats.set(task, inputs);
  if (!complete) state.incomplete.add(task);
  return task;
}

/** The value was there before its graph. Without all inputs it stays what it is: data. */
function claim(state: SchedulerState, graph: Graph, task: Task, i: number): void {
  const { spec, inputs, complete } = specOf(graph, i);
  if (!complete) return;
  giveSpec(state, task, spec);
  if (spec.deps.length < inputs.length) state.repeats.set(task, inputs);
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
  if (message.cids !== undefined && message.cids.length !== count)
    bad('cids must have one entry a key');
  checkFailed(message, bad);
  let lastCid = -Infinity;
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
    const cid = message.cids?.[i] ?? message.first + i;
    if (cid <= lastCid) bad('numbers must rise');
    lastCid = cid;
    // One that comes back speaks of the same keys by the same numbers.
    if (message.again === undefined && client.bindings.has(cid)) bad(`number ${cid} is in use`);
    const from = message.depOffsets[i] ?? 0;
    const to = message.depOffsets[i + 1] ?? 0;
    if (!(from <= to && to <= message.deps.length)) bad('depOffsets must rise within deps');
    for (let at = from; at < to; at++) {
      if (!((message.deps[at] as number) < cid)) bad('dependencies must come before dependents');
    }
  }
}

function isPlace(value: unknown): boolean {
  return Number.isInteger(value) && (value as number) >= 0;
}

function checkFailed({ failed, keys }: UpdateGraph, bad: (what: string) => never): void {
  if (failed === undefined) return;
  const { tasks, which, errors } = failed;
  if (!Array.isArray(tasks) || !Array.isArray(which) || !Array.isArray(errors))
    bad('failed must hold lists');
  if (tasks.length !== which.length) bad('failed must name an error for each task');
  for (const at of tasks) if (!(at >= 0 && at < keys.length)) bad('failed names no task');
  for (const at of which) if (errors[at] === undefined) bad('failed names no error');
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
