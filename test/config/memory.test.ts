import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { formatBytes } from '../../src/base/bytes.ts';
import { availableCores, parseBytes, totalMemory } from '../../src/config/memory.ts';

const roots: string[] = [];
afterEach(() => {
  for (const root of roots.splice(0)) rmSync(root, { recursive: true });
});

function machine(files: Record<string, string>): { root: string } {
  const root = mkdtempSync(join(tmpdir(), 'taskloom-memory-'));
  roots.push(root);
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  return { root };
}

test('sizes as people write them', () => {
  expect(parseBytes('2 GiB')).toBe(2 ** 31);
  expect(parseBytes('2GB')).toBe(2e9);
  expect(parseBytes('1.5e3 kB')).toBe(1.5e6);
  expect(parseBytes(1024)).toBe(1024);
  expect(parseBytes('512mib')).toBe(512 * 2 ** 20);
  expect(() => parseBytes('lots')).toThrow(/"lots" is not an amount of memory.*2 GiB/);
  expect(() => parseBytes('2 XB')).toThrow(/not an amount/);
});

test('sizes for people', () => {
  expect(formatBytes(100)).toBe('100 B');
  expect(formatBytes(2 ** 31)).toBe('2 GiB');
  expect(formatBytes(3.1 * 2 ** 30)).toBe('3.1 GiB');
});

test('a version 2 group and the groups above it limit memory and cores', () => {
  const files = machine({
    'proc/self/cgroup': '0::/user/job\n',
    'sys/fs/cgroup/user/memory.max': '1000000\n',
    'sys/fs/cgroup/user/job/memory.max': 'max\n',
    'sys/fs/cgroup/user/job/cpu.max': '50000 100000\n'
  });
  expect(totalMemory(files)).toBe(1_000_000);
  expect(availableCores(files)).toBe(1);
});

test('a version 1 group limits memory; its "no limit" does not', () => {
  const files = machine({
    'proc/self/cgroup': '5:memory:/job\n4:cpu,cpuacct:/job\n',
    'sys/fs/cgroup/memory/memory.limit_in_bytes': '9223372036854771712\n',
    'sys/fs/cgroup/memory/job/memory.limit_in_bytes': '2000000\n'
  });
  expect(totalMemory(files)).toBe(2_000_000);
});

test('resource limits count; without any limit the hardware does', () => {
  const limits = 'Max address space         3000000              unlimited            bytes\n';
  expect(totalMemory(machine({ 'proc/self/limits': limits }))).toBe(3_000_000);
  expect(totalMemory(machine({}))).toBe(totalmem());
});
