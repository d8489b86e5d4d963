/**
 * A user's script whose tasks use the cluster themselves: they submit tasks, wait for them, secede,
 * rejoin, ask to be run again. Prints one line of JSON.
 */
import { Client, LocalCluster, Reschedule, getClient, getWorker, rejoin, secede } from 'taskloom';

async function fib(n: number): Promise<number> {
  if (n < 2) return n;
  const client = await getClient();
  const [a, b] = await client.gather([client.submit(fib, n - 1), client.submit(fib, n - 2)]);
  return (a ?? 0) + (b ?? 0);
}

/** A chain of tasks, each waiting for the one it has submitted. */
async function deep(n: number): Promise<number> {
  if (n === 0) return 0;
  const client = await getClient();
  return 1 + (await client.submit(deep, n - 1).result());
}

async function sumOfSquares(items: number[]): Promise<number> {
  const client = await getClient();
  let sum = 0;
  for (const square of client.map(x => x * x, items)) sum += await square.result();
  return sum;
}

/** Waits beside its slot until `opener` has run there. */
async function waiter(): Promise<string[]> {
  secede();
  await new Promise<void>(resolve => (globalThis.opened = resolve));
  await rejoin();
  return ['waiter came back', getWorker().name];
}
function opener(): string {
  globalThis.opened?.();
  return 'opened';
}
declare global {
  var opened: (() => void) | undefined;
  var tries: number | undefined;
}

function third(): number {
  globalThis.tries = (globalThis.tries ?? 0) + 1;
  if (globalThis.tries < 3) throw new Reschedule();
  return globalThis.tries;
}

async function failing(): Promise<never> {
  const client = await getClient();
  await client
    .submit(() => {
      throw new RangeError('inner');
    })
    .result();
  throw new Error('it did not fail');
}

await using one = await LocalCluster.create({ workers: 1, threadsPerWorker: 1 });
await using single = await Client.connect(one);
const first = single.submit(waiter);
const results: unknown[] = [
  await single.submit(fib, 8).result(),
  await single.submit(deep, 40).result(),
  await single.submit(sumOfSquares, [1, 2, 3, 4]).result(),
  await single.submit(opener).result(),
  (await first.result())[0],
  await single.submit(third).result(),
  (await single.submit(failing).exception())?.message
];
await using two = await LocalCluster.create({ workers: 2, threadsPerWorker: 1 });
await using client = await Client.connect(two);
results.push(await client.submit(fib, 11).result());
console.log(JSON.stringify(results));
