/**
 * Turns texts of the command line into values, or says what was expected.
 */
import { InvalidArgumentError } from 'commander';
import type { SchedulingOptions } from '../deploy/scheduling.ts';
import { UsageError } from './failure.ts';

/** A whole number from 0 on. */
export function wholeNumber(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError('It must be a whole number.');
  return Number(text);
}

/** `GPU=2 license=1` as amounts by name. */
export function parseResources(text: string | undefined): Record<string, number> {
  const resources: Record<string, number> = {};
  for (const part of (text ?? '').split(/[\s,]+/)) {
    if (part === '') continue;
    const match = /^([^=]+)=(\d+(?:\.\d+)?(?:e\d+)?)$/i.exec(part);
    if (match === null) {
      throw new UsageError(
        `--resources has "${part}"; it must be names with amounts, such as "GPU=2 license=1".`
      );
    }
    resources[match[1] ?? ''] = Number(match[2]);
  }
  return resources;
}

/** An option that is present becomes a property, an absent one none at all. */
export function present<Key extends string, Value>(
  key: Key,
  value: Value | undefined
): Partial<Record<Key, Value>> {
  return value === undefined ? {} : ({ [key]: value } as Record<Key, Value>);
}

/** Flags by which a scheduler decides; see deploy/scheduling.ts. */
export interface SchedulingFlags {
  workerSaturation?: string;
  allowedFailures?: number;
  workersTimeout?: string;
  stealInterval?: string;
}

/** The same as options of the library. */
export function schedulingOptions(flags: SchedulingFlags): SchedulingOptions {
  return {
    ...present('workerSaturation', flags.workerSaturation),
    ...present('allowedFailures', flags.allowedFailures),
    ...present('noWorkersTimeout', flags.workersTimeout),
    ...present('stealInterval', flags.stealInterval)
  };
}
