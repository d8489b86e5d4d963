/** Makes feed messages from small events, for tests of the reducers. */
import { emptyStream, packStream } from '../../src/panels/model/columns.ts';
import type { StreamBlock } from '../../src/panels/model/columns.ts';
import type {
  FeedDelta,
  FeedSnapshot,
  FeedWorker,
  ProgressColumns,
  StreamKind,
  VitalsColumns
} from '../../src/protocol/feed.ts';
import { STREAM_KINDS } from '../../src/protocol/feed.ts';
import { PROTOCOL_VERSION } from '../../src/protocol/limits.ts';

export interface BarEvent {
  worker: number;
  lane: number;
  fn: number;
  kind: StreamKind;
  start: number;
  duration: number;
}

export type FeedEvent =
  | { type: 'bar'; bar: BarEvent }
  | { type: 'function'; name: string }
  | { type: 'worker'; worker: number; threads: number }
  | { type: 'removed'; worker: number; reason: string }
  | { type: 'vitals'; worker: number; cpu: number; rss: number }
  | { type: 'progress'; fn: number; counts: [number, number, number, number, number, number] };

/** A block of bars. */
export function blockOf(bars: readonly BarEvent[]): StreamBlock {
  const block = emptyStream(bars.length);
  bars.forEach((bar, i) => {
    block.worker[i] = bar.worker;
    block.lane[i] = bar.lane;
    block.fn[i] = bar.fn;
    block.kind[i] = STREAM_KINDS.indexOf(bar.kind);
    block.start[i] = bar.start;
    block.duration[i] = bar.duration;
  });
  return block;
}

export function workerOf(worker: number, threads = 1): FeedWorker {
  return {
    worker,
    name: `worker-${worker}`,
    address: `http://127.0.0.1:${9000 + worker}`,
    host: 'localhost',
    pid: 1000 + worker,
    threads,
    memoryLimit: 1024 ** 3,
    startedAt: 0
  };
}

export function vitalsOf(
  rows: readonly { worker: number; cpu: number; rss: number }[]
): VitalsColumns {
  const zeros = rows.map(() => 0);
  return {
    worker: rows.map(row => row.worker),
    status: rows.map(() => 'running'),
    cpu: rows.map(row => row.cpu),
    rss: rows.map(row => row.rss),
    managed: zeros,
    spilled: zeros,
    executing: zeros,
    processing: zeros,
    inMemory: zeros,
    netIn: zeros,
    netOut: zeros,
    loopDelay: zeros
  };
}

export function progressOf(
  rows: readonly { fn: number; counts: readonly number[] }[]
): ProgressColumns {
  const column = (i: number): number[] => rows.map(row => row.counts[i] ?? 0);
  return {
    fn: rows.map(row => row.fn),
    waiting: column(0),
    queued: column(1),
    processing: column(2),
    memory: column(3),
    erred: column(4),
    released: column(5)
  };
}

/** A snapshot of an empty cluster, or of what is given. */
export function snapshot(parts: Partial<FeedSnapshot> = {}): FeedSnapshot {
  return {
    op: 'snapshot',
    protocol: PROTOCOL_VERSION,
    seq: 0,
    now: 1000,
    cluster: { id: 'c1', name: 'local-1', kind: 'local', startedAt: 0 },
    functions: [],
    workers: [],
    vitals: vitalsOf([]),
    progress: progressOf([]),
    stream: packStream(emptyStream(0)),
    clients: 0,
    ...parts
  };
}

/** One delta that holds the events, in the order in which a delta is applied. */
export function deltaOf(seq: number, now: number, events: readonly FeedEvent[]): FeedDelta {
  const pick = <T extends FeedEvent['type']>(type: T): Extract<FeedEvent, { type: T }>[] =>
    events.filter((event): event is Extract<FeedEvent, { type: T }> => event.type === type);
  const delta: FeedDelta = { op: 'delta', seq, now };
  const names = pick('function').map(event => event.name);
  if (names.length > 0) delta.functions = names;
  const workers = pick('worker').map(event => workerOf(event.worker, event.threads));
  if (workers.length > 0) delta.workers = workers;
  const removed = pick('removed').map(({ worker, reason }) => ({ worker, reason }));
  if (removed.length > 0) delta.removed = removed;
  const vitals = pick('vitals');
  if (vitals.length > 0) delta.vitals = vitalsOf(vitals);
  const progress = pick('progress');
  if (progress.length > 0) delta.progress = progressOf(progress);
  const bars = pick('bar').map(event => event.bar);
  if (bars.length > 0) delta.stream = packStream(blockOf(bars));
  return delta;
}
