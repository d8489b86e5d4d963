/**
 * What this process may use of its machine: cores and memory as control groups (v1 and v2),
 * resource limits and the hardware leave them, and sizes written by people.
 */
import { readFileSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { ConfigError } from '../base/errors.ts';

const UNITS: Record<string, number> = {
  '': 1,
  b: 1,
  k: 1e3,
  kb: 1e3,
  m: 1e6,
  mb: 1e6,
  g: 1e9,
  gb: 1e9,
  t: 1e12,
  tb: 1e12,
  ki: 2 ** 10,
  kib: 2 ** 10,
  mi: 2 ** 20,
  mib: 2 ** 20,
  gi: 2 ** 30,
  gib: 2 ** 30,
  ti: 2 ** 40,
  tib: 2 ** 40
};

/** Bytes of a number or of text such as `2 GiB`, `500MB`, `1.5e9`. Throws ConfigError. */
export function parseBytes(text: string | number): number {
  const match = /^\s*([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*([a-z]*)\s*$/i.exec(String(text));
  const unit = UNITS[match?.[2]?.toLowerCase() ?? '?'];
  if (match === null || unit === undefined) {
    throw new ConfigError(
      `"${text}" is not an amount of memory. Write a number of bytes, or one with a unit such as ` +
        `"512 MiB", "2 GiB", "1.5 GB".`
    );
  }
  return Math.floor(Number(match[1]) * unit);
}

/** When a worker spills, pauses and is ended; what is not given is the default. */
export interface MemoryWishes {
  /** Part of the limit that its values may take before the least used go to disk; false = off. */
  target?: number | false;
  /** Part of the limit that its process may use before values go to disk. */
  spill?: number | false;
  /** Part of the limit beyond which it starts and fetches nothing. */
  pause?: number | false;
  /** Part of the limit beyond which its nanny ends it. */
  terminate?: number | false;
  /** Bytes, or text such as "20 GiB", that its files may take; false = as many as fit. */
  maxSpill?: number | string | false;
}

/** The same as numbers: 0 is off. */
export interface MemoryShape {
  target: number;
  spill: number;
  pause: number;
  terminate: number;
  /** Bytes; 0 = no limit. */
  maxSpill: number;
}

/** Dask's. */
const MEMORY_SHAPE: MemoryShape = {
  target: 0.6,
  spill: 0.7,
  pause: 0.8,
  terminate: 0.95,
  maxSpill: 0
};

/** Checks wishes and fills in defaults. Throws ConfigError naming the field. */
export function memoryShape(wishes: MemoryWishes = {}): MemoryShape {
  const shape = { ...MEMORY_SHAPE };
  for (const name of Object.keys(wishes)) {
    if (!Object.hasOwn(shape, name)) {
      throw new ConfigError(
        `memory has no field "${name}"; it may have ${Object.keys(shape).join(', ')}.`
      );
    }
  }
  for (const name of ['target', 'spill', 'pause', 'terminate'] as const) {
    const wish = wishes[name] ?? shape[name];
    if (wish !== false && !(typeof wish === 'number' && wish >= 0 && wish <= 1)) {
      throw new ConfigError(
        `memory.${name} is ${String(wish)}: it must be a part of the memory limit, such as ` +
          `${shape[name]}, or false to switch it off.`
      );
    }
    shape[name] = wish === false ? 0 : wish;
  }
  const { maxSpill } = wishes;
  if (maxSpill !== undefined && maxSpill !== false) shape.maxSpill = parseBytes(maxSpill);
  return shape;
}

/** Where the facts are read; tests give a tree of their own. */
export interface LimitFiles {
  /** Root of the file system, default `/`. */
  root?: string;
}

/** Bytes this process may use: the least of hardware, control groups and resource limits. */
export function totalMemory(files: LimitFiles = {}): number {
  const root = files.root ?? '/';
  const limits = [totalmem(), ...cgroupMemory(root), ...resourceLimits(root)];
  return Math.floor(Math.min(...limits));
}

/** Cores this process may use, at least 1: affinity and control group quota. */
export function availableCores(files: LimitFiles = {}): number {
  const quota = Math.min(...cgroupCores(files.root ?? '/'));
  return Math.max(1, Math.min(availableParallelism(), Math.ceil(quota)));
}

function read(root: string, path: string): string | null {
  try {
    return readFileSync(join(root, path), 'utf8').trim();
  } catch {
    return null;
  }
}

/** Folders of our control group and all above it, for a v1 controller or ('') for v2. */
function groupFolders(root: string, controller: string): string[] {
  const base = controller === '' ? 'sys/fs/cgroup' : `sys/fs/cgroup/${controller}`;
  for (const line of (read(root, 'proc/self/cgroup') ?? '').split('\n')) {
    const [, controllers, path] = line.split(':');
    if (path === undefined || !(controllers ?? '').split(',').includes(controller)) continue;
    const folders: string[] = [base];
    for (let at = path; at !== '/' && at !== '' && at !== '.'; at = dirname(at)) {
      folders.push(join(base, at));
    }
    return folders;
  }
  return [base];
}

function cgroupMemory(root: string): number[] {
  const files = [
    ...groupFolders(root, '').map(folder => `${folder}/memory.max`),
    ...groupFolders(root, 'memory').map(folder => `${folder}/memory.limit_in_bytes`)
  ];
  return files.map(path => Number(read(root, path) ?? '')).filter(isLimit);
}

/** "max" is not a number; v1 says "none" with a number near 2^63. */
function isLimit(value: number): boolean {
  return Number.isFinite(value) && value > 0 && value < 2 ** 60;
}

function cgroupCores(root: string): number[] {
  const cores = [Number.POSITIVE_INFINITY];
  for (const folder of groupFolders(root, '')) {
    const [quota, period] = (read(root, `${folder}/cpu.max`) ?? '').split(' ').map(Number);
    if (isLimit(quota ?? 0) && isLimit(period ?? 0)) cores.push((quota ?? 0) / (period ?? 1));
  }
  for (const folder of groupFolders(root, 'cpu')) {
    const quota = Number(read(root, `${folder}/cpu.cfs_quota_us`) ?? '');
    const period = Number(read(root, `${folder}/cpu.cfs_period_us`) ?? '');
    if (isLimit(quota) && isLimit(period)) cores.push(quota / period);
  }
  return cores;
}

/** Soft limits on address space and resident memory (`ulimit -v`, `ulimit -m`). */
function resourceLimits(root: string): number[] {
  const text = read(root, 'proc/self/limits') ?? '';
  return ['Max resident set', 'Max address space']
    .map(name => new RegExp(`^${name}\\s+(\\d+)`, 'm').exec(text)?.[1])
    .map(Number)
    .filter(isLimit);
}
