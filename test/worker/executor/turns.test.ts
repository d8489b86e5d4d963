/** Tasks that leave their slot, beside others in one thread. */
import { afterEach, expect, test } from 'vitest';
import { MemoryStore } from '../../../src/worker/store.ts';
import { Harness } from './harness.ts';

const open: Harness[] = [];
function harness(): Harness {
  const made = new Harness(1);
  open.push(made);
  return made;
}
afterEach(() => Promise.all(open.splice(0).map(one => one.pool.close())));

interface Context {
  current(): {
    key: string;
    secede(): void;
    rejoin(): Promise<void>;
    waiting<T>(wait: () => Promise<T>): Promise<T>;
  };
}
declare global {
  /** What tests put into their executor's thread. */
  var gates: Record<string, () => void>;
  var notes: string[];
}

/** A task that leaves, waits for `opens` of its gate, and goes on. */
const away = async (gate: string): Promise<string> => {
  const place = Symbol.for('taskloom.executor');
  const task = (globalThis as unknown as Record<symbol, Context>)[place]!.current();
  task.secede();
  globalThis.gates ??= {};
  await new Promise<void>(resolve => (globalThis.gates[gate] = resolve));
  return task.key;
};
const opens = (gate: string): string => {
  globalThis.gates[gate]?.();
  return gate;
};

test('a task that secedes lets others run in its thread, and ends beside them', async () => {
  const h = harness();
  const long = h.hand(await h.define(away), ['a']);
  const other = h.hand(await h.define(away), ['b']);
  h.pool.flush();
  expect(await h.value((x: number) => x + 1, 1)).toBe(2);
  expect(h.seceded).toEqual([long.tid, other.tid]);
  expect(h.pool.running().sort()).toEqual([long.tid, other.tid]);
  await h.value(opens, 'b');
  expect(await other.done).toMatchObject({ kind: 'value', value: `key-${other.tid}` });
  await h.value(opens, 'a');
  expect(await long.done).toMatchObject({ kind: 'value', value: `key-${long.tid}` });
  expect(h.pool.running()).toEqual([]);
});

test('a task that is away goes on when its pool retires', async () => {
  const h = harness();
  const slow = async (): Promise<string> => {
    const place = Symbol.for('taskloom.executor');
    (globalThis as unknown as Record<symbol, Context>)[place]!.current().secede();
    await new Promise(resolve => setTimeout(resolve, 300));
    return 'done';
  };
  const { tid } = h.hand(await h.define(slow));
  h.pool.flush();
  while (h.seceded.length === 0) await new Promise(resolve => setTimeout(resolve, 1));
  const ended = new Promise<number[]>((resolve, reject) => {
    const none = (): void => reject(new Error('it ended in another way'));
    h.pool.retire(new MemoryStore(), {
      onSuccess: event => resolve(event.tids),
      ...{ onFailure: none, onReturned: none, onReschedule: none, onKilled: none }
    });
  });
  expect(await ended).toEqual([tid]);
});

test('any number of tasks may be away', async () => {
  const h = harness();
  const fn = await h.define(away);
  const tasks = [];
  while (tasks.length < 300) {
    const some = Array.from({ length: 50 }, (_, i) => h.hand(fn, [`${tasks.length + i}`]));
    tasks.push(...some);
    h.pool.flush();
    while (h.seceded.length < tasks.length) await new Promise(resolve => setTimeout(resolve, 1));
  }
  await h.value(() => {
    for (const open of Object.values(globalThis.gates)) open();
  });
  const ended = await Promise.all(tasks.map(task => task.done));
  expect(ended.filter(outcome => outcome.kind === 'value')).toHaveLength(300);
});

test('rejoin waits until the thread is free, and then has it alone', async () => {
  const h = harness();
  const back = async (): Promise<string[]> => {
    const place = Symbol.for('taskloom.executor');
    const task = (globalThis as unknown as Record<symbol, Context>)[place]!.current();
    globalThis.notes = [];
    globalThis.gates = {};
    task.secede();
    await new Promise<void>(resolve => (globalThis.gates['x'] = resolve));
    globalThis.notes.push('asks');
    await task.rejoin();
    globalThis.notes.push('is back');
    await new Promise(resolve => setTimeout(resolve, 30));
    globalThis.notes.push('ends');
    return globalThis.notes;
  };
  const note = async (text: string): Promise<void> => {
    globalThis.notes.push(`${text} begins`);
    globalThis.gates[text]?.();
    await new Promise(resolve => setTimeout(resolve, 30));
    globalThis.notes.push(`${text} ends`);
  };
  const first = h.hand(await h.define(back));
  h.pool.flush();
  await first.began;
  const fn = await h.define(note);
  h.hand(fn, ['x']);
  h.hand(fn, ['y']);
  h.pool.flush();
  expect(await first.done).toMatchObject({
    value: ['x begins', 'asks', 'x ends', 'is back', 'ends']
  });
});

test('waiting for tasks leaves the slot and takes it again only if it is free', async () => {
  const h = harness();
  const waits = async (): Promise<string> => {
    const place = Symbol.for('taskloom.executor');
    const task = (globalThis as unknown as Record<symbol, Context>)[place]!.current();
    globalThis.gates = {};
    const gate = (name: string) => () =>
      new Promise<string>(resolve => (globalThis.gates[name] = () => resolve(name)));
    const both = await Promise.all([task.waiting(gate('a')), task.waiting(gate('b'))]);
    return both.join();
  };
  const task = h.hand(await h.define(waits));
  h.pool.flush();
  await h.value(opens, 'a');
  await h.value(opens, 'b');
  expect(await task.done).toMatchObject({ kind: 'value', value: 'a,b' });
  expect(h.seceded).toEqual([task.tid]);
});

test('a task that is away is blamed for the end of its thread, the others are given back', async () => {
  const h = harness();
  const exits = async (): Promise<void> => {
    const place = Symbol.for('taskloom.executor');
    (globalThis as unknown as Record<symbol, Context>)[place]!.current().secede();
    await new Promise(resolve => setTimeout(resolve, 30));
    process.exit(3);
  };
  const bad = h.hand(await h.define(exits));
  const innocent = h.hand(await h.define(() => new Promise(() => undefined)));
  h.pool.flush();
  expect(await bad.done).toMatchObject({ kind: 'error', error: { code: 'EXECUTOR_DIED' } });
  expect(await innocent.done).toMatchObject({ kind: 'returned' });
});

test('an exception in a callback fails the task whose callback it was', async () => {
  const h = harness();
  const throws = async (): Promise<void> => {
    const place = Symbol.for('taskloom.executor');
    (globalThis as unknown as Record<symbol, Context>)[place]!.current().secede();
    setTimeout(() => {
      throw new RangeError('late');
    }, 10);
    await new Promise(() => undefined);
  };
  const bad = h.hand(await h.define(throws));
  const good = h.hand(
    await h.define(() => new Promise(resolve => setTimeout(() => resolve(1), 60)))
  );
  h.pool.flush();
  expect(await bad.done).toMatchObject({ error: { message: 'RangeError: late' } });
  expect(await good.done).toMatchObject({ kind: 'value', value: 1 });
});

test('killing a task that is away gives back what else was in its thread', async () => {
  const h = harness();
  const long = h.hand(await h.define(away), ['never']);
  const other = h.hand(await h.define(away), ['never either']);
  h.pool.flush();
  await Promise.all([long.began, other.began]);
  while (h.seceded.length < 2) await new Promise(resolve => setTimeout(resolve, 5));
  h.pool.kill(long.tid, 1);
  expect(await long.done).toMatchObject({ kind: 'killed' });
  expect(await other.done).toMatchObject({ kind: 'returned' });
  expect(await h.value(() => 5)).toBe(5);
});
