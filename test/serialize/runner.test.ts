/** Functions written in a file that a test runner has transformed: imports became object members. */
import { join } from 'node:path';

import { expect, it } from 'vitest';

import { captureFunction } from '../../src/serialize/capture.ts';
import { rebuildFunction } from '../../src/serialize/rebuild.ts';
import { scaled } from './programs/library.ts';

const factor = 4;
function multiply(x: number): number {
  return x * factor;
}

async function ship<F extends Function>(fn: F): Promise<F> {
  const { blob } = await captureFunction(fn);
  return (await rebuildFunction(blob, { root: import.meta.dirname })) as F;
}

it('ships what such a file declares and imports', async () => {
  expect((await ship(() => multiply(2)))()).toBe(8);
  expect((await ship(() => join('a', 'b')))()).toBe('a/b');
  expect((await ship(() => scaled(2)))()).toBe(6);
});
