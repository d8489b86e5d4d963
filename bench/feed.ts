/**
 * What looking costs: throughput of no-op tasks with 20 dashboard viewers (each subscribed to all
 * topics at 10 Hz, in a process of their own) against none, in turns, in one run:
 * `node scripts/run.mjs bench/feed.ts [--rounds 7]`. The last line is JSON.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { loadavg } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type * as Library from '../src/index.ts';

const VIEWERS = 20;
const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '7' },
    tasks: { type: 'string', default: '40000' },
    watch: { type: 'string' }
  }
});

if (values.watch !== undefined) await watch(values.watch);
else await measure();

async function measure(): Promise<void> {
  const { Client, LocalCluster } = (await import('../dist/index.mjs' as string)) as typeof Library;
  const tasks = Number(values.tasks);
  const load = loadavg()[0] ?? 0;
  const cluster = await LocalCluster.create({ workers: 2, threadsPerWorker: 1 });
  const client = await Client.connect(cluster);
  const inc = (x: number): number => x + 1;
  const numbers = Array.from({ length: tasks }, (_, i) => i);
  const once_ = async (): Promise<number> => {
    const start = performance.now();
    const futures = client.map(inc, numbers);
    await client.gather(futures);
    const rate = tasks / ((performance.now() - start) / 1000);
    client.cancel(futures);
    await new Promise(resolve => setTimeout(resolve, 300));
    return rate;
  };
  await once_();
  await once_();
  const ratios: number[] = [];
  const rates: { alone: number[]; watched: number[] } = { alone: [], watched: [] };
  for (let round = 0; round < Number(values.rounds); round++) {
    const alone = await once_();
    const viewers = spawn(
      process.execPath,
      [fileURLToPath(import.meta.url), '--watch', cluster.address],
      {
        env: { ...process.env, TASKLOOM_TOKEN: cluster.token },
        stdio: ['ignore', 'pipe', 'inherit']
      }
    );
    await once(viewers.stdout, 'data');
    const watched = await once_();
    viewers.kill();
    await once(viewers, 'exit');
    rates.alone.push(alone);
    rates.watched.push(watched);
    ratios.push(watched / alone);
  }
  await client.close();
  await cluster.close();
  const median = (all: number[]): number =>
    all.sort((a, b) => a - b)[Math.floor(all.length / 2)] ?? Number.NaN;
  const cost = 1 - median(ratios);
  console.log(
    `tasks a second, median: ${median(rates.alone).toFixed(0)} alone, ${median(rates.watched).toFixed(0)} with ` +
      `${VIEWERS} viewers; cost ${(100 * cost).toFixed(1)} % (goal: at most 5 %)`
  );
  console.log(JSON.stringify({ bench: 'feed', load, viewers: VIEWERS, ratios, cost }));
}

/** Twenty viewers, who take what comes. */
async function watch(address: string): Promise<void> {
  const { WebSocket } = await import('ws');
  const { encode } = await import('../src/protocol/codec.ts');
  const subscribe = encode({
    op: 'subscribe',
    topics: ['stream', 'progress', 'workers'],
    rate: 10
  });
  const headers = { Authorization: `Bearer ${process.env['TASKLOOM_TOKEN'] ?? ''}` };
  const first: Promise<unknown>[] = [];
  for (let i = 0; i < VIEWERS; i++) {
    const socket = new WebSocket(`${address.replace('http', 'ws')}/feed`, { headers });
    socket.on('open', () => socket.send(subscribe));
    first.push(once(socket, 'message'));
  }
  await Promise.all(first);
  console.log('watching');
}
