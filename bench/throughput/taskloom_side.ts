/**
 * The workloads on Taskloom: two one-thread workers on loopback. Prints one JSON object. Run by
 * main.ts in a process of its own, as the other side is.
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import type * as Library from '../../src/index.ts';

const { values } = parseArgs({
  options: {
    tasks: { type: 'string', default: '10000' },
    links: { type: 'string', default: '500' }
  }
});
const tasks = Number(values.tasks);
const links = Number(values.links);
const found: Record<string, number> = {};
const seconds = (since: number): number => (performance.now() - since) / 1000;

let start = performance.now();
const { Client, LocalCluster, listConnectionFiles } = await load();
const cluster = await LocalCluster.create({ workers: 2, threadsPerWorker: 1 });
const client = await Client.connect(cluster);
await client.waitForWorkers(2);
found['startup_s'] = seconds(start);

const inc = (x: number): number => x + 1;
const add = (x: number, y: number): number => x + y;
const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
await client.gather(client.map(inc, range(200)));

start = performance.now();
await client.gather(client.map(inc, range(tasks)));
found['independent_per_s'] = tasks / seconds(start);

start = performance.now();
let future = client.submit(inc, 0);
for (let i = 0; i < links; i++) future = client.submit(inc, future);
await future.result();
found['chain_per_s'] = links / seconds(start);

const leaves = 2 ** Math.floor(Math.log2(tasks));
start = performance.now();
let level = client.map(inc, range(leaves));
let count = leaves;
while (level.length > 1) {
  const evens = level.filter((_, i) => i % 2 === 0);
  const odds = level.filter((_, i) => i % 2 === 1);
  level = client.map(add as never, evens, odds);
  count += level.length;
}
await level[0]?.result();
found['tree_per_s'] = count / seconds(start);

const times: number[] = [];
for (let i = 0; i < 100; i++) {
  start = performance.now();
  await client.submit(inc, i).result();
  times.push(performance.now() - start);
}
found['latency_p50_ms'] = times.sort((a, b) => a - b)[50] ?? Number.NaN;

const scheduler = listConnectionFiles().find(file => file.id === cluster.id)?.pid ?? 0;
const blocker = client.submit(
  (s: number) => new Promise<number>(resolve => setTimeout(() => resolve(0), s * 1000)),
  8
);
await client.schedulerInfo();
const before = rss(scheduler);
const waiting = client.map(
  (_first: number, x: number) => x,
  range(tasks).map(() => blocker),
  range(tasks)
);
await new Promise(resolve => setTimeout(resolve, 4000));
found['bytes_per_waiting_task'] = (rss(scheduler) - before) / tasks;
await blocker.result();
void waiting.length;
await client.close();
await cluster.close();
console.log(JSON.stringify(found));

/** Start-up is counted from here on both sides: libraries are imported, nothing runs. */
async function load() {
  const library = await import('../../dist/index.mjs' as string);
  const files = await import('../../src/config/connection-file.ts');
  start = performance.now();
  return { ...(library as typeof Library), ...files };
}

/** Resident bytes of a process. */
function rss(pid: number): number {
  const match = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(match?.[1] ?? 0) * 1024;
}
