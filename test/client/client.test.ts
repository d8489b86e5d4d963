/** The client's calls on a real cluster of two worker processes. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { Client } from '../../src/client/client.ts';
import { asCompleted, wait } from '../../src/client/collect.ts';
import { sleep, withCluster } from './cluster.ts';

const pair = withCluster();

/** V8's own, which a flag uncovers. */
function garbageCollector(): () => void {
  setFlagsFromString('--expose-gc');
  return runInNewContext('gc') as () => void;
}

describe('submit and map', () => {
  it('runs functions with what they close over, on worker processes', async () => {
    const { client } = pair;
    const factor = 3;
    const scale = (x: number): number => x * factor;
    const future = client.submit(x => [scale(x), process.pid] as const, 5);
    const [value, pid] = await future.result();
    expect(value).toBe(15);
    expect(pid).not.toBe(process.pid);
    expect(future.status).toBe('finished');
    expect(String(future)).toContain(future.key);
  });

  it('takes futures nested anywhere in arguments', async () => {
    const { client } = pair;
    const one = client.submit(() => 1);
    const two = client.submit(() => 2);
    const sum = client.submit(
      (o: { list: number[]; deep: Map<string, number> }) =>
        o.list.reduce((a, b) => a + b, o.deep.get('two') ?? 0),
      {
        list: [one, one, 10] as unknown as number[],
        deep: new Map([['two', two as unknown as number]])
      }
    );
    expect(await sum.result()).toBe(14);
  });

  it('takes futures that a function closes over', async () => {
    const { client } = pair;
    const base = client.submit(() => 40);
    const add = (x: number): number => (base as unknown as number) + x;
    expect(await client.submit(add, 2).result()).toBe(42);
  });

  it('maps over several lists, in order', async () => {
    const { client } = pair;
    const futures = client.map(
      (a: number, b: string) => `${a}${b}`,
      [1, 2, 3],
      ['a', 'b', 'c', 'd']
    );
    expect(await client.gather(futures)).toEqual(['1a', '2b', '3c']);
  });

  it('awaits async functions', async () => {
    const future = pair.client.submit(async (x: number) => {
      await new Promise(resolve => setTimeout(resolve, 10));
      return x + 1;
    }, 1);
    expect(await future.result()).toBe(2);
  });

  it('brings back structured values as they were', async () => {
    const value = {
      typed: new Float64Array([1, 2, 3]),
      map: new Map([[1, new Set(['a'])]]),
      date: new Date(0),
      big: 12345678901234567890n,
      text: /x+/gi,
      nothing: undefined,
      nan: Number.NaN,
      bytes: new Uint8Array(30_000).fill(9)
    };
    expect(await pair.client.submit(x => x, value).result()).toEqual(value);
  });

  it('keeps keys apart unless asked for pure ones', async () => {
    const { client } = pair;
    const now = (): number => Math.random();
    const [a, b] = await client.gather([client.submit(now), client.submit(now)]);
    expect(a).not.toBe(b);
    const pure = client.with({ pure: true });
    const [c, d] = await client.gather([pure.submit(now), pure.submit(now)]);
    expect(c).toBe(d);
  });

  it('takes the values that captured variables have at the call', async () => {
    const { client } = pair;
    let n = 1;
    const futures = [];
    for (; n <= 5; n++) futures.push(client.submit(() => n));
    expect(await client.gather(futures)).toEqual([1, 2, 3, 4, 5]);
  });
});

describe('waiting', () => {
  it('goes on when a value is lost just before it would be fetched', async () => {
    const { client } = pair;
    const future = client.submit(() => new Uint8Array(100_000).fill(7));
    await wait([future]);
    const { session } = client;
    const { cid, nbytes, type } = future.record;
    const result = future.result();
    session.state.handle({ op: 'lost-keys', cids: [cid] });
    await sleep(50);
    const back = { tids: [0], nbytes: [nbytes], types: [type], inline: [null] };
    session.state.handle({ op: 'key-in-memory', cids: [cid], ...back });
    session.notify(future.record);
    expect(await result).toEqual(new Uint8Array(100_000).fill(7));
  });

  it('wait returns what is done and what is not', async () => {
    const { client } = pair;
    const quick = client.submit(() => 1);
    const slow = client.submit(() => new Promise(resolve => setTimeout(resolve, 60_000)));
    const { done, notDone } = await wait([quick, slow], { returnWhen: 'first-completed' });
    expect(done).toEqual([quick]);
    expect(notDone).toEqual([slow]);
    await expect(wait([quick, slow], { timeout: 0.05 })).rejects.toThrow(
      '1 of 2 futures were done within 0.05 s'
    );
    slow.cancel({ force: true });
    expect(slow.status).toBe('cancelled');
  });

  it('asCompleted hands out futures as they end, and takes more on the way', async () => {
    const { client } = pair;
    const nap = (ms: number): Promise<number> =>
      new Promise(resolve => setTimeout(() => resolve(ms), ms));
    const slow = client.submit(nap, 400);
    const quick = client.submit(nap, 1);
    const seen: number[] = [];
    const results = asCompleted([slow, quick]);
    for await (const future of results) {
      seen.push(await future.result());
      if (seen.length === 1) results.add(client.submit(nap, 2));
    }
    expect(seen).toHaveLength(3);
    expect(seen[0]).toBe(1);
    expect(new Set(seen)).toEqual(new Set([1, 2, 400]));
  });
});

describe('data', () => {
  it('scatters once and uses many times', async () => {
    const { client } = pair;
    const data = await client.scatter(new Float64Array(100_000).fill(2), { broadcast: true });
    expect(data.status).toBe('finished');
    const holders = (await client.whoHas([data]))[data.key];
    expect(holders).toHaveLength(2);
    const sums = client.map(
      (_i: number, a: Float64Array) => a.reduce((x, y) => x + y, 0),
      [1, 2, 3],
      [data, data, data]
    );
    expect(await client.gather(sums)).toEqual([200_000, 200_000, 200_000]);
    expect(await data.result()).toHaveLength(100_000);
  });

  it('moves values between workers', async () => {
    const { client } = pair;
    const [first, second] = Object.values((await client.schedulerInfo()).members).map(
      member => member.address
    );
    const make = (n: number): Float64Array => new Float64Array(n).fill(1);
    const a = client.with({ workers: first as string }).submit(make, 200_000);
    const b = client.with({ workers: second as string }).submit(make, 300_000);
    const total = client
      .with({ workers: first as string })
      .submit((x: Float64Array, y: Float64Array) => x.length + y.length, a, b);
    expect(await total.result()).toBe(500_000);
    expect((await client.whoHas([b]))[b.key]?.sort()).toEqual([first, second].sort());
  });

  it('lets results go when futures are released', async () => {
    const { client } = pair;
    const future = client.submit(() => new Uint8Array(1000));
    await future.result();
    const key = future.key;
    expect(Object.values(await client.hasWhat()).flat()).toContain(key);
    future.release();
    await expect.poll(async () => Object.values(await client.hasWhat()).flat()).not.toContain(key);
    await expect(future.result()).rejects.toThrow('it was released');
  });

  it('lets results go when handles are garbage collected', async () => {
    const { client } = pair;
    const collect = garbageCollector();
    const key = await (async () => {
      const future = client.submit(() => 'short-lived');
      await future.result();
      return future.key;
    })();
    await expect
      .poll(
        async () => {
          collect();
          await sleep(20);
          return Object.values(await client.hasWhat()).flat();
        },
        { timeout: 10_000 }
      )
      .not.toContain(key);
  });
});

describe('looking', () => {
  it('tells who has what, the story of a key, and why it is where it is', async () => {
    const { client } = pair;
    const future = client.submit(() => 'x');
    await future.result();
    const story = await client.story(future);
    const own = story.filter(line => line.where === 'scheduler');
    expect(own.map(line => line.finish)).toEqual(['waiting', 'processing', 'memory']);
    expect(await client.explain(future)).toContain('done, ');
    const never = client.with({ workers: 'nobody' }).submit(() => 1);
    await expect.poll(() => client.explain(never)).toContain('one of the workers nobody');
    const info = await client.schedulerInfo();
    expect(info.workers.running).toBe(2);
    expect(info.threads).toBe(2);
  });

  it('runs a function on every worker', async () => {
    const results = await pair.client.run((x: number) => [process.pid, x] as const, 7);
    const values = Object.values(results);
    expect(values).toHaveLength(2);
    expect(values.every(([pid, x]) => pid !== process.pid && x === 7)).toBe(true);
    expect(new Set(values.map(([pid]) => pid)).size).toBe(2);
  });

  it('brings the logs of workers, with what tasks print', async () => {
    const { client } = pair;
    await client.submit(() => console.log('hello from a task')).result();
    await expect
      .poll(async () =>
        Object.values(await client.workerLogs())
          .flat()
          .join('\n')
      )
      .toContain('hello from a task');
  });
});

describe('cluster life', () => {
  it('lets a second client in by name, and forgets what a client wanted when it leaves', async () => {
    const { client, cluster } = pair;
    const other = await Client.connect(cluster.name);
    const future = other.submit(() => 'theirs');
    await future.result();
    const { key } = future;
    expect(Object.keys(await client.whoHas())).toContain(key);
    await other.close();
    await expect.poll(async () => Object.keys(await client.whoHas())).not.toContain(key);
    await expect(future.result()).resolves.toBe('theirs');
    expect(() => other.submit(() => 1)).toThrow('not connected any more');
  });
});
