/** Two clients on one real cluster. */
import { expect, it } from 'vitest';
import { Client } from '../../src/client/client.ts';
import { withCluster } from './cluster.ts';

const pair = withCluster({ workers: 2, threadsPerWorker: 1 });

it('a small job ends while most of a large one, submitted before it, has not', async () => {
  const slow = (x: number): Promise<number> =>
    new Promise(resolve => setTimeout(() => resolve(x), 5));
  const large = pair.client.map(
    slow,
    Array.from({ length: 3000 }, (_, i) => i)
  );
  await large[0]?.result();
  const other = await Client.connect(pair.cluster);
  const quick = (x: number): number => x * x;
  const small = other.map(
    quick,
    Array.from({ length: 40 }, (_, i) => i)
  );
  expect((await other.gather(small)).at(-1)).toBe(39 * 39);
  expect(large.filter(future => future.done()).length).toBeLessThan(1500);
  expect(await pair.client.explain(large.at(-1)!)).toMatch(/room on a worker/);
  await other.close();
  pair.client.cancel(large);
});

it('a weight that makes no sense is refused before anything is dialled', async () => {
  await expect(Client.connect(pair.cluster, { weight: 0 })).rejects.toThrow(/weight must be/);
  const heavy = await Client.connect(pair.cluster, { weight: 5 });
  expect(await heavy.submit((x: number) => x + 1, 1).result()).toBe(2);
  await heavy.close();
});
