/** Values in files: written, read back, refused when damaged. */
import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { Rng } from '../../../src/base/rng.ts';
import { readValue, writeValue } from '../../../src/worker/store/files.ts';
import { frameBytes } from '../../../src/worker/store.ts';
import type { StoredValue } from '../../../src/worker/store.ts';

const folder = mkdtempSync(join(tmpdir(), 'taskloom-files-'));
afterAll(() => rmSync(folder, { recursive: true }));
let next = 0;
const path = (): string => join(folder, `${next++}.value`);

function value(...frames: Uint8Array[]): StoredValue {
  return { family: 'js', frames, nbytes: frameBytes(frames), type: 'Thing' };
}

function random(length: number): Uint8Array {
  const rng = new Rng(length + 1);
  const bytes = new Uint32Array(Math.ceil(length / 4));
  for (let i = 0; i < bytes.length; i++) bytes[i] = rng.next() * 2 ** 32;
  return new Uint8Array(bytes.buffer, 0, length);
}

const zeros = (length: number): Uint8Array => new Uint8Array(length);

test.each([
  ['no bytes at all', [zeros(0)]],
  ['small frames, and empty ones between', [random(10), zeros(0), random(3), zeros(0)]],
  ['ten thousand small frames', Array.from({ length: 10_000 }, (_, i) => random(i % 300))],
  ['noise of several pieces', [random(3 * 2 ** 20 + 17)]],
  ['what shrinks', [zeros(5 * 2 ** 20), new Uint8Array(2 ** 20).fill(7)]],
  ['frames across pieces', [random(100), random(2 ** 20), zeros(2 ** 20), random(50_000)]]
])('%s comes back as it was', async (_, frames) => {
  const file = path();
  const size = await writeValue(file, value(...frames));
  expect(size).toBe(statSync(file).size);
  expect(statSync(file).mode & 0o777).toBe(0o600);
  const back = await readValue(file);
  expect(back.family).toBe('js');
  expect(back.type).toBe('Thing');
  expect(back.nbytes).toBe(frameBytes(frames));
  expect(back.frames.length).toBe(frames.length);
  for (const [i, frame] of frames.entries()) {
    expect(Buffer.compare(back.frames[i] as Uint8Array, frame)).toBe(0);
  }
});

test('is compressed when that pays, and only then', async () => {
  const noise = random(2 ** 21);
  expect(await writeValue(path(), value(zeros(2 ** 21)))).toBeLessThan(2 ** 16);
  expect(await writeValue(path(), value(noise))).toBeGreaterThanOrEqual(noise.length);
});

test.each([
  ['noise', random(2 ** 21)],
  ['what was compressed', zeros(2 ** 21)]
])('a damaged file is not read: %s', async (_, frame) => {
  const file = path();
  await writeValue(file, value(frame));
  const bytes = readFileSync(file);
  const at = bytes.length - 30;
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  writeFileSync(file, bytes);
  await expect(readValue(file)).rejects.toThrow(/checksum/);
  writeFileSync(file, bytes.subarray(0, bytes.length - 10));
  await expect(readValue(file)).rejects.toThrow(/ends too early/);
  writeFileSync(file, 'something else altogether');
  await expect(readValue(file)).rejects.toThrow(/no file of a value/);
});
