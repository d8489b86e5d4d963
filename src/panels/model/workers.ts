/**
 * Workers as the workers panel shows them: what does not change, the last vital signs, and a
 * minute of CPU and memory for the small curves. A worker that has gone stays with its reason
 * until `GONE_KEPT` later ones have gone too: people ask why it went after it went.
 */
import type { FeedWorker, VitalsColumns, WorkerStatus } from '../../protocol/feed.ts';

/** How far back the small curves reach. */
export const HISTORY_MS = 60_000;
/** Samples closer than this are folded into one. */
const SAMPLE_MS = 450;
/** Orders `worker-2` before `worker-10`. */
const NAMES = new Intl.Collator('en', { numeric: true });
/** Workers remembered after they went. */
const GONE_KEPT = 50;

/** Vital signs of one worker; units as in the feed. */
export interface Vitals {
  status: WorkerStatus;
  cpu: number;
  rss: number;
  managed: number;
  spilled: number;
  executing: number;
  processing: number;
  inMemory: number;
  netIn: number;
  netOut: number;
  loopDelay: number;
}

/** One point of the small curves. */
export interface Sample {
  time: number;
  cpu: number;
  rss: number;
}

export interface WorkerRow {
  info: FeedWorker;
  /** Null until the first vital signs came. */
  vitals: Vitals | null;
  history: Sample[];
  /** Why and when it went, or null while it is there. */
  gone: { at: number; reason: string } | null;
}

/** Sums over the workers that are there. */
export interface ClusterTotals {
  workers: number;
  paused: number;
  threads: number;
  executing: number;
  processing: number;
  rss: number;
  managed: number;
  spilled: number;
  memoryLimit: number;
  /** Percent of all cores, 0-100. */
  busy: number;
}

export class WorkerTable {
  readonly #rows = new Map<number, WorkerRow>();
  /** Rows in the order of their names; null when it must be made again. */
  #ordered: WorkerRow[] | null = null;
  #ranks = new Map<number, number>();

  add(workers: readonly FeedWorker[]): void {
    this.#ordered = null;
    for (const info of workers) {
      const known = this.#rows.get(info.worker);
      if (known === undefined) {
        this.#rows.set(info.worker, { info, vitals: null, history: [], gone: null });
      } else known.info = info;
    }
  }

  remove(worker: number, at: number, reason: string): void {
    const row = this.#rows.get(worker);
    if (row === undefined) return;
    row.gone = { at, reason };
    this.#ordered = null;
    const gone = [...this.#rows.values()].filter(other => other.gone !== null);
    for (const old of gone.slice(0, Math.max(0, gone.length - GONE_KEPT))) {
      this.#rows.delete(old.info.worker);
    }
  }

  vitals(columns: VitalsColumns, now: number): void {
    columns.worker.forEach((worker, i) => {
      const row = this.#rows.get(worker);
      if (row === undefined) return;
      const vitals = rowOf(columns, i);
      row.vitals = vitals;
      remember(row.history, { time: now, cpu: vitals.cpu, rss: vitals.rss });
    });
  }

  get(worker: number): WorkerRow | undefined {
    return this.#rows.get(worker);
  }

  /** Workers in order of their names; with those that went only when asked. */
  rows(options: { gone?: boolean } = {}): WorkerRow[] {
    const ordered = this.#order();
    return options.gone === true ? [...ordered] : ordered.filter(row => row.gone === null);
  }

  /** Place of a worker in the order of `rows`; after all others when it is not known. */
  rank(worker: number): number {
    this.#order();
    return this.#ranks.get(worker) ?? this.#ranks.size + worker;
  }

  #order(): WorkerRow[] {
    if (this.#ordered !== null) return this.#ordered;
    const ordered = [...this.#rows.values()].sort(
      (a, b) => NAMES.compare(a.info.name, b.info.name) || a.info.worker - b.info.worker
    );
    this.#ranks = new Map(ordered.map((row, rank) => [row.info.worker, rank]));
    this.#ordered = ordered;
    return ordered;
  }

  totals(): ClusterTotals {
    const sums: ClusterTotals = {
      workers: 0,
      paused: 0,
      threads: 0,
      executing: 0,
      processing: 0,
      rss: 0,
      managed: 0,
      spilled: 0,
      memoryLimit: 0,
      busy: 0
    };
    let cpu = 0;
    for (const row of this.#rows.values()) {
      if (row.gone !== null) continue;
      sums.workers += 1;
      sums.threads += row.info.threads;
      sums.memoryLimit += row.info.memoryLimit;
      if (row.vitals === null) continue;
      if (row.vitals.status === 'paused') sums.paused += 1;
      sums.executing += row.vitals.executing;
      sums.processing += row.vitals.processing;
      sums.rss += row.vitals.rss;
      sums.managed += row.vitals.managed;
      sums.spilled += row.vitals.spilled;
      cpu += row.vitals.cpu;
    }
    sums.busy = sums.threads > 0 ? Math.min(100, cpu / sums.threads) : 0;
    return sums;
  }
}

function rowOf(columns: VitalsColumns, i: number): Vitals {
  return {
    status: columns.status[i] ?? 'running',
    cpu: columns.cpu[i] ?? 0,
    rss: columns.rss[i] ?? 0,
    managed: columns.managed[i] ?? 0,
    spilled: columns.spilled[i] ?? 0,
    executing: columns.executing[i] ?? 0,
    processing: columns.processing[i] ?? 0,
    inMemory: columns.inMemory[i] ?? 0,
    netIn: columns.netIn[i] ?? 0,
    netOut: columns.netOut[i] ?? 0,
    loopDelay: columns.loopDelay[i] ?? 0
  };
}

/** Keeps a minute of samples, at most about two a second. */
function remember(history: Sample[], sample: Sample): void {
  const before = history.at(-2);
  if (before !== undefined && sample.time - before.time < SAMPLE_MS) history.pop();
  history.push(sample);
  let old = 0;
  while ((history[old] as Sample).time < sample.time - HISTORY_MS) old += 1;
  if (old > 0) history.splice(0, old);
}

/** Worker's share of its memory limit that makes people look, told in words beside its state. */
export function memoryShare(row: WorkerRow): number {
  if (row.vitals === null || row.info.memoryLimit <= 0) return 0;
  return row.vitals.rss / row.info.memoryLimit;
}
