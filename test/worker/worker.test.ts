/** Whole workers, with real executors and links, and a scheduler that says what the test wants. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { DataPool } from '../../src/comm/data.ts';
import {
  deserializeValue,
  packFrames,
  serializeValue,
  unpackFrames
} from '../../src/serialize/value.ts';
import type { ErrorRecord } from '../../src/protocol/messages.ts';
import { Worker } from '../../src/worker/worker.ts';
import { Dep, ScriptedScheduler } from './scripted.ts';

let scheduler: ScriptedScheduler;
const pools: DataPool[] = [];
beforeEach(async () => {
  scheduler = await new ScriptedScheduler().start();
});
afterEach(async () => {
  for (const pool of pools.splice(0)) pool.close();
  await scheduler.close();
});

function data(token = scheduler.token): DataPool {
  const pool = new DataPool(token);
  pools.push(pool);
  return pool;
}

async function ask(pool: DataPool, address: string, ...tids: number[]) {
  const answer = await pool.request(address, { head: { op: 'get-data', tids }, frames: [] });
  const head = answer.head as {
    tids: number[];
    keys: string[];
    families: ('plain' | 'js')[];
    counts: number[];
    missing: number[];
  };
  let at = 0;
  const values = head.tids.map((_, i) => {
    const count = head.counts[i] ?? 0;
    const frames = answer.frames.slice(at, (at += count));
    return deserializeValue({ family: head.families[i] ?? 'plain', frames });
  });
  return { head, values };
}

describe('tasks', () => {
  test('are executed and reported in columns, small wanted results along with it', async () => {
    const { peer } = await scheduler.worker();
    expect(peer.register).toMatchObject({ nthreads: 1, nanny: '', pid: process.pid });
    await peer.define(1, (a: number, b: number) => a * b);
    peer.compute({ tid: 10, run: 4, args: [6, 7], wanted: true });
    const done = await peer.finished(10);
    expect(done).toMatchObject({ tids: [10], runIds: [4], types: ['number'], lanes: [0] });
    expect(done.starts[0]).toBeGreaterThan(Date.now() - 60_000);
    expect(deserializeValue(unpackFrames(done.inline[0] ?? new Uint8Array()))).toBe(42);
  });

  test('fail with the whole record', async () => {
    const { worker, peer } = await scheduler.worker();
    await peer.define(1, () => {
      throw new RangeError('too far', { cause: new Error('why') });
    });
    peer.compute({ tid: 10 });
    const { error } = await peer.got('task-erred');
    expect(error).toMatchObject({
      code: 'TASK_ERRED',
      message: 'RangeError: too far',
      blame: 'k10',
      worker: worker.address
    });
    expect(error.traceback).toMatch(/Caused by: Error: why/);
  });

  test('that never end are killed by their timeout, and the next task runs', async () => {
    const { peer } = await scheduler.worker();
    await peer.define(1, () => {
      for (;;);
    });
    await peer.define(2, () => 'next');
    peer.compute({ tid: 10, timeout: 0.05 }, { tid: 11, fn: 2 });
    const { error } = await peer.got('task-erred');
    expect(error.code).toBe('TASK_TIMEOUT');
    expect(error.message).toMatch(/k10 ran longer than its timeout of 0.05 s/);
    await peer.finished(11);
  });

  test('that never end are killed by cancel with force; its neighbour does not notice', async () => {
    const { peer } = await scheduler.worker({ nthreads: 2 });
    await peer.define(1, () => {
      for (;;);
    });
    await peer.define(2, () => new Promise(resolve => setTimeout(() => resolve('slow'), 200)));
    peer.compute({ tid: 10 }, { tid: 11, fn: 2 });
    await peer.got('heartbeat-worker', message => message.executing.includes(10));
    peer.send({ op: 'cancel-compute', stimulus: 's', tids: [10], force: true });
    peer.compute({ tid: 12, fn: 2 });
    await Promise.all([peer.finished(11), peer.finished(12)]);
    expect(peer.messages.some(message => message.op === 'task-erred')).toBe(false);
  });

  test('that end their executor are told as such, those behind them run', async () => {
    const { peer } = await scheduler.worker();
    await peer.define(1, () => process.exit(9));
    await peer.define(2, (i: number) => i);
    const rest = [11, 12, 13].map(tid => ({ tid, fn: 2, args: [tid], duration: 0.01 }));
    peer.compute({ tid: 10, duration: 0.01 }, ...rest);
    const { error } = await peer.got('task-erred');
    expect(error).toMatchObject({ code: 'EXECUTOR_DIED', blame: 'k10' });
    await Promise.all([11, 12, 13].map(tid => peer.finished(tid)));
  });
});

describe('values', () => {
  test('go from worker to worker, and large ones arrive whole', async () => {
    const [one, two] = await Promise.all([scheduler.worker(), scheduler.worker()]);
    await one.peer.define(1, (n: number) => new Float64Array(n).map((_, i) => i));
    await two.peer.define(1, (box: { array: Float64Array }, k: number) => box.array.at(-1)! + k);
    one.peer.compute({ tid: 10, args: [1_000_000] });
    const [nbytes] = (await one.peer.finished(10)).nbytes;
    expect(nbytes).toBeGreaterThanOrEqual(8_000_000);
    two.peer.compute({
      tid: 11,
      args: [{ array: new Dep(0) }, 1],
      deps: [{ tid: 10, holders: [one.peer.number], nbytes: nbytes ?? 0 }]
    });
    await two.peer.finished(11);
    expect(await two.peer.got('add-keys')).toMatchObject({ tids: [10] });
    const { values } = await ask(data(), two.worker.address, 11);
    expect(values).toEqual([1_000_000]);
    // The bar of the transfer, and its bytes in a heartbeat.
    await two.peer.got('start-stops', message => message.tids[0] === 10);
    await two.peer.got('heartbeat-worker', message => message.metrics.netIn > 0);
    await one.peer.got('heartbeat-worker', message => message.metrics.netOut > 0);
  });

  test('that a dead holder had are asked for until somebody is named', async () => {
    const [one, two] = await Promise.all([scheduler.worker(), scheduler.worker()]);
    const gone = await scheduler.worker();
    await one.peer.define(1, () => 5);
    one.peer.compute({ tid: 10 });
    await one.peer.finished(10);
    await gone.worker.close('the test wants it so');
    await two.peer.define(2, (x: number) => x + 1);
    const deps = [{ tid: 10, holders: [gone.peer.number] }];
    two.peer.compute({ tid: 11, fn: 2, args: [new Dep(0)], deps });
    await two.peer.got('request-refresh-who-has', message => message.tids.includes(10));
    two.peer.send({
      op: 'refresh-who-has',
      stimulus: 's',
      tids: [10],
      holders: [[one.peer.number]]
    });
    await two.peer.finished(11);
  });

  test('are given out, put in, and dropped', async () => {
    const { worker, peer } = await scheduler.worker();
    const pool = data();
    const value = serializeValue({ a: [1, 2] });
    await pool.request(worker.address, {
      head: {
        op: 'put-data',
        tids: [7],
        keys: ['scattered-7'],
        families: [value.family],
        counts: [value.frames.length],
        types: ['Object'],
        nbytes: [10]
      },
      frames: value.frames
    });
    const { head, values } = await ask(pool, worker.address, 7, 8);
    expect(head).toMatchObject({ tids: [7], keys: ['scattered-7'], missing: [8] });
    expect(values).toEqual([{ a: [1, 2] }]);
    peer.send({ op: 'free-keys', stimulus: 's', tids: [7] });
    await peer.got('release-worker-data', message => message.tids.includes(7));
    expect((await ask(pool, worker.address, 7)).head.missing).toEqual([7]);
  });

  test('scattered beyond the memory limit are refused with both sizes', async () => {
    const { worker } = await scheduler.worker({ memoryLimit: 200 * 2 ** 20 });
    const head = {
      op: 'put-data',
      tids: [1],
      keys: ['big'],
      families: ['plain'],
      counts: [1],
      types: ['x'],
      nbytes: [0]
    };
    const frames = [new Uint8Array(201 * 2 ** 20)];
    await expect(data().request(worker.address, { head, frames })).rejects.toThrow(
      /201 MiB of scattered data do not fit.*200 MiB/
    );
  });

  test('are kept from those who do not know the token, and nonsense is answered', async () => {
    const { worker } = await scheduler.worker();
    await expect(ask(data('wrong'), worker.address, 1)).rejects.toThrow(/refused the token/);
    const pool = data();
    const bad = { head: { op: 'put-data', tids: [1, 2], counts: [1] }, frames: [] };
    await expect(pool.request(worker.address, bad)).rejects.toThrow(/columns/);
    await expect(pool.request(worker.address, { head: { op: 'x' }, frames: [] })).rejects.toThrow(
      /does not know/
    );
    expect((await ask(pool, worker.address, 1)).head.missing).toEqual([1]);
  });
});

describe('questions', () => {
  test('run: a function beside the tasks, its value or its error', async () => {
    const { peer } = await scheduler.worker();
    const { captureFunction } = await import('../../src/serialize/capture.ts');
    const run = async (fn: (...args: never[]) => unknown, ...args: unknown[]) => {
      const { blob } = await captureFunction(fn);
      return peer.requester.request('run', { blob, args: packFrames(serializeValue(args)) });
    };
    const packed = (await run((x: number) => [x, typeof process.pid], 3)) as Uint8Array;
    expect(deserializeValue(unpackFrames(packed))).toEqual([3, 'number']);
    const failed = (await run(() => {
      throw new Error('no');
    })) as { error: ErrorRecord };
    expect(failed.error).toMatchObject({ code: 'TASK_ERRED', message: 'Error: no' });
    const ended = (await run(() => process.exit(1))) as { error: ErrorRecord };
    expect(ended.error.code).toBe('EXECUTOR_DIED');
  });

  test('logs hold what tasks print; story and executing tell of tasks', async () => {
    const { peer } = await scheduler.worker();
    await peer.define(1, () => {
      console.log('printed inside');
      return new Promise(resolve => setTimeout(resolve, 100));
    });
    peer.compute({ tid: 10 });
    await peer.got('heartbeat-worker', message => message.executing.includes(10));
    expect(await peer.requester.request('executing', {})).toMatchObject([{ tid: 10, key: 'k10' }]);
    await peer.finished(10);
    const logs = (await peer.requester.request('logs', { n: 100 })) as string[];
    expect(logs.some(line => line.includes('[k10] printed inside'))).toBe(true);
    const story = (await peer.requester.request('story', { keys: ['k10'] })) as { text: string }[];
    expect(story.some(({ text }) => text.includes('executing -> memory'))).toBe(true);
  });

  test('/info and /logs over HTTP, with the token only', async () => {
    const { worker } = await scheduler.worker();
    const headers = { Authorization: `Bearer ${scheduler.token}` };
    const info = await fetch(`${worker.address}/info`, { headers });
    expect(await info.json()).toMatchObject({ nthreads: 1, inMemory: 0 });
    expect((await fetch(`${worker.address}/info`)).status).toBe(401);
    expect((await fetch(`${worker.address}/logs`)).status).toBe(401);
  });
});

describe('the end', () => {
  test('comes with the scheduler: the reason is told', async () => {
    const { worker, peer } = await scheduler.worker();
    peer.drop('cluster stopped');
    expect(await worker.finished).toMatch(/cluster stopped/);
  });

  test('comes when the scheduler says so', async () => {
    const { worker, peer } = await scheduler.worker();
    peer.send({ op: 'close', reason: 'scaled down' });
    expect(await worker.finished).toBe('scaled down');
    await expect(fetch(worker.address)).rejects.toThrow();
  });

  test('a wrong token or no scheduler at all: start rejects', async () => {
    const options = { name: 'w', nthreads: 1, memoryLimit: 0 };
    await expect(
      Worker.start({ ...options, schedulerAddress: scheduler.address, token: 'wrong' })
    ).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
    await expect(
      Worker.start({ ...options, schedulerAddress: 'http://127.0.0.1:9', token: 'x' })
    ).rejects.toMatchObject({ code: 'COMM_CLOSED' });
  });

  test('a scheduler of another protocol: start rejects and says both versions', async () => {
    scheduler.protocol = 99;
    await expect(scheduler.worker()).rejects.toMatchObject({ code: 'PROTOCOL_VERSION' });
  });
});
