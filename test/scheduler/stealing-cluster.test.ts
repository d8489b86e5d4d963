/** Real clusters: work moves to workers that come, and what no worker meets is told of. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Client } from '../../src/client/client.ts';
import type { Warning } from '../../src/client/session.ts';
import { LocalCluster } from '../../src/deploy/local.ts';
import { schedulingNumbers, schedulingSetup } from '../../src/deploy/scheduling.ts';
import { ownRuntimeFolder } from '../deploy/processes.ts';

ownRuntimeFolder();
const SHAPE = { workers: 1, threadsPerWorker: 1, memoryLimit: '512 MiB' };

describe('a cluster that grows', () => {
  it('shares out what waits on its only worker; each task runs once', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'steal-'));
    try {
      // Without a queue all of them are given to the one that is there.
      await using cluster = await LocalCluster.create({ ...SHAPE, workerSaturation: Infinity });
      await using client = await Client.connect(cluster);
      const input = await client.scatter([1, 2, 3]);
      const log = join(folder, 'runs');
      const futures = client.map(
        async (i: number, data: number[]) => {
          process.getBuiltinModule('node:fs').appendFileSync(log, `${i}\n`);
          await new Promise(resolve => setTimeout(resolve, 200));
          return { pid: process.pid, sum: data.reduce((a, b) => a + b, i) };
        },
        Array.from({ length: 50 }, (_, i) => i),
        Array.from({ length: 50 }, () => input)
      );
      await cluster.scale(3);
      const results = await client.gather(futures);
      expect(results.map(({ sum }) => sum)).toEqual(results.map((_, i) => i + 6));
      expect(new Set(results.map(({ pid }) => pid)).size).toBeGreaterThan(1);
      const runs = readFileSync(log, 'utf8').trim().split('\n');
      expect(new Set(runs).size).toBe(50);
      expect(runs).toHaveLength(50);
    } finally {
      rmSync(folder, { recursive: true });
    }
  }, 60_000);
});

describe('tasks that no worker may run', () => {
  it('are warned of at once, explained, and fail after the time that was set', async () => {
    await using cluster = await LocalCluster.create({ ...SHAPE, noWorkersTimeout: 1 });
    const warnings: Warning[] = [];
    await using client = await Client.connect(cluster, { onWarning: one => warnings.push(one) });
    const gpu = client.with({ resources: { GPU: 1 }, retries: 2 });
    const futures = gpu.map((x: number) => x, [1, 2]);
    await expect.poll(() => warnings).toHaveLength(1);
    expect(warnings[0]).toMatchObject({ code: 'NO_VALID_WORKER', keys: [futures[0]?.key] });
    expect(await client.explain(futures[1] ?? '')).toContain('resources');
    await expect(futures[1]?.result()).rejects.toThrow(
      /found no worker within 1 s.*resources \{"GPU":1\}/
    );
    const lines = (await client.logs()).flatMap(log => log.lines).join('\n');
    expect(lines).toContain('ask for resources {"GPU":1} cannot run');
    expect(await client.submit(() => 'fine').result()).toBe('fine');
  }, 60_000);

  it('run where resources are, no more at a time than these allow', async () => {
    await using cluster = await LocalCluster.create({
      ...SHAPE,
      threadsPerWorker: 3,
      resources: { GPU: 1 }
    });
    await using client = await Client.connect(cluster);
    const gpu = client.with({ resources: { GPU: 1 }, workers: 'nowhere', allowOtherWorkers: true });
    const spans = await client.gather(
      gpu.map(async () => {
        const start = Date.now();
        await new Promise(resolve => setTimeout(resolve, 20));
        return [start, Date.now()] as const;
      }, Array<number>(8).fill(0))
    );
    spans.sort((a, b) => a[0] - b[0]);
    spans
      .slice(1)
      .forEach(([start], i) => expect(start).toBeGreaterThanOrEqual(spans[i]?.[1] ?? 0));
  }, 60_000);
});

describe('scheduling options', () => {
  it('reach the scheduler as numbers', () => {
    const setup = schedulingSetup({
      workerSaturation: 'inf',
      allowedFailures: 0,
      noWorkersTimeout: '1 min',
      stealInterval: 0
    });
    expect(schedulingNumbers(JSON.parse(JSON.stringify(setup)) as typeof setup)).toEqual({
      workerSaturation: Infinity,
      allowedFailures: 0,
      noWorkersTimeout: 60_000,
      stealInterval: 0
    });
    expect(schedulingSetup({})).toEqual({});
  });

  it.each([
    [{ workerSaturation: 0 }, /workerSaturation must be a number above 0/],
    [{ workerSaturation: 'much' }, /"inf" for no queue, not "much"/],
    [{ allowedFailures: 1.5 }, /allowedFailures must be a whole number/],
    [{ noWorkersTimeout: 'soon' }, /"soon" is not a span of time/]
  ])('%o is refused', (options, message) => {
    expect(() => schedulingSetup(options)).toThrow(message);
  });
});
