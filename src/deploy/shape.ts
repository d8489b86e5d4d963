/**
 * How a machine is divided into workers when the user does not say: the rule of Dask's
 * LocalCluster, with cores and memory as control groups and limits leave them to us.
 */
import { availableCores, parseBytes, totalMemory } from '../config/memory.ts';
import { ConfigError } from '../base/errors.ts';

export interface LocalShape {
  workers: number;
  threads: number;
  /** Bytes of one worker; 0 = no limit. */
  memoryLimit: number;
}

/**
 * What a worker may take to leave on SIGTERM when nobody says: within the 30 s that Slurm and
 * Kubernetes leave before SIGKILL.
 */
export const DRAIN_TIMEOUT = '20 s';

export interface ShapeWishes {
  workers?: number;
  threadsPerWorker?: number;
  memoryLimit?: number | string;
}

/** What a machine has. */
export interface Machine {
  cores: number;
  memory: number;
}

/** Divides this machine, or the one given. Throws ConfigError on impossible wishes. */
export function localShape(wishes: ShapeWishes, machine?: Machine): LocalShape {
  const { cores, memory } = machine ?? { cores: availableCores(), memory: totalMemory() };
  checkCount('workers', wishes.workers, 0);
  checkCount('threadsPerWorker', wishes.threadsPerWorker, 1);
  const [workers, threads] = divideCores(cores, wishes.workers, wishes.threadsPerWorker);
  return { workers, threads, memoryLimit: limitOf(wishes.memoryLimit, memory, workers) };
}

function divideCores(cores: number, workers?: number, threads?: number): [number, number] {
  if (workers !== undefined && threads !== undefined) return [workers, threads];
  if (workers !== undefined)
    return [workers, Math.max(1, Math.floor(cores / Math.max(1, workers)))];
  if (threads !== undefined) return [Math.max(1, Math.floor(cores / threads)), threads];
  if (cores <= 4) return [cores, 1];
  // The smallest factor from the square root on: 8 cores are 4 x 2, 12 are 4 x 3, 7 are 7 x 1.
  let processes = Math.ceil(Math.sqrt(cores));
  while (cores % processes !== 0) processes++;
  return [processes, cores / processes];
}

function limitOf(wish: number | string | undefined, memory: number, workers: number): number {
  if (wish === undefined || wish === 'auto') return Math.floor(memory / Math.max(1, workers));
  const bytes = typeof wish === 'string' ? parseBytes(wish) : wish;
  if (bytes === 0) return 0;
  // An empty worker takes some 60 MiB; below this it would be ended before it can do anything.
  const least = 128 * 2 ** 20;
  if (Number.isFinite(bytes) && bytes >= least) return Math.floor(bytes);
  throw new ConfigError(
    `memoryLimit is ${String(wish)}: a worker needs at least 128 MiB. Write bytes or text such as ` +
      `"2 GiB", "auto" for its part of the machine, or 0 for no limit.`
  );
}

/** Throws ConfigError unless `value` is absent or a whole number of at least `least`. */
export function checkCount(what: string, value: number | undefined, least: number): void {
  if (value === undefined) return;
  if (Number.isInteger(value) && value >= least && value <= 10_000) return;
  throw new ConfigError(
    `${what} must be a whole number from ${least} to 10000; it was ${String(value)}.`
  );
}
