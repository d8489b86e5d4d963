/**
 * What tests of real processes share: a runtime folder of their own, and looks at processes.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach } from 'vitest';

export { familyOf, lives, processes, until } from './proc.ts';
export type { Family, SeenProcess } from './proc.ts';

/** Gives each test of the file its own, empty runtime folder. */
export function ownRuntimeFolder(): void {
  const before = process.env['TASKLOOM_RUNTIME_DIR'];
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'taskloom-test-'));
    process.env['TASKLOOM_RUNTIME_DIR'] = folder;
  });
  afterEach(() => {
    if (before === undefined) delete process.env['TASKLOOM_RUNTIME_DIR'];
    else process.env['TASKLOOM_RUNTIME_DIR'] = before;
    rmSync(folder, { recursive: true, force: true });
  });
}
