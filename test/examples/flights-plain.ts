/**
 * The numbers of examples/flights.ipynb by one plain process and other means: whole files, no
 * tasks. Prints one line of JSON, which the test of the notebook compares.
 */
import { readFileSync } from 'node:fs';
import { zstdDecompressSync } from 'node:zlib';
import { asyncBufferFromFile, parquetReadObjects } from 'hyparquet';

const data = new URL('../../node_modules/vega-datasets/data/', import.meta.url);

const states = new Map<string, string>();
for (const line of readFileSync(new URL('airports.csv', data), 'utf8').split('\n')) {
  const match = /^(\w+),.*,([^,]*),[^,]*,[-\d.]+,[-\d.]+\s*$/.exec(line);
  if (match !== null) states.set(match[1] ?? '', match[2] ?? '');
}

interface Flight {
  delay: bigint;
  origin: string;
}
const file = await asyncBufferFromFile(new URL('flights-3m.parquet', data).pathname);
const compressors = { ZSTD: (bytes: Uint8Array) => zstdDecompressSync(bytes) };
const flights = (await parquetReadObjects({
  file,
  compressors,
  columns: ['delay', 'origin']
})) as unknown as Flight[];
const seen = new Set<string>();
const totals = { CA: { flights: 0, delay: 0, late: 0 }, NY: { flights: 0, delay: 0, late: 0 } };
for (const { origin, delay } of flights) {
  const state = states.get(origin) ?? '?';
  seen.add(state);
  if (state !== 'CA' && state !== 'NY') continue;
  const row = totals[state];
  row.flights++;
  row.delay += Number(delay);
  if (delay > 60n) row.late++;
}

const hours = Array.from({ length: 24 }, () => [0, 0] as [number, number]);
const records = JSON.parse(readFileSync(new URL('flights-200k.json', data), 'utf8')) as {
  delay: number;
  time: number;
}[];
for (const { delay, time } of records) {
  const row = hours[Math.min(23, Math.floor(time))] as [number, number];
  row[0]++;
  row[1] += delay;
}

console.log(
  JSON.stringify({
    totals: { flights: flights.length, states: seen.size, ca: totals.CA, ny: totals.NY },
    hours
  })
);
