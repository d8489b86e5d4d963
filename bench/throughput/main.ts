/**
 * Taskloom beside dask.distributed in one run: `npm run bench -- [--rounds 3]`. Both use
 * two one-thread worker processes on this machine; they take turns, the best of the rounds counts
 * for each. Dask is measured with its default settings and with `worker-saturation: inf`, which is
 * faster for tiny tasks; ratios are against the better of the two. The last line is JSON.
 */
import { execFile, execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { loadavg } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';

const run = promisify(execFile);
const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    tasks: { type: 'string', default: '10000' },
    links: { type: 'string', default: '300' }
  }
});

type Figures = Record<string, number>;
interface Measure {
  name: string;
  label: string;
  /** More is better. */
  more: boolean;
  /** Times better than Dask that this must be. */
  floor: number;
}
const MEASURES: Measure[] = [
  { name: 'independent_per_s', label: 'independent tasks a second', more: true, floor: 5 },
  { name: 'chain_per_s', label: 'chain links a second', more: true, floor: 2 },
  { name: 'tree_per_s', label: 'tree tasks a second', more: true, floor: 1 },
  { name: 'latency_p50_ms', label: 'submit to result, p50 ms', more: false, floor: 1 },
  { name: 'startup_s', label: 'start of a cluster with 2 workers, s', more: false, floor: 2 },
  { name: 'bytes_per_waiting_task', label: 'scheduler bytes a waiting task', more: false, floor: 1 }
];

/** The comparison's own environment, made once, beside the project's. */
function daskPython(): string {
  const folder = here('../../.cache/dask');
  const python = `${folder}/bin/python`;
  if (!existsSync(`${folder}/bin/dask`)) {
    console.error('installing dask.distributed into .cache/dask …');
    execFileSync('python3', ['-m', 'venv', folder]);
    execFileSync(python, ['-m', 'pip', 'install', '-q', 'distributed', 'psutil'], {
      stdio: 'inherit'
    });
  }
  return python;
}

async function figures(command: string, args: string[]): Promise<Figures> {
  const { stdout } = await run(command, args, { maxBuffer: 1e7 });
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '{}') as Figures;
}

/** The better of two sets of figures, each by itself. */
function best(sets: Figures[]): Figures {
  const chosen: Figures = {};
  for (const { name, more } of MEASURES) {
    const all = sets.map(set => set[name] ?? Number.NaN);
    chosen[name] = more ? Math.max(...all) : Math.min(...all);
  }
  return chosen;
}

const python = daskPython();
const load = loadavg()[0] ?? 0;
if (load > 3)
  console.error(`load is ${load.toFixed(1)}: figures from a busy machine are no result`);
const ours: Figures[] = [];
const plain: Figures[] = [];
const fast: Figures[] = [];
for (let round = 0; round < Number(values.rounds); round++) {
  const sizes = [values.tasks, values.links];
  const side = here('./taskloom_side.ts');
  ours.push(
    await figures(process.execPath, [side, '--tasks', values.tasks, '--links', values.links])
  );
  plain.push(await figures(python, [here('./dask_side.py'), '1.1', ...sizes]));
  fast.push(await figures(python, [here('./dask_side.py'), 'inf', ...sizes]));
}
const us = best(ours);
const dask = best(plain);
const daskFast = best(fast);
const rows = MEASURES.map(({ name, label, more, floor }) => {
  const mine = us[name] ?? Number.NaN;
  const theirs = best([dask, daskFast])[name] ?? Number.NaN;
  const ratio = more ? mine / theirs : theirs / mine;
  return {
    label,
    taskloom: mine,
    dask: dask[name],
    'dask, inf': daskFast[name],
    ratio,
    floor,
    met: ratio >= floor
  };
});
console.table(
  rows.map(row => ({ ...row, ratio: `${row.ratio.toFixed(1)}x`, floor: `${row.floor}x` }))
);
console.log(JSON.stringify({ bench: 'throughput', load, taskloom: us, dask, daskFast, rows }));
