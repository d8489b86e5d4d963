/**
 * Python on Taskloom beside dask.distributed in one run:
 * `npm run bench:python -- [--rounds 3] [--scale 1] [--only map,chain]`. The same code (side.py), the
 * same interpreter, two one-thread workers on this machine; the sides take turns, and the best of the
 * rounds counts for each. Dask is measured with its default settings and with `worker-saturation:
 * inf`, which is faster for tiny tasks; ratios are against the better of the two. The last line is
 * JSON.
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
    scale: { type: 'string', default: '1' },
    only: { type: 'string', default: '' }
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
const NEEDS = ['dask[complete]', 'distributed', 'cloudpickle', 'msgpack', 'websockets'];
/** ms that one side may take for one round. */
const LIMIT_MS = 1_800_000;

/** The comparison's own environment, made once, beside the project's. */
function daskPython(): string {
  const folder = here('../../.cache/dask-full');
  const python = `${folder}/bin/python`;
  if (!existsSync(`${folder}/bin/dask`)) {
    console.error('installing Dask with its collections into .cache/dask-full …');
    execFileSync('python3', ['-m', 'venv', folder]);
    execFileSync(python, ['-m', 'pip', 'install', '-q', ...NEEDS], { stdio: 'inherit' });
  }
  return python;
}

/** Versions of what was compared. */
function versionsOf(python: string): Record<string, string> {
  const names = ['dask', 'distributed', 'numpy', 'pandas', 'pyarrow', 'cloudpickle'];
  const code = `import json, platform; from importlib.metadata import version; print(json.dumps({"python": platform.python_version(), **{n: version(n) for n in ${JSON.stringify(names)}}}))`;
  return JSON.parse(execFileSync(python, ['-c', code], { encoding: 'utf8' })) as Record<
    string,
    string
  >;
}

async function figures(python: string, side: string, saturation: string): Promise<Figures> {
  const names = values.only === '' ? [] : values.only.split(',');
  const env = { ...process.env, PYTHONPATH: here('../../python') };
  const args = [here('./side.py'), side, saturation, values.scale, ...names];
  const { stdout } = await run(python, args, { maxBuffer: 1e7, env, timeout: LIMIT_MS });
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '{}') as Figures;
}

/** The better of sets of figures, each by itself. */
function best(sets: Figures[]): Figures {
  const chosen: Figures = {};
  for (const { name, more } of MEASURES) {
    const all = sets.map(set => set[name]).filter(one => one !== undefined);
    if (all.length > 0) chosen[name] = more ? Math.max(...all) : Math.min(...all);
    const used = sets.map(set => set[`${name}_cpu`]).filter(one => one !== undefined);
    if (used.length > 0) chosen[`${name}_cpu`] = Math.min(...used);
  }
  return chosen;
}

const python = daskPython();
const load = loadavg()[0] ?? 0;
if (load > 3)
  console.error(`load is ${load.toFixed(1)}: figures from a busy machine are no result`);
const sides: Figures[][] = [[], [], []];
for (let round = 0; round < Number(values.rounds); round++) {
  sides[0]?.push(await figures(python, 'taskloom', '0'));
  sides[1]?.push(await figures(python, 'dask', '1.1'));
  sides[2]?.push(await figures(python, 'dask', 'inf'));
}
const [us = {}, dask = {}, daskInf = {}] = sides.map(best);
const theirs = best([dask, daskInf]);
const rows = MEASURES.filter(({ name }) => us[name] !== undefined).map(measure => {
  const { name, label, more, floor } = measure;
  const [mine, other] = [us[name] ?? Number.NaN, theirs[name] ?? Number.NaN];
  const ratio = more ? mine / other : other / mine;
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
