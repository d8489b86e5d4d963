/**
 * Everything a viewer knows of one cluster: a pure reducer over the dashboard feed. Live socket,
 * recorded run and test drive it alike, through `apply`.
 *
 * Invariants: a delta counts only when it follows the last message directly, otherwise the answer
 * is 'resync' and the state stays as it was; a snapshot replaces all; after `end` nothing is
 * accepted until a new snapshot. A message that cannot be read also asks for a resync.
 */
import { ProtocolError } from '../../base/errors.ts';
import type { FeedCluster, FeedDelta, FeedMessage, FeedSnapshot } from '../../protocol/feed.ts';
import { PROTOCOL_VERSION } from '../../protocol/limits.ts';
import { openStream } from './columns.ts';
import { Overview } from './overview.ts';
import { ProgressTable } from './progress.ts';
import { STREAM_CAPACITY, StreamStore } from './stream.ts';
import { WorkerTable } from './workers.ts';

/** What `apply` wants of its caller: go on, ask for a snapshot, or stop (versions differ). */
export type Applied = 'ok' | 'resync' | 'refused';

/**
 * How the viewer stands to the cluster. `connecting`: nothing yet; `live`: fed; `lost`: the link
 * is down and being made again; `ended`: the cluster is gone and this is its last state.
 */
export type FeedStatus = 'connecting' | 'live' | 'lost' | 'ended' | 'refused';

export class FeedStore {
  status: FeedStatus = 'connecting';
  /** A sentence for `lost`, `ended` and `refused`; null otherwise. */
  reason: string | null = null;
  cluster: FeedCluster | null = null;
  /** The scheduler's clock at the last message, ms since the epoch. */
  now = 0;
  clients = 0;
  functions: string[] = [];
  stream: StreamStore;
  overview = new Overview();
  progress = new ProgressTable();
  workers = new WorkerTable();
  /** Grows with every change; cheap to compare. */
  version = 0;
  #seq = -1;
  readonly #capacity: number;
  readonly #listeners = new Set<() => void>();

  constructor(capacity: number = STREAM_CAPACITY) {
    this.#capacity = capacity;
    this.stream = new StreamStore(capacity);
  }

  /** Calls back after every change until the returned function is called. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  /** Takes one message of the feed. */
  apply(message: FeedMessage): Applied {
    try {
      return this.#apply(message);
    } catch (error) {
      if (error instanceof ProtocolError) return 'resync';
      throw error;
    }
  }

  /** Says that the link went down, or that it is being made. */
  link(status: FeedStatus, reason: string | null): void {
    // What a cluster said of its own end outlives the closing of the socket.
    if (this.status === 'ended' && status !== 'live' && status !== 'connecting') return;
    if (this.status === status && this.reason === reason) return;
    this.status = status;
    this.reason = reason;
    this.#changed();
  }

  /** Name of a function by the feed's number. */
  nameOf(fn: number): string {
    return this.functions[fn] ?? `function ${fn}`;
  }

  /** Name of a worker by the feed's number. */
  workerName(worker: number): string {
    return this.workers.get(worker)?.info.name ?? String(worker);
  }

  #apply(message: FeedMessage): Applied {
    switch (message.op) {
      case 'snapshot':
        return this.#snapshot(message);
      case 'delta':
        if (this.status !== 'live' || message.seq !== this.#seq + 1) return 'resync';
        this.#delta(message);
        return 'ok';
      case 'end':
        this.now = message.now;
        this.link('ended', message.reason);
        return 'ok';
      default:
        throw new ProtocolError('The dashboard feed sent a message that this page does not know.');
    }
  }

  #snapshot(message: FeedSnapshot): Applied {
    if (message.protocol !== PROTOCOL_VERSION) {
      this.link(
        'refused',
        `The scheduler speaks protocol ${message.protocol}, this page ${PROTOCOL_VERSION}. ` +
          'Reload the page, or install one taskloom version on both sides.'
      );
      return 'refused';
    }
    const block = openStream(message.stream);
    this.stream = new StreamStore(this.#capacity);
    this.stream.append(block);
    this.overview = new Overview();
    this.overview.append(block);
    this.progress = new ProgressTable();
    this.progress.apply(message.progress);
    const before = message.cluster.id === this.cluster?.id ? this.workers : null;
    this.workers = new WorkerTable();
    for (const { worker, at, reason } of message.gone ?? []) {
      this.workers.add([worker]);
      this.workers.remove(worker.worker, at, reason);
    }
    this.workers.add(message.workers);
    if (before !== null) keepHistory(before, this.workers);
    this.workers.vitals(message.vitals, message.now);
    this.cluster = message.cluster;
    this.functions = [...message.functions];
    this.clients = message.clients;
    this.now = message.now;
    this.#seq = message.seq;
    this.status = 'live';
    this.reason = null;
    this.#changed();
    return 'ok';
  }

  #delta(message: FeedDelta): void {
    // Opened first: if it cannot be read nothing of this message has been applied.
    const block = message.stream === undefined ? null : openStream(message.stream);
    this.#seq = message.seq;
    this.now = message.now;
    if (message.functions !== undefined) this.functions.push(...message.functions);
    if (message.workers !== undefined) this.workers.add(message.workers);
    if (message.vitals !== undefined) this.workers.vitals(message.vitals, message.now);
    for (const { worker, reason } of message.removed ?? []) {
      this.workers.remove(worker, message.now, reason);
    }
    if (message.progress !== undefined) this.progress.apply(message.progress);
    if (block !== null) {
      this.stream.append(block);
      this.overview.append(block);
    }
    if (message.clients !== undefined) this.clients = message.clients;
    this.#changed();
  }

  #changed(): void {
    this.version += 1;
    for (const listener of this.#listeners) listener();
  }
}

/** A resync of the same cluster must not wipe the curves of its workers. */
function keepHistory(before: WorkerTable, after: WorkerTable): void {
  for (const row of after.rows()) {
    const known = before.get(row.info.worker);
    if (known !== undefined) row.history.push(...known.history);
  }
}
