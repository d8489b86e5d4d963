/**
 * Chaos on real processes: `npm run chaos -- --minutes 30 --seed 7`. Clients submit random graphs
 * with known answers while processes are killed and stopped, executors misbehave, the network and
 * the disk fail. At the end the faults stop; every future must have ended with the right value or
 * an error that has a reason, and nothing may be left over.
 *
 * The seed fixes which faults come in which order and what is submitted; what a fault meets depends
 * on the machine. `--faults kill-worker,scale` takes only some of them, `--no-network` leaves the
 * namespaces out, `--no-python` the Python tasks, `--report FILE` writes counts and summary as JSON.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Rng } from '../../src/base/rng.ts';
import { FAULTS, pickFault } from './faults.ts';
import type { Scene } from './faults.ts';
import { Load, sleep } from './load.ts';
import { PythonLoad } from './python.ts';
import { leftAtRest } from './rest.ts';
import { Setting } from './setting.ts';
import { Tally } from './tally.ts';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '2' },
    seed: { type: 'string', default: '1' },
    faults: { type: 'string' },
    'no-network': { type: 'boolean', default: false },
    'no-python': { type: 'boolean', default: false },
    report: { type: 'string' },
    keep: { type: 'boolean', default: false }
  }
});

/** Mean ms between faults. */
const GAP_MS = 1500;
/** ms for all that was submitted to end once the faults are over. */
const END_LIMIT_MS = 240_000;
const REST_LIMIT_MS = 60_000;
/** Lines in the log of a process that only a defect of ours can cause. */
const DEFECT =
  /it crashed|InvalidTransition|No transition|not the next|Invariant|TypeError|executor could not do/;
/** Lines that speak of what a task did to its Python process. */
const PLANNED = /ended its Python process/;

const seed = Number(values.seed);
const tally = new Tally(line => console.log(line));
const setting = new Setting({
  workers: 2,
  hosts: 2,
  memory: values['no-python'] ? 512 : 768,
  disk: 64,
  network: !values['no-network'],
  python: !values['no-python']
});

async function play(): Promise<void> {
  const rng = new Rng(seed);
  await setting.start();
  const loads = ['a', 'b'].map(
    name => new Load(name, setting, tally, new Rng(rng.integer(0, 2 ** 31)))
  );
  for (const load of loads) await load.start();
  const python = setting.python === null ? null : new PythonLoad(setting, tally);
  if (setting.python !== null) await python?.start(setting.python, rng.integer(0, 2 ** 31));
  const scene = { setting, loads, python, tally, rng };
  await injectFaults(scene, Date.now() + Number(values.minutes) * 60_000);
  tally.note('the faults are over');
  setting.heal();
  await bringBack();
  await Promise.all([...loads, python].map(load => load?.finish(END_LIMIT_MS)));
  const [first] = loads;
  if (first !== undefined) {
    for (const text of await leftAtRest(setting, first.connection, REST_LIMIT_MS))
      tally.fail('rest', text);
  }
  for (const load of [...loads, python]) await load?.close();
}

async function injectFaults(
  { setting, loads, python, tally, rng }: Scene,
  end: number
): Promise<void> {
  const names = values.faults?.split(',');
  const faults = FAULTS.filter(fault => names?.includes(fault.name) ?? true);
  while (Date.now() < end) {
    await sleep(-Math.log(1 - rng.next()) * GAP_MS);
    const fault = pickFault(faults, rng);
    // Its own numbers: what a fault draws must not change which faults come after it.
    const own = new Rng(rng.integer(0, 2 ** 31));
    try {
      const details = fault.inject({ setting, loads, python, tally, rng: own });
      if (details !== null) tally.fault(fault.name, details);
    } catch (error) {
      tally.fail('sound', `fault ${fault.name} could not be injected: ${(error as Error).stack}`);
    }
  }
}

/** Workers that were given up after too many ends come back when somebody asks. */
async function bringBack(): Promise<void> {
  const { cluster, options } = setting;
  const all = options.workers + options.hosts;
  for (let tries = 0; tries < 5; tries++) {
    try {
      await cluster.adapt(null);
      await cluster.scale(options.workers);
      return await cluster.waitForWorkers(all, { timeoutMs: 25_000 });
    } catch (error) {
      tally.note(`bringing the workers back: ${(error as Error).message}`);
      await sleep(1000);
      setting.restartIdleHosts();
    }
  }
  tally.fail('rest', 'the workers did not come back');
}

function finish(): void {
  for (const line of setting.readLog().split('\n')) {
    if (DEFECT.test(line) && !PLANNED.test(line)) tally.fail('sound', `in the log: ${line}`);
  }
  const failed = tally.failures.length > 0;
  const summary = [
    `chaos, seed ${seed}`,
    ...tally.summary(setting.skipped).map(text => `  ${text}`)
  ];
  console.log(`\n${summary.join('\n')}`);
  if (failed) {
    console.log(`  failures: ${tally.failures.length}, the first:`);
    for (const text of tally.failures.slice(0, 5)) console.log(`    ${text}`);
    console.log(`  logs of all processes: ${setting.folder}`);
    console.log(`  again: npm run chaos -- --minutes ${values.minutes} --seed ${seed}`);
  }
  setting.clear(failed || values.keep);
  if (values.report !== undefined) {
    writeFileSync(values.report, JSON.stringify({ ...tally.counts(), summary }));
  }
  const { passed, failed: broken } = tally.counts();
  console.log(`${passed} passed, ${broken} failed`);
  process.exit(failed ? 1 : 0);
}

for (const name of ['SIGINT', 'SIGTERM'] as const) {
  process.once(name, () => {
    setting.clear(true);
    process.exit(1);
  });
}
for (const name of ['uncaughtException', 'unhandledRejection'] as const) {
  process.on(name, error => tally.fail('sound', `nobody caught: ${(error as Error).stack}`));
}
try {
  await play();
} catch (error) {
  tally.fail('sound', `the run broke: ${(error as Error).stack}`);
  setting.heal();
}
for (const text of await setting.end()) tally.fail('left', `left behind: ${text}`);
finish();
