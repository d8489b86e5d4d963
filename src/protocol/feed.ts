/**
 * The dashboard feed: what a scheduler tells whoever looks at it.
 *
 * A viewer opens the WebSocket route `/feed`, sends `subscribe`, and gets one `snapshot`, then
 * `delta`s (at most 10 a second). Everything is in columns. Names (functions, workers) are sent
 * once and then spoken of by number. A viewer that falls behind gets a new `snapshot` instead of a
 * queue. Times are milliseconds since the epoch by the scheduler's clock.
 *
 * The same messages feed the panels in the lab, the page at the scheduler's own address, and
 * anything that replays a recorded run. Frames are msgpack; number columns marked `bytes` are
 * little-endian typed arrays sent as binary.
 */

/** What a viewer may ask for. */
export type FeedTopic = 'stream' | 'progress' | 'workers';

/** Viewer to scheduler. */
export type FeedRequest =
  | { op: 'subscribe'; topics: FeedTopic[]; /** at most this many deltas a second */ rate: number }
  | { op: 'resync' };

/** What a rectangle of the task stream stands for. */
export const STREAM_KINDS = ['compute', 'transfer', 'disk', 'deserialize', 'erred'] as const;
export type StreamKind = (typeof STREAM_KINDS)[number];

/** Rectangles of the task stream, oldest first. All columns have `count` entries. */
export interface StreamColumns {
  count: number;
  /** Uint32: worker number. */
  worker: Uint8Array;
  /** Uint16: lane (executor slot) of that worker, from 0. */
  lane: Uint8Array;
  /** Uint32: index into the feed's function names. */
  fn: Uint8Array;
  /** Uint8: index into STREAM_KINDS. */
  kind: Uint8Array;
  /** Float64: start, ms since the epoch. */
  start: Uint8Array;
  /** Float32: duration in ms. */
  duration: Uint8Array;
}

/** Task counts of functions. One row a function that is named here; absent functions have not changed. */
export interface ProgressColumns {
  fn: number[];
  /** waiting + no-worker: not yet runnable. */
  waiting: number[];
  queued: number[];
  processing: number[];
  memory: number[];
  erred: number[];
  /** Finished and let go of: counted as done. */
  released: number[];
}

export type WorkerStatus = 'running' | 'paused' | 'closing';

/** What does not change while a worker lives. */
export interface FeedWorker {
  /** The number by which columns speak of it; never used again for another worker. */
  worker: number;
  name: string;
  address: string;
  host: string;
  pid: number;
  threads: number;
  /** Bytes; 0 = no limit. */
  memoryLimit: number;
  startedAt: number;
}

/** Vital signs. One row a worker named here. */
export interface VitalsColumns {
  worker: number[];
  status: WorkerStatus[];
  /** Percent of one core, so up to 100 × threads. */
  cpu: number[];
  /** Resident bytes of the process. */
  rss: number[];
  /** Bytes of task results it keeps in memory. */
  managed: number[];
  /** Bytes of task results it keeps on disk. */
  spilled: number[];
  executing: number[];
  /** Assigned to it and not done: executing, ready or fetching inputs. */
  processing: number[];
  /** Results it holds. */
  inMemory: number[];
  /** Bytes a second from and to other workers and clients. */
  netIn: number[];
  netOut: number[];
  /** Worst delay of its control thread since the last row, ms. */
  loopDelay: number[];
}

export interface FeedCluster {
  id: string;
  name: string;
  kind: string;
  startedAt: number;
}

/** A worker that is no longer there. */
export interface FeedDeparture {
  worker: FeedWorker;
  /** ms since the epoch. */
  at: number;
  reason: string;
}

/** Everything, from nothing. Replaces whatever the viewer had. */
export interface FeedSnapshot {
  op: 'snapshot';
  protocol: number;
  seq: number;
  now: number;
  cluster: FeedCluster;
  functions: string[];
  workers: FeedWorker[];
  /** The newest that went: what they did still stands in the stream. */
  gone?: FeedDeparture[];
  vitals: VitalsColumns;
  progress: ProgressColumns;
  /** The newest rectangles that the scheduler still keeps (ring of 100,000). */
  stream: StreamColumns;
  /** Clients connected now. */
  clients: number;
}

/** What changed since `seq - 1`. Absent fields did not change. */
export interface FeedDelta {
  op: 'delta';
  seq: number;
  now: number;
  /** Names appended to the function table. */
  functions?: string[];
  workers?: FeedWorker[];
  removed?: { worker: number; reason: string }[];
  vitals?: VitalsColumns;
  progress?: ProgressColumns;
  stream?: StreamColumns;
  clients?: number;
}

/** The scheduler is closing; nothing follows. */
export interface FeedEnd {
  op: 'end';
  now: number;
  reason: string;
}

export type FeedMessage = FeedSnapshot | FeedDelta | FeedEnd;
