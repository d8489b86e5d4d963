/** What the command tells of tasks of a real cluster. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { commandPath, nodePath } from '../../src/config/runtime.ts';
import { withCluster } from '../client/cluster.ts';
import { until } from '../deploy/processes.ts';

const environment = { TASKLOOM_TEST_FLAG: 'from the cluster', OMP_NUM_THREADS: '3' };
const pair = withCluster({ name: 'asked', workers: 1, threadsPerWorker: 2, environment });

const run = promisify(execFile);
const taskloom = async (...args: string[]): Promise<string> =>
  (await run(nodePath(), [commandPath(), 'cluster', ...args])).stdout;

it('explain, story and stacks', async () => {
  const { client } = pair;
  expect(await taskloom('stacks', 'asked')).toBe('No task is running.\n');
  const spin = client.with({ key: 'the-spinner' }).submit(function spinning(ms: number) {
    const end = Date.now() + ms;
    let turns = 0;
    while (Date.now() < end) turns++;
    return turns;
  }, 5000);
  const stacks = await until('its stack', async () => {
    const text = await taskloom('stacks', 'asked');
    return text.includes('at spinning') ? text : null;
  });
  expect(stacks).toMatch(/^the-spinner on worker-0, for [\d.]+ s\n {4}at spinning \(.+:\d+:\d+\)/);
  expect(await taskloom('explain', 'asked', 'the-spinner')).toMatch(/^the-spinner: .*worker-0/);
  expect(await spin.result()).toBeGreaterThan(0);
  const story = await taskloom('story', 'asked', 'the-spinner');
  expect(story).toMatch(/^\d{4}-\S+Z scheduler: released -> waiting \(update-graph-/);
  expect(story).toMatch(/worker-0: executing -> memory/);
  await expect(taskloom('story', 'asked', 'no-such')).rejects.toMatchObject({
    stderr: expect.stringContaining('Nothing is known of no-such') as string
  });
}, 60_000);

it('workers have the environment that was asked for, before what their nanny sets', async () => {
  const seen = pair.client.submit(() => [
    process.env['TASKLOOM_TEST_FLAG'],
    process.env['OMP_NUM_THREADS'],
    process.env['OPENBLAS_NUM_THREADS']
  ]);
  expect(await seen.result()).toEqual(['from the cluster', '3', '1']);
});
