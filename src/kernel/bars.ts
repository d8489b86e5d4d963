/**
 * Counts tasks by function, and says so as a bundle. Records are kept, not futures: a result that
 * nobody else holds is let go of on the cluster, and its task counts as done.
 */
import { randomUUID } from 'node:crypto';
import type { Future } from '../client/future.ts';
import type { Session } from '../client/session.ts';
import type { ProgressBundle, ProgressRow } from '../protocol/progress.ts';

type FutureRecord = Future['record'];
type FutureStatus = Future['status'];

/** With more futures pending than this, it is not asked which of them run now. */
const ASK_LIMIT = 2000;

/** The rows under one cell, all of one client. */
export class Bars {
  readonly session: Session;
  private readonly records: FutureRecord[] = [];
  private readonly rows = new Map<string, FutureRecord[]>();
  private readonly id = randomUUID();
  private startedAt = Infinity;
  private doneAtStart = 0;
  private readonly shownAt = Date.now();

  constructor(session: Session) {
    this.session = session;
  }

  /** How many tasks are counted. */
  get size(): number {
    return this.records.length;
  }

  /** Counts more. */
  add(
    futures: readonly Future[],
    groupBy: (name: string, future: Future) => string = name => name
  ): void {
    for (const future of futures) {
      const { record } = future;
      const name = groupBy(record.name, future);
      const row = this.rows.get(name);
      if (row === undefined) this.rows.set(name, [record]);
      else row.push(record);
      this.records.push(record);
      this.startedAt = Math.min(this.startedAt, record.createdAt);
      if (this.statusOf(record) !== 'pending') this.doneAtStart++;
    }
  }

  /** How many are pending. */
  count(): number {
    return this.records.reduce((sum, one) => sum + (this.statusOf(one) === 'pending' ? 1 : 0), 0);
  }

  /** Which of the pending ones are being worked on; none when they are too many to ask. */
  async askStates(): Promise<ReadonlySet<number>> {
    const pending = this.records
      .filter(record => this.statusOf(record) === 'pending')
      .map(record => record.cid);
    if (pending.length === 0 || pending.length > ASK_LIMIT) return new Set();
    try {
      const states = (await this.session.request('states', { cids: pending })) as string[];
      return new Set(pending.filter((_cid, i) => states[i] === 'processing'));
    } catch {
      return new Set();
    }
  }

  /** The state of all rows. */
  bundle(processing: ReadonlySet<number> = new Set()): ProgressBundle {
    const rows: ProgressRow[] = [...this.rows].map(([name, records]) => {
      const count = (...statuses: string[]): number =>
        records.filter(record => statuses.includes(this.statusOf(record))).length;
      return {
        name,
        total: records.length,
        done: count('finished'),
        erred: count('error'),
        cancelled: count('cancelled', 'lost'),
        processing: records.filter(
          record => this.statusOf(record) === 'pending' && processing.has(record.cid)
        ).length
      };
    });
    const pending = this.count();
    const { id, name } = this.session.cluster;
    return {
      version: 1,
      id: this.id,
      cluster: { id, name },
      rows,
      elapsed: (Date.now() - this.startedAt) / 1000,
      left: pending === 0 ? null : this.secondsLeft(pending),
      state: this.stateOf(pending),
      note: this.note()
    };
  }

  private statusOf(record: FutureRecord): FutureStatus {
    const { status } = record;
    const released = status === 'pending' && !this.session.state.records.has(record.cid);
    // Its task had ended before the cluster did: a client that closes does not undo that.
    return released || (status === 'lost' && record.type !== '') ? 'finished' : status;
  }

  private first(status: FutureStatus): FutureRecord | undefined {
    return this.records.find(record => this.statusOf(record) === status);
  }

  private secondsLeft(pending: number): number | null {
    const done = this.records.length - pending - this.doneAtStart;
    const seconds = (Date.now() - this.shownAt) / 1000;
    return done <= 0 || seconds < 0.5 ? null : (seconds / done) * pending;
  }

  private stateOf(pending: number): ProgressBundle['state'] {
    const any = (status: FutureStatus): boolean => this.first(status) !== undefined;
    if (any('lost')) return 'lost';
    if (pending > 0) return 'running';
    if (any('error')) return 'erred';
    return any('cancelled') ? 'cancelled' : 'finished';
  }

  private note(): string | null {
    const lost = this.first('lost');
    if (lost !== undefined) return `The cluster is gone: ${lost.reason}.`;
    const failed = this.first('error');
    return failed === undefined ? null : `${failed.key}: ${failed.error?.message ?? 'failed'}`;
  }
}
