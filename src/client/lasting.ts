/** What outlives a client: tasks that are fired and forgotten, datasets that are published by name. */
import { SerializationError } from '../base/errors.ts';
import { LIMITS } from '../protocol/limits.ts';
import {
  deserializeValueAsync,
  packFrames,
  serializeValueAsync,
  unpackFrames
} from '../serialize/value.ts';
import { Future } from './future.ts';
import type { Session } from './session.ts';

/**
 * Lets tasks run to their end whether or not anybody holds their futures: they are computed even
 * when the client leaves, and their results are let go of as soon as they are there. Stop one by
 * its key: `client.cancel([key], { force: true })`.
 */
export function fireAndForget(futures: Future | Iterable<Future>): void {
  const bySession = new Map<Session, number[]>();
  for (const { session, record } of futures instanceof Future ? [futures] : futures) {
    const cids = bySession.get(session);
    if (cids === undefined) bySession.set(session, [record.cid]);
    else cids.push(record.cid);
  }
  for (const [session, cids] of bySession) {
    session.mustBeOpen();
    session.outbox.inOrder(() => session.outbox.message({ op: 'fire-and-forget', cids }));
  }
}

/** See `Client.publishDataset`. */
export async function publish(
  session: Session,
  name: string,
  data: unknown,
  override: boolean,
  dependency: (future: Future) => number
): Promise<void> {
  const cids: number[] = [];
  const reference = (value: object): number | undefined => {
    if (!(value instanceof Future)) return undefined;
    const cid = dependency(value);
    const at = cids.indexOf(cid);
    return at >= 0 ? at : cids.push(cid) - 1;
  };
  const value = packFrames(await serializeValueAsync(data, { reference, root: 'dataset' }));
  if (value.length > LIMITS.functionBytes) {
    throw new SerializationError(
      `Dataset ${name} is ${(value.length / 1e6).toFixed(0)} MB beside its futures. Put large values on ` +
        `the workers first: const data = await client.scatter(value), then publish the future.`
    );
  }
  await session.outbox.settled();
  await session.request('publish-dataset', { name, cids, value, override });
}

/** See `Client.getDataset`. */
export async function fetchDataset(session: Session, name: string): Promise<unknown> {
  const answer = await session.request('get-dataset', { name });
  const { keys, value } = answer as { keys: string[]; value: Uint8Array };
  const futures = session.futuresOf(keys);
  return deserializeValueAsync(unpackFrames(value), index => futures[index]);
}
