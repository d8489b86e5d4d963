/**
 * Whole clusters under stress, each case the same at every run: much at once, cancelled, with
 * workers that come and go. What is asked is that all ends, with the right values, and that nothing
 * is left over.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, it } from 'vitest';
import { wait } from '../../src/client/collect.ts';
import type { Future } from '../../src/client/future.ts';
import { sleep, withCluster } from '../client/cluster.ts';
import { processes, until } from '../deploy/processes.ts';

const pair = withCluster({ workers: 3, threadsPerWorker: 1, memoryLimit: '1 GiB' });

const increment = (x: number): number => x + 1;
const add = (...terms: number[]): number => terms.reduce((a, b) => a + b, 0);

/** Pairs of pairs, down to one. */
function sumTree(futures: readonly Future<number>[]): Future<number> {
  let level = [...futures];
  while (level.length > 1) {
    const next: Future<number>[] = [];
    for (let i = 0; i < level.length; i += 2) {
      next.push(pair.client.submit(add, ...level.slice(i, i + 2)));
    }
    level = next;
  }
  return level[0] as Future<number>;
}

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

/** Nobody knows or holds anything any more; what no variable holds is collected. */
async function isAtRest(): Promise<void> {
  await until('all is forgotten', async () => {
    collectGarbage();
    const { members } = await pair.client.schedulerInfo();
    const held = Object.values(members).reduce((sum, one) => sum + one.inMemory, 0);
    return held === 0 && Object.keys(await pair.client.whoHas()).length === 0;
  });
}

function workerPids(): number[] {
  return processes()
    .filter(seen => seen.command.includes('worker --supervised'))
    .filter(seen => ancestors(seen.pid).includes(process.pid))
    .map(seen => seen.pid);
}

function ancestors(pid: number): number[] {
  const all = new Map(processes().map(seen => [seen.pid, seen.parent]));
  const found: number[] = [];
  for (let at = all.get(pid); at !== undefined; at = all.get(at)) found.push(at);
  return found;
}

it('lets go of all that a long chain has passed, as its futures are collected', async () => {
  const chain = (): Future<number> => {
    let future = pair.client.submit(increment, 0);
    for (let i = 1; i < 500; i++) future = pair.client.submit(increment, future);
    return future;
  };
  expect(await chain().result()).toBe(500);
  await isAtRest();
});

it('survives that everything is cancelled again and again', async () => {
  const { client } = pair;
  for (let round = 0; round < 8; round++) {
    const slow = client.map(
      (x: number) => new Promise<number>(resolve => setTimeout(resolve, 5, x)),
      Array.from({ length: 200 }, (_, i) => i)
    );
    const total = sumTree(slow);
    await sleep(20 * round);
    client.cancel([...slow, total], { force: round % 2 === 1 });
    expect(total.cancelled()).toBe(true);
  }
  expect(await sumTree(client.map(increment, [1, 2, 3])).result()).toBe(9);
  await isAtRest();
});

it('finishes while workers are started and ended all the time', async () => {
  const { client, cluster } = pair;
  const inputs = Array.from({ length: 120 }, (_, i) => i);
  const slow = client.map(
    (x: number) => new Promise<number>(resolve => setTimeout(resolve, 60, x)),
    inputs
  );
  const total = sumTree(slow);
  let done = false;
  const result = total.result().finally(() => (done = true));
  for (let round = 0; !done && round < 30; round++) {
    if (round % 3 === 2) {
      const [victim] = workerPids();
      if (victim !== undefined) process.kill(victim, 'SIGKILL');
    } else await cluster.scale([1, 4, 2, 3][round % 4] as number);
    await Promise.race([result, sleep(300)]);
  }
  expect(await result).toBe(add(...inputs));
  await cluster.scale(3);
  await cluster.waitForWorkers(3);
  for (const future of [...slow, total]) future.release();
  await isAtRest();
}, 120_000);

it('computes with scattered data while its holders die, as long as one is left', async () => {
  const { client, cluster } = pair;
  const body = new Uint8Array(500_000).fill(3);
  const data = await client.scatter(body, { broadcast: true });
  const sums = client.map(
    async (bytes: Uint8Array, extra: number) => {
      await new Promise(resolve => setTimeout(resolve, 20));
      return (bytes[0] ?? 0) * bytes.length + extra;
    },
    Array.from({ length: 60 }, () => data),
    Array.from({ length: 60 }, (_, i) => i)
  );
  for (const victim of workerPids().slice(0, 2)) process.kill(victim, 'SIGKILL');
  const values = await client.gather(sums);
  expect(values).toEqual(Array.from({ length: 60 }, (_, i) => 1_500_000 + i));
  for (const future of [data, ...sums]) future.release();
  await cluster.waitForWorkers(3);
  await isAtRest();
}, 60_000);

it('carries every value to every worker', async () => {
  const { client } = pair;
  const parts = client.map(
    (i: number) => new Float64Array(100_000).fill(i),
    Array.from({ length: 12 }, (_, i) => i)
  );
  const last = (a: Float64Array, b: Float64Array): number => (a.at(-1) ?? 0) * 100 + (b[0] ?? 0);
  const products = parts.flatMap(a => parts.map(b => client.submit(last, a, b)));
  const values = await client.gather(products);
  expect(values).toEqual(
    Array.from({ length: 144 }, (_, i) => 100 * Math.floor(i / 12) + (i % 12))
  );
  for (const future of [...parts, ...products]) future.release();
  await isAtRest();
});

it('gives workers that come later a share of what waits', async () => {
  const { client, cluster } = pair;
  await cluster.scale(1);
  await until('one is left', async () => (await cluster.info()).workers.running === 1);
  const where = client.map(
    async () => {
      await new Promise(resolve => setTimeout(resolve, 25));
      return process.pid;
    },
    Array.from({ length: 400 }, (_, i) => i)
  );
  await wait(where.slice(0, 5));
  await cluster.scale(3);
  const pids = await client.gather(where);
  expect(new Set(pids).size).toBe(3);
  for (const future of where) future.release();
  await isAtRest();
}, 60_000);
