/** What the set-up says when a machine lacks something, run as a user runs it, in a copy. */
import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const scripts = join(import.meta.dirname, '../../scripts');

let copy = '';
beforeAll(() => {
  copy = mkdtempSync(join(tmpdir(), 'taskloom-setup-'));
  cpSync(scripts, join(copy, 'scripts'), { recursive: true });
});
afterAll(() => rmSync(copy, { recursive: true, force: true }));

/** A program that stands for Python: `version` is what it says it is, `venv` how that ends. */
function fakePython(version: string, venv: string): string {
  const path = join(copy, `python-${version}`);
  writeFileSync(path, `#!/bin/sh\nif [ "$1" = -c ]; then echo ${version}; else ${venv}; fi\n`);
  chmodSync(path, 0o755);
  return path;
}

function setup(python: string, script = 'setup.mjs') {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(copy, 'scripts', script)], {
    env: { ...process.env, TASKLOOM_PYTHON: python },
    encoding: 'utf8'
  });
  return { status, text: stdout + stderr };
}

describe('set-up', () => {
  it('names the Python it needs when there is none', () => {
    const { status, text } = setup('/nowhere/python3');
    expect(status).toBe(1);
    expect(text).toContain('needs Python 3.10 or newer, and none was found');
    expect(text).toContain('TASKLOOM_PYTHON=');
    expect(text).not.toContain('    at ');
  });

  it('says how old the Python is that it found', () => {
    const python = fakePython('3.8', 'exit 0');
    const { status, text } = setup(python);
    expect(status).toBe(1);
    expect(text).toContain(`${python} is 3.8`);
  });

  it('shows the last lines and the remedy when a virtual environment cannot be made', () => {
    const { status, text } = setup(fakePython('3.11', 'echo No module named ensurepip; exit 1'));
    expect(status).toBe(1);
    expect(text).toContain('No module named ensurepip');
    expect(text).toContain('apt-get install python3-venv');
  });

  it('makes npm test end with its one line all the same', () => {
    const { status, text } = setup('/nowhere/python3', 'test.mjs');
    expect(status).toBe(1);
    expect(text.trimEnd().split('\n').at(-1)).toBe('0 passed, 1 failed');
  });
});
