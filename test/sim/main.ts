/**
 * Runs the simulation: `npm run sim -- --seeds 2000 --from 1`, or one seed with its whole log:
 * `npm run sim -- --seed 17`. Seeds are shared among threads (`--threads`, default: all cores).
 * Each failure prints the command that replays it and the end of its log; the last line is
 * `N passed, N failed`. One seed in fifty (`--twice`: each) runs a second time: the same seed must
 * give the same log. `--first` stops at the first failure and says which checker it was.
 */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';
import { checkerOf, runSeed } from './scenario.ts';
import { LEGEND } from './world.ts';

/** What a thread is to do: it takes seeds from the shared counter until none is left. */
interface Share {
  next: Int32Array;
  end: number;
  twice: boolean;
}

interface Report {
  events: number;
  failures: { seed: number; message: string; log: string[] }[];
}

/** Failures that are shown, and lines of their logs. */
const SHOWN = 6;
const TAIL = 12;

function runShare({ next, end, twice }: Share): Report {
  const report: Report = { events: 0, failures: [] };
  for (let seed = Atomics.add(next, 0, 1); seed < end; seed = Atomics.add(next, 0, 1)) {
    const result = runSeed(seed);
    report.events += result.events;
    if (result.failure === null && (twice || seed % 50 === 0)) {
      const differs = runSeed(seed).hash !== result.hash;
      if (differs) result.failure = new Error('the same seed ran differently a second time');
    }
    if (result.failure === null) continue;
    const log = report.failures.length < SHOWN ? (runSeed(seed, true).log ?? []).slice(-TAIL) : [];
    report.failures.push({ seed, message: result.failure.message, log });
  }
  return report;
}

function inThread(share: Share): Promise<Report> {
  return new Promise((resolve, reject) => {
    const thread = new Worker(new URL(import.meta.url), { workerData: share });
    thread.on('message', resolve);
    thread.on('error', reject);
  });
}

function replay(seed: number): number {
  const { log, failure, events, hash } = runSeed(seed, true);
  console.log(LEGEND);
  for (const line of log ?? []) console.log(line);
  if (failure !== null) console.log(failure.stack);
  console.log(`seed ${seed}: ${events} events, hash ${(hash >>> 0).toString(16)}`);
  console.log(failure === null ? '1 passed, 0 failed' : '0 passed, 1 failed');
  return failure === null ? 0 : 1;
}

async function runSeeds(from: number, count: number, threads: number, twice: boolean) {
  const started = Date.now();
  const next = new Int32Array(new SharedArrayBuffer(4));
  next[0] = from;
  const share: Share = { next, end: from + count, twice };
  const reports =
    threads === 1
      ? [runShare(share)]
      : await Promise.all(Array.from({ length: threads }, () => inThread(share)));
  const failures = reports.flatMap(report => report.failures).sort((a, b) => a.seed - b.seed);
  for (const { seed, message, log } of failures.slice(0, SHOWN)) {
    for (const line of log) console.log(`  ${line}`);
    console.log(`seed ${seed}: ${message.split('\n').slice(0, 12).join('\n  ')}`);
    console.log(`  replay with its whole log: npm run sim -- --seed ${seed}\n`);
  }
  const events = reports.reduce((sum, report) => sum + report.events, 0);
  const seconds = (Date.now() - started) / 1000;
  console.log(`${count} seeds, ${events} events in ${seconds.toFixed(1)} s`);
  console.log(`${count - failures.length} passed, ${failures.length} failed`);
  return failures.length === 0 ? 0 : 1;
}

/** For mutants.ts: one thread, so that the first seed that fails is always the same. */
function findFirst(from: number, count: number): number {
  for (let seed = from; seed < from + count; seed++) {
    const { failure } = runSeed(seed);
    if (failure === null) continue;
    const [line = ''] = failure.message.split('\n');
    console.log(JSON.stringify({ seed, checker: checkerOf(failure), message: line.slice(0, 200) }));
    return 1;
  }
  return 0;
}

if (isMainThread) {
  const { values } = parseArgs({
    options: {
      seeds: { type: 'string', default: '200' },
      from: { type: 'string', default: '1' },
      seed: { type: 'string' },
      threads: { type: 'string', default: String(availableParallelism()) },
      twice: { type: 'boolean', default: false },
      first: { type: 'boolean', default: false }
    }
  });
  const [from, count] = [Number(values.from), Number(values.seeds)];
  if (values.seed !== undefined) process.exitCode = replay(Number(values.seed));
  else if (values.first) process.exitCode = findFirst(from, count);
  else process.exitCode = await runSeeds(from, count, Number(values.threads), values.twice);
} else {
  parentPort?.postMessage(runShare(workerData as Share));
}
