/** Imports on the worker's side, in a real worker thread: from its root, from elsewhere, missing. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';

import { afterAll, beforeAll, expect, it } from 'vitest';

const source = pathToFileURL(join(resolve(import.meta.dirname, '../../src/serialize'), '/')).href;
let folder: string;

function write(path: string, text: string): void {
  mkdirSync(dirname(join(folder, path)), { recursive: true });
  writeFileSync(join(folder, path), text);
}

function install(place: string, name: string, version: string): void {
  const manifest = { name, version, type: 'module', exports: { import: './index.js' } };
  write(`${place}/node_modules/${name}/package.json`, JSON.stringify(manifest));
  write(`${place}/node_modules/${name}/index.js`, `export const version = '${version}';`);
}

/** The blob of the default export of a script in `home`, captured by a plain Node process. */
function capture(script: string): Uint8Array {
  write('home/job.ts', script);
  const program = `
    const { captureFunction } = await import('${source}capture.ts');
    const { default: fn } = await import('./job.ts');
    process.stdout.write(Buffer.from((await captureFunction(fn)).blob).toString('base64'));`;
  const options = { cwd: join(folder, 'home'), encoding: 'utf8' } as const;
  const text = execFileSync(process.execPath, ['--input-type=module', '-e', program], options);
  return new Uint8Array(Buffer.from(text, 'base64'));
}

function run(blob: Uint8Array, place: string, ...args: unknown[]): Promise<unknown> {
  const workerData = { source, blob, root: join(folder, place), args };
  const file = new URL('programs/thread.mjs', import.meta.url);
  const worker = new Worker(file, { workerData });
  return new Promise((answer, fail) => {
    worker.once('message', answer);
    worker.once('error', fail);
  });
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'taskloom-imports-'));
  install('home', 'fable', '1.0.0');
  install('farm', 'fable', '2.0.0');
  mkdirSync(join(folder, 'bare'));
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

const named = `import { version } from 'fable'; export default (): string => version;`;
const dynamic = `export default async (): Promise<string> => (await import('fable')).version;`;

it("takes a package from the worker's root", async () => {
  const blob = capture(named);
  expect(await run(blob, 'farm')).toEqual({ got: '2.0.0' });
});

it('takes it from where the submitting side found it, when the root has none', async () => {
  const blob = capture(`import * as fable from 'fable'; export default () => fable.version;`);
  expect(await run(blob, 'bare')).toEqual({ got: '1.0.0' });
});

it('names a missing module and where it was looked for', async () => {
  const blob = capture(named);
  rmSync(join(folder, 'home/node_modules/fable'), { recursive: true });
  const { error } = (await run(blob, 'bare')) as { error: string };
  expect(error).toMatch(/^SerializationError: Module 'fable' is not installed on this worker/);
  expect(error).toContain(`'fable' from ${join(folder, 'bare')}`);
  expect(error).toContain(`then ${pathToFileURL(join(folder, 'home', '/')).href}`);
  expect(error).toMatch(/npm install fable/);
  install('home', 'fable', '1.0.0');
});

it("resolves import() inside the function from the worker's root", async () => {
  expect(await run(capture(dynamic), 'farm')).toEqual({ got: '2.0.0' });
  const { error } = (await run(capture(dynamic), 'bare')) as { error: string };
  expect(error).toMatch(/fable/);
});

it('sends deep data to a worker thread, whose stack is small', async () => {
  const script = `
    let list: object | null = null;
    for (let i = 0; i < 1990; i++) list = { next: list, odd: undefined };
    export default (): number => {
      let length = 0;
      for (let at = list as { next: object | null } | null; at; at = at.next as typeof at) length++;
      return length;
    };`;
  expect(await run(capture(script), 'bare')).toEqual({ got: 1990 });
});
