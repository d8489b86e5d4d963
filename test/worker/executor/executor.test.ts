/** Executors as they are: threads that run users' code, fail, are killed and die. */
import { afterEach, describe, expect, test } from 'vitest';
import { deserializeValue, serializeValue, unpackFrames } from '../../../src/serialize/value.ts';
import { ExecutorPool } from '../../../src/worker/executor/pool.ts';
import { MemoryStore } from '../../../src/worker/store.ts';
import { Harness, Ref } from './harness.ts';

const open: Harness[] = [];
function harness(nthreads = 1, memoryLimit = 0): Harness {
  const made = new Harness(nthreads, memoryLimit);
  open.push(made);
  return made;
}
afterEach(() => Promise.all(open.splice(0).map(one => one.pool.close())));

describe('values', () => {
  test('arguments go in, results come out, small wanted ones packed for sending along', async () => {
    const h = harness();
    const outcome = await h.call((a: number, b: number) => a + b, 2, 3);
    expect(outcome).toMatchObject({ kind: 'value', value: 5, type: 'number', lane: 0 });
    const inline = outcome.kind === 'value' ? outcome.inline : null;
    expect(deserializeValue(unpackFrames(inline ?? new Uint8Array()))).toBe(5);
  });

  test('asynchronous functions and promises are awaited', async () => {
    const h = harness();
    expect(
      await h.value(async (ms: number) => (await new Promise(r => setTimeout(r, ms)), 'later'), 5)
    ).toBe('later');
    expect(await h.value(() => Promise.resolve(7))).toBe(7);
  });

  test('dependencies anywhere in the arguments, from the store or live in the thread', async () => {
    const h = harness();
    const make = h.hand(await h.define((n: number) => new Float64Array(n).fill(2)), [100_000]);
    h.pool.flush();
    await make.done;
    const sum = (box: { data: Float64Array }): number => box.data.reduce((a, b) => a + b, 0);
    expect(await h.value(sum, { data: new Ref(make.tid) })).toBe(200_000);
    // A second thread has it from the store.
    const other = harness();
    const stored = h.store.get(make.tid);
    if (stored === undefined) throw new Error('the value is not in the store');
    other.store.put(make.tid, stored);
    expect(await other.value(sum, { data: new Ref(make.tid) })).toBe(200_000);
  });

  test('futures that a function has captured come before those of its arguments', async () => {
    const h = harness();
    const first = h.hand(await h.define(() => 10));
    const second = h.hand(await h.define(() => 1));
    const third = h.hand(await h.define(() => 100));
    h.pool.flush();
    await Promise.all([first.done, second.done, third.done]);
    const captured = new Ref(first.tid) as unknown as number;
    const fn = await h.define((x: number) => captured + x);
    const a = h.hand(fn, [new Ref(second.tid)], [new Ref(first.tid)]);
    // The same code with another captured future is not mixed up with the first.
    const b = h.hand(fn, [new Ref(second.tid)], [new Ref(third.tid)]);
    h.pool.flush();
    expect(await a.done).toMatchObject({ value: 11 });
    expect(await b.done).toMatchObject({ value: 101 });
  });

  test('large typed arrays arrive whole', async () => {
    const h = harness();
    const result = (await h.value((n: number) => {
      const all = new Uint32Array(n);
      for (let i = 0; i < n; i++) all[i] = i;
      return all;
    }, 5_000_000)) as Uint32Array;
    expect(result.length).toBe(5_000_000);
    expect(result[4_999_999]).toBe(4_999_999);
  });

  test('many small tasks, in order of handing over', async () => {
    const h = harness();
    const fn = await h.define((i: number) => i * i);
    const handles = Array.from({ length: 60 }, (_, i) => h.hand(fn, [i]));
    h.pool.flush();
    const values = await Promise.all(handles.map(handle => handle.done));
    expect(values.map(v => (v.kind === 'value' ? v.value : null))).toEqual(
      handles.map((_, i) => i * i)
    );
  });

  test('what tasks print is logged with their key', async () => {
    const h = harness();
    await h.value(() => (console.log('hello from inside'), console.error('and an error'), 1));
    expect(h.log.some(line => /^info key-\d+: hello from inside$/.test(line))).toBe(true);
    expect(h.log.some(line => /^error key-\d+: and an error$/.test(line))).toBe(true);
  });
});

describe('errors', () => {
  test('a custom error keeps its name, fields and causes, and the user sees his own lines', async () => {
    const h = harness();
    const error = await h.fails(() => {
      class BadRow extends Error {
        override name = 'BadRow';
        row = 7;
      }
      const deep = new TypeError('not a number');
      throw new BadRow('row 7 is bad', { cause: deep });
    });
    expect(error).toMatchObject({ code: 'TASK_ERRED', message: 'BadRow: row 7 is bad' });
    expect(error.blame).toMatch(/^key-/);
    expect(error.traceback).toMatch(/BadRow: row 7 is bad/);
    expect(error.traceback).toMatch(/Caused by: TypeError: not a number/);
    expect(error.traceback).not.toMatch(/executor\/loop/);
    const packed = unpackFrames(error.exception ?? new Uint8Array());
    expect(packed.frames.length).toBeGreaterThan(0);
  });

  test('an ordinary exception comes back as an exception', async () => {
    const h = harness();
    const error = await h.fails(() => {
      throw Object.assign(new RangeError('too far', { cause: new Error('why') }), {
        where: [1, 2]
      });
    });
    const back = deserializeValue(unpackFrames(error.exception ?? new Uint8Array()));
    expect(back).toBeInstanceOf(RangeError);
    expect(back).toMatchObject({ message: 'too far', where: [1, 2], cause: { message: 'why' } });
  });

  test('values that are not errors keep their value', async () => {
    const h = harness();
    const error = await h.fails(() => {
      throw 42;
    });
    expect(error.message).toBe('number was thrown, not an Error: 42');
    expect(deserializeValue(unpackFrames(error.exception ?? new Uint8Array()))).toBe(42);
    const nothing = await h.fails(() => Promise.reject());
    expect(deserializeValue(unpackFrames(nothing.exception ?? new Uint8Array()))).toBe(undefined);
  });

  test('a result that cannot travel names the task and the path', async () => {
    const h = harness();
    const error = await h.fails(() => ({ rows: [1, { handle: new WeakMap() }] }));
    expect(error.code).toBe('SERIALIZATION');
    expect(error.message).toMatch(/result of task key-\d+/);
    expect(error.message).toMatch(/rows\[1\]\.handle/);
  });

  test('an exception whose fields cannot travel still arrives', async () => {
    const h = harness();
    const error = await h.fails(() => {
      throw Object.assign(new Error('with a map'), { handle: new WeakMap() });
    });
    const back = deserializeValue(unpackFrames(error.exception ?? new Uint8Array()));
    expect(back).toMatchObject({ message: 'with a map' });
  });

  test('an exception in a callback fails the task that waits', async () => {
    const h = harness();
    const error = await h.fails(
      () =>
        new Promise(() => {
          setTimeout(() => {
            throw new Error('in a timer');
          }, 1);
        })
    );
    expect(error.message).toBe('Error: in a timer');
    expect(await h.value(() => 'goes on')).toBe('goes on');
  });

  test('a result beyond the memory limit says both sizes', async () => {
    const h = harness(1, 200 * 2 ** 20);
    const error = await h.fails(() => new Uint8Array(210 * 2 ** 20));
    expect(error.code).toBe('WORKER_MEMORY');
    expect(error.message).toMatch(/key-\d+.*210 MiB.*200 MiB.*memoryLimit/s);
  });
});

describe('ends', () => {
  test('process.exit in a task ends only its executor, which is replaced', async () => {
    const h = harness(2);
    const fn = await h.define(() => new Promise(r => setTimeout(() => r('survived'), 100)));
    const neighbour = h.hand(fn);
    h.pool.flush();
    await neighbour.began;
    const error = await h.fails(() => process.exit(3));
    expect(error.code).toBe('EXECUTOR_DIED');
    expect(error.message).toMatch(/key-\d+.*exit code 3/);
    expect(await neighbour.done).toMatchObject({ kind: 'value', value: 'survived' });
    expect(await h.value(() => 'again')).toBe('again');
  });

  test('only the task that ran is blamed; those queued behind it are given back', async () => {
    const h = harness();
    const bad = h.hand(await h.define(() => process.exit(1)));
    const good = h.hand(await h.define(() => 1));
    h.pool.flush();
    expect(await bad.done).toMatchObject({ kind: 'error' });
    expect(await good.done).toEqual({ kind: 'returned' });
  });

  test('a task that fills its heap fails with the limit named, others go on', async () => {
    const h = harness(1, 128 * 2 ** 20);
    const error = await h.fails(() => {
      const all: unknown[] = [];
      for (;;) all.push({ some: 'object', with: [Math.random()] });
    });
    expect(error.code).toBe('WORKER_MEMORY');
    expect(error.message).toMatch(/key-\d+ needed more than .*heap of 64 MiB/);
    expect(await h.value(() => 'again')).toBe('again');
  });

  test('a running task is killed with its thread; what is queued is only given back', async () => {
    const h = harness();
    const busy = h.hand(
      await h.define(() => {
        for (;;);
      })
    );
    const queued = h.hand(await h.define(() => 1));
    const other = h.hand(await h.define(() => 2));
    h.pool.flush();
    await busy.began;
    h.pool.kill(queued.tid, 1);
    expect(await queued.done).toEqual({ kind: 'killed' });
    h.pool.kill(busy.tid, 1);
    expect(await busy.done).toEqual({ kind: 'killed' });
    expect(await other.done).toEqual({ kind: 'returned' });
    expect(await h.value(() => 'again')).toBe('again');
  });

  test('recall takes back what has not begun and leaves what runs', async () => {
    const h = harness();
    const busy = h.hand(await h.define(() => new Promise(r => setTimeout(() => r('done'), 50))));
    const queued = h.hand(await h.define(() => 1));
    h.pool.flush();
    await busy.began;
    h.pool.recall([busy.tid, queued.tid], [1, 1]);
    expect(await queued.done).toEqual({ kind: 'returned' });
    expect(h.kept).toEqual([busy.tid]);
    expect(await busy.done).toMatchObject({ value: 'done' });
    h.pool.recall([busy.tid], [1]);
    expect(h.kept).toEqual([busy.tid, busy.tid]);
  });

  test('an idle thread takes over what waits behind a long task', async () => {
    const h = harness(2);
    const forever = await h.define(() => {
      for (;;);
    });
    const short = await h.define((i: number) => i);
    const long = h.hand(forever);
    // Both threads get a share; the one with the endless task cannot begin its own.
    const rest = Array.from({ length: 9 }, (_, i) => h.hand(short, [i]));
    h.pool.flush();
    await long.began;
    const done = await Promise.all(rest.map(handle => handle.done));
    expect(done.every(outcome => outcome.kind === 'value')).toBe(true);
    h.pool.kill(long.tid, 1);
    await long.done;
  });
});

describe('live values', () => {
  test('a value is sent to a thread once, and decoded once, for all tasks that need it', async () => {
    const h = harness();
    const stored = serializeValue({ rows: new Float64Array(1000).fill(3) });
    h.store.put(7, { ...stored, nbytes: 8000, type: 'Object' });
    const fn = await h.define((box: { rows: Float64Array; seen?: number }) => {
      box.seen = (box.seen ?? 0) + 1;
      return box.seen;
    });
    const handles = [h.hand(fn, [new Ref(7)]), h.hand(fn, [new Ref(7)])];
    h.pool.flush();
    const last = h.hand(fn, [new Ref(7)]);
    h.pool.flush();
    const outcomes = await Promise.all([...handles, last].map(handle => handle.done));
    // The same object each time: it was decoded once and kept.
    expect(outcomes.map(one => (one.kind === 'value' ? one.value : one))).toEqual([1, 2, 3]);
  });

  test('what has been pushed out of a thread is sent again', async () => {
    // A tenth of 128 MiB is kept live: these do not fit together.
    const h = harness(1, 128 * 2 ** 20);
    const make = await h.define((n: number) => new Uint8Array(7 * 2 ** 20).fill(n));
    const made = [1, 2, 3].map(n => h.hand(make, [n]));
    h.pool.flush();
    await Promise.all(made.map(handle => handle.done));
    const first = await h.define((all: Uint8Array[]) => all.map(one => one[0]));
    const all = made.map(handle => new Ref(handle.tid));
    for (let round = 0; round < 3; round++) {
      const handle = h.hand(first, [all]);
      h.pool.flush();
      expect(await handle.done).toMatchObject({ kind: 'value', value: [1, 2, 3] });
    }
  });

  test('a task whose input is nowhere any more is given back', async () => {
    const h = harness();
    const handle = h.hand(await h.define((x: number) => x), [new Ref(12345)]);
    h.pool.flush();
    expect(await handle.done).toEqual({ kind: 'returned' });
    expect(await h.value(() => 'goes on')).toBe('goes on');
  });

  test('a dropped value is gone from the thread as well', async () => {
    const h = harness();
    const make = h.hand(await h.define(() => new Uint8Array(5000)));
    h.pool.flush();
    await make.done;
    const use = await h.define((bytes: Uint8Array) => bytes.length);
    h.store.put(make.tid, { ...serializeValue(new Uint8Array(9)), nbytes: 9, type: 'Uint8Array' });
    h.pool.drop([make.tid]);
    const handle = h.hand(use, [new Ref(make.tid)]);
    h.pool.flush();
    expect(await handle.done).toMatchObject({ value: 9 });
  });
});

test('threads that cannot start are not tried for ever', async () => {
  const nothing = (): void => undefined;
  const reason = await new Promise<string>(resolve => {
    new ExecutorPool({
      nthreads: 2,
      memoryLimit: 0,
      root: process.cwd(),
      address: '',
      store: new MemoryStore(),
      entry: new URL('data:text/javascript,throw new Error("half an installation")'),
      events: {
        onSuccess: nothing,
        onFailure: nothing,
        onReturned: nothing,
        onSeceded: nothing,
        onReschedule: nothing,
        onKept: nothing,
        onKilled: nothing,
        onBegan: nothing,
        onLog: nothing,
        onBroken: resolve
      }
    }).startThreads();
  });
  expect(reason).toBe('its executors cannot start: half an installation');
});
