/** A task must stay light in the scheduler: clusters are asked for a million of them. */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

test('a waiting task weighs at most 900 bytes, with its key, arguments and dependency', () => {
  const program = fileURLToPath(new URL('programs/weigh.ts', import.meta.url));
  const printed = execFileSync(process.execPath, ['--expose-gc', program, '200000']);
  const bytes = Number(printed.toString());
  expect(bytes).toBeGreaterThan(100);
  expect(bytes).toBeLessThanOrEqual(900);
});
