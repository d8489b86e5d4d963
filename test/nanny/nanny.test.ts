/**
 * The nanny over real processes: what it reads of them, ends and starts again.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { Client } from '../../src/client/client.ts';
import { memoryShape } from '../../src/config/memory.ts';
import type { ClusterSetup } from '../../src/config/process-messages.ts';
import { createNannyId } from '../../src/nanny/link.ts';
import { Nanny } from '../../src/nanny/nanny.ts';
import type { NannyOptions } from '../../src/nanny/nanny.ts';
import { readResident } from '../../src/nanny/resident.ts';
import { lives, ownRuntimeFolder, processes, until } from '../deploy/processes.ts';

ownRuntimeFolder();

const MIB = 2 ** 20;
const TOKEN = 'token-of-the-test';
const CLUSTER: ClusterSetup = {
  id: 'local-test',
  name: 'test',
  kind: 'local',
  token: TOKEN,
  host: '127.0.0.1',
  port: 0,
  insecure: false,
  madeBy: { kind: 'script', label: 'test' }
};

const lines: string[] = [];
const nannies: Nanny[] = [];
const folders: string[] = [];
const environment = process.env['NODE_OPTIONS'];
afterEach(async () => {
  for (const nanny of nannies.splice(0)) await nanny.close('the test is over');
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
  lines.length = 0;
  if (environment === undefined) delete process.env['NODE_OPTIONS'];
  else process.env['NODE_OPTIONS'] = environment;
});

function create(options: Partial<NannyOptions> = {}, memoryLimit = 0): Nanny {
  const shape = {
    threads: 1,
    memoryLimit,
    host: '127.0.0.1',
    insecure: false,
    drainTimeout: 0,
    resources: {}
  };
  const nanny = Nanny.create({
    id: createNannyId(),
    token: TOKEN,
    cluster: CLUSTER,
    workers: 1,
    shape: { ...shape, root: process.cwd() },
    onLog: line => lines.push(line),
    ...options
  });
  nannies.push(nanny);
  return nanny;
}

/** Runs `code` (CommonJS) in every worker process that is started from here on. */
function inWorkers(code: string): void {
  const folder = mkdtempSync(join(tmpdir(), 'taskloom-preload-'));
  const file = join(folder, 'preload.cjs');
  const only = `if (process.argv.includes('worker') && require('worker_threads').isMainThread)`;
  writeFileSync(file, `${only} { ${code} }\n`);
  process.env['NODE_OPTIONS'] = `--require=${file}`;
  folders.push(folder);
}

const workerPids = (): number[] =>
  processes()
    .filter(seen => seen.parent === process.pid && seen.command.includes('worker --supervised'))
    .map(seen => seen.pid);

describe('a nanny', () => {
  it('reads what its processes use', () => {
    const read = new Map<number, number>();
    readResident([process.pid, 2 ** 22 + 1], Infinity, (pid, rss) => read.set(pid, rss));
    const rss = read.get(process.pid) as number;
    expect([...read.keys()]).toEqual([process.pid]);
    expect(rss / process.memoryUsage.rss()).toBeGreaterThan(0.5);
    expect(rss / process.memoryUsage.rss()).toBeLessThan(2);
  });

  it('reads what processes below one use, also those that these have started', async () => {
    const hog = 'import time; x = b"1" * 100_000_000; print(1, flush=True); time.sleep(60)';
    const child = spawn('sh', ['-c', `python3 -c '${hog}'; true`], {
      stdio: ['ignore', 'pipe', 'ignore'],
      detached: true
    });
    await once(child.stdout, 'data');
    let [own, tree] = [0, 0];
    readResident([child.pid ?? 0], Infinity, (_, rss, all) => ([own, tree] = [rss, all]));
    process.kill(-(child.pid ?? 0), 'SIGKILL');
    expect(own).toBeLessThan(50 * MIB);
    expect(tree).toBeGreaterThan(95 * MIB);
  });

  it('ends a worker that outgrows its limit, says so, and starts another', async () => {
    inWorkers(`const kept = []; setInterval(() => kept.push(Buffer.alloc(${64 * MIB}, 1)), 100);`);
    const nanny = create({ settings: { backoffMs: 200 } }, 600 * MIB);
    await nanny.running();
    const [first] = workerPids();
    await until('the worker is ended', () => !lives(first as number));
    await until('it is said', () => lines.some(line => line.includes('out of memory')));
    expect(lines.find(line => line.includes('out of memory'))).toMatch(
      /^worker-0: out of memory \(limit 600 MiB\): it used \d+ MiB/
    );
    await until('another worker', () => workerPids().some(pid => pid !== first));
  });

  it('gives up, with the last lines, when workers cannot start', async () => {
    inWorkers(`throw new Error('this machine is not for workers');`);
    const nanny = create({ settings: { backoffMs: 10 } });
    await expect(nanny.running()).rejects.toThrow(
      /Workers do not start. worker-0: exit code 1.*this machine is not for workers/s
    );
    expect(await nanny.finished).toMatch(/Workers do not start/);
  });

  it('keeps the last lines of a worker that has ended', async () => {
    inWorkers(`console.error('the last words');`);
    const nanny = create();
    await nanny.running();
    process.kill(workerPids()[0] as number, 'SIGKILL');
    const log = await until('its log', () => {
      return nanny.logs().logs.find(({ source }) => source === 'worker-0, ended');
    });
    expect(log.lines).toContain('the last words');
  });

  it('removes what a worker that was killed had spilled', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'taskloom-spill-'));
    folders.push(folder);
    const shape = { threads: 1, memoryLimit: 2 ** 30, host: '127.0.0.1', insecure: false };
    const nanny = create({
      shape: {
        ...shape,
        memory: memoryShape({ target: 0.05 }),
        localDirectory: folder,
        resources: {},
        drainTimeout: 0,
        root: '.'
      }
    });
    await nanny.running();
    const client = await Client.connect({ address: nanny.address, token: TOKEN });
    const future = client.submit(() => new Uint8Array(60 * 2 ** 20));
    await until('it is spilled', () => readdirSync(folder).length > 0);
    process.kill(workerPids()[0] as number, 'SIGKILL');
    future.cancel();
    await until('the folder is empty', () => readdirSync(folder).length === 0);
    await client.close();
  });

  it('kills a worker that will not end', async () => {
    // A stopped process hears nothing: neither its input nor signals but SIGKILL.
    const nanny = create({ settings: { endLimitMs: 300 } });
    await nanny.running();
    const [pid] = workerPids();
    process.kill(pid as number, 'SIGSTOP');
    await nanny.close('done');
    expect(lives(pid as number)).toBe(false);
  });

  it('says so when its scheduler refuses it', async () => {
    const owner = create({ workers: 0 });
    await owner.running();
    const shape = {
      threads: 1,
      memoryLimit: 0,
      host: '127.0.0.1',
      insecure: false,
      drainTimeout: 0
    };
    const stranger = Nanny.create({
      id: createNannyId(),
      token: 'wrong',
      schedulerAddress: owner.address,
      workers: 0,
      shape: { ...shape, resources: {}, root: '.' }
    });
    await expect(stranger.running()).rejects.toThrow(/cannot reach .* refused the token/);
  });
});
