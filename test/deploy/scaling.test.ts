/**
 * Workers of real processes that leave: scaled down, retired, ended by SIGTERM. What they hold is
 * scattered data, which is lost for good when it is not moved.
 */
import { describe, expect, it } from 'vitest';
import { Client } from '../../src/client/client.ts';
import { LocalCluster } from '../../src/deploy/local.ts';
import { familyOf, lives, ownRuntimeFolder, until } from './processes.ts';

ownRuntimeFolder();

const OPTIONS = { threadsPerWorker: 1, memoryLimit: '1 GiB' };

async function scatterMany(client: Client, count: number) {
  return Promise.all(
    Array.from({ length: count }, (_, i) => client.scatter(new Float64Array(2000).fill(i)))
  );
}

async function expectAll(client: Client, futures: Awaited<ReturnType<typeof scatterMany>>) {
  const values = await client.gather(futures);
  expect(values.map(value => value[7])).toEqual(futures.map((_, i) => i));
}

describe('workers that leave', () => {
  it('are scaled down without losing data, and scaling up again is no hurry', async () => {
    await using cluster = await LocalCluster.create({ ...OPTIONS, workers: 3 });
    await using client = await Client.connect(cluster);
    const data = await scatterMany(client, 30);
    const held = new Set(Object.values(await client.whoHas(data)).flat());
    expect(held.size).toBe(3);
    await cluster.scale(1);
    await until('one worker', async () => (await cluster.info()).workers.running === 1);
    await expectAll(client, data);
    await cluster.scale(2);
    await until('two workers', async () => (await cluster.info()).workers.running === 2);
    await expectAll(client, data);
  });

  it('move their data and give back their tasks on SIGTERM, and are not started again', async () => {
    await using cluster = await LocalCluster.create({ ...OPTIONS, workers: 2 });
    await using client = await Client.connect(cluster);
    const data = await scatterMany(client, 20);
    const slow = client.map(
      async (i: number) => new Promise<number>(resolve => setTimeout(() => resolve(i), 300)),
      [0, 1, 2, 3, 4, 5]
    );
    const [victim] = familyOf(process.pid).workers as [number];
    process.kill(victim, 'SIGTERM');
    await until('it has ended', () => !lives(victim));
    await until('it is known to be gone', async () => {
      const { running, starting } = (await cluster.info()).workers;
      return running === 1 && starting === 0;
    });
    await expectAll(client, data);
    expect(await client.gather(slow)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(familyOf(process.pid).workers).toHaveLength(1);
  });

  it('go at once on SIGTERM when nobody can take their data', async () => {
    await using cluster = await LocalCluster.create({ ...OPTIONS, workers: 1 });
    await using client = await Client.connect(cluster);
    const data = await client.scatter(1);
    const [victim] = familyOf(process.pid).workers as [number];
    process.kill(victim, 'SIGTERM');
    await expect(client.submit((x: number) => x, data).result()).rejects.toThrow(
      /the last worker that held it is gone/
    );
    const lines = (await cluster.logs()).logs.flatMap(log => log.lines).join('\n');
    expect(lines).toMatch(/leaves \(ended by SIGTERM\): no other worker runs that could take/);
  });

  it('are retired by a client, or kept with a reason', async () => {
    await using cluster = await LocalCluster.create({ ...OPTIONS, workers: 2 });
    await using client = await Client.connect(cluster);
    const data = await scatterMany(client, 10);
    const { members } = await client.schedulerInfo();
    const [first, second] = Object.values(members).map(({ name }) => name) as [string, string];
    expect(await client.retireWorkers({ workers: first })).toMatchObject([
      { name: first, outcome: 'closed', lost: 0 }
    ]);
    await until('one worker', async () => (await cluster.info()).workers.running === 1);
    expect(await client.retireWorkers({ workers: second })).toMatchObject([
      {
        name: second,
        outcome: 'kept',
        reason: 'no other worker runs that could take the 10 values that only it holds'
      }
    ]);
    await expectAll(client, data);
    expect(await client.submit(() => 1).result()).toBe(1);
    await expect(client.retireWorkers({ workers: 'nobody' })).rejects.toThrow(/is called nobody/);
  });
});

describe('copies', () => {
  it('are moved from a full worker to an empty one', async () => {
    await using cluster = await LocalCluster.create({ ...OPTIONS, memoryLimit: 0, workers: 2 });
    await using client = await Client.connect(cluster);
    const { members } = await client.schedulerInfo();
    const [full] = Object.keys(members) as [string];
    const there = client.with({ workers: full });
    const data = await Promise.all(
      Array.from({ length: 20 }, (_, i) => there.scatter(new Float64Array(500_000).fill(i)))
    );
    expect(await client.rebalance()).toBeGreaterThan(4);
    const lists = Object.values(await client.whoHas(data));
    expect(lists.every(list => list.length === 1)).toBe(true);
    expect(lists.filter(list => list[0] !== full).length).toBeGreaterThan(4);
    const values = await client.gather(data);
    expect(values.map(value => value[7])).toEqual(data.map((_, i) => i));
  });

  it('are made on as many workers as asked for, by broadcast on all', async () => {
    await using cluster = await LocalCluster.create({ ...OPTIONS, workers: 4 });
    await using client = await Client.connect(cluster);
    const everywhere = await client.scatter(new Float64Array(100_000), { broadcast: true });
    const one = client.submit(() => new Float64Array(1000));
    await client.replicate([one], { count: 3 });
    const holders = await client.whoHas([everywhere, one]);
    expect(holders[everywhere.key]).toHaveLength(4);
    expect(holders[one.key]).toHaveLength(3);
    // Longer than the active memory manager's interval: they stay.
    await new Promise(resolve => setTimeout(resolve, 2500));
    expect((await client.whoHas([everywhere]))[everywhere.key]).toHaveLength(4);
    await client.replicate([everywhere, one], { count: 1 });
    await until('single copies', async () => {
      const lists = Object.values(await client.whoHas([everywhere, one]));
      return lists.every(list => list.length === 1);
    });
  });
});
