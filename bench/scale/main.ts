/**
 * How the scheduler carries many tasks and many workers. A scheduler process alone, workers that
 * answer at once (crowd.ts), a client that submits no-op tasks:
 *   memory  resident bytes a task in the scheduler, while tasks wait for one that does not run
 *   cost    CPU of the scheduler a task, submission to result, at 10 thousand to 1 million tasks
 *   crowd   the same with 500 workers on links of their own
 * `node scripts/run.mjs bench/scale/main.ts [--most 1000000] [--workers 500]`. The last line is JSON.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type * as Library from '../../src/index.ts';

const { values } = parseArgs({
  options: {
    most: { type: 'string', default: '1000000' },
    workers: { type: 'string', default: '500' },
    rounds: { type: 'string', default: '3' }
  }
});
const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const { Client, wait } = (await import('../../dist/index.mjs' as string)) as typeof Library;
const token = randomBytes(16).toString('hex');
const env = { ...process.env, TASKLOOM_TOKEN: token };
/** Half seconds in which V8 gets to collect what the arrival of the tasks left behind. */
const READINGS = 60;
const inc = (x: number): number => x + 1;
const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

interface Side {
  scheduler: ChildProcess;
  address: string;
  pid: number;
}

async function startScheduler(): Promise<Side> {
  const command = here('../../dist/taskloom.mjs');
  const scheduler = spawn(process.execPath, [command, 'scheduler'], {
    env,
    stdio: ['ignore', 'pipe', 'ignore']
  });
  const [said] = (await once(scheduler.stdout as NodeJS.ReadableStream, 'data')) as [Buffer];
  const address = /http:\S+/.exec(said.toString())?.[0] ?? '';
  return { scheduler, address, pid: scheduler.pid ?? 0 };
}

async function startCrowd(side: Side, count: number): Promise<ChildProcess> {
  const crowd = spawn(process.execPath, [here('./crowd.ts'), side.address, String(count)], {
    env,
    stdio: ['pipe', 'pipe', 'inherit']
  });
  await once(crowd.stdout as NodeJS.ReadableStream, 'data');
  return crowd;
}

async function end(...processes: ChildProcess[]): Promise<void> {
  for (const one of processes) {
    one.kill();
    if (one.exitCode === null && one.signalCode === null) await once(one, 'exit');
  }
}

/** Resident bytes of a process. */
function rss(pid: number): number {
  const match = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(match?.[1] ?? 0) * 1024;
}

/** CPU time of a process so far, us. Linux counts it in ticks of 10 ms. */
function cpu(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10_000;
}

/** Bytes a task that waits, once garbage of its arrival had the time to be collected. */
async function memory(count: number): Promise<number> {
  const side = await startScheduler();
  const client = await Client.connect(side.address, { token });
  const first = client.submit(inc, 0);
  await client.schedulerInfo();
  const before = rss(side.pid);
  const add = (_first: number, x: number): number => x;
  const waiting = client.map(
    add,
    range(count).map(() => first),
    range(count)
  );
  await client.schedulerInfo();
  let least = Infinity;
  for (let i = 0; i < READINGS; i++) {
    await new Promise(resolve => setTimeout(resolve, 500));
    await client.schedulerInfo();
    least = Math.min(least, rss(side.pid));
  }
  if (waiting.length !== count) throw new Error('the client lost futures');
  await client.close();
  await end(side.scheduler);
  return (least - before) / count;
}

interface Cost {
  cpuUs: number;
  perSecond: number;
}

/** CPU of the scheduler a task, over `count` tasks that go all the way; and tasks a second. */
async function cost(count: number, workers: number): Promise<Cost> {
  const side = await startScheduler();
  const crowd = await startCrowd(side, workers);
  const client = await Client.connect(side.address, { token });
  await client.gather(client.map(inc, range(50_000)));
  // Few tasks are submitted several times: CPU is counted in ticks of 10 ms.
  const repeats = Math.ceil(100_000 / count);
  const before = cpu(side.pid);
  const start = performance.now();
  for (let i = 0; i < repeats; i++) await wait(client.map(inc, range(count)));
  const seconds = (performance.now() - start) / 1000 / repeats;
  const used = (cpu(side.pid) - before) / repeats;
  await client.close();
  await end(side.scheduler, crowd);
  return { cpuUs: used / count, perSecond: count / seconds };
}

/** The quietest of the rounds: what else runs here only ever adds. */
async function best(count: number, workers: number): Promise<Cost> {
  const all: Cost[] = [];
  const rounds = count >= 500_000 ? 1 : Number(values.rounds);
  for (let i = 0; i < rounds; i++) all.push(await cost(count, workers));
  return {
    cpuUs: Math.min(...all.map(one => one.cpuUs)),
    perSecond: Math.max(...all.map(one => one.perSecond))
  };
}

const most = Number(values.most);
const sizes = [10_000, 30_000, 100_000, 300_000, 1_000_000].filter(size => size <= most);
const load = loadavg()[0] ?? 0;
const bytes: Record<string, number> = {};
for (const size of [100_000, most]) bytes[size] = await memory(size);
const costs: Record<string, Cost> = {};
for (const size of sizes) costs[size] = await best(size, 8);
const crowded = await best(Math.min(100_000, most), Number(values.workers));
console.table(
  sizes.map(size => ({
    tasks: size,
    'scheduler CPU us a task': costs[size]?.cpuUs.toFixed(1),
    'tasks a second': costs[size]?.perSecond.toFixed(0),
    'bytes a waiting task': bytes[size]?.toFixed(0) ?? ''
  }))
);
console.log(
  `${values.workers} workers: ${crowded.cpuUs.toFixed(1)} us a task, ${crowded.perSecond.toFixed(0)} tasks/s`
);
console.log(JSON.stringify({ bench: 'scale', load, bytes, costs, crowded }));
