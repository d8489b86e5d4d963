/**
 * Taskloom beside dask.distributed in one run: `npm run bench -- [--rounds 3]`. Both use
 * two one-thread worker processes on this machine; they take turns, the best of the rounds counts
 * for each. Dask is measured with its default settings and with `worker-saturation: inf`, which is
 * faster for tiny tasks; ratios are against the better of the two. The last line is JSON.
 */
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { best, daskPython, figuresOf, loadBefore, ratioOf } from '../beside-dask.ts';
import type { Figures, Measure } from '../beside-dask.ts';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    tasks: { type: 'string', default: '10000' },
    links: { type: 'string', default: '300' }
  }
});

const MEASURES: Measure[] = [
  { name: 'independent_per_s', label: 'independent tasks a second', more: true, floor: 5 },
  { name: 'chain_per_s', label: 'chain links a second', more: true, floor: 2 },
  { name: 'tree_per_s', label: 'tree tasks a second', more: true, floor: 1 },
  { name: 'latency_p50_ms', label: 'submit to result, p50 ms', more: false, floor: 1 },
  { name: 'startup_s', label: 'start of a cluster with 2 workers, s', more: false, floor: 2 },
  { name: 'bytes_per_waiting_task', label: 'scheduler bytes a waiting task', more: false, floor: 1 }
];

const python = daskPython('dask', 'dask.distributed', ['distributed', 'psutil']);
const load = loadBefore();
const ours: Figures[] = [];
const plain: Figures[] = [];
const fast: Figures[] = [];
for (let round = 0; round < Number(values.rounds); round++) {
  const sizes = [values.tasks, values.links];
  const side = here('./taskloom_side.ts');
  ours.push(
    await figuresOf(process.execPath, [side, '--tasks', values.tasks, '--links', values.links])
  );
  plain.push(await figuresOf(python, [here('./dask_side.py'), '1.1', ...sizes]));
  fast.push(await figuresOf(python, [here('./dask_side.py'), 'inf', ...sizes]));
}
const us = best(MEASURES, ours);
const dask = best(MEASURES, plain);
const daskFast = best(MEASURES, fast);
const rows = MEASURES.map(({ name, label, more, floor }) => {
  const mine = us[name] ?? Number.NaN;
  const theirs = best(MEASURES, [dask, daskFast])[name] ?? Number.NaN;
  const ratio = ratioOf(more, mine, theirs);
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
