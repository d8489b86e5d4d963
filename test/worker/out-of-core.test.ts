/**
 * A real cluster that works on more than its workers' memory: it spills and finishes within the
 * limits; without spilling it pauses and says why.
 */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { readResident } from '../../src/nanny/resident.ts';
import { withCluster } from '../client/cluster.ts';
import { until } from '../deploy/processes.ts';

const MIB = 2 ** 20;
const LIMIT = 320 * MIB;

interface Member {
  pid: number;
  status: string;
  metrics: { managed: number; spilled: number } | null;
}

/** 8 MiB of noise that `check` knows. */
const make = (i: number): Float64Array => {
  const values = new Float64Array(2 ** 20);
  for (let k = 0; k < values.length; k++) values[k] = i + Math.random() / 2;
  return values;
};
const check = (values: Float64Array): number => {
  let sum = 0;
  for (const value of values) sum += Math.floor(value);
  return sum / values.length;
};

describe('values of three times the memory', () => {
  const folder = mkdtempSync(join(tmpdir(), 'taskloom-spill-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const pair = withCluster({
    workers: 2,
    threadsPerWorker: 1,
    memoryLimit: LIMIT,
    localDirectory: folder
  });

  it('are all kept, and read twice, within the limits', async () => {
    const { client } = pair;
    const members = async (): Promise<Member[]> =>
      Object.values((await client.schedulerInfo()).members as unknown as Record<string, Member>);
    const pids = (await members()).map(member => member.pid);
    let peak = 0;
    const watch = setInterval(() => {
      readResident(pids, Infinity, (_, rss) => (peak = Math.max(peak, rss)));
    }, 20);
    try {
      const count = (3 * 2 * LIMIT) / (8 * MIB);
      const inputs = [...Array(count).keys()];
      const values = client.map(make, inputs);
      expect(await client.gather(client.map(check, values))).toEqual(inputs);
      const spilled = (await members()).reduce((sum, one) => sum + (one.metrics?.spilled ?? 0), 0);
      expect(spilled).toBeGreaterThan(2 * 2 * LIMIT);
      // Another function, or the results would be known already.
      const again = (one: Float64Array): number => Math.floor(one[7] ?? 0);
      expect(await client.gather(client.map(again, values))).toEqual(inputs);
      expect((await client.gather([values[0] as never]))[0]).toHaveLength(2 ** 20);
      for (const value of values) value.release();
      // No worker was ended for its memory.
      expect((await members()).map(member => member.pid).sort()).toEqual(pids.sort());
      expect(peak).toBeLessThan(LIMIT);
    } finally {
      clearInterval(watch);
    }
    await until('no file is left', () => {
      return readdirSync(folder).every(name => readdirSync(join(folder, name)).length === 0);
    });
  }, 180_000);
});

describe('without spilling', () => {
  const pair = withCluster({
    workers: 1,
    threadsPerWorker: 1,
    memoryLimit: LIMIT,
    memory: { target: false, spill: false, terminate: false }
  });

  it('a worker pauses, and log and explain say why', async () => {
    const { client, cluster } = pair;
    const values = client.map(make, [...Array(70).keys()]);
    const last = values[69] as (typeof values)[number];
    const text = await until('it is explained', async () => {
      const said = await client.explain(last.key);
      return said.includes('paused') ? said : null;
    });
    expect(text).toMatch(/uses \d+ MiB, \d+ % of its memory limit of 320 MiB/);
    expect(text).toContain('pauses at 80 %; spilling is off');
    const { logs } = await cluster.logs();
    const lines = logs.flatMap(log => log.lines);
    expect(lines.find(line => line.includes('Paused: it uses'))).toContain('spilling is off');
    // Values go, and it goes on.
    for (const value of values.slice(0, 64)) value.release();
    expect(await client.submit(check, last).result({ timeout: 60 })).toBe(69);
  }, 120_000);
});
