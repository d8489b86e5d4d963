/** The bundled runtime in dist/, as it is shipped: whole, self-contained, with its names kept. */
import { execFile } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const run = promisify(execFile);
const dist = join(import.meta.dirname, '../../dist');
const { version } = JSON.parse(
  readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8')
) as { version: string };

/** A copy where no node_modules is near, as in a wheel or on a remote host. */
let away = '';
beforeAll(() => {
  away = mkdtempSync(join(tmpdir(), 'taskloom-bundle-'));
  cpSync(dist, away, { recursive: true, filter: source => !source.includes('.compile-cache') });
});
afterAll(() => rmSync(away, { recursive: true, force: true }));

async function evaluate(code: string): Promise<unknown> {
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', code], {
    cwd: away
  });
  return JSON.parse(stdout) as unknown;
}

describe('the bundled runtime', () => {
  it.each(['index', 'main', 'nanny', 'scheduler', 'worker', 'executor', 'kernel'])(
    '%s.mjs imports nothing but what Node brings along',
    name => {
      const code = readFileSync(join(dist, `${name}.mjs`), 'utf8');
      const found = [...code.matchAll(/^import .*? from ["']([^"']+)["'];?$/gm)].map(
        m => m[1] ?? ''
      );
      expect(found.filter(source => !isBuiltin(source))).toEqual([]);
    }
  );

  it('gives the whole client with no node_modules beside it', async () => {
    const url = pathToFileURL(join(away, 'index.mjs')).href;
    const names = await evaluate(
      `const all = await import(${JSON.stringify(url)});
       console.log(JSON.stringify(Object.entries(all).map(([key, value]) => [key, value.name])));`
    );
    const pairs = names as [string, string][];
    expect(pairs.map(([key]) => key)).toEqual(
      expect.arrayContaining(['Client', 'LocalCluster', 'TaskloomError', 'progress'])
    );
    for (const [key, name] of pairs) expect(name).toBe(key);
  });

  it('says its version', async () => {
    const { stdout } = await run(process.execPath, [join(away, 'taskloom.mjs'), '--version']);
    expect(stdout.trim()).toBe(version);
  });

  it('keeps compiled code next to itself', async () => {
    await run(process.execPath, [join(away, 'taskloom.mjs'), '--version']);
    expect(existsSync(join(away, '.compile-cache'))).toBe(true);
  });

  it('carries a page whose files are all there', () => {
    const html = readFileSync(join(dist, 'page', 'index.html'), 'utf8');
    const files = [...html.matchAll(/(?:src|href)="(?!data:)([^"]+)"/g)].map(
      match => match[1] ?? ''
    );
    expect(files).toEqual(['page/page.css', 'page/page.js']);
    for (const file of files) expect(existsSync(join(dist, file))).toBe(true);
  });
});
