/**
 * What a worker does for Python: it chooses the interpreter, has its processes up before it
 * registers, gives them folders for large frames, and watches how much memory they take.
 */
import { existsSync } from 'node:fs';
import { ProcessFolder } from '../config/folder.ts';
import { hostMark, SHARED_MEMORY } from '../config/host-mark.ts';
import { processorMs, proportionalMemory, residentMemory } from '../config/process-memory.ts';
import type { ProcessMemory } from '../config/process-memory.ts';
import { choosePython } from '../config/python.ts';
import type { PythonChoice } from '../config/python.ts';
import type { PythonShape } from './executor/pool-options.ts';
import type { ExecutorPool } from './executor/pool.ts';
import type { WorkerOptions } from './options.ts';
import type { Sharing } from './store/filed.ts';

/** Part of the memory limit at which a Python process is ended, as a nanny ends a worker. */
const TERMINATE = 0.95;
/** Part of the memory limit from which on shared pages are told apart, which takes longer. */
const EXACT_SHARE = 0.5;

/** One process, for those who look. */
export interface PythonProcess extends ProcessMemory {
  pid: number;
  /** Tasks that it runs now. */
  running: number;
  cpuMs: number;
}

/** The Python of one worker. */
export class WorkerPython {
  private readonly options: WorkerOptions;
  /** Where large frames lie: in memory, and for what has no room there, on disk. */
  private readonly folders: ProcessFolder[];
  private choice: PythonChoice | null;
  /** Versions of Python and of packages that values depend on; null = there is none. */
  packages: Record<string, string> | null = null;

  constructor(options: WorkerOptions) {
    this.options = options;
    this.choice = choosePython(options.python);
    const scratch = new ProcessFolder('worker', options.localDirectory ?? '');
    this.folders = existsSync(SHARED_MEMORY)
      ? [new ProcessFolder('worker', SHARED_MEMORY), ...(scratch.inMemory ? [] : [scratch])]
      : [scratch];
  }

  /** How a pool is to run it. */
  get shape(): PythonShape | undefined {
    if (this.choice === null) return undefined;
    const folders = this.folders.map(one => one.file('python'));
    return { ...this.choice, folders, threads: this.options.pythonThreads === true };
  }

  /** How values in files are handed over, to whom the same files are; null: not at all. */
  get sharing(): Sharing | null {
    if (this.choice === null) return null;
    const host = hostMark();
    return host === '' ? null : { host, folders: this.folders.map(one => one.file('python')) };
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

  /** What its processes use, each by itself. */
  processes(pool: ExecutorPool): PythonProcess[] {
    return pool.python.processes.map(({ pid, running }) => ({
      pid,
      running,
      ...(residentMemory(pid) ?? NOTHING),
      cpuMs: processorMs(pid)
    }));
  }

  /**
   * Bytes of its processes and of values in files. What they share counts once, where that could
   * matter: when all together come near the limit.
   */
  residentBytes(pool: ExecutorPool, sharedBytes: number): number {
    const { memoryLimit } = this.options;
    const pids = pool.python.processes.map(({ pid }) => pid);
    const roughly = sumOf(
      pids.map(pid => residentMemory(pid) ?? NOTHING),
      sharedBytes
    );
    if (memoryLimit === 0 || roughly < EXACT_SHARE * memoryLimit) return roughly;
    const parts = pids.map(pid => proportionalMemory(pid) ?? residentMemory(pid) ?? NOTHING);
    return sumOf(parts, sharedBytes);
  }

  /** The worker uses so much: its largest Python process goes before all of it would. */
  relieve(pool: ExecutorPool, used: number): void {
    const { memoryLimit } = this.options;
    if (memoryLimit === 0 || used <= TERMINATE * memoryLimit) return;
    const sizes = pool.python.processes.map(({ pid }) => ({
      pid,
      bytes: (proportionalMemory(pid) ?? residentMemory(pid) ?? NOTHING).bytes
    }));
    const [largest] = sizes.sort((a, b) => b.bytes - a.bytes);
    if (largest !== undefined) pool.python.killForMemory(largest.pid);
  }

  /** Its files are removed. */
  close(): void {
    for (const one of this.folders) one.remove();
  }
}

const NOTHING: ProcessMemory = { bytes: 0, shared: 0 };

/** Of values in files, those that a process has mapped are in its bytes already. */
function sumOf(parts: readonly ProcessMemory[], sharedBytes: number): number {
  let [total, mapped] = [0, 0];
  for (const { bytes, shared } of parts) [total, mapped] = [total + bytes, mapped + shared];
  return total + Math.max(0, sharedBytes - mapped);
}
