/** Waiting for many futures: `wait` for some or all of them, `asCompleted` one after the other. */
import type { Future, WaitOptions } from './future.ts';
import { waitFor } from './waiting.ts';

export interface WaitResult<T> {
  done: Future<T>[];
  notDone: Future<T>[];
}

/**
 * Waits for all futures (default) or the first (`returnWhen: 'first-completed'`). Failed and
 * cancelled ones count as done; nothing is thrown for them. Rejects with TimeoutError.
 */
export async function wait<T>(
  futures: Iterable<Future<T>>,
  options: WaitOptions & { returnWhen?: 'all-completed' | 'first-completed' } = {}
): Promise<WaitResult<T>> {
  const list = [...futures];
  const first = options.returnWhen === 'first-completed';
  const session = list[0]?.session;
  if (session !== undefined) {
    await waitFor(
      session,
      list,
      options,
      (pending, settled) => pending === 0 || (first && settled > 0)
    );
  }
  return {
    done: list.filter(future => future.done()),
    notDone: list.filter(future => !future.done())
  };
}

/**
 * The futures in the order in which they end, failed and cancelled ones included:
 * `for await (const future of asCompleted(futures)) …`. More can be added while it runs.
 */
export function asCompleted<T>(futures: Iterable<Future<T>>): AsCompleted<T> {
  return new AsCompleted(futures);
}

export class AsCompleted<T> implements AsyncIterable<Future<T>> {
  private readonly ended: Future<T>[] = [];
  private readonly running = new Map<Future<T>, () => void>();
  private wake: (() => void) | null = null;

  constructor(futures: Iterable<Future<T>>) {
    for (const future of futures) this.add(future);
  }

  /** How many have not been handed out yet. */
  get count(): number {
    return this.ended.length + this.running.size;
  }

  add(future: Future<T>): void {
    if (future.done()) {
      this.ended.push(future);
      this.wake?.();
      return;
    }
    const stop = future.session.watch(future.record.cid, () => {
      if (!future.done()) return;
      stop();
      this.running.delete(future);
      this.ended.push(future);
      this.wake?.();
    });
    this.running.set(future, stop);
  }

  /** The next that ended, or null when all have been handed out. */
  async next(): Promise<Future<T> | null> {
    while (this.ended.length === 0) {
      const any = this.running.keys().next().value;
      if (any === undefined) return null;
      await any.session.forTasks(() => new Promise<void>(resolve => (this.wake = resolve)));
    }
    return this.ended.shift() ?? null;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Future<T>, void, undefined> {
    try {
      for (let future = await this.next(); future !== null; future = await this.next())
        yield future;
    } finally {
      for (const stop of this.running.values()) stop();
    }
  }
}
