/**
 * What every deploy backend must do, told once: a backend's own test file calls `clusterContract`
 * with a function that makes a cluster of it. Real processes, a real scheduler.
 */
import { expect, it } from 'vitest';
import { listConnectionFiles } from '../../src/config/connection-file.ts';
import { Client } from '../../src/client/client.ts';
import type { Cluster } from '../../src/deploy/cluster.ts';
import { until } from './processes.ts';

/** Makes a cluster with this many workers of one thread. */
export type MakeCluster = (options: { workers: number; name?: string }) => Promise<Cluster>;

/** Registers the tests of the contract in the current `describe`. */
export function clusterContract(make: MakeCluster): void {
  it('is there with all its workers when it has been made', async () => {
    await using cluster = await make({ workers: 2 });
    const facts = await cluster.info();
    expect(facts.workers.running).toBe(2);
    expect(facts.threads).toBe(2);
    expect(facts).toMatchObject({ id: cluster.id, kind: cluster.kind, address: cluster.address });
  });

  it('is found by its connection file while it runs, and only then', async () => {
    const cluster = await make({ workers: 1, name: 'found by name' });
    const [file] = listConnectionFiles();
    expect(file).toMatchObject({
      id: cluster.id,
      name: 'found by name',
      kind: cluster.kind,
      address: cluster.address,
      token: cluster.token
    });
    await cluster.close();
    expect(listConnectionFiles()).toEqual([]);
  });

  it('scales up and down', async () => {
    await using cluster = await make({ workers: 2 });
    for (const workers of [4, 1]) {
      await cluster.scale(workers);
      await until(`${workers} workers`, async () => {
        const { running, starting } = (await cluster.info()).workers;
        return running === workers && starting === 0;
      });
    }
  });

  it('adapts to its work, upwards and downwards, until it is scaled by hand', async () => {
    await using cluster = await make({ workers: 0 });
    await cluster.adapt({ minimum: 1, maximum: 3 });
    const running = async (): Promise<number> => (await cluster.info()).workers.running;
    await until('the minimum', async () => (await running()) === 1);
    await using client = await Client.connect(cluster);
    const pause = (ms: number) => new Promise(resolve => setTimeout(resolve, ms));
    const futures = client.map(
      async (ms: number) => new Promise<number>(resolve => setTimeout(() => resolve(ms), ms)),
      Array<number>(12).fill(700)
    );
    await until('more workers for the work', async () => (await running()) > 1);
    expect(await client.gather(futures)).toHaveLength(12);
    await until('the minimum again', async () => (await running()) === 1);
    // Their results were moved before they went.
    expect(await client.gather(futures)).toHaveLength(12);
    await cluster.scale(2);
    await until('two workers', async () => (await running()) === 2);
    await pause(4500);
    expect((await cluster.info()).workers.running).toBe(2);
    await expect(cluster.adapt({ minimum: 4, maximum: 3 })).rejects.toThrow(/Adapt between/);
  });

  it('refuses to scale to what is no number of workers', async () => {
    await using cluster = await make({ workers: 0 });
    await expect(cluster.scale(-1)).rejects.toThrow(/workers must be a whole number/);
    await expect(cluster.scale(1.5)).rejects.toThrow(/it was 1.5/);
  });

  it('says how many workers came when the wait for them ends', async () => {
    await using cluster = await make({ workers: 1 });
    await cluster.waitForWorkers(1);
    await expect(cluster.waitForWorkers(2, { timeoutMs: 100 })).rejects.toThrow(
      /1 of 2 workers .* came within 0.1 s/
    );
  });

  it('restarts its workers', async () => {
    await using cluster = await make({ workers: 1 });
    await cluster.restartWorkers();
    await until('a log of the restart', async () => {
      const lines = (await cluster.logs()).logs.flatMap(log => log.lines);
      return lines.some(line => line.includes('is gone: restarted'));
    });
    await cluster.waitForWorkers(1);
  });

  it('shows the lines of its scheduler and workers', async () => {
    await using cluster = await make({ workers: 1 });
    const { logs } = await cluster.logs();
    expect(logs.map(log => log.source)).toContain('scheduler');
    expect(logs.flatMap(log => log.lines).join('\n')).toMatch(/worker \S+ registered/);
  });

  it('refuses whoever has not its token', async () => {
    await using cluster = await make({ workers: 0 });
    const answer = await fetch(`${cluster.address}/api/info`, {
      headers: { Authorization: 'Bearer wrong' }
    });
    expect(answer.status).toBe(401);
  });

  it('never shows its token', async () => {
    await using cluster = await make({ workers: 0 });
    const { inspect } = await import('node:util');
    for (const text of [String(cluster), inspect(cluster)]) {
      expect(text).toContain(cluster.id);
      expect(text).not.toContain(cluster.token);
    }
  });

  it('closes once, says why, and tells so whoever uses it after that', async () => {
    const cluster = await make({ workers: 1 });
    await Promise.all([cluster.close('we are done'), cluster.close('again')]);
    await cluster.close();
    expect(await cluster.finished).toBe('we are done');
    await expect(cluster.scale(2)).rejects.toThrow(/has ended: we are done/);
    await expect(fetch(`${cluster.address}/health`)).rejects.toThrow();
  });
}
