/**
 * What serialising costs: small argument lists, records, arrays, and functions.
 * Run: node bench/serialize.ts. Prints one JSON line a case.
 */
import { captureFunction } from '../src/serialize/capture.ts';
import { rebuildFunction } from '../src/serialize/rebuild.ts';
import { deserializeValue, serializeValue, sizeOf } from '../src/serialize/value.ts';

const root = process.cwd();

/** Microseconds of one call, the best of five rounds. */
function microseconds(rounds: number, call: (round: number) => unknown): number {
  let best = Infinity;
  for (let repeat = 0; repeat < 5; repeat++) {
    const start = performance.now();
    for (let i = 0; i < rounds; i++) call(i);
    best = Math.min(best, ((performance.now() - start) / rounds) * 1000);
  }
  return Number(best.toFixed(3));
}

function report(name: string, figures: object): void {
  console.log(JSON.stringify({ bench: 'serialize', name, ...figures }));
}

function value(name: string, sample: unknown, rounds: number): void {
  const serialized = serializeValue(sample);
  report(name, {
    family: serialized.family,
    bytes: serialized.frames.reduce((sum, frame) => sum + frame.length, 0),
    serialize_us: microseconds(rounds, () => serializeValue(sample)),
    deserialize_us: microseconds(rounds, () => deserializeValue(serialized)),
    size_of_us: microseconds(rounds, () => sizeOf(sample))
  });
}

value('[5]', [5], 100_000);
value("['a.json', 3]", ['a.json', 3], 100_000);
value('[{ path, part }]', [{ path: 'data/flights.json', part: 7 }], 100_000);
value('[undefined]', [undefined], 100_000);
const records = Array.from({ length: 20_000 }, (_, i) => ({
  date: '2001/01/10 18:20',
  delay: i % 70,
  distance: (i % 999) + 0.5,
  origin: 'AMA',
  destination: 'HOU'
}));
value('20,000 records, plain', records, 5);
value('20,000 records, js', [records, undefined], 5);
value('8 MB of doubles', new Float64Array(1_000_000).fill(1.5), 5);

const factor = 3;
const triple = (x: number): number => x * factor;
const shifted = (x: number): number => triple(x) + 1;

function functions(name: string, make: (i: number) => Function): void {
  const one = make(0);
  const captured = captureFunction(one);
  if (captured instanceof Promise) throw new Error('capture is synchronous in Node');
  report(name, {
    bytes: captured.blob.length,
    new_function_us: microseconds(500, i => captureFunction(make(i))),
    same_function_us: microseconds(500, () => captureFunction(one)),
    rebuild_us: microseconds(500, () => rebuildFunction(captured.blob, { root }))
  });
}

functions('captures nothing', () => (x: number) => x + 1);
functions('captures a module const', () => (x: number) => x * factor);
functions('captures helpers of helpers', () => (x: number) => shifted(x) + factor);
functions('captures a loop variable', i => (x: number) => x + i);
