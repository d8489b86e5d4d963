/** Tasks that outlive their client and datasets, on a real cluster. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { Client } from '../../src/client/client.ts';
import type { Future } from '../../src/client/future.ts';
import { fireAndForget } from '../../src/client/lasting.ts';
import { sleep, withCluster } from './cluster.ts';

const pair = withCluster();
const inc = (x: number): number => x + 1;

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 1500; i++) {
    if (await holds()) return;
    await sleep(10);
  }
  throw new Error('it never came true');
}

it('runs a task to its end after its client has left', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'taskloom-forget-'));
  const [go, done] = [join(folder, 'go'), join(folder, 'done')];
  const other = await Client.connect(pair.cluster);
  const first = other.submit(async () => {
    while (!existsSync(go)) await new Promise(resolve => setTimeout(resolve, 10));
    return 'text';
  });
  fireAndForget(other.submit((text: string) => writeFileSync(done, text), first));
  await other.close();
  writeFileSync(go, '');
  await until(() => existsSync(done));
  await until(async () => Object.values(await pair.client.whoHas()).length === 0);
  rmSync(folder, { recursive: true });
});

it('cancels a forgotten task by its key', async () => {
  const other = await Client.connect(pair.cluster);
  const forever = other.submit(() => {
    for (;;);
  });
  fireAndForget([forever]);
  await other.close();
  const { key } = forever;
  const runs = async () =>
    Object.values(await pair.client.processing())
      .flat()
      .includes(key);
  await until(runs);
  pair.client.cancel([key]);
  await pair.client.submit(inc, 1).result();
  expect(await runs()).toBe(true);
  pair.client.cancel([key], { force: true });
  await until(async () => !(await runs()));
  expect(await pair.client.submit(inc, 1).result()).toBe(2);
});

it('publishes a structure of futures for other clients', async () => {
  const maker = await Client.connect(pair.cluster);
  const parts = maker.map(inc, [1, 2, 3]);
  const table = await maker.scatter(new Float64Array([1, 2]));
  await maker.publishDataset('numbers', { parts, table, first: parts[0], note: 'three' });
  await maker.close();

  interface Numbers {
    parts: Future<number>[];
    table: Future<Float64Array>;
    first: Future<number>;
    note: string;
  }
  const { client } = pair;
  expect(await client.listDatasets()).toEqual(['numbers']);
  const found = await client.getDataset<Numbers>('numbers');
  expect(found.note).toBe('three');
  expect(found.first).toBe(found.parts[0]);
  expect(await client.gather(found.parts)).toEqual([2, 3, 4]);
  expect(await found.table.result()).toEqual(new Float64Array([1, 2]));
  expect(await client.submit(inc, found.first).result()).toBe(3);

  await expect(client.publishDataset('numbers', found.first)).rejects.toThrow(/published already/);
  await client.publishDataset('numbers', found.first, { override: true });
  expect(await (await client.getDataset<Future<number>>('numbers')).result()).toBe(2);
  await client.unpublishDataset('numbers');
  await expect(client.getDataset('numbers')).rejects.toThrow(/No dataset named numbers/);
  // Held by this client's futures only now.
  expect(await found.table.result()).toEqual(new Float64Array([1, 2]));
});
