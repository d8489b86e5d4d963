/**
 * Where values lie and which workers there are, by a client's wish: copies, even memory, workers that
 * leave. The scheduler sees to it; each call resolves when it is done.
 */
import type { Future } from './future.ts';
import type { Session } from './session.ts';
import { settled } from './waiting.ts';

/** Names, addresses or hosts of workers. */
export type WorkerNames = string | readonly string[];

/** What became of a worker that was to leave, see `client.retireWorkers`. */
export interface RetiredWorker {
  name: string;
  address: string;
  /** `kept`: it stays, since nobody could take its values. `gone`: it ended by itself meanwhile. */
  outcome: 'closed' | 'kept' | 'gone';
  /** Values that were lost with it (only with `force`). */
  lost: number;
  /** Why it was kept or what was lost; a sentence, or ''. */
  reason: string;
}

export interface RetireOptions {
  /** Which. Default: those that are idle and whose memory is not needed, or the best `count`. */
  workers?: WorkerNames;
  count?: number;
  /** End their processes. Default true; false: they hold and do nothing any more until ended. */
  close?: boolean;
  /** Close them even if values are lost: nobody can take them, or the time is over. Default false. */
  force?: boolean;
  /** Seconds for running tasks to end; then they are given to others. Default 30. */
  timeout?: number;
}

/** As messages carry them; null: any. */
export function namesOf(workers: WorkerNames | undefined): string[] | null {
  if (workers === undefined) return null;
  return typeof workers === 'string' ? [workers] : [...workers];
}

/** Makes copies of results. */
export async function replicate(
  session: Session,
  futures: readonly Future[],
  count: number | null,
  workers?: WorkerNames
): Promise<void> {
  await settled(session, futures);
  await session.outbox.settled();
  const cids = futures.map(future => future.record.cid);
  await session.request('replicate', { cids, count, workers: namesOf(workers) });
}

/** Evens out memory. */
export async function rebalance(
  session: Session,
  futures: readonly Future[] | null,
  workers?: WorkerNames
): Promise<number> {
  if (futures !== null) await settled(session, futures);
  await session.outbox.settled();
  const cids = futures?.map(future => future.record.cid) ?? null;
  const answer = await session.request('rebalance', { cids, workers: namesOf(workers) });
  return (answer as { moved: number }).moved;
}

/** Lets workers leave. */
export async function retireWorkers(
  session: Session,
  options: RetireOptions
): Promise<RetiredWorker[]> {
  const { workers, count = null, close = true, force = false, timeout } = options;
  return (await session.request('retire-workers', {
    workers: namesOf(workers),
    count,
    close,
    force,
    timeout: timeout === undefined ? null : timeout * 1000
  })) as RetiredWorker[];
}
