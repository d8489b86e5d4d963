/**
 * Does the simulation find bugs? Puts one bug at a time (mutant-table.ts) into a copy of the sources
 * and runs seeds until one fails: `node test/sim/mutants.ts [--seeds 5000] [--only NAME] [--table]`.
 * A bug that is not found, or whose text is not in the sources any more, is a failure; the last line
 * is `N passed, N failed`. `--table` prints the table of docs/reliability.md; `--quick` leaves out
 * the bugs that take many seeds.
 */
import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { MUTANTS } from './mutant-table.ts';
import type { Mutant } from './mutant-table.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

interface Outcome {
  mutant: Mutant;
  /** null: not found. */
  found: { seed: number; checker: string; message: string } | null;
  problem: string;
}

/** The source with the bug in it. */
function mutate(mutant: Mutant): string {
  const text = readFileSync(join(root, mutant.file), 'utf8');
  const parts = text.split(mutant.find);
  if (parts.length !== 2) {
    throw new Error(`its text is ${parts.length - 1} times in ${mutant.file}, not once`);
  }
  return parts.join(mutant.replace);
}

async function hunt(mutant: Mutant, seeds: number): Promise<Outcome> {
  const folder = mkdtempSync(join(tmpdir(), 'mutant-'));
  try {
    const text = mutate(mutant);
    for (const part of ['src', 'test/sim', 'package.json']) {
      cpSync(join(root, part), join(folder, part), { recursive: true });
    }
    writeFileSync(join(folder, mutant.file), text);
    const output = await run(folder, seeds);
    if (output.code === 0) return { mutant, found: null, problem: `not found by ${seeds} seeds` };
    const found = JSON.parse(output.text.trim().split('\n').at(-1) ?? '') as Outcome['found'];
    return { mutant, found, problem: '' };
  } catch (error) {
    return { mutant, found: null, problem: String(error) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function run(folder: string, seeds: number): Promise<{ code: number | null; text: string }> {
  const args = ['test/sim/main.ts', '--first', '--seeds', String(seeds)];
  const child = spawn(process.execPath, args, { cwd: folder });
  let text = '';
  child.stdout.on('data', (part: Buffer) => (text += part.toString()));
  child.stderr.on('data', (part: Buffer) => (text += part.toString()));
  return new Promise(resolve => child.on('close', code => resolve({ code, text })));
}

function line({ mutant, found, problem }: Outcome, table: boolean): string {
  const seed = found === null ? '-' : String(found.seed);
  if (table) return `| ${mutant.name} | ${seed} | ${found?.checker ?? problem} |`;
  const text = found === null ? problem : `${found.checker}: ${found.message}`;
  return `${seed.padStart(6)}  ${mutant.name}\n        ${text}`;
}

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '5000' },
    only: { type: 'string', default: '' },
    threads: { type: 'string', default: String(availableParallelism()) },
    table: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false }
  }
});
const chosen = MUTANTS.filter(
  mutant => mutant.name.includes(values.only) && !(values.quick && mutant.rare === true)
);
const outcomes: Outcome[] = [];
let next = 0;
const lane = async (): Promise<void> => {
  for (let at = next++; at < chosen.length; at = next++) {
    outcomes[at] = await hunt(chosen[at] as Mutant, Number(values.seeds));
    if (!values.table) console.log(line(outcomes[at] as Outcome, false));
  }
};
await Promise.all(Array.from({ length: Number(values.threads) }, lane));
if (values.table) {
  console.log('| bug | found at seed | by |\n|---|---|---|');
  for (const outcome of outcomes) console.log(line(outcome, true));
}
const missed = outcomes.filter(outcome => outcome.found === null).length;
console.log(`${outcomes.length - missed} passed, ${missed} failed`);
process.exitCode = missed === 0 ? 0 : 1;
