/**
 * Tells dashboard viewers what happens (protocol/feed.ts). Reads the state on a timer that runs only
 * while somebody looks; the state never knows. Viewers of one rate share a cursor, and those of one
 * choice of topics share each encoded frame, so that twenty panels cost little more than one.
 */
import { keepAlive } from '../comm/keep-alive.ts';
import type { Wire } from '../comm/wire.ts';
import { encode, decode } from '../protocol/codec.ts';
import type {
  FeedCluster,
  FeedDelta,
  FeedDeparture,
  FeedEnd,
  FeedRequest,
  FeedSnapshot,
  FeedTopic,
  FeedWorker,
  ProgressColumns,
  StreamColumns,
  VitalsColumns
} from '../protocol/feed.ts';
import { CLOSE, LIMITS, PROTOCOL_VERSION } from '../protocol/limits.ts';
import type { SchedulerState } from './state/state.ts';
import type { TaskPrefix } from './state/tasks.ts';
import { WorkerRecord } from './state/workers.ts';
import type { WorkerFacts } from './state/workers.ts';

/** Deltas a second that are on offer; a viewer gets the fastest that does not pass its wish. */
const RATES = [10, 2, 1] as const;
/** Vital signs change with heartbeats, twice a second. */
const VITALS_MS = 500;

interface Viewer {
  wire: Wire;
  topics: FeedTopic[];
  topicsKey: string;
  needsSnapshot: boolean;
}

/** What the viewers of one rate have been told. */
class Cursor {
  readonly intervalMs: number;
  readonly viewers = new Set<Viewer>();
  timer: NodeJS.Timeout | null = null;
  seq = 0;
  stream = 0;
  functions = 0;
  readonly progress = new Map<TaskPrefix, string>();
  readonly workers = new Set<WorkerRecord>();
  clients = -1;
  vitalsAt = 0;

  constructor(rate: number) {
    this.intervalMs = 1000 / rate;
  }
}

export class FeedServer {
  private readonly cursors = RATES.map(rate => new Cursor(rate));
  private readonly state: SchedulerState;
  private readonly cluster: FeedCluster;
  private readonly now: () => number;
  /** Who went and why, for viewers; the newest hundred. */
  private readonly departures = new Map<number, FeedDeparture>();

  constructor(state: SchedulerState, cluster: FeedCluster, now: () => number) {
    this.state = state;
    this.cluster = cluster;
    this.now = now;
  }

  /** Takes a viewer's wire; nothing is sent before it subscribes. */
  open(wire: Wire): void {
    let viewer: Viewer | null = null;
    let cursor: Cursor | null = null;
    const stopPings = keepAlive(wire, () => wire.terminate());
    const onFrame = (frame: Uint8Array): void => {
      const request = parseRequest(frame);
      if (request === null) {
        wire.close(CLOSE.badFrame, 'not a feed request');
        return;
      }
      if (request.op === 'resync') {
        if (viewer !== null) viewer.needsSnapshot = true;
        return;
      }
      if (viewer !== null && cursor !== null) this.remove(cursor, viewer);
      const topicsKey = [...request.topics].sort().join();
      viewer = { wire, topics: request.topics, topicsKey, needsSnapshot: true };
      cursor =
        this.cursors.find(one => 1000 / one.intervalMs <= request.rate) ??
        (this.cursors.at(-1) as Cursor);
      this.add(cursor, viewer);
    };
    const onClose = (): void => {
      stopPings();
      if (viewer !== null && cursor !== null) this.remove(cursor, viewer);
    };
    wire.listen({ onFrame, onClose });
  }

  /** Notes why a worker goes; called while the state still has it. */
  workerLeft(id: number, reason: string): void {
    const worker = this.state.workers.get(id);
    if (worker === undefined) return;
    this.departures.set(id, { worker: feedWorker(worker), at: this.now(), reason });
    if (this.departures.size > 100)
      this.departures.delete(this.departures.keys().next().value as number);
  }

  /** Workers of a scheduler before, whom the history names by number. */
  workersBefore(facts: ReadonlyMap<number, WorkerFacts>): void {
    const at = this.now();
    const reason = 'the scheduler was started again';
    for (const [id, one] of [...facts].slice(-100)) {
      const worker = feedWorker(new WorkerRecord(id, one, at, this.state.network));
      this.departures.set(id, { worker, at, reason });
    }
  }

  /** The last word to all viewers. */
  end(reason: string): void {
    const frame = encode({ op: 'end', now: this.now(), reason } satisfies FeedEnd);
    for (const cursor of this.cursors) {
      for (const viewer of cursor.viewers) {
        viewer.wire.send(frame);
        viewer.wire.close(CLOSE.goingAway, 'the scheduler closes');
      }
      if (cursor.timer !== null) clearInterval(cursor.timer);
      cursor.timer = null;
    }
  }

  get viewers(): number {
    return this.cursors.reduce((sum, cursor) => sum + cursor.viewers.size, 0);
  }

  private add(cursor: Cursor, viewer: Viewer): void {
    cursor.viewers.add(viewer);
    cursor.timer ??= setInterval(() => this.tick(cursor), cursor.intervalMs);
    setImmediate(() => this.tick(cursor));
  }

  private remove(cursor: Cursor, viewer: Viewer): void {
    cursor.viewers.delete(viewer);
    if (cursor.viewers.size > 0 || cursor.timer === null) return;
    clearInterval(cursor.timer);
    cursor.timer = null;
  }

  private tick(cursor: Cursor): void {
    if (cursor.viewers.size === 0) return;
    const frames = new Map<string, Uint8Array>();
    const delta = this.delta(cursor);
    for (const viewer of cursor.viewers) {
      if (!viewer.wire.isOpen) continue;
      // A slow viewer is not queued for: it gets everything anew once it has caught up.
      if (viewer.wire.queuedBytes > LIMITS.viewerOutboxBytes) viewer.needsSnapshot = true;
      if (viewer.wire.queuedBytes > 0 && viewer.needsSnapshot) continue;
      if (!viewer.needsSnapshot && delta === null) continue;
      const name = `${viewer.needsSnapshot ? 'all' : 'delta'}:${viewer.topicsKey}`;
      let frame = frames.get(name);
      if (frame === undefined) {
        frame = encode(
          viewer.needsSnapshot
            ? this.snapshot(cursor, viewer.topics)
            : select(delta as FeedDelta, viewer.topics)
        );
        frames.set(name, frame);
      }
      viewer.needsSnapshot = false;
      viewer.wire.send(frame);
    }
  }

  /** Moves the cursor to now; null when nothing happened. */
  private delta(cursor: Cursor): FeedDelta | null {
    const { state } = this;
    const now = this.now();
    const delta: FeedDelta = { op: 'delta', seq: cursor.seq + 1, now };
    const prefixes = [...state.prefixes.values()];
    if (prefixes.length > cursor.functions) {
      delta.functions = prefixes.slice(cursor.functions).map(prefix => prefix.name);
      cursor.functions = prefixes.length;
    }
    const changed = prefixes.filter(prefix => {
      const counts = `${prefix.counts.join()},${prefix.done}`;
      if (cursor.progress.get(prefix) === counts) return false;
      cursor.progress.set(prefix, counts);
      return true;
    });
    if (changed.length > 0) delta.progress = progressOf(changed);
    if (state.stream.count > cursor.stream) delta.stream = this.streamSince(cursor.stream);
    cursor.stream = state.stream.count;
    this.workerChanges(cursor, delta);
    if (now - cursor.vitalsAt >= VITALS_MS && state.workers.size > 0) {
      cursor.vitalsAt = now;
      delta.vitals = vitalsOf(state.workers.values());
    }
    if (state.clients.size !== cursor.clients) {
      cursor.clients = state.clients.size;
      delta.clients = cursor.clients;
    }
    if (Object.keys(delta).length === 3) return null;
    cursor.seq++;
    return delta;
  }

  private workerChanges(cursor: Cursor, delta: FeedDelta): void {
    const added: FeedWorker[] = [];
    for (const worker of this.state.workers.values()) {
      if (cursor.workers.has(worker)) continue;
      cursor.workers.add(worker);
      added.push(feedWorker(worker));
    }
    const removed: { worker: number; reason: string }[] = [];
    for (const worker of cursor.workers) {
      if (this.state.workers.has(worker.id)) continue;
      cursor.workers.delete(worker);
      removed.push({ worker: worker.id, reason: this.departures.get(worker.id)?.reason ?? 'gone' });
    }
    if (added.length > 0) delta.workers = added;
    if (removed.length > 0) delta.removed = removed;
  }

  private snapshot(cursor: Cursor, topics: FeedTopic[]): FeedSnapshot {
    const { state } = this;
    const stream = topics.includes('stream')
      ? state.stream.count - state.stream.capacity
      : Infinity;
    return {
      op: 'snapshot',
      protocol: PROTOCOL_VERSION,
      seq: cursor.seq,
      now: this.now(),
      cluster: this.cluster,
      functions: [...state.prefixes.values()].map(prefix => prefix.name),
      workers: [...state.workers.values()].map(feedWorker),
      gone: [...this.departures.values()],
      vitals: vitalsOf(state.workers.values()),
      progress: progressOf([...state.prefixes.values()]),
      stream: this.streamSince(Math.max(0, stream)),
      clients: state.clients.size
    };
  }

  /** Rectangles number `from` and later, as far as they are still kept. */
  private streamSince(from: number): StreamColumns {
    const ring = this.state.stream;
    const first = Math.max(from, ring.count - ring.capacity);
    const count = Math.max(0, ring.count - first);
    return {
      count: count,
      worker: column(ring.worker, first, count, ring.capacity),
      lane: column(ring.lane, first, count, ring.capacity),
      fn: column(ring.fn, first, count, ring.capacity),
      kind: column(ring.kind, first, count, ring.capacity),
      start: column(ring.start, first, count, ring.capacity),
      duration: column(ring.duration, first, count, ring.capacity)
    };
  }
}

type Column = Uint8Array | Uint16Array | Uint32Array | Float32Array | Float64Array;

/** Entries [first, first + count) of a ring, as bytes of their own. */
function column(ring: Column, first: number, count: number, capacity: number): Uint8Array {
  const width = ring.BYTES_PER_ELEMENT;
  const bytes = new Uint8Array(ring.buffer, ring.byteOffset, ring.byteLength);
  const out = new Uint8Array(count * width);
  if (count === 0) return out;
  const at = first % capacity;
  const head = Math.min(count, capacity - at);
  out.set(bytes.subarray(at * width, (at + head) * width), 0);
  if (head < count) out.set(bytes.subarray(0, (count - head) * width), head * width);
  return out;
}

function select(delta: FeedDelta, topics: FeedTopic[]): FeedDelta {
  const chosen = { ...delta };
  if (!topics.includes('stream')) delete chosen.stream;
  if (!topics.includes('progress')) delete chosen.progress;
  if (!topics.includes('workers')) delete chosen.vitals;
  return chosen;
}

/** Counts by TASK_STATES position: released, waiting, no-worker, queued, processing, memory, erred. */
function progressOf(prefixes: readonly TaskPrefix[]): ProgressColumns {
  const count = (prefix: TaskPrefix, at: number): number => prefix.counts[at] ?? 0;
  return {
    fn: prefixes.map(prefix => prefix.id),
    waiting: prefixes.map(prefix => count(prefix, 1) + count(prefix, 2)),
    queued: prefixes.map(prefix => count(prefix, 3)),
    processing: prefixes.map(prefix => count(prefix, 4)),
    memory: prefixes.map(prefix => count(prefix, 5)),
    erred: prefixes.map(prefix => count(prefix, 6)),
    released: prefixes.map(prefix => prefix.done)
  };
}

function feedWorker(worker: WorkerRecord): FeedWorker {
  const { name, address, host, pid, nthreads, memoryLimit } = worker.facts;
  return {
    worker: worker.id,
    name,
    address,
    host,
    pid,
    threads: nthreads,
    memoryLimit,
    startedAt: worker.startedAt
  };
}

function vitalsOf(workers: Iterable<WorkerRecord>): VitalsColumns {
  const rows = [...workers];
  const of = (field: keyof NonNullable<WorkerRecord['metrics']>): number[] =>
    rows.map(row => row.metrics?.[field] ?? 0);
  return {
    worker: rows.map(row => row.id),
    status: rows.map(({ status }) => (status === 'closing-gracefully' ? 'closing' : status)),
    cpu: of('cpu'),
    rss: of('rss'),
    managed: of('managed'),
    spilled: of('spilled'),
    executing: of('executing'),
    processing: rows.map(row => row.processing.size),
    inMemory: rows.map(row => row.hasWhat.size),
    netIn: of('netIn'),
    netOut: of('netOut'),
    loopDelay: of('loopDelay')
  };
}

function parseRequest(data: Uint8Array): FeedRequest | null {
  let value: unknown;
  try {
    value = decode(data);
  } catch {
    return null;
  }
  const request = value as FeedRequest | null;
  if (request?.op === 'resync') return request;
  if (
    request?.op !== 'subscribe' ||
    !Array.isArray(request.topics) ||
    typeof request.rate !== 'number'
  )
    return null;
  return request;
}
