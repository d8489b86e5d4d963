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
  const value = plainDataset(data, reference) ?? (await ownDataset(data, reference));
  if (value.length > LIMITS.functionBytes) {
    throw new SerializationError(
      `Dataset ${name} is ${(value.length / 1e6).toFixed(0)} MB beside its futures. Put large values on ` +
        `the workers first: const data = await client.scatter(value), then publish the future.`
    );
  }
  await session.outbox.settled();
  await session.request('publish-dataset', { name, cids, value, override });
}

type Reference = (value: object) => number | undefined;

/** Stands for a future, by its number, in what clients of both languages read. */
const MARK = 'taskloom-future';
/** A structure that is not plain. */
const OWN = Symbol('own');

/** Arrays and objects of futures and plain data, for both languages; null for anything else. */
function plainDataset(data: unknown, reference: Reference): Uint8Array | null {
  const marked = mark(data, reference, 0);
  if (marked === OWN) return null;
  const written = serializeValueAsync(marked);
  return written instanceof Promise || written.family !== 'plain' ? null : packFrames(written);
}

async function ownDataset(data: unknown, reference: Reference): Promise<Uint8Array> {
  return packFrames(await serializeValueAsync(data, { reference, root: 'dataset' }));
}

function mark(data: unknown, reference: Reference, depth: number): unknown {
  if (typeof data !== 'object' || data === null || data instanceof Uint8Array) return data;
  const at = reference(data);
  if (at !== undefined) return { [MARK]: at };
  if (depth > 100) return OWN;
  if (Array.isArray(data)) {
    const items: unknown[] = data.map(item => mark(item, reference, depth + 1));
    return items.includes(OWN) ? OWN : items;
  }
  if (Object.getPrototypeOf(data) !== Object.prototype || Object.hasOwn(data, MARK)) return OWN;
  const fields: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(data)) {
    const marked = mark(value, reference, depth + 1);
    if (marked === OWN) return OWN;
    fields[name] = marked;
  }
  return fields;
}

/** The structure again, its marks being futures. */
function revive(data: unknown, futures: readonly Future[]): unknown {
  if (typeof data !== 'object' || data === null || data instanceof Uint8Array) return data;
  if (Array.isArray(data)) return data.map(item => revive(item, futures));
  const entries = Object.entries(data);
  const [first] = entries;
  if (entries.length === 1 && first?.[0] === MARK) return futures[first[1] as number];
  return Object.fromEntries(entries.map(([name, value]) => [name, revive(value, futures)]));
}

/** See `Client.getDataset`. */
export async function fetchDataset(session: Session, name: string): Promise<unknown> {
  const answer = await session.request('get-dataset', { name });
  const { keys, value } = answer as { keys: string[]; value: Uint8Array };
  const futures = session.futuresOf(keys);
  const packed = unpackFrames(value);
  if (packed.family === 'plain') return revive(await deserializeValueAsync(packed), futures);
  if (packed.family === 'pickle')
    throw new SerializationError(
      `Dataset ${name} was published by a Python client as a structure that only Python reads. ` +
        `Publish futures, or lists and dicts (with text keys) of futures and plain values.`
    );
  return deserializeValueAsync(packed, index => futures[index]);
}
