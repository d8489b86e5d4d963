/** Capture in the real Deno kernel: cell scope, redeclared names, inner closures, recorded imports. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
const bin = join(root, '.venv', process.platform === 'win32' ? 'Scripts' : 'bin');
const deno = process.env['DENO'] ?? join(bin, 'deno');

const cells: [name: string, source: string, want: RegExp | string][] = [
  [
    'cell const, var, helpers and classes',
    `let k = 2; var v = 7; const tab = new Map([['a', 1n]]);
     function helper(x: number) { return x * k + v }
     class P { x = 1; static s = 3; m() { return helper(this.x) } }
     console.log(await ship((x: number) => x + k, 1), await ship(helper, 2),
       await ship(() => new P().m() + P.s), await ship(() => String(tab.get('a'))))`,
    '3 11 12 1'
  ],
  [
    'imports',
    `import { join } from 'node:path'; import * as path from 'node:path';
     recorded.set('node:path', 'node:path');
     console.log(await ship((s: string) => join(s, 'b'), 'a'), await ship((s: string) => path.basename(s), 'a/b'))`,
    'a/b b'
  ],
  [
    'an import of an own module',
    `import { area } from OWN_MODULE; recorded.set('./own.ts', OWN_MODULE);
     console.log(await ship(() => area(3)))`,
    '27'
  ],
  ['a name declared again', `let k = 50; console.log(await ship(helper, 1))`, '57'],
  [
    'an inner variable that shadows a cell variable',
    `function outer() { const k = 1000; const inner = (x: number) => x + k;
       const rec = (n: number): number => n ? rec(n - 1) + inner(n) : 0; return rec }
     console.log(await ship(outer(), 2))`,
    '2003'
  ],
  [
    'a global shadowed by a cell, and by a function',
    `function fetch(x: number) { return x + 1000 }
     const withMath = (() => { const Math = { max: (..._: number[]) => 'inner' }; return () => Math.max(1, 2) })();
     console.log(await ship(() => fetch(1)), await ship(withMath))`,
    '1001 inner'
  ],
  [
    'loop variables, many at once',
    `const all = []; for (let i = 0; i < 300; i++) all.push(ship((x: number) => x + i + k, 1));
     console.log((await Promise.all(all)).reduce((a, b) => a + b))`,
    String((299 * 300) / 2 + 300 * 51)
  ],
  [
    'the moment of the call',
    `let n = 1; const list = [1]; const first = ship(() => [n, list.length]); n = 2; list.push(2);
     console.log(JSON.stringify([await first, await ship(() => [n, list.length])]))`,
    '[[1,1],[2,2]]'
  ],
  [
    'a value that holds functions and instances',
    `const s = await lib.serializeValueAsync([outer(), new P(), /x/]);
     const [f, p] = lib.deserializeValue(s) as any;
     console.log(f(1), p.m(), p instanceof P)`,
    '1001 57 true'
  ],
  [
    'an error of a class of the notebook comes back as one',
    `class MyError extends Error { status = 5 }
     const [e] = lib.deserializeValue(await lib.serializeValueAsync([new MyError('no')])) as any;
     console.log(e instanceof MyError, e.message, e.status)`,
    'true no 5'
  ],
  [
    'an unknown name',
    `console.log(await refused(() => mystery + 1))`,
    /SerializationError: .*uses `mystery`, which is defined nowhere/
  ],
  [
    'Deno itself',
    `console.log(await refused(() => Deno.cwd()))`,
    /uses Deno, which only the notebook has.*Workers run on Node/
  ],
  [
    'a live handle',
    `const held = { timer: setTimeout(() => {}, 0) }; const late = Promise.resolve({ late: held });
     console.log(await refused(() => late))`,
    /late \(captured by .*a Promise .*Await it first/
  ],
  ['the kernel is well', `console.log('alive')`, 'alive']
];

describe.skipIf(!existsSync(deno))('in the Deno kernel', () => {
  let folder: string;
  let outputs: string[];

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'taskloom-cells-'));
    const bundle = join(folder, 'serialize.mjs');
    const parts = ['value', 'capture', 'rebuild'];
    const contents = parts.map(part => `export * from './${part}.ts';`).join('\n');
    await build({
      stdin: { contents, resolveDir: join(root, 'src/serialize') },
      bundle: true,
      platform: 'node',
      format: 'esm',
      outfile: bundle,
      banner: {
        js: "import { createRequire as makeRequire } from 'node:module'; const require = makeRequire(import.meta.url);"
      }
    });
    const own = join(folder, 'own.ts');
    writeFileSync(own, 'const k = 3; export const area = (n: number): number => n * n * k;');
    const start = `
      import * as lib from ${JSON.stringify(pathToFileURL(bundle).href)};
      const recorded = globalThis[Symbol.for('taskloom.imports')] = new Map();
      async function ship(f: Function, ...args: unknown[]): Promise<any> {
        const { blob } = await lib.captureFunction(f);
        return (await lib.rebuildFunction(blob, { root: '/' }))(...args);
      }
      async function refused(f: Function): Promise<string> {
        try { await lib.captureFunction(f); return 'NOT REFUSED' } catch (e) { return e.name + ': ' + e.message }
      }`;
    const sources = cells.map(([, source]) =>
      source.replaceAll('OWN_MODULE', JSON.stringify(pathToFileURL(own).href))
    );
    const driver = join(import.meta.dirname, 'programs', 'cells.py');
    const output = execFileSync(join(bin, 'python'), [driver, deno, folder], {
      input: JSON.stringify([start, ...sources]),
      encoding: 'utf8',
      stdio: ['pipe', 'pipe', 'ignore']
    });
    outputs = JSON.parse(output) as string[];
  }, 120_000);

  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it('starts', () => expect(outputs[0]).toBe(''));

  it.each(cells.map(([name, , want], i) => [name, want, i + 1] as const))('%s', (_, want, i) => {
    if (typeof want === 'string') expect(outputs[i]!.trim()).toBe(want);
    else expect(outputs[i]).toMatch(want);
  });
});
