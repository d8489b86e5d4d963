/**
 * Error records from the wire as errors to throw. A task's own exception comes back as it was
 * thrown: same name, message, fields and cause, with the traceback of the worker as its stack.
 */
import {
  CancelledError,
  KilledWorkerError,
  LostDataError,
  NoValidWorkerError,
  SerializationError,
  TaskError,
  TaskTimeoutError,
  WorkerMemoryError
} from '../base/errors.ts';
import type { ErrorRecord } from '../protocol/messages.ts';
import { deserializeValue, unpackFrames } from '../serialize/value.ts';
import type { FutureRecord } from './state/client-state.ts';

/** What `future.result()` throws for a failed task. */
export function errorOf(record: ErrorRecord): Error {
  const key = record.blame;
  const message = record.message.replace(/^\w+: /, '');
  switch (record.code) {
    case 'KILLED_WORKER':
      return new KilledWorkerError(key, message);
    case 'TASK_TIMEOUT':
      return new TaskTimeoutError(key, message);
    case 'LOST_DATA':
      return new LostDataError(key, message);
    case 'WORKER_MEMORY':
      return new WorkerMemoryError(key, message);
    case 'NO_VALID_WORKER':
      return new NoValidWorkerError(key, message);
    case 'SERIALIZATION':
      return withStack(new SerializationError(message), record);
    case 'CANCELLED':
      return new CancelledError(key, message);
    case 'TASK_ERRED':
      return usersError(record);
    default:
      return withStack(new TaskError(key, message, { code: record.code }), record);
  }
}

function usersError(record: ErrorRecord): Error {
  let thrown: unknown;
  try {
    if (record.exception === null) throw new Error('the exception did not come along');
    thrown = deserializeValue(unpackFrames(record.exception));
  } catch {
    return withStack(new TaskError(record.blame, record.message), record);
  }
  if (thrown instanceof Error) return withStack(thrown, record);
  // `throw 42` is allowed in JavaScript: the value stands in `cause`.
  const message = `Task ${record.blame} threw a value that is no Error: ${preview(thrown)}`;
  return withStack(new TaskError(record.blame, message, { cause: thrown }), record);
}

function preview(value: unknown): string {
  try {
    const text = typeof value === 'string' ? JSON.stringify(value) : String(value);
    return text.length > 200 ? `${text.slice(0, 200)}…` : text;
  } catch {
    return typeof value;
  }
}

/** Adds where it happened: the worker's traceback, the key, the worker. */
function withStack<E extends Error>(error: E, record: ErrorRecord): E {
  const where = `    in task ${record.blame}${record.worker === '' ? '' : ` on worker ${record.worker}`}`;
  const trace = record.traceback === '' ? `${error.name}: ${error.message}` : record.traceback;
  Object.defineProperty(error, 'stack', {
    value: `${trace}\n${where}`,
    configurable: true,
    writable: true
  });
  return error;
}

/** What waiting for a cancelled or lost future throws. */
export function goneError(record: FutureRecord): CancelledError {
  const reason = record.reason === '' ? 'no reason was given' : record.reason;
  return new CancelledError(
    record.key,
    record.status === 'lost' ? `its cluster is gone (${reason})` : reason
  );
}

/** The record of an error that happened before the task could be sent. */
export function localRecord(key: string, error: unknown): ErrorRecord {
  const known = error instanceof SerializationError;
  const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return {
    code: known ? 'SERIALIZATION' : 'CLIENT',
    message,
    traceback: '',
    exception: null,
    blame: key,
    worker: ''
  };
}
