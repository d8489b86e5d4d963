/** The workloads of main.ts on Taskloom; prints one JSON object. */
import { readFileSync } from 'node:fs';
import type * as Library from '../../src/index.ts';

const leaves = Number(process.argv[2]);
const chunkMib = Number(process.argv[3]);
const MIB = 2 ** 20;
const { Client, LocalCluster } = (await import('../../dist/index.mjs' as string)) as typeof Library;

interface Member {
  pid: number;
  nbytes: number;
}

/** Peaks of all workers together while `work` runs, MiB. */
async function watched(
  client: Library.Client,
  work: () => Promise<void>
): Promise<{ managed: number; resident: number; seconds: number }> {
  const members = async (): Promise<Member[]> =>
    Object.values((await client.schedulerInfo()).members as unknown as Record<string, Member>);
  const pids = (await members()).map(member => member.pid);
  const residentNow = (): number => pids.reduce((sum, pid) => sum + rss(pid), 0);
  const idle = residentNow();
  const peaks = { managed: 0, resident: 0 };
  let stop = false;
  const watch = (async () => {
    while (!stop) {
      const managed = (await members()).reduce((sum, member) => sum + member.nbytes, 0);
      peaks.managed = Math.max(peaks.managed, managed / MIB);
      peaks.resident = Math.max(peaks.resident, (residentNow() - idle) / MIB);
      await new Promise(resolve => setTimeout(resolve, 10));
    }
  })();
  const start = performance.now();
  await work();
  const seconds = (performance.now() - start) / 1000;
  stop = true;
  await watch;
  return { ...peaks, seconds };
}

const load = (i: number, mib: number): Float64Array => {
  const values = new Float64Array((mib * 2 ** 20) / 8);
  for (let k = 0; k < values.length; k++) values[k] = i + Math.random();
  return values;
};
const add = (a: Float64Array, b: Float64Array): Float64Array => a.map((x, i) => x + (b[i] ?? 0));
const total = (a: Float64Array): number => a.reduce((sum, x) => sum + Math.floor(x), 0) / a.length;

async function loadReduce(client: Library.Client): Promise<void> {
  let level: Library.Future<Float64Array>[] = [
    ...client.map(load, [...Array(leaves).keys()], Array<number>(leaves).fill(chunkMib))
  ];
  while (level.length > 1) {
    const evens = level.filter((_, i) => i % 2 === 0);
    const odds = level.filter((_, i) => i % 2 === 1);
    const next = [...client.map(add as never, evens, odds)] as typeof level;
    // Nobody but the next level needs them.
    for (const future of level) future.release();
    level = next;
  }
  await client.submit(total as never, level[0]).result();
}

async function outOfCore(client: Library.Client, count: number): Promise<void> {
  const values = client.map(load, [...Array(count).keys()], Array<number>(count).fill(8));
  const totals = await client.gather(client.map(total as never, [...values]));
  const wrong = totals.filter((sum, i) => sum !== i).length;
  if (wrong > 0) throw new Error(`${wrong} values are wrong`);
}

/** Resident bytes of a process. */
function rss(pid: number): number {
  const match = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(match?.[1] ?? 0) * 1024;
}

const found: Record<string, number> = {};
const roomy = await LocalCluster.create({ workers: 2, threadsPerWorker: 1, memoryLimit: '2 GiB' });
const client = await Client.connect(roomy);
const reduced = await watched(client, () => loadReduce(client));
found['managed_peak_mib'] = Math.round(reduced.managed);
found['resident_peak_mib'] = Math.round(reduced.resident);
found['reduce_s'] = reduced.seconds;
await client.close();
await roomy.close();

const limit = 512;
const tight = await LocalCluster.create({
  workers: 2,
  threadsPerWorker: 1,
  memoryLimit: limit * MIB
});
const second = await Client.connect(tight);
const spilled = await watched(second, () => outOfCore(second, (3 * 2 * limit) / 8));
found['out_of_core_s'] = spilled.seconds;
found['out_of_core_resident_mib'] = Math.round(spilled.resident);
await second.close();
await tight.close();
console.log(JSON.stringify(found));
