/** Python executors as real processes: what they run, what goes wrong in them, and what users see. */
import { readdirSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { deserializeValue } from '../../../src/serialize/value.ts';
import { PYTHON, PythonHarness } from './python-harness.ts';

const open: PythonHarness[] = [];

async function start(...args: ConstructorParameters<typeof PythonHarness>): Promise<PythonHarness> {
  const harness = new PythonHarness(...args);
  open.push(harness);
  return harness.start();
}

afterEach(async () => {
  await Promise.all(open.splice(0).map(harness => harness.close()));
});

async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`waited in vain: ${what}`);
    await new Promise(resolve => setTimeout(resolve, 10));
  }
}

const SLEEP = 'import time\ndef f(s): time.sleep(s); return s';

describe.skipIf(PYTHON === undefined)('a Python executor', () => {
  it('runs functions, coroutines too, and says which Python it is', async () => {
    const h = await start();
    expect(h.version).toMatch(/^3\.\d+\.\d+/);
    expect(await h.value('def f(x, y): return {"sum": x + y}', [1, 2])).toEqual({ sum: 3 });
    const source = 'import asyncio\nasync def f(x):\n    await asyncio.sleep(0.01)\n    return x';
    expect(await h.value(source, ['a'])).toBe('a');
  });

  it('keeps large results live, and serialises them only for others', async () => {
    const h = await start(2);
    const made = await h.success('import numpy\ndef f(): return numpy.arange(300_000.0)');
    expect(made).toMatchObject({ type: 'ndarray', nbytes: 2_400_000 });
    expect(h.store.sizeOf(made.tid)).toBe(2_400_000);
    const sum = await h.success('def f(a): return float(a.sum())', [{ $dep: 0 }], [made.tid]);
    expect(sum.lane).toBe(made.lane);
    expect(h.inner.has(made.tid)).toBe(false);
    const value = deserializeValue(await h.stored(made.tid)) as Float64Array;
    expect([value.length, value[299_999]]).toEqual([300_000, 299_999]);
    expect(h.inner.has(made.tid)).toBe(true);
    // Its frames came through a file in memory, of which nothing is left.
    expect(readdirSync(h.folder).filter(name => name.startsWith('frame'))).toEqual([]);
  });

  it('maps large inputs, which tasks may write to without others seeing it', async () => {
    const h = await start();
    const array = h.put(new Float64Array(200_000).fill(1));
    const source = 'def f(a): a += 1; return [a.flags.owndata, a.sum().item()]';
    expect(await h.value(source, [{ $dep: 0 }], [array])).toEqual([false, 400_000]);
    expect(readdirSync(h.folder).filter(name => !name.startsWith('cells'))).toEqual([]);
    expect((deserializeValue(await h.stored(array)) as Float64Array)[0]).toBe(1);
  });

  it('gives live results away when they pass the target', async () => {
    const h = await start(1, { target: 3_000_000 });
    const source = 'import numpy\ndef f(): return numpy.ones(200_000)';
    const first = await h.success(source);
    const second = await h.success(source);
    await until('the first has left', () => h.inner.has(first.tid));
    expect(h.inner.has(second.tid)).toBe(false);
    expect(h.store.nbytes).toBeGreaterThanOrEqual(3_200_000);
  });

  it('exchanges plain data, arrays and errors about the rest with TypeScript', async () => {
    const h = await start();
    const array = h.put(new Float64Array([1, 2, 3]));
    expect(await h.value('def f(a): return (a * 2).sum().item()', [{ $dep: 0 }], [array])).toBe(12);
    const made = await h.success('import numpy\ndef f(): return numpy.arange(4.0)');
    const task = await h.submitTypeScript((a: Float64Array) => a.reduce((x, y) => x + y), made.tid);
    expect(await task.done).toMatchObject({ type: 'number' });
    expect(deserializeValue(await h.stored(task.tid))).toBe(6);

    const map = h.put(new Map([[1, 2]]));
    const error = await h.fails('def f(m): return m', [{ $dep: 0 }], [map]);
    expect(error).toMatchObject({ code: 'SERIALIZATION' });
    expect(error.message).toContain(`needs key-${map}, whose value is of family js`);
    expect(error.message).toContain('Let the TypeScript task return plain data');
    const tuple = await h.success('def f(): return (1, 2)');
    const refused = await (await h.submitTypeScript((t: never) => t, tuple.tid)).done;
    expect(refused).toMatchObject({ error: { code: 'SERIALIZATION' } });
    expect(JSON.stringify(refused)).toContain(
      'whose value is of family pickle: only Python reads it'
    );
  });

  it('forwards what is printed, with the key', async () => {
    const h = await start();
    const { tid } = await h.success(
      'import sys\ndef f():\n print("hello")\n sys.stderr.write("oh")'
    );
    // A line without an end is told after the result.
    await until('both lines', () => h.log.includes(`error key-${tid}: oh`));
    expect(h.log).toContain(`info key-${tid}: hello`);
  });

  it('tells tasks of their worker, and lets them leave their slot', async () => {
    const h = await start();
    const source = `
from taskloom._context import current_task, executor_context
def f():
    import time
    current_task().secede()
    time.sleep(0.5)
    return [executor_context().worker.name, executor_context().scheduler, current_task().key]`;
    const first = await h.submit(source);
    await until('it has left', () => h.seceded.includes(first.tid));
    const second = await h.success('def f(): return 1');
    await first.done;
    expect(second.inline).not.toBeNull();
    const [name, scheduler, key] = deserializeValue(await h.stored(first.tid)) as string[];
    expect([name, scheduler, key]).toEqual(['w', 'http://127.0.0.1:2', `key-${first.tid}`]);
  });
});

describe.skipIf(PYTHON === undefined)('tasks that have not begun', () => {
  it('are taken back while another runs', async () => {
    const h = await start();
    const first = await h.submit(SLEEP, [0.5]);
    const second = await h.submit(SLEEP, [0]);
    await first.began;
    h.pool.recall([first.tid, second.tid], [1, 1]);
    expect(await second.done).toBe('returned');
    expect(await first.done).toMatchObject({ type: 'float' });
    expect(h.kept).toEqual([first.tid]);
  });

  it('are killed without harm to what runs', async () => {
    const h = await start();
    const first = await h.submit(SLEEP, [0.5]);
    const second = await h.submit(SLEEP, [0]);
    await first.began;
    h.pool.kill(second.tid, 1);
    expect(await second.done).toBe('killed');
    expect(await first.done).toMatchObject({ type: 'float' });
  });

  it('are not lost when the answer comes too late: the interpreter was held', async () => {
    const h = await start();
    const first = await h.submit('import ctypes\ndef f(): return ctypes.PyDLL(None).sleep(4)');
    const second = await h.submit(SLEEP, [0]);
    await first.began;
    while ((await h.pool.stacks(300)).get(first.tid)?.frames.length !== 0);
    h.pool.recall([second.tid], [1]);
    expect(await first.done).toMatchObject({ type: 'int' });
    expect(await second.done).toMatchObject({ type: 'int' });
    expect(h.kept).toEqual([second.tid]);
  });

  it('move to an executor that has nothing to do', async () => {
    const h = await start(2);
    const fn = await h.define(SLEEP);
    const [long, short] = [await h.pack([1.5]), await h.pack([0.01])];
    const all = [h.hand(fn, long), ...Array.from({ length: 7 }, () => h.hand(fn, short))];
    const outcomes = await Promise.all(all.slice(1).map(one => one.done));
    const lanes = outcomes.map(one => (one as { lane: number }).lane);
    const first = (await all[0]?.done) as { lane: number };
    // All but those nearest to the long one have run beside it.
    expect(lanes.filter(lane => lane !== first.lane).length).toBeGreaterThan(3);
  });
});

describe.skipIf(PYTHON === undefined)('a running task', () => {
  it('is ended with its process when it is killed; its results and others go on', async () => {
    const h = await start();
    const task = await h.submit(SLEEP, [60]);
    await task.began;
    expect(h.pool.running()).toEqual([task.tid]);
    h.pool.kill(task.tid, 1);
    expect(await task.done).toBe('killed');
    expect(await h.value('def f(): return 1')).toBe(1);
  });

  it('shows its stack', async () => {
    const h = await start();
    const task = await h.submit('import time\ndef g(): time.sleep(60)\ndef f(): g()');
    await task.began;
    await new Promise(resolve => setTimeout(resolve, 100));
    const stack = (await h.pool.stacks(5000)).get(task.tid);
    expect(stack?.frames.map(line => line.split(' ')[0])).toEqual(['g', 'f']);
    h.pool.kill(task.tid, 1);
    await task.done;
  });

  it('that holds the interpreter holds up nothing of the worker, and can be killed', async () => {
    const h = await start();
    // sleep() called without letting the interpreter go, as an extension in C may.
    const task = await h.submit('import ctypes\ndef f(): ctypes.PyDLL(None).sleep(60)');
    await task.began;
    await new Promise(resolve => setTimeout(resolve, 100));
    let beats = 0;
    const heart = setInterval(() => beats++, 20);
    const stack = (await h.pool.stacks(1000)).get(task.tid);
    clearInterval(heart);
    expect(stack?.note).toContain('holds the interpreter');
    expect(beats).toBeGreaterThan(10);
    h.pool.kill(task.tid, 1);
    expect(await task.done).toBe('killed');
    expect(await h.value('def f(): return 1')).toBe(1);
  });
});

describe.skipIf(PYTHON === undefined)('the death of a process', () => {
  it.each([
    [
      'a segmentation fault',
      'import ctypes\ndef f(): ctypes.string_at(0)',
      /SIGSEGV.*Fatal Python/s
    ],
    ['os._exit', 'import os\ndef f(): os._exit(3)', /ended with exit code 3/],
    ['SIGKILL', 'import os\ndef f(): os.kill(os.getpid(), 9)', /SIGKILL.*memory is short/]
  ])('by %s is told with its reason, and blamed on its task alone', async (_, source, reason) => {
    const h = await start();
    const bad = await h.submit(source);
    const after = await h.submit('def f(): return 1');
    const outcome = await bad.done;
    expect(outcome).toMatchObject({ error: { code: 'EXECUTOR_DIED', blame: `key-${bad.tid}` } });
    expect((outcome as { error: { message: string } }).error.message).toMatch(reason);
    expect(await after.done).toBe('returned');
    expect(await h.value('def f(): return 2')).toBe(2);
  });

  it('loses what was live in it, and nothing else', async () => {
    const h = await start(2);
    const source = 'import time, numpy\ndef f(): time.sleep(0.2); return numpy.ones(100_000)';
    const [one, two] = [await h.submit(source), await h.submit(source)];
    const lanes = (await Promise.all([one.done, two.done])).map(o => (o as { lane: number }).lane);
    expect(new Set(lanes).size).toBe(2);
    const small = await h.success('def f(): return 5');
    await h.fails('import os\ndef f(a): os._exit(1)', [{ $dep: 0 }], [one.tid]);
    expect(h.lost).toEqual([one.tid]);
    expect(h.store.has(two.tid)).toBe(true);
    expect(h.store.has(small.tid)).toBe(true);
    expect(deserializeValue(await h.stored(two.tid))).toHaveLength(100_000);
  });

  it('does not come of a fork in user code', async () => {
    const h = await start();
    const source = `
import os
def f():
    pid = os.fork()
    if pid == 0:
        return "child"
    os.waitpid(pid, 0)
    return "parent"`;
    expect(await h.value(source)).toBe('parent');
    expect(await h.value('def f(): return 1')).toBe(1);
  });

  it('is not awaited when it cannot be started', async () => {
    const harness = new PythonHarness(1, { python: '/no/such/python' });
    open.push(harness);
    await expect(harness.start()).rejects.toThrow('/no/such/python cannot be run');
  });
});

describe.skipIf(PYTHON === undefined)('errors that a user sees', () => {
  it('carry the traceback without our own frames', async () => {
    const h = await start();
    const error = await h.fails('def g(x): return 1 / x\ndef f(): return g(0)');
    expect(error).toMatchObject({
      code: 'TASK_ERRED',
      message: 'ZeroDivisionError: division by zero'
    });
    expect(error.traceback).toMatch(/^Traceback.*in f\n.*in g\n.*ZeroDivisionError/s);
    expect(error.traceback).not.toContain('taskloom/executor');
    expect(error.exception).not.toBeNull();
  });

  it('MemoryError: the task fails, its process lives', async () => {
    const h = await start();
    const error = await h.fails('def f(): return bytearray(1 << 60)');
    expect(error.message).toMatch(/^MemoryError/);
    expect(h.log.filter(line => line.includes('ended its Python process'))).toEqual([]);
  });

  it('a result that cannot be pickled', async () => {
    const h = await start();
    const error = await h.fails('import threading\ndef f(): return threading.Lock()');
    expect(error.code).toBe('SERIALIZATION');
    expect(error.message).toMatch(/result of task key-1 cannot leave.*lock.*Return or pass data/s);
  });

  it('an exception whose constructor needs arguments comes as itself', async () => {
    const h = await start();
    const source = `
class Odd(Exception):
    def __init__(self, code, *, where):
        super().__init__(f"{code} at {where}")
        self.code = code
def f(): raise Odd(7, where="here")`;
    const error = await h.fails(source);
    expect(error.message).toBe('Odd: 7 at here');
    const bytes = h.put(new Uint8Array(error.exception ?? []));
    const read = `
from taskloom.serialize import unpack, deserialize
def f(data):
    error = deserialize(*unpack(data))
    return [type(error).__name__, str(error), error.code]`;
    expect(await h.value(read, [{ $dep: 0 }], [bytes])).toEqual(['Odd', '7 at here', 7]);
  });

  it('recursion without end', async () => {
    const h = await start();
    const error = await h.fails('def f(): return f()');
    expect(error.message).toMatch(/^RecursionError/);
    expect(error.traceback.length).toBeLessThan(25_000);
  });

  it('a module that the worker does not have', async () => {
    const h = await start();
    const error = await h.fails('def f(): import no_such_module_at_all');
    expect(error.message).toContain("No module named 'no_such_module_at_all'");
    const fn = await h.define('def f(): pass');
    const args = new Uint8Array(Buffer.from('d7020001', 'hex'));
    // A pickle that names a class of a module that is not there.
    const pickle = Buffer.from('cno_such_module_at_all\nThing\n.', 'latin1');
    const packed = Buffer.concat([args, Buffer.from([0, 0, 0, pickle.length]), pickle]);
    const outcome = await h.hand(fn, packed).done;
    expect(JSON.stringify(outcome)).toMatch(
      /does not have it. Install it there.* or send the file/
    );
  });

  it('a message of a megabyte is cut', async () => {
    const h = await start();
    const error = await h.fails('def f(): raise ValueError("x" * 1_100_000)');
    expect(error.message).toMatch(/^ValueError: x+… \(11000\d\d characters in all\)$/);
    expect(error.message.length).toBeLessThan(21_000);
    expect(error.traceback.length).toBeLessThan(21_000);
    expect(error.exception?.length).toBeLessThan(30_000);
  });

  it('a result beyond the memory of the worker', async () => {
    const h = await start(1, { memoryLimit: 50 * 2 ** 20 });
    const error = await h.fails('import numpy\ndef f(): return numpy.empty(10_000_000)');
    expect(error.code).toBe('WORKER_MEMORY');
    expect(error.message).toContain('its result is 76.3 MiB');
  });

  it('sys.exit is an error like others', async () => {
    const h = await start();
    expect((await h.fails('import sys\ndef f(): sys.exit(4)')).message).toBe('SystemExit: 4');
  });
});

describe.skipIf(PYTHON === undefined)('threads of one process', () => {
  it('run beside each other', async () => {
    const h = await start(2, { threads: true });
    const source = `
def f():
    import builtins, threading
    here = builtins.__dict__.setdefault("_barrier", threading.Barrier(2))
    here.wait(10)
    return True`;
    const both = [await h.submit(source), await h.submit(source)];
    for (const outcome of await Promise.all(both.map(one => one.done))) {
      expect(outcome).toMatchObject({ type: 'bool' });
    }
  });
});
