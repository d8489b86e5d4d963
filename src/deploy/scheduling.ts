/**
 * The options by which a scheduler decides where and when tasks run, as people give them (library
 * and command line), checked and made into what its process is told.
 */
import { ConfigError } from '../base/errors.ts';
import { parseDuration } from '../config/duration.ts';
import type { SchedulingSetup } from '../config/process-messages.ts';

/** Options of `LocalCluster.create`; the command line has the same by other names. */
export interface SchedulingOptions {
  /** Tasks a thread before root tasks wait in the queue; Infinity ("inf"): they do not. Default 1. */
  workerSaturation?: number | string;
  /** Deaths of workers that were executing a task which it survives. Default 3. */
  allowedFailures?: number;
  /** Seconds, or text such as "1 min", after which a task that no worker may run fails. Default 0: never. */
  noWorkersTimeout?: number | string;
  /** Seconds, or text, between looks for work that idle workers can take over. Default 1; 0: never. */
  stealInterval?: number | string;
  /** Seconds, or text, between runs of the active memory manager. Default 2; 0: off. */
  ammInterval?: number | string;
}

/** Checks and translates. Throws ConfigError that names the option. */
export function schedulingSetup(options: SchedulingOptions): SchedulingSetup {
  const setup: SchedulingSetup = {};
  const { workerSaturation, allowedFailures, noWorkersTimeout, stealInterval, ammInterval } =
    options;
  if (workerSaturation !== undefined) setup.workerSaturation = saturation(workerSaturation);
  if (allowedFailures !== undefined) {
    if (!Number.isInteger(allowedFailures) || allowedFailures < 0) {
      throw new ConfigError(
        `allowedFailures must be a whole number from 0, not ${allowedFailures}.`
      );
    }
    setup.allowedFailures = allowedFailures;
  }
  if (noWorkersTimeout !== undefined) setup.noWorkersTimeout = parseDuration(noWorkersTimeout);
  if (stealInterval !== undefined) setup.stealInterval = parseDuration(stealInterval);
  if (ammInterval !== undefined) setup.ammInterval = parseDuration(ammInterval);
  return setup;
}

/** A setup as the state of a scheduler takes it. */
export function schedulingNumbers(setup: SchedulingSetup = {}): Record<string, number> {
  return Object.fromEntries(
    Object.entries(setup).map(([name, value]) => [name, value === 'inf' ? Infinity : Number(value)])
  );
}

/** JSON knows no Infinity, so it travels as a word. */
function saturation(given: number | string): number | 'inf' {
  const value = /^\s*inf(inity)?\s*$/i.test(String(given)) ? Infinity : Number(given);
  if (!(value > 0)) {
    throw new ConfigError(
      `workerSaturation must be a number above 0, or "inf" for no queue, not ${JSON.stringify(given)}.`
    );
  }
  return value === Infinity ? 'inf' : value;
}
