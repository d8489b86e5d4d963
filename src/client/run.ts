/** Functions that run once on each worker, beside its tasks. */
import { SerializationError } from '../base/errors.ts';
import type { ErrorRecord } from '../protocol/messages.ts';
import { captureFunction } from '../serialize/capture.ts';
import {
  deserializeValue,
  packFrames,
  serializeValueAsync,
  unpackFrames
} from '../serialize/value.ts';
import { errorOf } from './failure.ts';
import { Future } from './future.ts';
import { namesOf } from './placement.ts';
import type { WorkerNames } from './placement.ts';
import type { Session } from './session.ts';

type RunAnswer = Uint8Array | { error: ErrorRecord };

/** Results by worker address. */
export async function runOnWorkers(
  session: Session,
  workers: WorkerNames | undefined,
  fn: (...args: never[]) => unknown,
  args: readonly unknown[]
): Promise<Record<string, unknown>> {
  const captured = await captureFunction(fn, { reference: value => value instanceof Future });
  if (captured.futures.length > 0)
    throw new SerializationError('client.run takes no futures; use client.submit.');
  const packed = packFrames(await serializeValueAsync(args, { root: 'args' }));
  const params = { blob: captured.blob, args: packed, workers: namesOf(workers) };
  const answers = (await session.request('run', params)) as Record<string, RunAnswer>;
  const results: Record<string, unknown> = {};
  for (const [address, answer] of Object.entries(answers)) {
    if (answer instanceof Uint8Array) results[address] = deserializeValue(unpackFrames(answer));
    else throw errorOf(answer.error);
  }
  return results;
}
