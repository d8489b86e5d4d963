/** Waiting for futures of one session: until none is pending, some are done, or one has failed. */
import { TimeoutError } from '../base/errors.ts';
import type { Future, WaitOptions } from './future.ts';
import type { Session } from './session.ts';
import type { FutureRecord } from './state/client-state.ts';

/** Waits until none of the futures is pending. */
export function settled(
  session: Session,
  futures: readonly Future[],
  options: WaitOptions = {}
): Promise<void> {
  return waitFor(session, futures, options, pending => pending === 0);
}

/** Waits until `enough(pending, settled)`; rejects with TimeoutError, saying how many are done. */
export function waitFor(
  session: Session,
  futures: readonly Future[],
  options: WaitOptions,
  enough: (pending: number, settled: number) => boolean
): Promise<void> {
  const waiting = new Set(futures.filter(future => !future.done()).map(future => future.record));
  const total = futures.length;
  if (enough(waiting.size, total - waiting.size)) return Promise.resolve();
  return session.forTasks(
    () =>
      new Promise<void>((resolve, reject) => {
        const stops: (() => void)[] = [];
        const finish = (error: Error | null): void => {
          if (timer !== null) clearTimeout(timer);
          for (const stop of stops) stop();
          if (error === null) resolve();
          else reject(error);
        };
        const seconds = options.timeout;
        const expire = (): void =>
          finish(waitTimeout(total - waiting.size, total, seconds ?? 0, waiting));
        const timer = seconds === undefined ? null : setTimeout(expire, seconds * 1000);
        for (const record of waiting) {
          const check = (): void => {
            if (record.status === 'pending' || !waiting.delete(record)) return;
            if (enough(waiting.size, total - waiting.size)) finish(null);
          };
          stops.push(session.watch(record.cid, check));
        }
      })
  );
}

/** Waits for all, but throws as soon as one has failed. */
export async function waitRaising(
  session: Session,
  futures: readonly Future[],
  options: WaitOptions,
  skip: boolean
): Promise<void> {
  let failed: Future | undefined;
  const anyFailed = (): boolean => {
    failed ??= futures.find(
      ({ record }) => record.status !== 'pending' && record.status !== 'finished'
    );
    return failed !== undefined;
  };
  // Looking through all futures at each change would be quadratic: a failure counts itself in.
  let failures = anyFailed() ? 1 : 0;
  const stops = skip
    ? []
    : futures.map(future =>
        session.watch(future.record.cid, () => {
          const { status } = future.record;
          if (status === 'pending' || status === 'finished') return;
          failed ??= future;
          failures++;
        })
      );
  try {
    await waitFor(session, futures, options, pending => pending === 0 || (!skip && failures > 0));
  } finally {
    for (const stop of stops) stop();
  }
  if (skip || !anyFailed() || failed === undefined) return;
  const error = session.errorOf(failed.record);
  if (error !== null) throw error;
}

/** Says how many were done, and what to do next. */
export function waitTimeout(
  done: number,
  total: number,
  seconds: number,
  waiting: Iterable<FutureRecord>
): TimeoutError {
  const [first] = waiting;
  const hint =
    first === undefined
      ? ''
      : ` client.explain(${JSON.stringify(first.key)}) tells why one of them waits.`;
  return new TimeoutError(`${done} of ${total} futures were done within ${seconds} s.${hint}`);
}
