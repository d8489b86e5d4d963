/**
 * A user's script, as one would write it: module functions, classes, recursion, imports of Node, of
 * a package and of a file beside it. Runs in Node (as TypeScript, and bundled to JavaScript) and in
 * Deno; prints one line of JSON.
 */
import { join } from 'node:path';
import { parse } from 'acorn';
import { Client, LocalCluster } from 'taskloom';
import { scaled } from './shapes.ts';

const table = new Map([['a', 1n]]);
class Point {
  x: number;
  constructor(x: number) {
    this.x = x;
  }
  moved(by: number): Point {
    return new Point(this.x + by);
  }
}
const isEven = (n: number): boolean => (n === 0 ? true : isOdd(n - 1));
const isOdd = (n: number): boolean => (n === 0 ? false : isEven(n - 1));
function fib(n: number): number {
  return n < 2 ? n : fib(n - 1) + fib(n - 2);
}
function countTokens(source: string): number {
  return parse(source, { ecmaVersion: 'latest' }).body.length;
}
function adder(by: number): (x: number) => number {
  const half = by / 2;
  return x => x + half + half;
}

await using cluster = await LocalCluster.create({ workers: 1, threadsPerWorker: 1 });
await using client = await Client.connect(cluster);
const results = await client.gather<unknown>([
  client.submit((a: string) => join(a, 'b'), 'a'),
  client.submit(countTokens, 'let a = 1; a++;'),
  client.submit(scaled, 4),
  client.submit(() => table.get('a')),
  client.submit((p: Point) => p.moved(2).x, new Point(1)),
  client.submit((n: number) => [isEven(n), isOdd(n)], 10),
  client.submit(fib, 15),
  client.submit(adder(6), 1)
]);
console.log(
  JSON.stringify(results, (_key, value: unknown) =>
    typeof value === 'bigint' ? `${value}n` : value
  )
);
