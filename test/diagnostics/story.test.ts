/** The life of a task as the scheduler and the workers of a real cluster tell it together. */
import { expect, it } from 'vitest';
import { withCluster } from '../client/cluster.ts';

const pair = withCluster();

it('is told by all who saw it, in the order in which it happened', async () => {
  const { client } = pair;
  const a = client.with({ workers: 'worker-0', key: 'the-input' }).submit(() => 'x'.repeat(50_000));
  await a.result();
  const b = client.with({ workers: 'worker-1' }).submit((text: string) => text.length, a);
  expect(await b.result()).toBe(50_000);
  const story = await client.story(a);
  expect(story.every(line => line.key === 'the-input')).toBe(true);
  expect(story.map(line => line.time)).toEqual(story.map(line => line.time).sort((x, y) => x - y));
  const steps = story.map(line => `${line.where} ${line.text}`);
  expect([...new Set(story.map(line => line.where))].sort()).toEqual([
    'scheduler',
    'worker-0',
    'worker-1'
  ]);
  // Assigned, computed, known to be done, fetched by the other.
  const order = [
    'scheduler waiting -> processing',
    'worker-0 executing -> memory',
    'worker-1 flight -> memory'
  ].map(step => steps.indexOf(step));
  expect(order).not.toContain(-1);
  expect(order).toEqual([...order].sort((x, y) => x - y));
  // One stimulus leads from the scheduler's decision to what the worker made of it.
  const assigned = story.find(line => line.where === 'scheduler' && line.finish === 'processing');
  const taken = story.find(line => line.where === 'worker-0');
  expect(taken?.stimulus).toBe(assigned?.stimulus);
});

it('of a key that nobody knows is empty', async () => {
  expect(await pair.client.story('no such key')).toEqual([]);
});
