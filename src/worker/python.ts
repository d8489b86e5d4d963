/**
 * What a worker does for Python: it chooses the interpreter, has its processes up before it
 * registers, gives them a folder in memory for large frames, and watches how much memory they take.
 */
import { existsSync, readFileSync } from 'node:fs';
import { ProcessFolder } from '../config/folder.ts';
import { hostMark, SHARED_MEMORY } from '../config/host-mark.ts';
import { choosePython } from '../config/python.ts';
import type { PythonChoice } from '../config/python.ts';
import type { PythonShape } from './executor/pool-options.ts';
import type { ExecutorPool } from './executor/pool.ts';
import type { WorkerOptions } from './options.ts';
import type { Sharing } from './store/filed.ts';

/** Part of the memory limit at which a Python process is ended, as a nanny ends a worker. */
const TERMINATE = 0.95;

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

  /** How values in files are handed over, to whom the same files are; null: not at all. */
  get sharing(): Sharing | null {
    if (this.choice === null || !this.folder.inMemory) return null;
    const host = hostMark();
    return host === '' ? null : { host, folder: this.folder.file('python') };
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

  /** Bytes of processes and of values in files; the largest process goes before the worker would. */
  residentBytes(pool: ExecutorPool, sharedBytes: number): number {
    const { memoryLimit } = this.options;
    const sizes = pool.python.pids.map(pid => ({ pid, ...residentBytes(pid) }));
    let [total, mapped] = [0, 0];
    for (const { bytes, shared } of sizes) [total, mapped] = [total + bytes, mapped + shared];
    // Of files, those that a process has mapped are its own already.
    total += Math.max(0, sharedBytes - mapped);
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

/** What the system says that a process uses, and how much of it is in files in memory; else 0. */
function residentBytes(pid: number): { bytes: number; shared: number } {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const kilobytes = (name: string): number =>
      Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0);
    return { bytes: 1024 * kilobytes('VmRSS'), shared: 1024 * kilobytes('RssShmem') };
  } catch {
    return { bytes: 0, shared: 0 };
  }
}
