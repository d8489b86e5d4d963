/** Schedulers that are killed in the middle of work, and what becomes of it. Real processes. */
import { appendFileSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Client } from '../../src/client/client.ts';
import type { Future } from '../../src/client/future.ts';
import { fireAndForget } from '../../src/client/lasting.ts';
import { LocalCluster } from '../../src/deploy/local.ts';
import { readJournal } from '../../src/scheduler/journal/frames.ts';
import type { JournalRecord } from '../../src/scheduler/journal/records.ts';
import { listConnectionFiles } from '../../src/config/connection-file.ts';
import { familyOf, ownRuntimeFolder, until } from './processes.ts';

ownRuntimeFolder();

const MEMORY = '512 MiB';

/** Where tasks note that they run: one line an execution. */
function notes(): { file: string; counts(): Map<string, number> } {
  const file = join(process.env['TASKLOOM_RUNTIME_DIR'] as string, 'executions');
  appendFileSync(file, '');
  return {
    file,
    counts: () => {
      const counts = new Map<string, number>();
      for (const line of readFileSync(file, 'utf8').split('\n').filter(Boolean))
        counts.set(line, (counts.get(line) ?? 0) + 1);
      return counts;
    }
  };
}

/** A step of work that takes a moment, and says that it was done. */
async function step(file: string, name: string, value: number): Promise<number> {
  process.getBuiltinModule('node:fs').appendFileSync(file, `${name}\n`);
  await new Promise(resolve => setTimeout(resolve, 20));
  return value;
}

describe('a scheduler that is killed', () => {
  it('is started again: the computation goes on, and what was done is not done again', async () => {
    await using cluster = await LocalCluster.create({
      workers: 2,
      threadsPerWorker: 2,
      memoryLimit: MEMORY
    });
    await using client = await Client.connect(cluster);
    const { file, counts } = notes();
    const scattered = await client.scatter([1000, 2000]);
    const names = Array.from({ length: 150 }, (_, i) => `a${i}`);
    const first = client.map(
      step as never,
      names.map(() => file) as never,
      names,
      names.map((_, i) => i)
    );
    const second = first.map((future, i) =>
      client.submit(
        async (path: string, name: string, x: number, base: number[]) => {
          process.getBuiltinModule('node:fs').appendFileSync(path, `${name}\n`);
          await new Promise(resolve => setTimeout(resolve, 20));
          return x + (base[0] as number);
        },
        file,
        `b${i}`,
        future as never,
        scattered as never
      )
    );
    // Some have been told of, others have not, and a few run.
    await until('a third is done', () => second.filter(f => f.status === 'finished').length > 50);
    const acknowledged = [...first, ...second].filter(future => future.status === 'finished');
    const before = counts();
    process.kill(familyOf(process.pid).scheduler, 'SIGKILL');
    const late = client.submit((x: number) => x * 2, second[149] as never);
    const values = await client.gather(second);
    expect(values).toEqual(names.map((_, i) => 1000 + i));
    expect(await late.result()).toBe(2 * 1149);
    const after = counts();
    // Nothing that was done is done again, but for what no worker had got to say or keep.
    const again = [...after].filter(([, count]) => count > 1).map(([name]) => name);
    expect(again).toEqual([]);
    expect(after.size).toBe(300);
    expect(before.size).toBeLessThan(300);
    expect(acknowledged.length).toBeGreaterThan(50);
    expect(await scattered.result()).toEqual([1000, 2000]);
    const lines = (await cluster.logs()).logs.flatMap(log => log.lines).join('\n');
    expect(lines).toMatch(/scheduler ended: killed by SIGKILL.* It is started again/i);
    expect(lines).toMatch(/worker worker-\d is back with \d+ of \d+ values/);
  }, 60_000);

  it('a second time, in the middle of its recovery, too', async () => {
    await using cluster = await LocalCluster.create({ workers: 2, memoryLimit: MEMORY });
    await using client = await Client.connect(cluster);
    const { file } = notes();
    const names = Array.from({ length: 60 }, (_, i) => `a${i}`);
    const futures = client.map(
      step as never,
      names.map(() => file) as never,
      names,
      names.map((_, i) => i)
    );
    await until('some are done', () => futures.filter(f => f.status === 'finished').length > 10);
    const first = familyOf(process.pid).scheduler;
    process.kill(first, 'SIGKILL');
    const running = (): number | undefined => {
      const pid = listConnectionFiles()[0]?.pid;
      return pid === first ? undefined : pid;
    };
    await until('another serves', () => running() !== undefined);
    process.kill(running() as number, 'SIGKILL');
    expect(await client.gather(futures)).toEqual(names.map((_, i) => i));
  }, 60_000);

  it('reports by key what only dead processes held', async () => {
    await using cluster = await LocalCluster.create({ workers: 1, memoryLimit: MEMORY });
    await using client = await Client.connect(cluster);
    const data = await client.with({ key: 'precious' }).scatter('only here');
    const family = familyOf(process.pid);
    process.kill(family.workers[0] as number, 'SIGKILL');
    process.kill(family.scheduler, 'SIGKILL');
    const stands = client.submit((text: string) => text.length, data as never);
    await expect(stands.result({ timeout: 30 })).rejects.toThrow(/precious was lost/);
    expect(data.status).toBe('error');
  }, 60_000);

  it('keeps its connection file, with the reason, and its address', async () => {
    await using cluster = await LocalCluster.create({ workers: 1, memoryLimit: MEMORY });
    const [before] = listConnectionFiles();
    const { scheduler } = familyOf(process.pid);
    process.kill(scheduler, 'SIGKILL');
    await until('it says why', () => /SIGKILL/.test(listConnectionFiles()[0]?.restarting ?? ''));
    await until('it serves again', () => {
      const [file] = listConnectionFiles();
      return file !== undefined && file.pid !== scheduler && file.restarting === undefined;
    });
    const [after] = listConnectionFiles();
    expect(after?.address).toBe(before?.address);
    expect(after?.startedAt).toBe(before?.startedAt);
    await using client = await Client.connect(cluster);
    expect(await client.submit(() => 7).result()).toBe(7);
  }, 60_000);

  it('with a journal: what belongs to no client goes on, datasets and history are there', async () => {
    const journal = join(process.env['TASKLOOM_RUNTIME_DIR'] as string, 'journal');
    await using cluster = await LocalCluster.create({
      workers: 2,
      threadsPerWorker: 1,
      memoryLimit: MEMORY,
      journal
    });
    const { file, counts } = notes();
    let key = '';
    {
      const client = await Client.connect(cluster);
      const done = client.submit(step, file, 'done', 1);
      await done.result();
      key = done.key;
      await client.publishDataset('answers', {
        done,
        other: client.submit((x: number) => x + 1, done)
      });
      const names = Array.from({ length: 60 }, (_, i) => `forgotten${i}`);
      const futures = client.map(
        step as never,
        names.map(() => file) as never,
        names,
        names.map((_, i) => i)
      );
      fireAndForget(futures);
      await until('some have run', () => counts().size > 10);
      await client.close();
    }
    const [segment] = readdirSync(journal).filter(name => name.startsWith('journal-'));
    await until('the history is written', () => {
      const path = join(journal, segment as string);
      const records = readJournal(readFileSync(path), path).records as JournalRecord[];
      const steps = records.flatMap(record => (record.op === 'history' ? record.story : []));
      return steps.some(step => step.key === key && step.finish === 'memory');
    });
    const killed = Date.now();
    process.kill(familyOf(process.pid).scheduler, 'SIGKILL');
    await until('all that was forgotten has run', () => counts().size === 61);
    await using client = await Client.connect(cluster);
    const dataset = (await client.getDataset('answers')) as { other: Future<number> };
    expect(await dataset.other.result()).toBe(2);
    // What its worker had told was not done again.
    const again = [...counts()].filter(([, count]) => count > 1);
    expect(again.length).toBeLessThanOrEqual(4);
    expect(counts().get('done')).toBe(1);
    const told = await client.story(key);
    expect(told.some(line => line.finish === 'memory' && line.time < killed)).toBe(true);
    const lines = (await cluster.logs()).logs.flatMap(log => log.lines).join('\n');
    expect(lines).toMatch(
      /the journal in \S+ gave \d+ events: \d+ tasks of \d clients and 1 datasets/
    );
  }, 60_000);
});
