/** Real clusters whose workers hang, and that have nothing to do. */
import { describe, expect, it } from 'vitest';
import { Client } from '../../src/client/client.ts';
import { LocalCluster } from '../../src/deploy/local.ts';
import { familyOf, lives, ownRuntimeFolder, until } from '../deploy/processes.ts';

ownRuntimeFolder();
const MEMORY = '512 MiB';

describe('worker-ttl', () => {
  it('a worker that hangs is started anew, and its task runs elsewhere', async () => {
    await using cluster = await LocalCluster.create({
      workers: 2,
      threadsPerWorker: 1,
      memoryLimit: MEMORY,
      workerTtl: '1 s'
    });
    await using client = await Client.connect(cluster);
    const { workers } = familyOf(process.pid);
    const futures = client.map(
      (i: number) => new Promise<number>(resolve => setTimeout(() => resolve(2 * i), 500)),
      [1, 2, 3, 4]
    );
    process.kill(workers[0] as number, 'SIGSTOP');
    expect(await client.gather(futures)).toEqual([2, 4, 6, 8]);
    await until('the hung process is gone', () => !lives(workers[0] as number));
    await client.waitForWorkers(2, { timeout: 20 });
    const lines = (await client.logs()).flatMap(log => log.lines).join('\n');
    expect(lines).toMatch(/worker worker-\d: nothing was heard of it for [\d.]+ s \(worker-ttl\)/);
  }, 60_000);
});

describe('idle-timeout', () => {
  it('ends the cluster with all its processes, and says why', async () => {
    const cluster = await LocalCluster.create({
      workers: 1,
      threadsPerWorker: 1,
      memoryLimit: MEMORY,
      idleTimeout: 2
    });
    const family = familyOf(process.pid);
    await using client = await Client.connect(cluster);
    const slow = client.submit(
      () => new Promise<string>(resolve => setTimeout(() => resolve('not idle'), 3000))
    );
    expect(await slow.result()).toBe('not idle');
    const said = 'closed by its idle timeout: there was nothing to do for 2 s';
    expect(await cluster.finished).toBe(said);
    await until('all processes have ended', () => !family.all.some(lives));
    expect(client.toString()).toContain(said);
  }, 60_000);
});
