/**
 * The process of a Python executor: how it is started, and how it ended, for people.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';

/** What it takes to start one. */
export interface PythonSetup {
  /** The interpreter. */
  python: string;
  /** Folder that holds the package `taskloom`, or '' when the interpreter finds it. */
  packagePath: string;
  /** Tasks at a time. */
  threads: number;
  root: string;
  memoryLimit: number;
  /** Bytes of copies of values that it may keep. */
  liveBytes: number;
  /** Bytes of files in memory that it may keep, to write them again. */
  keepBytes: number;
  /** Results may stay live in it. */
  keepsLive: boolean;
  /** Folders for frames, the first that has room is taken; at least one. */
  folders: string[];
}

/** Starts one; its fourth stream is the link. */
export function startPython(setup: PythonSetup): ChildProcess {
  const path = [setup.packagePath, process.env['PYTHONPATH'] ?? ''].filter(one => one !== '');
  return spawn(setup.python, ['-u', '-m', 'taskloom.executor'], {
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    env: {
      ...process.env,
      ...(path.length > 0 ? { PYTHONPATH: path.join(':') } : {}),
      // As in Dask: libraries of numbers must not start a thread a core in every process.
      ...threadLimits(setup.threads)
    }
  });
}

const LIMITED = ['OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS'];

function threadLimits(threads: number): Record<string, string> {
  const set = LIMITED.filter(name => process.env[name] === undefined);
  return Object.fromEntries(set.map(name => [name, String(Math.max(1, threads))]));
}

/** How a process ended, for people, with the last that it wrote. */
export function reasonOf(
  code: number | null,
  signal: NodeJS.Signals | null,
  output: string
): string {
  const how =
    signal === 'SIGKILL'
      ? 'it was killed (SIGKILL), as the system does when memory is short'
      : signal === 'SIGSEGV' || signal === 'SIGBUS'
        ? `it crashed in native code (${signal}, a segmentation fault)`
        : signal !== null
          ? `it ended by ${signal}`
          : `it ended with exit code ${code ?? -1}`;
  const last = output.trim();
  return last === '' ? how : `${how}; it last wrote:\n${last}`;
}
