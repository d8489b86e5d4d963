/**
 * What a worker does for Python: it chooses the interpreter, has its processes up before it
 * registers, gives them a folder in memory for large frames, and watches how much memory they take.
 */
import { existsSync, readFileSync } from 'node:fs';
import { ProcessFolder } from '../config/folder.ts';
import { choosePython } from '../config/python.ts';
import type { PythonChoice } from '../config/python.ts';
import type { PythonShape } from './executor/pool-options.ts';
import type { ExecutorPool } from './executor/pool.ts';
import type { WorkerOptions } from './options.ts';

/** Part of the memory limit at which a Python process is ended, as a nanny ends a worker. */
const TERMINATE = 0.95;
const SHARED_MEMORY = '/dev/shm';

/** The Python of one worker. */
export class WorkerPython {
  private readonly options: WorkerOptions;
  private readonly folder: ProcessFolder;
  private choice: PythonChoice | null;
  /** Versions of Python and of packages that values depend on; null = there is none. */
  packages: Record<string, string> | null = null;

  constructor(options: WorkerOptions) {
    this.options = options;
    this.choice = choosePython(options.python);
    this.folder = new ProcessFolder('worker', existsSync(SHARED_MEMORY) ? SHARED_MEMORY : '');
  }

  /** How a pool is to run it. */
  get shape(): PythonShape | undefined {
    if (this.choice === null) return undefined;
    const folder = this.folder.file('python');
    return { ...this.choice, folder, threads: this.options.pythonThreads === true };
  }

  /** Which Python there is must be known when the worker registers; null, or why there is none. */
  async start(pool: ExecutorPool): Promise<string | null> {
    if (this.choice === null) return null;
    const started = await pool.python.start();
    if ('reason' in started) {
      this.choice = null;
      return started.reason;
    }
    this.packages = started.packages;
    return null;
  }

  /** The pool that follows has processes of its own, or those of one that has run nothing. */
  follow(before: ExecutorPool, next: ExecutorPool, hasRun: boolean): void {
    if (!hasRun) next.python.take(before.python);
    else if (this.choice !== null) void next.python.start();
  }

  /** Resident bytes of the processes; the largest has to go before the worker itself would. */
  residentBytes(pool: ExecutorPool): number {
    const { memoryLimit } = this.options;
    const sizes = pool.python.pids.map(pid => ({ pid, bytes: residentBytes(pid) }));
    const total = sizes.reduce((sum, { bytes }) => sum + bytes, 0);
    const used = total + process.memoryUsage.rss();
    const [largest] = sizes.sort((a, b) => b.bytes - a.bytes);
    if (largest !== undefined && memoryLimit > 0 && used > TERMINATE * memoryLimit) {
      pool.python.killForMemory(largest.pid);
    }
    return total;
  }

  /** Its files are removed. */
  close(): void {
    this.folder.remove();
  }
}

/** What the system says that a process uses; 0 where it does not say. */
function residentBytes(pid: number): number {
  try {
    return 4096 * Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1]);
  } catch {
    return 0;
  }
}
