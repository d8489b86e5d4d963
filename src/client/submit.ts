/**
 * How calls become tasks: the function is captured with what it closes over, arguments are serialised,
 * futures in either become dependencies, and the task leaves in the order in which it was submitted.
 */
import { createHash } from 'node:crypto';
import { CancelledError, ConfigError, SerializationError } from '../base/errors.ts';
import { executorContext } from '../base/task-context.ts';
import { LIMITS } from '../protocol/limits.ts';
import type { TaskOptions } from '../protocol/messages.ts';
import { captureFunction } from '../serialize/capture.ts';
import type { CapturedFunction } from '../serialize/capture.ts';
import { packFrames, serializeValueAsync } from '../serialize/value.ts';
import type { Serialized } from '../serialize/value.ts';
import { taskOptionsOf } from './call-options.ts';
import type { CallOptions } from './call-options.ts';
import { localRecord } from './failure.ts';
import { Future } from './future.ts';
import { keysFor } from './keys.ts';
import { Looks } from './looks.ts';
import type { Session } from './session.ts';
import type { FutureRecord } from './state/client-state.ts';
import { tellSubmission } from './submissions.ts';

interface PackedCall {
  /** To be asked for once all looks are over. */
  args: () => Uint8Array;
  deps: number[];
}

/** Submits tasks of one session with the same options. */
export class Submitter {
  private readonly session: Session;
  private readonly call: CallOptions;
  private readonly taskOptions: TaskOptions;

  constructor(session: Session, call: CallOptions) {
    this.session = session;
    this.call = call;
    this.taskOptions = taskOptionsOf(call);
  }

  /** Sends tasks, or a map of them, once functions and arguments have been looked at. */
  submitAll(
    fn: (...args: never[]) => unknown,
    calls: readonly (readonly unknown[])[],
    isMap: boolean
  ): Future[] {
    const { session } = this;
    session.mustBeOpen();
    const looks = new Looks();
    const captured = looks.at(captureFunction(fn, { reference: value => value instanceof Future }));
    const packed = calls.map(args => this.pack(args, looks));
    const name = fn.name === '' ? 'lambda' : fn.name;
    const keys = keysFor(this.call.key, name, calls.length, isMap);
    const now = Date.now();
    const parent = executorContext()?.current()?.tid ?? 0;
    const records = keys.map(key => session.state.create(key, name, now));
    const futures = records.map(record => new Future(session, record));
    const deliver = (): void => {
      if (looks.failure === null) this.send(captured(), packed, records, isMap, parent);
      else this.failAll(records, looks.failure);
    };
    session.outbox.inOrder(deliver, looks.ready());
    tellSubmission(futures);
    return futures;
  }

  private failAll(records: readonly FutureRecord[], error: unknown): void {
    for (const record of records) {
      this.session.state.fail(record, localRecord(record.key, error));
      this.session.notify(record);
    }
  }

  private send(
    captured: CapturedFunction,
    packed: readonly PackedCall[],
    records: readonly FutureRecord[],
    isMap: boolean,
    parent: number
  ): void {
    const { session } = this;
    const { outbox } = session;
    const captureDeps = captured.futures.map(future => (future as Future).record.cid);
    const fn = session.functionNumber(captured.hash, captured.name, captured.blob);
    const fifo = (this.call.fifoTimeout ?? 0.1) * 1000;
    if (isMap) outbox.flush();
    packed.forEach((call, i) => {
      const record = records[i] as FutureRecord;
      if (this.call.pure === true && this.call.key === undefined) {
        record.key = `${captured.name}-${pureHash(captured, call, captureDeps, session)}`;
      }
      const deps = captureDeps.length === 0 ? call.deps : [...captureDeps, ...call.deps];
      outbox.task(
        { cid: record.cid, key: record.key, fn, args: call.args(), deps, parent },
        this.taskOptions,
        fifo
      );
    });
    if (isMap) outbox.flush();
  }

  /** Serialises arguments; futures in them become dependencies, numbered in order of appearance. */
  private pack(args: readonly unknown[], looks: Looks): PackedCall {
    const deps: number[] = [];
    const places = new Map<number, number>();
    const reference = (value: object): number | undefined => {
      if (!(value instanceof Future)) return undefined;
      const cid = dependency(this.session, value);
      let at = places.get(cid);
      if (at === undefined) places.set(cid, (at = deps.push(cid) - 1));
      return at;
    };
    const written = looks.at(serializeValueAsync(args, { reference, root: 'args' }), packArguments);
    return { args: written, deps };
  }
}

/** The number by which a graph speaks of a future. Throws when it cannot be an argument. */
export function dependency(session: Session, future: Future): number {
  if (future.session !== session) {
    throw new ConfigError(
      `Future ${future.key} belongs to another client. Bring its result here first.`
    );
  }
  if (future.record.status === 'cancelled' || future.record.status === 'lost') {
    throw new CancelledError(
      future.key,
      `${future.record.reason}; it cannot be an argument any more`
    );
  }
  return future.record.cid;
}

function packArguments(written: Serialized): Uint8Array {
  const bytes = packFrames(written);
  if (bytes.length <= LIMITS.functionBytes) return bytes;
  throw new SerializationError(
    `The arguments are ${(bytes.length / 1e6).toFixed(0)} MB, too much to send through the scheduler. ` +
      `Put large values on the workers first: const data = await client.scatter(value), then pass the future.`
  );
}
/** Equal for equal functions, captured values, arguments and dependencies. */
function pureHash(
  captured: CapturedFunction,
  call: PackedCall,
  captureDeps: readonly number[],
  session: Session
): string {
  const hash = createHash('sha256').update(captured.hash).update(call.args());
  for (const cid of [...captureDeps, ...call.deps])
    hash.update(`\0${session.state.records.get(cid)?.key ?? cid}`);
  return hash.digest('hex').slice(0, 32);
}
