/** Every error a user meets, on a real cluster: what happened, to which key, what to do next. */
import { describe, expect, it } from 'vitest';
import { Client } from '../../src/client/client.ts';
import { LocalCluster } from '../../src/deploy/local.ts';
import {
  AuthenticationError,
  CancelledError,
  KilledWorkerError,
  SerializationError,
  TaskError,
  TaskTimeoutError,
  WorkerMemoryError
} from '../../src/base/errors.ts';
import { withCluster } from './cluster.ts';

const pair = withCluster({ workers: 2, threadsPerWorker: 1, memoryLimit: '512 MiB' });

async function failure(promise: Promise<unknown>): Promise<Error & Record<string, unknown>> {
  try {
    await promise;
  } catch (error) {
    return error as Error & Record<string, unknown>;
  }
  throw new Error('did not fail');
}

describe('refused at submit', () => {
  it('a name that means nothing anywhere', () => {
    const bad = new Function('return (x) => x + notDefinedAnywhere')() as (x: number) => number;
    expect(() => pair.client.submit(bad, 1)).toThrow(SerializationError);
    expect(() => pair.client.submit(bad, 1)).toThrow(/notDefinedAnywhere/);
  });

  it('a value that cannot travel, by its path', () => {
    const arg = { list: [1, new WeakMap()] };
    expect(() => pair.client.submit(x => x, arg)).toThrow(SerializationError);
    expect(() => pair.client.submit(x => x, arg)).toThrow(/list.*1/);
  });

  it('a captured live handle, by its name', () => {
    const socket = new AbortController().signal;
    expect(() => pair.client.submit(() => socket.aborted)).toThrow(/socket/);
  });

  it('a future that was cancelled', () => {
    const { client } = pair;
    const future = client.submit(() => 1);
    future.cancel();
    expect(() => client.submit(x => x, future)).toThrow(CancelledError);
  });
});

describe('a task throws', () => {
  it('its own error class comes back with fields, cause chain and the lines of the user', async () => {
    class BadRow extends Error {
      override readonly name = 'BadRow';
      readonly row: number;
      constructor(row: number, cause: unknown) {
        super(`row ${row} is bad`, { cause });
        this.row = row;
      }
    }
    const parse = (row: number): never => {
      throw new BadRow(row, new RangeError('inner'));
    };
    const future = pair.client.submit(parse, 7);
    const error = await failure(future.result());
    expect(error).toBeInstanceOf(Error);
    expect(error.name).toBe('BadRow');
    expect(error.message).toBe('row 7 is bad');
    expect(error['row']).toBe(7);
    expect((error.cause as Error).name).toBe('RangeError');
    expect(error.stack).toContain('parse');
    expect(error.stack).toContain(`in task ${future.key} on worker http://`);
    expect(future.status).toBe('error');
    expect((await future.exception())?.message).toBe('row 7 is bad');
  });

  it('a thrown value that is no Error stands in cause', async () => {
    const error = await failure(
      pair.client
        .submit(() => {
          throw { code: 42 };
        })
        .result()
    );
    expect(error).toBeInstanceOf(TaskError);
    expect(error.cause).toEqual({ code: 42 });
  });

  it('what depends on it fails with the same error, naming the task to blame', async () => {
    const { client } = pair;
    const bad = client.submit((): number => {
      throw new TypeError('first');
    });
    const after = client.submit((x: number) => x, bad);
    const error = await failure(client.gather([client.submit(() => 1), after]));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.stack).toContain(bad.key);
    expect(await client.gather([client.submit(() => 1), after], { errors: 'skip' })).toEqual([1]);
  });

  it('is tried again as often as asked', async () => {
    const { client } = pair;
    const flaky = (): number => {
      const counter = globalThis as { tries?: number };
      counter.tries = (counter.tries ?? 0) + 1;
      if (counter.tries < 3) throw new Error(`try ${counter.tries}`);
      return counter.tries;
    };
    const [address] = Object.keys(await client.hasWhat());
    const options = { workers: address as string };
    await expect(
      client
        .with({ ...options, retries: 3 })
        .submit(flaky)
        .result()
    ).resolves.toBe(3);
  });

  it('gives a result that cannot travel a name', async () => {
    const future = pair.client.submit(() => new WeakMap());
    const error = await failure(future.result());
    expect(error).toBeInstanceOf(SerializationError);
    expect(error.message).toContain('WeakMap');
  });
});

describe('limits', () => {
  it('kills a task that runs too long, and the worker goes on', async () => {
    const { client } = pair;
    const spin = (): void => {
      for (;;);
    };
    const error = await failure(client.with({ timeout: 0.3 }).submit(spin).result());
    expect(error).toBeInstanceOf(TaskTimeoutError);
    expect(error.message).toContain('0.3');
    expect(await client.gather(client.map((x: number) => x, [1, 2, 3, 4]))).toEqual([1, 2, 3, 4]);
  });

  it('cancel with force ends a running task', async () => {
    const { client } = pair;
    const spin = (): void => {
      for (;;);
    };
    const futures = [client.submit(spin), client.submit(spin)];
    await expect.poll(async () => Object.values(await client.processing()).flat().length).toBe(2);
    client.cancel(futures, { force: true, reason: 'enough' });
    const error = await failure(futures[0]?.result() as Promise<unknown>);
    expect(error).toBeInstanceOf(CancelledError);
    expect(error.message).toContain('enough');
    expect(await client.gather(client.map((x: number) => x, [1, 2]))).toEqual([1, 2]);
  });

  it('a result larger than the worker may hold', async () => {
    const big = (): Uint8Array[] =>
      Array.from({ length: 6 }, () => new Uint8Array(100 * 1024 * 1024));
    const future = pair.client.submit(big);
    const error = await failure(future.result());
    expect(error).toBeInstanceOf(WorkerMemoryError);
    expect(error.message).toMatch(/MiB/);
  });

  it('nothing comes within the time given', async () => {
    const error = await failure(pair.client.waitForWorkers(50, { timeout: 0.2 }));
    expect(error.message).toContain('2 of 50 workers came within 0.2 s');
    expect(error['code']).toBe('TIMEOUT');
  });
});

describe('workers that die', () => {
  it('a killed worker is replaced and what it held is computed again', async () => {
    const { client } = pair;
    const slow = (x: number): Promise<number> =>
      new Promise(resolve => setTimeout(() => resolve(x * x), 30));
    const squares = client.map(
      slow,
      Array.from({ length: 40 }, (_, i) => i)
    );
    const sum = client.submit(
      (xs: number[]) => xs.reduce((a, b) => a + b, 0),
      squares as unknown as number[]
    );
    const members = Object.values((await client.schedulerInfo()).members);
    await squares[3]?.result();
    process.kill(members[0]?.pid as number, 'SIGKILL');
    expect(await sum.result()).toBe(
      Array.from({ length: 40 }, (_, i) => i * i).reduce((a, b) => a + b)
    );
    await client.waitForWorkers(2, { timeout: 30 });
  });

  it('a task that kills its workers is given up after the fourth, with the reason', async () => {
    const { client } = pair;
    const deadly = (): void => process.kill(process.pid, 'SIGKILL') as unknown as void;
    const future = client.submit(deadly);
    const error = await failure(future.result({ timeout: 60 }));
    expect(error).toBeInstanceOf(KilledWorkerError);
    expect(error.message).toContain(future.key);
    expect(error.message).toContain('4 workers that died');
    expect(error.message).toContain('SIGKILL');
    await client.waitForWorkers(2, { timeout: 60 });
  }, 90_000);
});

describe('connecting', () => {
  it('a wrong token', async () => {
    const error = await failure(Client.connect(pair.cluster.address, { token: 'wrong' }));
    expect(error).toBeInstanceOf(AuthenticationError);
    expect(error.message).toContain(pair.cluster.address);
  });

  it('a name that no cluster has', async () => {
    const error = await failure(Client.connect('no-such-cluster'));
    expect(error.message).toContain('No running cluster is called no-such-cluster');
    expect(error.message).toContain(pair.cluster.name);
  });

  it('an address where nothing listens', async () => {
    const error = await failure(Client.connect('http://127.0.0.1:1', { token: 'x' }));
    expect(error['code']).toBe('COMM_CLOSED');
    expect(error.message).toContain('http://127.0.0.1:1');
  });

  it('a scheduler that goes away', async () => {
    const cluster = await LocalCluster.create({ workers: 1, threadsPerWorker: 2 });
    const client = await Client.connect(cluster);
    const pending = client.submit(() => new Promise(() => undefined));
    const small = client.submit(() => 5);
    await small.result();
    await cluster.close();
    const error = await failure(pending.result());
    expect(error).toBeInstanceOf(CancelledError);
    expect(error.message).toContain('cluster is gone');
    expect(await small.result()).toBe(5);
    expect(() => client.submit(() => 1)).toThrow('Connect again');
  });
});
