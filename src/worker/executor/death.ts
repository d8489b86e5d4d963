/** What a user is told of a task whose executor thread died under it. */
import { formatBytes } from '../../base/bytes.ts';
import type { ErrorRecord } from '../../protocol/messages.ts';
import type { Death } from './thread.ts';

const MIB = 2 ** 20;

/** The error of the task that ran; `heapMb` and `memoryLimit` 0 = no limit. */
export function deathError(
  key: string,
  address: string,
  death: Death,
  { heapMb, memoryLimit, nthreads }: { heapMb: number; memoryLimit: number; nthreads: number }
): ErrorRecord {
  const heap = heapMb > 0 ? `its executor's heap of ${formatBytes(heapMb * MIB)}` : 'heap';
  const limit =
    memoryLimit > 0 ? ` (worker limit ${formatBytes(memoryLimit)}, ${nthreads} threads)` : '';
  const message = death.outOfMemory
    ? `WorkerMemoryError: Task ${key} needed more than ${heap}${limit}. Give the workers more memory ` +
      `(memoryLimit), use fewer threads a worker, or make the task smaller.`
    : `TaskError: Task ${key} ended its executor (exit code ${death.exitCode}), as process.exit() does. ` +
      `Return from the task or throw an error instead.`;
  const code = death.outOfMemory ? 'WORKER_MEMORY' : 'EXECUTOR_DIED';
  return { code, message, traceback: '', exception: null, blame: key, worker: address };
}
