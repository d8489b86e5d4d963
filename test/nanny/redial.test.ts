/**
 * A nanny whose scheduler is killed and comes back at the same address, over real processes.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, expect, it } from 'vitest';
import { commandPath, nodePath } from '../../src/config/runtime.ts';
import { fetchInfo } from '../../src/deploy/api.ts';
import { createNannyId } from '../../src/nanny/link.ts';
import { Nanny } from '../../src/nanny/nanny.ts';
import type { NannyOptions } from '../../src/nanny/nanny.ts';
import { lives, ownRuntimeFolder, processes, until } from '../deploy/processes.ts';

ownRuntimeFolder();

const TOKEN = 'token-of-the-test';
const schedulers: ChildProcess[] = [];
const nannies: Nanny[] = [];
afterEach(async () => {
  for (const nanny of nannies.splice(0)) await nanny.close('the test is over');
  for (const child of schedulers.splice(0)) await kill(child);
});

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}

/** `taskloom scheduler` in a process of its own; resolves with its address. */
async function startScheduler(port: string, token = TOKEN): Promise<string> {
  const child = spawn(nodePath(), [commandPath(), 'scheduler', '--name', 'lab', '--port', port], {
    env: { ...process.env, TASKLOOM_TOKEN: token },
    stdio: ['ignore', 'pipe', 'ignore']
  });
  schedulers.push(child);
  let out = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
  return until('the scheduler serves', () => /http:\S+/.exec(out)?.[0]);
}

async function startNanny(address: string, options: Partial<NannyOptions> = {}): Promise<Nanny> {
  const shape = {
    threads: 1,
    memoryLimit: 0,
    host: '127.0.0.1',
    insecure: false,
    drainTimeout: 0,
    resources: {}
  };
  const nanny = await Nanny.start({
    id: createNannyId(),
    token: TOKEN,
    schedulerAddress: address,
    workers: 2,
    shape: { ...shape, root: process.cwd() },
    ...options
  });
  nannies.push(nanny);
  return nanny;
}

const workers = (): number[] =>
  processes()
    .filter(seen => seen.parent === process.pid && seen.command.includes('worker --supervised'))
    .map(seen => seen.pid);

it('finds its scheduler again, and its workers register anew', async () => {
  const address = await startScheduler('0');
  await startNanny(address);
  await kill(schedulers[0] as ChildProcess);
  await startScheduler(new URL(address).port);
  const running = async (): Promise<number> =>
    (await fetchInfo({ address, token: TOKEN })).workers.running;
  await until('both workers are back', async () => (await running()) === 2);
  // It is obeyed as before.
  const [pid] = workers();
  process.kill(pid as number, 'SIGKILL');
  await until('another worker', async () => !lives(pid as number) && (await running()) === 2);
});

it('gives a scheduler up that does not come back, and ends its workers', async () => {
  const nanny = await startNanny(await startScheduler('0'), { redialLimitMs: 300 });
  await kill(schedulers[0] as ChildProcess);
  expect(await nanny.finished).toMatch(
    /is gone: it did not come back within 0.3 s. Cannot connect/
  );
  expect(workers()).toEqual([]);
});

it('gives up at once when another cluster has its place', async () => {
  const address = await startScheduler('0');
  const nanny = await startNanny(address);
  await kill(schedulers[0] as ChildProcess);
  await startScheduler(new URL(address).port, 'another-token');
  expect(await nanny.finished).toMatch(/is gone: .*refused the token/);
});
