/** Values of the client that are put onto workers, to be arguments of tasks. */
import { serializeValueAsync } from '../serialize/value.ts';
import type { CallOptions } from './call-options.ts';
import { Future } from './future.ts';
import { newKey } from './keys.ts';
import { namesOf, replicate } from './placement.ts';
import type { Session } from './session.ts';
import type { PutValue } from './values.ts';

/** A value that lies on workers. */
interface Put {
  epoch: string;
  tid: number;
  holders: { id: number; address: string }[];
}

/** Puts a value on workers and tells the scheduler of it. */
export async function scatter<T>(
  session: Session,
  call: CallOptions,
  value: T,
  broadcast: boolean
): Promise<Future<T>> {
  const serialized = await serializeValueAsync(value, { root: 'value' });
  const type = typeName(value);
  const key = call.key ?? newKey(type);
  const nbytes = serialized.frames.reduce((sum, frame) => sum + frame.length, 0);
  const { epoch, tid, holders } = await putOnWorker(session, namesOf(call.workers), {
    key,
    type,
    nbytes,
    serialized
  });
  const record = session.state.create(key, 'scatter', Date.now());
  // It lies on the workers already; the scheduler's word only confirms it.
  if (record.status === 'pending') Object.assign(record, { status: 'finished', type, nbytes });
  const future = new Future<T>(session, record);
  const names = { cids: [record.cid], keys: [key] };
  const facts = { tids: [tid], nbytes: [nbytes], types: [type] };
  session.outbox.inOrder(() => {
    const workers = [holders.map(holder => holder.id)];
    // A scheduler in place of the one that gave the number knows the value by its name alone.
    if (session.epoch !== epoch)
      session.outbox.message({ op: 'client-desires-keys', ...names, again: 'data' });
    else session.outbox.message({ op: 'scattered', ...names, ...facts, workers });
  });
  if (broadcast) await replicate(session, [future], null, call.workers);
  return future;
}

/** Where the value lies then. Numbers of a scheduler that died meanwhile are worth nothing. */
async function putOnWorker(
  session: Session,
  workers: string[] | null,
  value: Omit<PutValue, 'tid'>
): Promise<Put> {
  const params = { count: 1, workers };
  for (let tries = 1; ; tries++) {
    const plan = (await session.request('scatter-plan', params)) as {
      epoch: string;
      tids: number[];
      holders: Put['holders'][];
    };
    const tid = plan.tids[0] ?? 0;
    const holders = plan.holders[0] ?? [];
    try {
      const put = { tid, ...value };
      await session.alive(() =>
        Promise.all(holders.map(holder => session.values.put(holder.address, plan.epoch, [put])))
      );
      if (session.epoch === plan.epoch) return { epoch: plan.epoch, tid, holders };
    } catch (error) {
      if (session.epoch === plan.epoch || tries === 3) throw error;
    }
  }
}

function typeName(value: unknown): string {
  if (value === null) return 'null';
  if (typeof value !== 'object') return typeof value;
  return (value.constructor as { name?: string } | undefined)?.name ?? 'object';
}
