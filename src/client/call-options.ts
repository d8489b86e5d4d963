/** What can be said of a call beside its function and arguments, and the types of those arguments. */
import { ConfigError } from '../base/errors.ts';
import type { TaskOptions } from '../protocol/messages.ts';
import type { Future } from './future.ts';

/** A value, or futures of it, nested anywhere. */
export type Arg<T> =
  | T
  | Future<T>
  | (T extends (...args: never[]) => unknown
      ? never
      : T extends object
        ? { [K in keyof T]: Arg<T[K]> }
        : never);
/** Arguments of a submitted function. */
export type Args<A extends readonly unknown[]> = { [K in keyof A]: Arg<A[K]> };

/** Options of a call; see `Client.with`. */
export interface CallOptions {
  /** Larger runs first. Default 0. */
  priority?: number;
  /** How often a task that throws is tried again. Default 0. */
  retries?: number;
  /** Seconds a task may run before it is killed. Default: no limit. */
  timeout?: number;
  /** Only on these workers (names, addresses or hosts). */
  workers?: string | readonly string[];
  /** Take `workers` as a wish. Default false. */
  allowOtherWorkers?: boolean;
  /** Amounts of worker resources a task holds while it runs. */
  resources?: Readonly<Record<string, number>>;
  /** Name of the (first) task. Default: function name and a number. */
  key?: string;
  /** The same function with the same arguments is the same task. Default false. */
  pure?: boolean;
  /** Seconds within which submissions count as one for the order of execution. Default 0.1. */
  fifoTimeout?: number;
}

/** The part of them that tasks carry. Throws ConfigError for what makes no sense. */
export function taskOptionsOf(call: CallOptions): TaskOptions {
  const { workers } = call;
  const whole = (name: string, value: number): number => {
    if (Number.isInteger(value) && value >= 0) return value;
    throw new ConfigError(`${name} must be a whole number from 0, not ${value}.`);
  };
  if (call.timeout !== undefined && !(call.timeout > 0)) {
    throw new ConfigError(`timeout must be a number of seconds above 0, not ${call.timeout}.`);
  }
  return {
    priority: call.priority ?? 0,
    retries: whole('retries', call.retries ?? 0),
    timeout: call.timeout ?? 0,
    workers: workers === undefined ? null : typeof workers === 'string' ? [workers] : [...workers],
    allowOtherWorkers: call.allowOtherWorkers ?? false,
    resources: call.resources === undefined ? null : { ...call.resources }
  };
}
