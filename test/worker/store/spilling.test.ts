/** The spilling store over a real file system, a full one too. */
import { randomBytes } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { ProcessFolder } from '../../../src/config/folder.ts';
import { SpillingStore } from '../../../src/worker/store/spilling.ts';
import type { StoredValue } from '../../../src/worker/store.ts';
import { until } from '../../deploy/processes.ts';

const MIB = 2 ** 20;
const stores: SpillingStore[] = [];
const folders: string[] = [];
afterEach(async () => {
  for (const store of stores.splice(0)) await store.close();
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

function parent(): string {
  const folder = mkdtempSync(join(tmpdir(), 'taskloom-spilling-'));
  folders.push(folder);
  return folder;
}

interface Seen {
  store: SpillingStore;
  log: string[];
  evicted: number[];
  lost: number[];
  path: string;
}

/** A store of 10 MiB: values beyond 6 MiB go to disk. */
function create(path = parent(), maxSpill = 0): Seen {
  const seen = { log: [] as string[], evicted: [] as number[], lost: [] as number[], path };
  const store = new SpillingStore({
    settings: { memoryLimit: 10 * MIB, target: 0.6, spill: 0.7, pause: 0.8, maxSpill },
    folder: new ProcessFolder('worker', path),
    events: {
      onPause: () => undefined,
      onUnpause: () => undefined,
      onLost: tids => seen.lost.push(...tids),
      onEvicted: tids => seen.evicted.push(...tids),
      onCollect: () => undefined,
      onLog: (_, text) => seen.log.push(text),
      onDisk: () => undefined
    }
  });
  stores.push(store);
  return { store, ...seen };
}

function value(tid: number): StoredValue {
  const frame = new Uint8Array(MIB).fill(tid);
  return { family: 'plain', frames: [frame], nbytes: MIB, type: 'Uint8Array' };
}

const files = (path: string): string[] =>
  readdirSync(path).flatMap(folder => readdirSync(join(path, folder)));

describe('a store', () => {
  test('of 10 MiB keeps 30, in memory or in files, and gives back each', async () => {
    const { store, path, evicted } = create();
    for (let tid = 1; tid <= 30; tid++) store.put(tid, value(tid));
    await until('they are spilled', () => store.spilled >= 24 * MIB);
    expect(store.nbytes).toBe(30 * MIB);
    expect(files(path).length).toBe(24);
    expect(evicted.sort((a, b) => a - b)).toEqual(Array.from({ length: 24 }, (_, i) => i + 1));
    for (let tid = 1; tid <= 30; tid++) {
      await store.pin([tid]);
      expect(store.get(tid)?.frames[0]?.every(byte => byte === tid)).toBe(true);
      store.unpin([tid]);
    }
    for (let tid = 1; tid <= 30; tid++) expect(store.delete(tid)).toBe(true);
    await until('no file is left', () => files(path).length === 0);
    expect([store.nbytes, store.spilled, store.size, store.fileBytes]).toEqual([0, 0, 0, 0]);
    await store.close();
    expect(readdirSync(path)).toEqual([]);
  });

  test('gives memory back at once, but not what somebody has borrowed', async () => {
    const { store } = create();
    const [kept, lent] = [value(1), value(2)];
    store.put(1, kept);
    store.put(2, lent);
    expect(store.lend(2)).toBe(lent);
    store.delete(1);
    store.delete(2);
    await until('it is detached', () => kept.frames[0]?.length === 0);
    expect(lent.frames[0]?.length).toBe(MIB);
    store.giveBack(lent);
  });

  test('says which values its disk has lost', async () => {
    const { store, path, lost, log } = create();
    for (let tid = 1; tid <= 12; tid++) store.put(tid, value(tid));
    await until('some are spilled', () => store.spilled >= 6 * MIB);
    const [folder] = readdirSync(path);
    for (const file of files(path))
      writeFileSync(join(path, folder ?? '', file), 'garbage of a file');
    await store.pin([1, 12]);
    expect(lost).toEqual([1]);
    expect(store.has(1)).toBe(false);
    expect(store.get(12)?.nbytes).toBe(MIB);
    expect(log.join()).toMatch(/could not be read back.*no file of a value/);
  });

  test('values dropped and put again while files are under way are the new ones', async () => {
    const { store } = create();
    for (let round = 0; round < 20; round++) {
      for (let tid = 1; tid <= 12; tid++) store.put(tid, value(tid + round));
      const coming = store.pin([1, 2, 3]);
      if (round % 2 === 0) store.delete(2);
      await coming;
      expect(store.get(1)?.frames[0]?.[0]).toBe(1 + round);
      store.unpin([1, 3]);
      if (round % 2 === 1) store.unpin([2]);
    }
  });
});

describe('its folder', () => {
  test('is removed when its process is dead, and left alone while it lives', () => {
    const path = parent();
    const own = new ProcessFolder('worker', path);
    own.file('x');
    const [name = ''] = readdirSync(path);
    const dead = name.replace(`-${process.pid}-`, '-4194305-');
    const elsewhere = name.replace(/worker-\w{12}-/, 'worker-0123456789ab-');
    for (const folder of [dead, elsewhere]) mkdirSync(join(path, folder));
    const other = new ProcessFolder('worker', path);
    other.file('y');
    expect(existsSync(join(path, dead))).toBe(false);
    expect(existsSync(join(path, elsewhere))).toBe(true);
    expect(existsSync(join(path, name))).toBe(true);
    own.remove();
    other.remove();
    expect(readdirSync(path)).toEqual([elsewhere]);
  });
});

/** A file system of 3 MiB, where this user may make one. */
function smallDisk(): string | null {
  const path = parent();
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', path], { stdio: 'ignore' });
    return path;
  } catch {
    return null;
  }
}

describe('a full disk', () => {
  test('keeps values in memory, says so, and is used again when there is room', async context => {
    const path = smallDisk();
    if (path === null) return context.skip();
    try {
      const { store, log } = create(path);
      // Noise, so that it does not shrink.
      const noise = (): StoredValue => {
        const frame = randomBytes(MIB);
        return { family: 'plain', frames: [frame], nbytes: MIB, type: 'Uint8Array' };
      };
      for (let tid = 1; tid <= 12; tid++) store.put(tid, noise());
      await until('it is full', () => store.trouble !== '');
      await until('nothing is under way', () => store.leaving === 0);
      expect(store.trouble).toContain('no space is left');
      expect(log.filter(line => line.includes('no space is left')).length).toBe(1);
      expect(store.nbytes).toBe(12 * MIB);
      for (let tid = 1; tid <= 12; tid++) {
        await store.pin([tid]);
        expect(store.get(tid)?.nbytes).toBe(MIB);
        store.unpin([tid]);
      }
      for (let tid = 1; tid <= 10; tid++) store.delete(tid);
      await until('it is tried again', () => {
        for (let tid = 13; tid <= 18; tid++) if (!store.has(tid)) store.put(tid, noise());
        store.measured(0);
        return store.trouble === '' && store.spilled > 0;
      });
      await store.close();
    } finally {
      execFileSync('umount', [path]);
    }
  });
});
