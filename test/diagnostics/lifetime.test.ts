/** Workers whose time is up leave in order, over real processes: nothing is lost and nobody blamed. */
import { afterEach, describe, expect, it } from 'vitest';
import { Client } from '../../src/client/client.ts';
import { lifetimeOf, lifetimeShape } from '../../src/config/lifetime.ts';
import type { LifetimeShape } from '../../src/config/lifetime.ts';
import { LocalCluster } from '../../src/deploy/local.ts';
import { createNannyId } from '../../src/nanny/link.ts';
import { Nanny } from '../../src/nanny/nanny.ts';
import { lives, ownRuntimeFolder, processes, until } from '../deploy/processes.ts';

ownRuntimeFolder();

const nannies: Nanny[] = [];
afterEach(async () => {
  for (const nanny of nannies.splice(0)) await nanny.close('the test is over');
});

/** A host beside the cluster whose one worker has a lifetime. */
async function mortalHost(cluster: LocalCluster, lifetime: LifetimeShape): Promise<string> {
  const id = createNannyId();
  const shape = { threads: 1, memoryLimit: 0, host: '127.0.0.1', insecure: false, resources: {} };
  const nanny = await Nanny.start({
    id,
    token: cluster.token,
    schedulerAddress: cluster.address,
    workers: 1,
    shape: { ...shape, root: process.cwd(), drainTimeout: 10_000, lifetime }
  });
  nannies.push(nanny);
  return `${id}-worker-0`;
}

/** The worker below this process, if there is one. */
const mortal = (): number | undefined =>
  processes().find(
    seen => seen.parent === process.pid && seen.command.includes('worker --supervised')
  )?.pid;

const ALONE = { workers: 1, threadsPerWorker: 1, memoryLimit: 0 };

describe('a lifetime', () => {
  it('ends with values moved to others, and another worker in its place', async () => {
    await using cluster = await LocalCluster.create(ALONE);
    await using client = await Client.connect(cluster);
    const name = await mortalHost(cluster, { lifetimeMs: 2000, staggerMs: 0, restart: true });
    const first = mortal() as number;
    const future = client.with({ workers: name }).submit(() => process.pid);
    expect(await future.result()).toBe(first);
    await until('it has ended', () => !lives(first));
    await until('its value is elsewhere', async () => {
      return Object.values(await client.whoHas([future]))[0]?.length === 1;
    });
    const runs = (await client.story(future)).filter(
      ({ where, finish }) => where === 'scheduler' && finish === 'processing'
    );
    expect(runs).toHaveLength(1);
    const second = await until('another in its place', () => mortal());
    expect(second).not.toBe(first);
    const lines = (await client.logs()).flatMap(log => log.lines).join('\n');
    expect(lines).toMatch(/its lifetime of 2 s is over/);
  }, 60_000);

  it('without a restart leaves its place empty', async () => {
    await using cluster = await LocalCluster.create(ALONE);
    await mortalHost(cluster, { lifetimeMs: 1000, staggerMs: 0, restart: false });
    const first = mortal() as number;
    await until('it has ended', () => !lives(first));
    // Longer than any pause before a start.
    await new Promise(resolve => setTimeout(resolve, 1500));
    expect(mortal()).toBeUndefined();
    expect((await cluster.info()).workers).toMatchObject({ running: 1, starting: 0 });
  }, 60_000);
});

describe('wishes', () => {
  it('are spans of time that make sense together', () => {
    expect(lifetimeShape({})).toBeUndefined();
    expect(
      lifetimeShape({ lifetime: '1 h', lifetimeStagger: '5 min', lifetimeRestart: true })
    ).toEqual({
      lifetimeMs: 3_600_000,
      staggerMs: 300_000,
      restart: true
    });
    expect(() => lifetimeShape({ lifetimeRestart: true })).toThrow(/only with a lifetime/);
    expect(() => lifetimeShape({ lifetime: 60, lifetimeStagger: '1 min' })).toThrow(
      /A lifetime of 60 cannot be staggered by 1 min/
    );
    expect(() => lifetimeShape({ lifetime: 'soon' })).toThrow(/"soon" is not a span of time/);
  });

  it('spread the ends evenly about the lifetime', () => {
    const shape = { lifetimeMs: 1000, staggerMs: 100, restart: false };
    expect([0, 0.5, 0.999].map(chance => Math.round(lifetimeOf(shape, chance)))).toEqual([
      900, 1000, 1100
    ]);
  });
});
