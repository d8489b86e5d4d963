/**
 * Memory of Taskloom beside dask.distributed, two one-thread workers each, in turn:
 *
 *   node bench/out-of-core/main.ts
 *
 * 1. load-reduce: 256 loads of 4 MiB, each level added in pairs. Peak bytes of all results the
 *    cluster holds, against the least that any schedule on two threads can do with.
 * 2. out of core: values of three times the workers' memory, kept and read again.
 *
 * Peaks are read every 10 ms; resident bytes are those of the worker processes less what they take
 * when idle. The last line is JSON.
 */
import { execFile, execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { loadavg } from 'node:os';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const LEAVES = 256;
const CHUNK_MIB = 4;

/** The comparison's own environment, made once, beside the project's. */
function daskPython(): string {
  const folder = here('../../.cache/dask');
  const python = `${folder}/bin/python`;
  if (!existsSync(python)) execFileSync('python3', ['-m', 'venv', folder]);
  try {
    execFileSync(python, ['-c', 'import distributed, numpy, psutil'], { stdio: 'ignore' });
  } catch {
    console.error('installing dask.distributed and numpy into .cache/dask …');
    const packages = ['distributed', 'numpy', 'psutil'];
    execFileSync(python, ['-m', 'pip', 'install', '-q', ...packages], { stdio: 'inherit' });
  }
  return python;
}

async function figures(command: string, args: string[]): Promise<Record<string, number>> {
  const { stdout } = await run(command, args, { maxBuffer: 1e7 });
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '{}') as Record<string, number>;
}

/**
 * Results in memory at once, by the schedule that needs least: a tree of 2^k leaves, depth first,
 * has one result waiting a level and the pair that is being added with its sum, k + 2; each thread
 * more makes at least one result of its own meanwhile.
 */
function least(leaves: number, threads: number): number {
  return Math.log2(leaves) + 2 + (threads - 1);
}

const python = daskPython();
const load = loadavg()[0] ?? 0;
if (load > 3) console.error(`load is ${load.toFixed(1)}: times from a busy machine are no result`);
const sizes = [String(LEAVES), String(CHUNK_MIB)];
const rows = [];
const minimum = least(LEAVES, 2) * CHUNK_MIB;
for (const [name, command, args] of [
  ['taskloom', process.execPath, [here('./taskloom_side.ts'), ...sizes]],
  ['dask', python, [here('./dask_side.py'), ...sizes]]
] as const) {
  const found = await figures(command, [...args]);
  const ratio = (found['managed_peak_mib'] ?? Number.NaN) / minimum;
  rows.push({ name, ...found, minimum_mib: minimum, ratio });
}
console.table(rows);
console.log(JSON.stringify({ bench: 'out-of-core', load, rows }));
