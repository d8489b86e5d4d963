/**
 * Workers that die in a real cluster: only tasks that were executing are blamed, and their error
 * says how the process ended.
 */
import { describe, expect, it } from 'vitest';
import { KilledWorkerError } from '../../src/base/errors.ts';
import { withCluster } from '../client/cluster.ts';

const OPTIONS = { workers: 1, threadsPerWorker: 1, memoryLimit: '300 MiB' };

async function killed(promise: Promise<unknown>): Promise<KilledWorkerError> {
  const error = await promise.then(
    () => new Error('it did not fail'),
    (reason: unknown) => reason
  );
  expect(error).toBeInstanceOf(KilledWorkerError);
  return error as KilledWorkerError;
}

// Each has a cluster of its own: a nanny gives up a worker that dies ten times a minute.
describe('a worker that dies', () => {
  const pair = withCluster(OPTIONS);
  it('is blamed on the task that ran, not on those before and behind it', async () => {
    const { client } = pair;
    const inc = (x: number): number => x + 1;
    // So that short tasks are handed to the thread many at a time.
    await client.gather(client.map(inc, [...Array(200).keys()]));
    const deadly = (): void => process.kill(process.pid, 'SIGKILL') as unknown as void;
    const before = client.map(
      inc,
      [...Array(20).keys()].map(x => 1000 + x)
    );
    const killer = client.submit(deadly);
    const behind = client.map(
      inc,
      [...Array(20).keys()].map(x => 2000 + x)
    );
    const error = await killed(killer.result({ timeout: 60 }));
    expect(error.key).toBe(killer.key);
    expect(error.message).toContain('4 workers that died');
    expect(error.message).toContain('killed by SIGKILL');
    expect(await client.gather(before)).toEqual([...Array(20).keys()].map(x => 1001 + x));
    expect(await client.gather(behind)).toEqual([...Array(20).keys()].map(x => 2001 + x));
    for (const innocent of [...before, ...behind]) {
      expect(await client.explain(innocent.key)).not.toContain('died while executing it');
    }
    expect(await client.explain(killer.key)).toContain('4 workers died while executing it');
  }, 90_000);
});

describe('a worker that dies', () => {
  const pair = withCluster(OPTIONS);
  it('by a fault of its own says the signal and its last lines', async () => {
    const { client } = pair;
    const crash = (): void => {
      process.stderr.write('about to divide by zero\n');
      return new Promise<void>(resolve => setTimeout(resolve, 100)).then(() =>
        process.kill(process.pid, 'SIGSEGV')
      ) as unknown as void;
    };
    const error = await killed(client.submit(crash).result({ timeout: 60 }));
    expect(error.message).toContain('killed by SIGSEGV');
    expect(error.message).toContain('about to divide by zero');
  }, 90_000);
});

describe('a worker that dies', () => {
  const pair = withCluster(OPTIONS);
  it('of memory says the limit and what it used', async () => {
    const { client } = pair;
    const eat = async (): Promise<void> => {
      const eaten: Uint8Array[] = [];
      for (;;) {
        eaten.push(new Uint8Array(16 * 2 ** 20).fill(1));
        await new Promise(resolve => setTimeout(resolve, 20));
      }
    };
    const error = await killed(client.submit(eat).result({ timeout: 60 }));
    expect(error.message).toMatch(/out of memory \(limit 300 MiB\): it used \d+ MiB/);
    expect(error.message).toContain('95 % of its limit');
  }, 90_000);
});

describe('a worker that lives', () => {
  const pair = withCluster(OPTIONS);
  it("a thread whose heap is full fails its task only, naming the heap's limit", async () => {
    const { client } = pair;
    const fill = (): number => {
      const kept: object[] = [];
      for (;;) kept.push({ kept: kept.length, text: `${kept.length}` });
    };
    const error = (await client
      .submit(fill)
      .result({ timeout: 60 })
      .catch((reason: unknown) => reason)) as Error & { code: string };
    expect(error.code).toBe('WORKER_MEMORY');
    expect(error.message).toMatch(/needed more than its executor's heap of \d+ MiB/);
    expect(await client.submit((x: number) => x, 7).result()).toBe(7);
  }, 90_000);
});
