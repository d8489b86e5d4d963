/**
 * Turns texts of the command line into values, or says what was expected.
 */
import { InvalidArgumentError } from 'commander';
import type { MemoryWishes } from '../config/memory.ts';
import type { SchedulingOptions } from '../deploy/scheduling.ts';
import { UsageError } from './failure.ts';

/** A whole number from 0 on. */
export function wholeNumber(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError('It must be a whole number.');
  return Number(text);
}

/** A part of the whole, 0.6, or `off`. */
export function part(text: string): number | false {
  if (text === 'off' || text === 'false') return false;
  const value = Number(text);
  if (text.trim() !== '' && value >= 0 && value <= 1) return value;
  throw new InvalidArgumentError('It must be a part of the memory limit, such as 0.6, or "off".');
}

/** Options of commands that start workers. */
export interface MemoryOptions {
  memoryTarget?: number | false;
  memorySpill?: number | false;
  memoryPause?: number | false;
  memoryTerminate?: number | false;
  maxSpill?: string;
  localDirectory?: string;
  python?: string;
  pythonThreads?: boolean;
}

/** What they say of memory. */
export function memoryWishes(options: MemoryOptions): MemoryWishes {
  return {
    ...present('target', options.memoryTarget),
    ...present('spill', options.memorySpill),
    ...present('pause', options.memoryPause),
    ...present('terminate', options.memoryTerminate),
    ...present('maxSpill', options.maxSpill)
  };
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

/** `NAME=value`, each, as an environment. */
export function parseEnvironment(texts: readonly string[] | undefined): Record<string, string> {
  const environment: Record<string, string> = {};
  for (const text of texts ?? []) {
    const at = text.indexOf('=');
    if (at < 1) throw new UsageError(`--env has "${text}"; it must be NAME=value.`);
    environment[text.slice(0, at)] = text.slice(at + 1);
  }
  return environment;
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
  ammInterval?: string;
}

/** The same as options of the library. */
export function schedulingOptions(flags: SchedulingFlags): SchedulingOptions {
  return {
    ...present('workerSaturation', flags.workerSaturation),
    ...present('allowedFailures', flags.allowedFailures),
    ...present('noWorkersTimeout', flags.workersTimeout),
    ...present('stealInterval', flags.stealInterval),
    ...present('ammInterval', flags.ammInterval)
  };
}
