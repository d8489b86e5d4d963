/**
 * Local clusters of real processes: the contract of all backends, and what only processes of this
 * machine can show.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { listConnectionFiles, runtimeFolder } from '../../src/config/connection-file.ts';
import { nodePath } from '../../src/config/runtime.ts';
import { LocalCluster } from '../../src/deploy/local.ts';
import { clusterContract } from './contract.ts';
import { familyOf, lives, ownRuntimeFolder, processes, until } from './processes.ts';

ownRuntimeFolder();

const MEMORY = '1 GiB';

describe('LocalCluster keeps the contract of clusters', () => {
  clusterContract(options =>
    LocalCluster.create({ ...options, threadsPerWorker: 1, memoryLimit: MEMORY })
  );
});

describe('options', () => {
  it.each([
    [{ workers: -1 }, /workers must be a whole number from 0/],
    [{ workers: 2.5 }, /it was 2.5/],
    [{ threadsPerWorker: 0 }, /threadsPerWorker must be a whole number from 1/],
    [{ memoryLimit: 'much' }, /much/],
    [{ memoryLimit: 1000 }, /at least 128 MiB/],
    [{ name: ' ' }, /name of 1 to 100 characters/]
  ])('refuses %o before any process starts', async (options, message) => {
    await expect(LocalCluster.create(options)).rejects.toThrow(message);
    expect(processes().filter(seen => seen.parent === process.pid && isNanny(seen))).toEqual([]);
  });

  it('says what went wrong when the scheduler cannot start', async () => {
    await using first = await LocalCluster.create({ workers: 0 });
    const port = Number(new URL(first.address).port);
    await expect(LocalCluster.create({ workers: 1, port })).rejects.toThrow(
      new RegExp(`did not start: .*Port ${port} on 127.0.0.1 is in use`, 's')
    );
    await until('the second nanny has ended', () => {
      return processes().filter(seen => seen.parent === process.pid && isNanny(seen)).length === 1;
    });
  });

  it('refuses an address beyond loopback unless asked for by name', async () => {
    await expect(LocalCluster.create({ workers: 0, host: '0.0.0.0' })).rejects.toThrow(
      /Refusing to listen on 0.0.0.0/
    );
  });

  it('keeps its token off every command line', async () => {
    await using cluster = await LocalCluster.create({ workers: 1, memoryLimit: MEMORY });
    const { all } = familyOf(process.pid);
    for (const pid of all) {
      expect(readFileSync(`/proc/${pid}/cmdline`, 'utf8')).not.toContain(cluster.token);
    }
  });
});

describe('processes that end', () => {
  it('starts a killed worker again and says how it ended', async () => {
    await using cluster = await LocalCluster.create({ workers: 2, memoryLimit: MEMORY });
    const [victim] = familyOf(process.pid).workers;
    process.kill(victim as number, 'SIGKILL');
    await until('two workers, none of them the killed one', () => {
      const { workers } = familyOf(process.pid);
      return workers.length === 2 && !workers.includes(victim as number);
    });
    await until('two workers are registered', async () => {
      return (await cluster.info()).workers.running === 2;
    });
    const lines = (await cluster.logs()).logs.flatMap(log => log.lines).join('\n');
    expect(lines).toMatch(/worker-\d: killed by SIGKILL.* It starts again in 100 ms/);
    expect(lines).toMatch(/worker worker-\d is gone: killed by SIGKILL/);
  });

  it('ends the cluster, saying so, when its scheduler is killed and nobody supervises it', async () => {
    const cluster = await LocalCluster.create({
      workers: 1,
      memoryLimit: MEMORY,
      superviseScheduler: false
    });
    const family = familyOf(process.pid);
    process.kill(family.scheduler, 'SIGKILL');
    expect(await cluster.finished).toMatch(/scheduler ended: killed by SIGKILL.*start a new/s);
    await until('all processes have ended', () => !family.all.some(lives));
    expect(listConnectionFiles()).toEqual([]);
  });

  it('leaves nothing behind when its nanny is killed', async () => {
    const cluster = await LocalCluster.create({ workers: 2, memoryLimit: MEMORY });
    const family = familyOf(process.pid);
    process.kill(family.nanny, 'SIGKILL');
    expect(await cluster.finished).toMatch(/its nanny ended \(killed by SIGKILL\)/);
    await until('all processes have ended', () => !family.all.some(lives));
    await until('no connection file', () => listConnectionFiles().length === 0);
  });
});

/** A script that makes a cluster, prints its facts and waits. */
function owner(options: object): ReturnType<typeof spawn> {
  const source = join(import.meta.dirname, '..', '..', 'src', 'deploy', 'local.ts');
  const script =
    `import { LocalCluster } from ${JSON.stringify(source)};` +
    `const cluster = await LocalCluster.create(${JSON.stringify(options)});` +
    `console.log('made');` +
    `if (process.argv.includes('--wait')) setInterval(() => undefined, 1e6);`;
  const flags = ['--input-type=module', '--eval', script, '--', '--wait'];
  return spawn(nodePath(), flags, { stdio: ['ignore', 'pipe', 'inherit'] });
}

async function made(child: ReturnType<typeof spawn>): Promise<void> {
  await once(child.stdout as NodeJS.ReadableStream, 'data');
}

describe('the lease', () => {
  it('ends the cluster with its owner, however that ends', async () => {
    const child = owner({ workers: 1, memoryLimit: MEMORY });
    await made(child);
    const family = familyOf(child.pid as number);
    expect(family.workers).toHaveLength(1);
    child.kill('SIGKILL');
    await until('all processes have ended', () => !family.all.some(lives));
    expect(listConnectionFiles()).toEqual([]);
  });

  it('is not there for a cluster that was made to stay', async () => {
    const child = owner({ workers: 1, memoryLimit: MEMORY, lease: false });
    await made(child);
    const family = familyOf(child.pid as number);
    child.kill('SIGKILL');
    await once(child, 'exit');
    await new Promise(resolve => setTimeout(resolve, 500));
    expect(family.all.filter(lives)).toEqual(family.all);
    process.kill(family.nanny, 'SIGTERM');
    await until('all processes have ended', () => !family.all.some(lives));
  });

  it('does not keep a finished script running', async () => {
    const source = join(import.meta.dirname, '..', '..', 'src', 'deploy', 'local.ts');
    const script =
      `import { LocalCluster } from ${JSON.stringify(source)};` +
      `await LocalCluster.create({ workers: 1, memoryLimit: '${MEMORY}' });`;
    const child = spawn(nodePath(), ['--input-type=module', '--eval', script], {
      stdio: ['ignore', 'ignore', 'inherit']
    });
    const [code] = (await once(child, 'exit')) as [number | null];
    expect(code).toBe(0);
    await until('the cluster has ended', () => listConnectionFiles().length === 0);
  });
});

/** The Deno of the checkout's own environment, on which TypeScript notebooks run. */
const deno = join(import.meta.dirname, '..', '..', '.venv', 'bin', 'deno');

describe.runIf(existsSync(deno))('in Deno', () => {
  it('makes, uses and closes a cluster, and leaves nothing when it ends without closing', async () => {
    const source = join(import.meta.dirname, '..', '..', 'src', 'deploy', 'local.ts');
    const script =
      `import { LocalCluster } from ${JSON.stringify(source)};` +
      `{ await using cluster = await LocalCluster.create({ workers: 1, memoryLimit: 0 });` +
      `  console.log((await cluster.info()).workers.running, cluster); }` +
      `await LocalCluster.create({ workers: 1, memoryLimit: 0 });`;
    const file = join(runtimeFolder(), 'script.ts');
    writeFileSync(file, script);
    const child = spawn(deno, ['run', '--no-check', '--allow-all', file], {
      stdio: ['ignore', 'pipe', 'inherit']
    });
    const output = text(child.stdout);
    const [code] = (await once(child, 'exit')) as [number | null];
    expect(await output).toMatch(/^1 LocalCluster\(local-[0-9a-f]{4}, http:/);
    expect(code).toBe(0);
    await until('the cluster has ended', () => listConnectionFiles().length === 0);
  });
});

function isNanny(seen: { command: string }): boolean {
  return seen.command.includes('nanny --supervised');
}
