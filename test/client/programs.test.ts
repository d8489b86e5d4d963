/** One user's program, run as TypeScript in Node, bundled to JavaScript, and in Deno. */
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { afterAll, expect, it } from 'vitest';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../../', import.meta.url));
const program = join(root, 'test/client/programs/program.ts');
const folder = mkdtempSync(join(tmpdir(), 'taskloom-programs-'));
const env = {
  ...process.env,
  TASKLOOM_RUNTIME_DIR: folder,
  NODE_NO_WARNINGS: '1',
  TASKLOOM_NODE: process.execPath
};
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const EXPECTED = ['a/b', 2, 40, '1n', 3, [true, false], 610, 7];

async function output(command: string, args: string[]): Promise<unknown> {
  const { stdout } = await run(command, args, { env, cwd: root });
  return JSON.parse(stdout);
}

it('in Node, as TypeScript', async () => {
  expect(await output(process.execPath, [program])).toEqual(EXPECTED);
});

it('in Node, bundled to one JavaScript file', async () => {
  const outfile = join(root, '.cache', `program-${process.pid}.mjs`);
  try {
    await build({
      entryPoints: [program],
      outfile,
      bundle: true,
      format: 'esm',
      platform: 'node',
      target: 'node22',
      external: ['taskloom', 'acorn'],
      sourcemap: 'inline',
      logLevel: 'error'
    });
    expect(await output(process.execPath, [outfile])).toEqual(EXPECTED);
  } finally {
    rmSync(outfile, { force: true });
  }
});

it('whose tasks use the cluster themselves, on single threads', async () => {
  const inTask = join(root, 'test/client/programs/in-task.ts');
  const results = [21, 40, 30, 'opened', 'waiter came back', 3, 'inner', 89];
  expect(await output(process.execPath, [inTask])).toEqual(results);
});

it('in Deno', async () => {
  const deno = join(root, '.venv/bin/deno');
  expect(existsSync(deno), 'set-up puts Deno into .venv').toBe(true);
  expect(await output(deno, ['run', '--quiet', '--no-lock', '-A', program])).toEqual(EXPECTED);
});
