/**
 * What a journal says, and what it is read for: events of clients as they came, what was fired and
 * forgotten and has ended, and the history that panels show. Replayed into an empty state they make
 * the present again, but for workers and values, which come back by themselves. A snapshot says the
 * present by records of the same kinds.
 *
 * Pure: states and records in, states and records out.
 */
import type { ClientToScheduler, UpdateGraph } from '../../protocol/messages.ts';
import type { SchedulerEvent, SchedulerState } from '../state/state.ts';
import type { StoryLine } from '../state/story.ts';
import type { Task } from '../state/tasks.ts';
import type { WorkerFacts } from '../state/workers.ts';
import { LAST_GRAPH } from '../../protocol/task-options.ts';

/** Rectangles of the task stream and steps of tasks since the last such record. */
export interface HistoryRecord {
  op: 'history';
  /** Names that `fns` number. */
  names: string[];
  workers: number[];
  lanes: number[];
  fns: number[];
  kinds: number[];
  starts: number[];
  durations: number[];
  story: StoryLine[];
  /** Mean ms and count of what was finished and let go of, by function. */
  prefixes: { name: string; duration: number; done: number }[];
}

export type JournalRecord =
  | { op: 'event'; at: number; event: SchedulerEvent }
  | { op: 'forgotten-ended'; keys: string[] }
  | { op: 'worker'; id: number; facts: WorkerFacts }
  | { op: 'workers'; count: number }
  | HistoryRecord;

/** How far history has been recorded. */
export interface Recorded {
  stream: number;
  story: number;
}

/** The client that says a snapshot. */
const SNAPSHOT = '(journal)';
/** Tasks and bytes of arguments in one graph of a snapshot. */
const GRAPH_TASKS = 50_000;
const GRAPH_BYTES = 16 * 1024 * 1024;

/** The record of an event, or null when it need not be remembered. */
export function recordOf(event: SchedulerEvent, at: number): JournalRecord | null {
  switch (event.type) {
    case 'add-client':
    case 'remove-client':
      return { op: 'event', at, event };
    case 'client-message': {
      const message = lasting(event.message);
      return message === null ? null : { op: 'event', at, event: { ...event, message } };
    }
    default:
      return null;
  }
}

function lasting(message: ClientToScheduler): ClientToScheduler | null {
  switch (message.op) {
    case 'request':
    case 'register-client':
    case 'heartbeat-client':
      return null;
    case 'scattered':
      // Where it lies is not known afterwards: a worker brings it, or it is lost.
      return { op: 'client-desires-keys', cids: message.cids, keys: message.keys, again: 'data' };
    default:
      return message;
  }
}

// ---------------------------------------------------------------- replay

/** What a replay found, beside what is in the state. */
export interface Replayed {
  /** Workers there were at last. */
  workers: number;
  /** Of the newest workers, by number. */
  facts: Map<number, WorkerFacts>;
  events: number;
}

/** Brings an empty state to where the records end. Clients are away from then on. */
export function replay(
  state: SchedulerState,
  records: readonly JournalRecord[],
  now: number,
  grace: number
): Replayed {
  const found: Replayed = { workers: 0, facts: new Map(), events: 0 };
  for (const record of records) if (record.op === 'workers') found.workers = record.count;
  state.handle({ type: 'recover', workers: found.workers, within: 5000 }, now);
  const histories: HistoryRecord[] = [];
  for (const record of records) {
    switch (record.op) {
      case 'event':
        state.handle(record.event, record.at);
        found.events++;
        break;
      case 'forgotten-ended':
        state.handle({ type: 'forgotten-ended', keys: record.keys }, now);
        break;
      case 'worker':
        found.facts.set(record.id, record.facts);
        state.nextWorker = Math.max(state.nextWorker, record.id + 1);
        break;
      case 'history':
        histories.push(record);
        break;
      case 'workers':
        break;
    }
  }
  state.handle({ type: 'clients-away', within: grace }, now);
  restoreHistory(state, histories);
  return found;
}

function restoreHistory(state: SchedulerState, histories: readonly HistoryRecord[]): void {
  // The replay itself has left steps that nobody took.
  state.story.clear();
  for (const history of histories) {
    const fns = history.names.map(name => state.prefixOf(name).id);
    history.workers.forEach((worker, i) => {
      state.nextWorker = Math.max(state.nextWorker, worker + 1);
      state.stream.add(
        worker,
        history.lanes[i] ?? 0,
        fns[history.fns[i] ?? 0] ?? 0,
        history.kinds[i] ?? 0,
        history.starts[i] ?? 0,
        history.durations[i] ?? 0
      );
    });
    for (const { key, start, finish, stimulus, time } of history.story)
      state.story.add(key, start, finish, stimulus, time);
    for (const { name, duration, done } of history.prefixes) {
      const prefix = state.prefixOf(name);
      prefix.duration = duration;
      if (prefix.live > 0) prefix.done = done;
    }
  }
}

// ---------------------------------------------------------------- history

/** What has happened since `since`, which is brought up to date; null when nothing has. */
export function historySince(state: SchedulerState, since: Recorded): HistoryRecord | null {
  const { stream, story } = state;
  const from = Math.max(since.stream, stream.count - stream.capacity);
  if (from === stream.count && since.story === story.count) return null;
  const byId = new Map([...state.prefixes.values()].map(prefix => [prefix.id, prefix]));
  const numbers = new Map<number, number>();
  const record: HistoryRecord = {
    op: 'history',
    names: [],
    workers: [],
    lanes: [],
    fns: [],
    kinds: [],
    starts: [],
    durations: [],
    story: story.newest(story.count - since.story),
    prefixes: []
  };
  for (let count = from; count < stream.count; count++) {
    const at = count % stream.capacity;
    const fn = stream.fn[at] as number;
    let number = numbers.get(fn);
    if (number === undefined) {
      number = record.names.push(byId.get(fn)?.name ?? '') - 1;
      numbers.set(fn, number);
    }
    record.workers.push(stream.worker[at] as number);
    record.lanes.push(stream.lane[at] as number);
    record.fns.push(number);
    record.kinds.push(stream.kind[at] as number);
    record.starts.push(stream.start[at] as number);
    record.durations.push(stream.duration[at] as number);
  }
  for (const fn of numbers.keys()) {
    const prefix = byId.get(fn);
    if (prefix === undefined) continue;
    record.prefixes.push({ name: prefix.name, duration: prefix.duration, done: prefix.done });
  }
  since.stream = stream.count;
  since.story = story.count;
  return record;
}

// ---------------------------------------------------------------- snapshots

/** The present, as records that bring an empty state to it. */
export function* snapshot(state: SchedulerState, at: number): Generator<JournalRecord> {
  const event = (one: SchedulerEvent): JournalRecord => ({ op: 'event', at, event: one });
  const says = (client: string, message: ClientToScheduler): JournalRecord =>
    event({ type: 'client-message', client, message });
  yield event({ type: 'add-client', client: SNAPSHOT, name: SNAPSHOT });
  for (const fn of state.functions.values()) {
    const { id, hash, name, blob, language } = fn;
    yield says(SNAPSHOT, { op: 'register-function', fn: id, hash, name, blob, language });
  }
  const order = inOrder(state);
  const cids = new Map(order.map((task, i) => [task, i + 1]));
  for (const message of graphsOf(state, order, cids)) yield says(SNAPSHOT, message);
  for (const client of state.clients.values()) {
    const { id, name, share } = client;
    yield event({ type: 'add-client', client: id, name, weight: share.weight });
    for (const [number, { hash, name: title, blob, language }] of client.functions)
      yield says(id, { op: 'register-function', fn: number, hash, name: title, blob, language });
    const bindings = [...client.bindings.values()];
    yield event({
      type: 'restore-bindings',
      client: id,
      cids: bindings.map(({ cid }) => cid),
      keys: bindings.map(({ task }) => task.key),
      wanted: bindings.map(({ wanted }) => wanted)
    });
  }
  for (const { name, keys, value } of state.datasets.values()) {
    const numbers = keys.map(key => cids.get(state.byKey.get(key) as Task) ?? 0);
    yield says(SNAPSHOT, { op: 'publish-dataset', name, cids: numbers, value });
  }
  const forgotten = [...(state.pseudoClients.get('fire-and-forget')?.bindings.values() ?? [])];
  yield says(SNAPSHOT, {
    op: 'fire-and-forget',
    cids: forgotten.map(({ task }) => cids.get(task) ?? 0)
  });
  yield says(SNAPSHOT, LAST_GRAPH);
  yield event({ type: 'remove-client', client: SNAPSHOT });
  yield { op: 'workers', count: state.workers.size };
  for (const [id, { facts }] of state.workers) yield { op: 'worker', id, facts };
  const history = historySince(state, { stream: 0, story: 0 });
  if (history !== null) yield history;
}

/** All tasks, inputs before what needs them. */
function inOrder(state: SchedulerState): Task[] {
  const order = new Set<Task>();
  for (const root of state.tasks.values()) {
    const stack = [root];
    for (let task = stack.at(-1); task !== undefined; task = stack.at(-1)) {
      const missing = order.has(task) ? [] : task.deps.filter(dep => !order.has(dep));
      if (missing.length > 0) stack.push(...missing);
      else {
        order.add(task);
        stack.pop();
      }
    }
  }
  return [...order];
}

/** Runs of tasks that share their demands; data is wanted by name. */
function* graphsOf(
  state: SchedulerState,
  order: readonly Task[],
  cids: ReadonlyMap<Task, number>
): Generator<ClientToScheduler> {
  const data = order.filter(task => task.fn === null);
  if (data.length > 0) {
    const numbers = data.map(task => cids.get(task) ?? 0);
    const keys = data.map(task => task.key);
    yield { op: 'client-desires-keys', cids: numbers, keys, again: 'data' };
  }
  let run: Task[] = [];
  let bytes = 0;
  for (const task of order) {
    if (task.fn === null) continue;
    const same =
      run.length === 0 || (run[0]?.demands === task.demands && run[0].retries === task.retries);
    if (!same || run.length === GRAPH_TASKS || bytes > GRAPH_BYTES) {
      yield graphOf(state, run, cids);
      run = [];
      bytes = 0;
    }
    run.push(task);
    bytes += task.argEnd - task.argStart;
  }
  if (run.length > 0) yield graphOf(state, run, cids);
}

function graphOf(
  state: SchedulerState,
  tasks: readonly Task[],
  cids: ReadonlyMap<Task, number>
): UpdateGraph {
  const { demands, retries } = tasks[0] as Task;
  const argOffsets = [0];
  const deps: number[] = [];
  const depOffsets = [0];
  let bytes = 0;
  for (const task of tasks) {
    argOffsets.push((bytes += task.argEnd - task.argStart));
    for (const dep of state.repeats.get(task) ?? task.deps) deps.push(cids.get(dep) ?? 0);
    depOffsets.push(deps.length);
  }
  const args = new Uint8Array(bytes);
  tasks.forEach((task, i) =>
    args.set(task.args.subarray(task.argStart, task.argEnd), argOffsets[i])
  );
  const { timeout, workers, allowOtherWorkers, resources, priority } = demands;
  const failed = tasks.flatMap((task, i) =>
    task.error === null ? [] : [{ i, error: task.error }]
  );
  return {
    op: 'update-graph',
    first: 0,
    cids: tasks.map(task => cids.get(task) ?? 0),
    keys: tasks.map(task => task.key),
    fn: tasks.map(task => task.fn?.id ?? 0),
    args,
    argOffsets,
    deps,
    depOffsets: deps.length === 0 ? [] : depOffsets,
    order: tasks.map(task => task.order),
    options: {
      priority: -priority,
      retries,
      timeout,
      workers: workers === null ? null : [...workers],
      allowOtherWorkers,
      resources: resources === null ? null : { ...resources }
    },
    fifoTimeout: 0,
    wants: [],
    again: 'part',
    ...(failed.length === 0
      ? {}
      : {
          failed: {
            tasks: failed.map(({ i }) => i),
            which: failed.map((_, i) => i),
            errors: failed.map(({ error }) => error)
          }
        })
  };
}
