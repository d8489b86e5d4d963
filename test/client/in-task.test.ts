/** Tasks that have left their slots, on a cluster of one thread. */
import { expect, it } from 'vitest';
import { TaskTimeoutError } from '../../src/base/errors.ts';
import { getClient, getWorker, rejoin, secede } from '../../src/client/in-task.ts';
import { sleep, withCluster } from './cluster.ts';

const pair = withCluster({ workers: 1, threadsPerWorker: 1 });

/** Never ends, and has no slot. */
async function forever(): Promise<void> {
  const place = Symbol.for('taskloom.executor');
  interface Context {
    current(): { secede(): void };
  }
  (globalThis as unknown as Record<symbol, Context>)[place]?.current().secede();
  await new Promise(() => undefined);
}
const inc = (x: number): number => x + 1;

it('lets other tasks run meanwhile, and is killed by a forced cancel', async () => {
  const { client } = pair;
  const future = client.submit(forever);
  expect(await client.submit(inc, 1).result()).toBe(2);
  expect(Object.values(await client.processing()).flat()).toEqual([future.key]);
  client.cancel([future], { force: true });
  while (Object.values(await client.processing()).flat().length > 0) await sleep(10);
  expect(await client.submit(inc, 2).result()).toBe(3);
});

it('is killed by its timeout', async () => {
  const { client } = pair;
  const future = client.with({ timeout: 0.3 }).submit(forever);
  expect(await client.submit(inc, 1).result()).toBe(2);
  expect(await future.exception()).toBeInstanceOf(TaskTimeoutError);
  expect(await client.submit(inc, 2).result()).toBe(3);
});

it('is only for tasks', async () => {
  await expect(getClient()).rejects.toThrow(/works in a task only/);
  expect(() => getWorker()).toThrow(/works in a task only/);
  expect(() => secede()).toThrow(/works in a task only/);
  expect(() => rejoin()).toThrow(/works in a task only/);
});
