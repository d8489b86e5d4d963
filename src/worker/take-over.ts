/**
 * What a worker brings to the next scheduler: values and running executions, announced by key in the
 * registration. The hello says which values were taken over, and under which numbers; executions
 * whose scheduler is gone become orphans, which the next one may claim (executor/orphans.ts).
 */
import type { RegisterWorker, WorkerHello } from '../protocol/messages.ts';
import type { UnderScheduler } from './parts.ts';
import type { PutData } from './state/events.ts';
import type { StoreView } from './store-view.ts';

/** Values that are announced to the next scheduler at most. */
const HELD_MOST = 500_000;

/** Values by number, as they are announced to the next scheduler. */
export type Held = Pick<RegisterWorker, 'epoch' | 'tids' | 'keys' | 'nbytes' | 'types' | 'running'>;

/** Values and executions that the next scheduler may take over. */
export function holding({ parts, state, orphans }: UnderScheduler): Held {
  const { epoch, store } = parts;
  const held: Held = { epoch, tids: [], keys: [], nbytes: [], types: [], running: [] };
  for (const task of state?.tasks.values() ?? []) {
    if (task.state !== 'memory' || !store.has(task.tid) || held.tids.length === HELD_MOST) continue;
    held.tids.push(task.tid);
    held.keys.push(task.key);
    held.nbytes.push(task.nbytes);
    held.types.push(task.type);
  }
  for (const { key } of state?.executing ?? []) held.running.push(key);
  for (const task of state?.tasks.values() ?? [])
    if (task.state === 'long-running') held.running.push(task.key);
  held.running.push(...orphans.keys);
  for (const tid of orphans.running()) held.running.push(state?.get(tid)?.key ?? '');
  return held;
}

/** What the scheduler of a hello has taken over of that, and the store under its numbers. */
export function takeOver(
  hello: WorkerHello,
  held: Held | null,
  { parts, state, orphans }: UnderScheduler
): { adopted: PutData; store: StoreView } {
  const adopted: PutData = { op: 'put-data', tids: [], keys: [], nbytes: [], types: [] };
  const numbers = new Map<number, number>();
  held?.tids.forEach((tid, i) => {
    const now = hello.adopted[i] ?? -1;
    if (now < 0) return;
    numbers.set(tid, now);
    adopted.tids.push(now);
    adopted.keys.push(held.keys[i] ?? '');
    adopted.nbytes.push(held.nbytes[i] ?? 0);
    adopted.types.push(held.types[i] ?? '');
  });
  // Before the first hello the pool has run nothing, and the next one takes its processes over.
  if (state !== null) orphans.adopt(parts.pool);
  const running = new Set(held?.running);
  for (const task of state?.tasks.values() ?? []) {
    const { tid, key, lane, start, took } = task;
    if (numbers.has(tid)) continue;
    const value = task.state === 'memory' && running.has(key) ? parts.store.get(tid) : undefined;
    if (value !== undefined) {
      // Its own copy: what leaves the store is detached.
      const { family, nbytes, type } = value;
      const own = { family, nbytes, type, frames: value.frames.map(frame => frame.slice()) };
      orphans.keep(key, { value: own, error: null, lane, start, duration: took });
    }
    parts.store.delete(tid);
  }
  parts.gatherer.close();
  return { adopted, store: state === null ? parts.store : parts.store.next(numbers) };
}
