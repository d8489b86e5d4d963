/**
 * Run by plain Node: module scope as users have it, which a test runner's transforms would hide.
 * Ships functions through their blobs and prints one JSON line a check: { name, got } or { name,
 * error }.
 */
import { join } from 'node:path';
import * as path from 'node:path';

import * as acorn from 'acorn';

import { captureFunction } from '../../../src/serialize/capture.ts';
import { rebuildFunction } from '../../../src/serialize/rebuild.ts';
import { deserializeValue, serializeValue } from '../../../src/serialize/value.ts';
import { scaled, settings, Shape } from './library.ts';
import * as library from './library.ts';

const root = path.resolve(import.meta.dirname, '../../..');

function print(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

async function ship<F extends Function>(fn: F): Promise<F> {
  const { blob } = await captureFunction(fn);
  return (await rebuildFunction(blob, { root })) as F;
}

async function check(name: string, fn: Function, ...args: unknown[]): Promise<void> {
  try {
    const shipped = await ship(fn);
    print({ name, got: await (shipped(...args) as unknown) });
  } catch (error) {
    print({ name, error: String(error) });
  }
}

const factor = 2;
let offset = 10;
const table = new Map([['a', { when: new Date(5), pattern: /x+/g, big: 9n }]]);
const samples = new Float64Array(1000).fill(2);

function double(x: number): number {
  return x * factor;
}
function doubleAndShift(x: number): number {
  return double(x) + offset;
}
const isEven = (n: number): boolean => n === 0 || isOdd(n - 1);
const isOdd = (n: number): boolean => n !== 0 && isEven(n - 1);

class Base {
  static made = 5;
  v: number;
  constructor(v: number) {
    this.v = v;
  }
  get twice(): number {
    return this.v * 2;
  }
  grow(n: number): Derived {
    return new Derived(this.v + n);
  }
}
class Derived extends Base {
  static tag = `d${factor}`;
  hello(): string {
    return `hi${double(this.v)}${super.twice}`;
  }
}
class Counter {
  static #next = 1;
  #mine = 2;
  static take(): number {
    return Counter.#next++;
  }
  get(): number {
    return this.#mine;
  }
}
class AppError extends Error {
  readonly status: number;
  constructor(message: string, status: number) {
    super(message);
    this.name = 'AppError';
    this.status = status;
  }
}
class Single {
  static readonly instance: Single = new Single();
  label = 'only';
}
class Stack<T> extends Array<T> {
  top(): T | undefined {
    return this.at(-1);
  }
}
function OldStyle(this: { n: number }): void {
  this.n = 4;
}
OldStyle.prototype.read = function (this: { n: number }): number {
  return this.n + factor;
};

function makeAdder(a: number): (b: number) => number {
  const join = 'shadow';
  return b => a + b + factor + join.length;
}
function makePair(): (n: number) => number {
  const inner = (x: number): number => x + factor;
  const outer = (y: number): number => inner(y) * 2;
  return outer;
}

await check('nothing captured', (a: number, b: number) => a + b, 1, 2);
await check('module const and let', (x: number) => x * factor + offset, 1);
await check('helpers of helpers', doubleAndShift, 3);
await check('named import', (a: string) => join(a, 'b'), 'a');
await check('namespace import', (a: string) => path.basename(a), 'a/q');
await check('package', () => acorn.parse('1', { ecmaVersion: 2020 }).type);
await check('own module', (n: number) => scaled(n) + new Shape(2).area(), 3);
await check('own module, namespace', () => library.scaled(1) + library.settings.scale);
await check('own module, value', () => settings.name);
await check('mutual recursion', isEven, 10);
await check(
  'recursion',
  function fact(n: number): number {
    return n < 2 ? 1 : n * fact(n - 1);
  },
  5
);
await check('classes', () => {
  const d = new Derived(2);
  return [d.hello(), Derived.tag, Base.made, d.grow(1) instanceof Derived];
});
await check('private members', () => [Counter.take(), Counter.take(), new Counter().get()]);
await check('singleton', () => Single.instance instanceof Single && Single.instance.label);
await check('values', () => {
  const { when, pattern, big } = table.get('a')!;
  return [when.getTime(), pattern.flags, String(big), samples[999]];
});
await check('enclosing function', makeAdder(5), 6);
await check('inner helpers', makePair(), 3);
await check(
  'method shorthand',
  {
    scale(a: number): number {
      return a * factor;
    }
  }.scale,
  4
);
await check(
  'async',
  async (n: number) => {
    await null;
    return n + factor;
  },
  1
);
{
  const count = await ship(function* (n: number) {
    for (let i = 0; i < n; i++) yield i + factor;
  });
  print({ name: 'generator', got: [...count(3)] });
}
await check('native', Math.max, 1, 5);
await check('built-in module function', join, 'x', 'y');
await check('package function', acorn.parseExpressionAt, '1+x', 0, { ecmaVersion: 2020 });
await check('dynamic import', async () => {
  const { sep } = await import('node:path');
  const parser = await import('acorn');
  return [sep, typeof parser.parse];
});
await check('import.meta', () => path.basename(import.meta.url));
await check('instance as argument', (d: Derived) => d.hello(), new Derived(1));
{
  const held = new Derived(7);
  await check('instance captured', () => [held.hello(), held instanceof Derived]);
  const stack = Stack.from([1, 2, 3]) as Stack<number>;
  await check('array subclass', () => [stack.top(), stack.length, stack instanceof Stack]);
  const old = new (OldStyle as unknown as new () => { n: number; read(): number })();
  await check('old-style class', () => old.read());
}
await check('custom error', () => {
  try {
    throw new AppError('gone', 404);
  } catch (error) {
    const caught = error as AppError;
    return [caught.message, caught.status, caught instanceof AppError, caught instanceof Error];
  }
});
{
  const fetch = (x: number): number => x + 1000;
  await check('a global shadowed by a const', () => fetch(1));
}
await check(
  'shadowing inside',
  (factor: number, { offset = 1 } = {}) => {
    const table = [factor];
    {
      const factor = 7;
      table.push(factor);
    }
    try {
      throw new Error('e');
    } catch (double) {
      table.push((double as Error).message.length);
    }
    for (const samples of [1]) table.push(samples);
    label: for (;;) break label;
    // eslint-disable-next-line no-var
    if (offset > 0) var hoisted = 3;
    return { table, offset, hoisted: hoisted!, text: `${factor}` };
  },
  40
);
// @ts-expect-error a name only some workers have
await check('typeof guard', () => (typeof onlyOnWorkers === 'undefined' ? 'none' : onlyOnWorkers));
{
  let calls = 0;
  const counting = await ship(() => {
    calls++;
    return calls;
  });
  print({ name: 'own state', got: [counting(), counting(), calls] });
}
{
  const list = [1];
  const captured = captureFunction(() => [list.length, offset]);
  list.push(2);
  offset = 99;
  const { blob } = await captured;
  const run = (await rebuildFunction(blob, { root })) as () => unknown;
  print({ name: 'moment of the call', got: run() });
  offset = 10;
}
{
  const future = new (class Future {})();
  const reference = (value: object): boolean => value === future;
  const { blob, futures } = await captureFunction(() => [future, factor], { reference });
  const options = { root, resolve: (index: number) => `result ${index}` };
  const run = (await rebuildFunction(blob, options)) as () => unknown;
  print({ name: 'captured future', got: [futures.length, futures[0] === future, run()] });
}
{
  const a = await captureFunction((x: number) => x * factor);
  const b = await captureFunction((x: number) => x * factor);
  const c = await captureFunction((x: number) => x * offset);
  print({ name: 'hash', got: [a.hash === b.hash, a.hash === c.hash, a.hash.length, a.name] });
  const again = (fn: Function): boolean => captureFunction(fn) === captureFunction(fn);
  print({ name: 'analysed once', got: [again((x: number) => x + 1), again(double)] });
}
{
  const value = [double, new Derived(3), new AppError('bad', 500), { Derived }] as const;
  const back = deserializeValue(serializeValue(value)) as unknown as typeof value;
  const own = [
    back[1] instanceof Derived,
    back[2] instanceof AppError,
    back[3].Derived === Derived
  ];
  print({ name: 'values with code', got: [back[0](2), back[1].hello(), back[2].status, ...own] });
}
{
  const first = await ship(makeAdder(1));
  const second = await ship(first);
  print({ name: 'sent on', got: second(2) });
}
{
  const fail = await ship(function explode(x: number): number {
    if (x > 0) {
      throw new Error('boom');
    }
    return x;
  });
  try {
    fail(1);
  } catch (error) {
    const line = (error as Error).stack!.split('\n')[1]!.trim();
    const at = /at (\w+) \((.*):(\d+):(\d+)\)/.exec(line)!;
    const source = (await import('node:fs')).readFileSync(new URL(import.meta.url), 'utf8');
    const text = source.split('\n')[Number(at[3]) - 1]!;
    print({ name: 'stack', got: [at[1], path.basename(at[2]!), text.slice(Number(at[4]) - 1)] });
  }
}
