/**
 * Runs the simulation: `npm run sim -- --seeds 2000 --from 1`, or one seed with its whole log:
 * `npm run sim -- --seed 17`. Ends with `N passed, N failed`; each failure prints the command that
 * replays it. `--twice` runs each seed a second time and compares the logs' hashes.
 */
import { parseArgs } from 'node:util';
import { runSeed } from './scenario.ts';

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '200' },
    from: { type: 'string', default: '1' },
    seed: { type: 'string' },
    twice: { type: 'boolean', default: false }
  }
});

if (values.seed !== undefined) {
  const result = runSeed(Number(values.seed), true);
  for (const line of result.log ?? []) console.log(line);
  if (result.failure !== null) console.error(result.failure.stack);
  console.log(`seed ${result.seed}: ${result.events} events, hash ${result.hash.toString(16)}`);
  console.log(result.failure === null ? '1 passed, 0 failed' : '0 passed, 1 failed');
  process.exit(result.failure === null ? 0 : 1);
}

const from = Number(values.from);
const count = Number(values.seeds);
const started = Date.now();
let events = 0;
let failed = 0;
for (let seed = from; seed < from + count; seed++) {
  const result = runSeed(seed);
  events += result.events;
  if (result.failure === null && (values.twice || seed % 50 === 0)) {
    const again = runSeed(seed);
    if (again.hash !== result.hash)
      result.failure = new Error('the same seed ran differently a second time');
  }
  if (result.failure === null) continue;
  failed++;
  if (failed <= 20) {
    console.log(`seed ${seed}: ${result.failure.message.split('\n').slice(0, 6).join('\n  ')}`);
    console.log(`  replay: npm run sim -- --seed ${seed}`);
  }
}
console.log(`${events} events in ${((Date.now() - started) / 1000).toFixed(1)} s`);
console.log(`${count - failed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
