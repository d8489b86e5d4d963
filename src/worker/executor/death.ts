/** What a user is told of a task whose executor died under it. */
import { formatBytes } from '../../base/bytes.ts';
import type { ErrorRecord, Language } from '../../protocol/messages.ts';
import type { Death } from './executor.ts';

const MIB = 2 ** 20;

/** What its worker allows; 0 = no limit. */
interface Limits {
  heapMb: number;
  memoryLimit: number;
  nthreads: number;
}

/** The error of the task that ran. */
export function deathError(
  language: Language,
  key: string,
  address: string,
  death: Death,
  limits: Limits
): ErrorRecord {
  const message =
    language === 'python' ? ofProcess(key, death, limits) : ofThread(key, death, limits);
  const code = death.outOfMemory ? 'WORKER_MEMORY' : 'EXECUTOR_DIED';
  return { code, message, traceback: '', exception: null, blame: key, worker: address };
}

function ofThread(key: string, death: Death, { heapMb, memoryLimit, nthreads }: Limits): string {
  const heap = heapMb > 0 ? `its executor's heap of ${formatBytes(heapMb * MIB)}` : 'heap';
  const limit =
    memoryLimit > 0 ? ` (worker limit ${formatBytes(memoryLimit)}, ${nthreads} threads)` : '';
  return death.outOfMemory
    ? `WorkerMemoryError: Task ${key} needed more than ${heap}${limit}. Give the workers more memory ` +
        `(memoryLimit), use fewer threads a worker, or make the task smaller.`
    : `TaskError: Task ${key} ended its executor (exit code ${death.exitCode}), as process.exit() does. ` +
        `Return from the task or throw an error instead.`;
}

function ofProcess(key: string, death: Death, { memoryLimit }: Limits): string {
  return death.outOfMemory
    ? `WorkerMemoryError: Task ${key} made its Python process use more memory than the worker has ` +
        `(${formatBytes(memoryLimit)}): it was ended. Give the workers more memory (memoryLimit), use fewer ` +
        `threads a worker, or make the task smaller.`
    : `TaskError: Task ${key} ended its Python process: ${death.error}\n${adviceOn(death)}`;
}

/** What to do about a process that ended under a task. */
function adviceOn({ signal, exitCode }: Death): string {
  if (signal === 'SIGKILL')
    return (
      'Give the task less to hold at a time or the workers more memory, if the machine ran out ' +
      'of it; client.retry runs it again.'
    );
  return signal === null
    ? `Return from the task or raise an exception instead of ending the process (${exitCode}).`
    : 'Run the function in a Python of your own with the same input: it crashes there, too, if ' +
        'the fault is in native code (an extension, ctypes).';
}
