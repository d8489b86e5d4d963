/**
 * Python on Taskloom beside dask.distributed in one run:
 * `npm run bench:python -- [--rounds 3] [--scale 1] [--only map,chain]`. The same code (side.py), the
 * same interpreter, two one-thread workers on this machine; the sides take turns, and the best of the
 * rounds counts for each. Dask is measured with its default settings and with `worker-saturation:
 * inf`, which is faster for tiny tasks; ratios are against the better of the two. The last line is
 * JSON.
 */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { best, daskPython, figuresOf, loadBefore, ratioOf } from '../beside-dask.ts';
import type { Figures, Measure } from '../beside-dask.ts';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    scale: { type: 'string', default: '1' },
    only: { type: 'string', default: '' }
  }
});

const MEASURES: Measure[] = [
  { name: 'map', label: 'map of 100k no-ops, gathered; tasks/s', more: true, floor: 8 },
  { name: 'tree', label: 'tree of 2^13 leaves; tasks/s', more: true, floor: 3 },
  { name: 'chain', label: 'chain of 1000; links/s', more: true, floor: 3 },
  { name: 'between', label: '200 MB worker to worker; s', more: false, floor: 1 },
  { name: 'scatter', label: 'scatter 500 MB; s', more: false, floor: 1 },
  { name: 'gather', label: 'gather 500 MB; s', more: false, floor: 1 },
  { name: 'groupby', label: 'groupby, 100 partitions; s', more: false, floor: 1 },
  { name: 'join', label: 'join, 100 partitions; s', more: false, floor: 1 },
  { name: 'mean', label: 'da.random(…).mean(), 1600 chunks; s', more: false, floor: 1 },
  { name: 'rechunk', label: 'rechunk 40 to 40; s', more: false, floor: 1 }
];
/** Each with the processor seconds that it took. */
const FIGURES = MEASURES.flatMap(({ name, more }) => [
  { name, more },
  { name: `${name}_cpu`, more: false }
]);
const NEEDS = ['dask[complete]', 'distributed', 'cloudpickle', 'msgpack', 'websockets'];
/** ms that one side may take for one round. */
const LIMIT_MS = 1_800_000;

/** Versions of what was compared. */
function versionsOf(python: string): Record<string, string> {
  const names = ['dask', 'distributed', 'numpy', 'pandas', 'pyarrow', 'cloudpickle'];
  const code = `import json, platform; from importlib.metadata import version; print(json.dumps({"python": platform.python_version(), **{n: version(n) for n in ${JSON.stringify(names)}}}))`;
  return JSON.parse(execFileSync(python, ['-c', code], { encoding: 'utf8' })) as Record<
    string,
    string
  >;
}

function figures(python: string, side: string, saturation: string): Promise<Figures> {
  const names = values.only === '' ? [] : values.only.split(',');
  const env = { ...process.env, PYTHONPATH: here('../../python') };
  const args = [here('./side.py'), side, saturation, values.scale, ...names];
  return figuresOf(python, args, { env, timeout: LIMIT_MS });
}

const python = daskPython('dask-full', 'Dask with its collections', NEEDS);
const load = loadBefore();
const sides: Figures[][] = [[], [], []];
for (let round = 0; round < Number(values.rounds); round++) {
  sides[0]?.push(await figures(python, 'taskloom', '0'));
  sides[1]?.push(await figures(python, 'dask', '1.1'));
  sides[2]?.push(await figures(python, 'dask', 'inf'));
}
const [us = {}, dask = {}, daskInf = {}] = sides.map(side => best(FIGURES, side));
const theirs = best(FIGURES, [dask, daskInf]);
const rows = MEASURES.filter(({ name }) => us[name] !== undefined).map(measure => {
  const { name, label, more, floor } = measure;
  const [mine, other] = [us[name] ?? Number.NaN, theirs[name] ?? Number.NaN];
  const ratio = ratioOf(more, mine, other);
  const cpu = (theirs[`${name}_cpu`] ?? Number.NaN) / (us[`${name}_cpu`] ?? Number.NaN);
  return { label, taskloom: mine, dask: dask[name], daskInf: daskInf[name], ratio, floor, cpu };
});
console.table(
  rows.map(({ label, taskloom, dask: plain, daskInf: inf, ratio, floor, cpu }) => ({
    label,
    taskloom: short(taskloom),
    dask: short(plain),
    'dask, inf': short(inf),
    ratio: `${ratio.toFixed(1)}x`,
    floor: `${floor}x`,
    met: ratio >= floor,
    'cpu ratio': `${cpu.toFixed(1)}x`
  }))
);
const met = rows.every(({ ratio, floor }) => ratio >= floor);
const versions = { node: process.versions.node, ...versionsOf(python) };
console.log(JSON.stringify({ bench: 'python', load, versions, met, rows }));

function short(figure: number | undefined): number {
  return Number((figure ?? Number.NaN).toPrecision(3));
}
