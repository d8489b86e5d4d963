/** What comparisons with Dask share: its environment, what is measured, and how sides compare. */
import { execFile, execFileSync } from 'node:child_process';
import type { ExecFileOptions } from 'node:child_process';
import { existsSync } from 'node:fs';
import { loadavg } from 'node:os';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

export type Figures = Record<string, number>;

export interface Measure {
  name: string;
  label: string;
  /** More is better. */
  more: boolean;
  /** Times better than Dask that this must be. */
  floor: number;
}

/** The interpreter of a comparison's own environment, made once, beside the project's. */
export function daskPython(name: string, what: string, packages: string[]): string {
  const folder = fileURLToPath(new URL(`../.cache/${name}`, import.meta.url));
  const python = `${folder}/bin/python`;
  if (!existsSync(`${folder}/bin/dask`)) {
    console.error(`installing ${what} into .cache/${name} …`);
    execFileSync('python3', ['-m', 'venv', folder]);
    execFileSync(python, ['-m', 'pip', 'install', '-q', ...packages], { stdio: 'inherit' });
  }
  return python;
}

/** What one side prints as its last line. */
export async function figuresOf(
  command: string,
  args: string[],
  options: ExecFileOptions = {}
): Promise<Figures> {
  const { stdout } = await promisify(execFile)(command, args, { maxBuffer: 1e7, ...options });
  return JSON.parse(stdout.toString().trim().split('\n').at(-1) ?? '{}') as Figures;
}

/** The better of sets of figures, each by itself. */
export function best(measures: Pick<Measure, 'name' | 'more'>[], sets: Figures[]): Figures {
  const chosen: Figures = {};
  for (const { name, more } of measures) {
    const all = sets.map(set => set[name]).filter(one => one !== undefined);
    if (all.length > 0) chosen[name] = more ? Math.max(...all) : Math.min(...all);
  }
  return chosen;
}

/** How many times better the first is. */
export function ratioOf(more: boolean, mine: number, theirs: number): number {
  return more ? mine / theirs : theirs / mine;
}

/** The machine's load; a high one is warned of. */
export function loadBefore(): number {
  const load = loadavg()[0] ?? 0;
  if (load > 3)
    console.error(`load is ${load.toFixed(1)}: figures from a busy machine are no result`);
  return load;
}
