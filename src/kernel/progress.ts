/**
 * `await progress(futures)`: a bar for each function under the cell, kept in the notebook. The
 * bundle holds the custom MIME type that the lab's renderer draws, and html and text for every
 * other front end; at most five updates a second are sent, and a last one when all have ended.
 * Outside a notebook the bars are drawn on the terminal.
 */
import { randomUUID } from 'node:crypto';
import type { Future } from '../client/future.ts';
import type { Session } from '../client/session.ts';
import { settled } from '../client/waiting.ts';
import { PROGRESS_MIME } from '../protocol/progress.ts';
import type { ProgressBundle, ProgressRow } from '../protocol/progress.ts';
import { displayer } from './display.ts';
import type { Display } from './display.ts';

export interface ProgressOptions {
  /** Seconds between updates. Default 0.2, at least 0.2 in a notebook. */
  interval?: number;
  /** Name of a row, from the future's function name. Default: the name itself. */
  groupBy?: (name: string, future: Future) => string;
}

/** With more futures pending than this, it is not asked which of them run now. */
const ASK_LIMIT = 2000;

/** Draws progress until none of the futures is pending. Failures are shown, not thrown. */
export async function progress(
  futures: Future | Iterable<Future>,
  options: ProgressOptions = {}
): Promise<void> {
  const list =
    'record' in (futures as object) ? [futures as Future] : [...(futures as Iterable<Future>)];
  const session = list[0]?.session;
  if (session === undefined) return;
  const bars = new Bars(session, list, options.groupBy ?? (name => name));
  const display = displayer();
  const interval = Math.max(0.2, options.interval ?? 0.2);
  const interrupted = onInterrupt();
  try {
    for (let first = true; ; first = false) {
      const pending = bars.count();
      const asked =
        pending > 0 && pending <= ASK_LIMIT && !first ? await bars.askStates() : undefined;
      await draw(display, bars.bundle(asked), first);
      if (pending === 0) return;
      await Promise.race([bars.waitSome(interval), interrupted.promise]);
      if (interrupted.happened) return;
    }
  } finally {
    interrupted.stop();
    display.end();
  }
}

async function draw(display: Display, bundle: ProgressBundle, first: boolean): Promise<void> {
  const data = {
    [PROGRESS_MIME]: bundle,
    'text/html': htmlOf(bundle),
    'text/plain': textOf(bundle)
  };
  await display.show(data, first);
}

class Bars {
  private readonly session: Session;
  private readonly futures: readonly Future[];
  private readonly rows = new Map<string, Future[]>();
  private readonly id = randomUUID();
  private readonly startedAt: number;
  private readonly doneAtStart: number;
  private readonly shownAt = Date.now();

  constructor(
    session: Session,
    futures: readonly Future[],
    groupBy: (name: string, future: Future) => string
  ) {
    this.session = session;
    this.futures = futures;
    let started = Infinity;
    for (const future of futures) {
      const name = groupBy(future.record.name, future);
      const row = this.rows.get(name);
      if (row === undefined) this.rows.set(name, [future]);
      else row.push(future);
      started = Math.min(started, future.record.createdAt);
    }
    this.startedAt = started;
    this.doneAtStart = futures.length - this.count();
  }

  /** How many are pending. */
  count(): number {
    return this.futures.reduce((sum, future) => sum + (future.done() ? 0 : 1), 0);
  }

  /** Until something ended and the interval passed, or all have ended. */
  async waitSome(seconds: number): Promise<void> {
    const pause = new Promise(resolve => setTimeout(resolve, seconds * 1000));
    await Promise.race([settled(this.session, this.futures), pause]);
  }

  /** Which of the pending ones are being worked on. */
  async askStates(): Promise<ReadonlySet<number>> {
    const pending = this.futures.filter(future => !future.done()).map(future => future.record.cid);
    try {
      const states = (await this.session.request('states', { cids: pending })) as string[];
      return new Set(pending.filter((_cid, i) => states[i] === 'processing'));
    } catch {
      return new Set();
    }
  }

  bundle(processing: ReadonlySet<number> = new Set()): ProgressBundle {
    const rows: ProgressRow[] = [...this.rows].map(([name, futures]) => {
      const count = (...statuses: string[]): number =>
        futures.filter(future => statuses.includes(future.status)).length;
      return {
        name,
        total: futures.length,
        done: count('finished'),
        erred: count('error'),
        cancelled: count('cancelled', 'lost'),
        processing: futures.filter(future => !future.done() && processing.has(future.record.cid))
          .length
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

  private secondsLeft(pending: number): number | null {
    const done = this.futures.length - pending - this.doneAtStart;
    const seconds = (Date.now() - this.shownAt) / 1000;
    return done <= 0 || seconds < 0.5 ? null : (seconds / done) * pending;
  }

  private stateOf(pending: number): ProgressBundle['state'] {
    if (this.futures.some(future => future.status === 'lost')) return 'lost';
    if (pending > 0) return 'running';
    if (this.futures.some(future => future.status === 'error')) return 'erred';
    return this.futures.some(future => future.status === 'cancelled') ? 'cancelled' : 'finished';
  }

  private note(): string | null {
    const lost = this.futures.find(future => future.status === 'lost');
    if (lost !== undefined) return `The cluster is gone: ${lost.record.reason}.`;
    const failed = this.futures.find(future => future.status === 'error');
    return failed === undefined
      ? null
      : `${failed.key}: ${failed.record.error?.message ?? 'failed'}`;
  }
}

/** The kernel's interrupt, when there is a kernel. */
function onInterrupt(): { promise: Promise<void>; happened: boolean; stop(): void } {
  const target = (globalThis as Record<symbol, unknown>)[Symbol.for('taskloom.interrupt')] as
    EventTarget | undefined;
  let listener: () => void = () => undefined;
  const state = {
    happened: false,
    promise: new Promise<void>(resolve => {
      listener = () => {
        state.happened = true;
        resolve();
      };
    }),
    stop: () => target?.removeEventListener('interrupt', listener)
  };
  target?.addEventListener('interrupt', listener);
  return state;
}

function timesOf(bundle: ProgressBundle): string {
  const left =
    bundle.left === null ? '' : ` · about ${Math.max(1, Math.round(bundle.left))} s left`;
  return `${bundle.elapsed.toFixed(1)} s${left}`;
}

function countsOf(row: ProgressRow): string {
  const failed = row.erred > 0 ? ` · ${row.erred} failed` : '';
  const cancelled = row.cancelled > 0 ? ` · ${row.cancelled} cancelled` : '';
  return `${row.done} / ${row.total}${failed}${cancelled}`;
}

/** One line a function, for terminals and text outputs. */
export function textOf(bundle: ProgressBundle): string {
  const width = Math.max(...bundle.rows.map(row => row.name.length));
  const lines = bundle.rows.map(row => {
    const filled = Math.round(
      (30 * (row.done + row.erred + row.cancelled)) / Math.max(1, row.total)
    );
    return `${row.name.padEnd(width)} |${'█'.repeat(filled)}${' '.repeat(30 - filled)}| ${countsOf(row)}`;
  });
  const note = bundle.note === null ? [] : [bundle.note];
  return [...lines, timesOf(bundle), ...note].join('\n');
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"]/g, char => `&#${char.charCodeAt(0)};`);
}

/** For front ends without the extension, and for nbconvert. */
export function htmlOf(bundle: ProgressBundle): string {
  const rows = bundle.rows.map(
    row =>
      `<tr><td>${escapeHtml(row.name)}</td><td><progress max="${row.total}" value="${row.done}">` +
      `${countsOf(row)}</progress></td><td>${countsOf(row)}</td></tr>`
  );
  const note = bundle.note === null ? '' : `<p>${escapeHtml(bundle.note)}</p>`;
  return `<table>${rows.join('')}</table><p>${timesOf(bundle)}</p>${note}`;
}
