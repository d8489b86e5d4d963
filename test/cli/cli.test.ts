/**
 * The command as people and scripts meet it: help, exit codes, signals, real clusters.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import { Client } from '../../src/client/client.ts';
import { listConnectionFiles, writeActiveId } from '../../src/config/connection-file.ts';
import { commandPath, nodePath, packageVersion } from '../../src/config/runtime.ts';
import { lives, ownRuntimeFolder, processes, until } from '../deploy/processes.ts';

ownRuntimeFolder();

interface Run {
  readonly process: ChildProcess;
  out: string;
  err: string;
  /** Resolves with the exit code, or the signal. */
  readonly ended: Promise<number | string>;
}

const started: Run[] = [];
afterEach(async () => {
  for (const { process: child, ended } of started.splice(0)) {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
    await ended;
  }
});

function start(args: string[], env: Record<string, string> = {}): Run {
  const child = spawn(nodePath(), [commandPath(), ...args], { env: { ...process.env, ...env } });
  const ended = once(child, 'close').then(([code, signal]) => (code ?? signal) as number | string);
  const run: Run = { process: child, out: '', err: '', ended };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (run.out += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (run.err += text));
  started.push(run);
  return run;
}

async function taskloom(
  ...args: string[]
): Promise<{ code: number | string; out: string; err: string }> {
  const run = start(args);
  return { code: await run.ended, out: run.out, err: run.err };
}

const CLUSTER = ['cluster', 'start', '--workers', '1', '--threads', '1', '--memory-limit', '1 GiB'];

describe('help and arguments', () => {
  it.each([
    [[]],
    [['scheduler']],
    [['worker']],
    [['cluster']],
    [['cluster', 'start']],
    [['cluster', 'ls']],
    [['cluster', 'scale']],
    [['cluster', 'adapt']],
    [['cluster', 'stop']],
    [['cluster', 'logs']],
    [['cluster', 'dashboard']],
    [['cluster', 'explain']],
    [['cluster', 'story']],
    [['cluster', 'stacks']],
    [['dump']],
    [['dump', 'show']],
    [['launcher']]
  ])('%j --help explains itself and exits with 0', async command => {
    const { code, out, err } = await taskloom(...command, '--help');
    expect(code).toBe(0);
    expect(err).toBe('');
    expect(out).toMatch(/^Usage: taskloom/);
    if (command.join() !== 'cluster') expect(out).toMatch(/Examples?:\n\s+(\w+=\S+ )?taskloom/);
  });

  it('tells its version', async () => {
    const { code, out } = await taskloom('version');
    expect(code).toBe(0);
    expect(out).toContain(`taskloom ${packageVersion()}\n`);
    expect((await taskloom('--version')).out).toBe(`${packageVersion()}\n`);
  });

  it.each([
    [['nonsense'], /unknown command 'nonsense'/],
    [['cluster', 'nonsense'], /unknown command 'nonsense'/],
    [['worker'], /missing required argument 'cluster'/],
    [['cluster', 'start', '--workers', 'two'], /must be a whole number/],
    [['cluster', 'start', '--resources', 'GPU'], /names with amounts/],
    [['cluster', 'start', '--bogus'], /unknown option '--bogus'/],
    [['cluster', 'scale', 'x'], /missing required argument 'workers'/],
    [['cluster', 'stop'], /or say --all/],
    [['launcher'], /--socket <path>/]
  ])('%j is refused with 2', async (args, message) => {
    const { code, err } = await taskloom(...args);
    expect(code).toBe(2);
    expect(err).toMatch(message);
  });

  it.each([
    [['cluster', 'scale', 'none', '3'], /No running cluster is called none.*cluster start/],
    [['cluster', 'logs', 'none'], /No running cluster is called none/],
    [['cluster', 'stop', 'none'], /No running cluster is called none/],
    [['worker', 'none'], /No running cluster is called none/],
    [['worker', 'http://127.0.0.1:9'], /No token for .*TASKLOOM_TOKEN/],
    [['scheduler', '--host', '0.0.0.0'], /Refusing to listen on 0.0.0.0.*--insecure/],
    [['cluster', 'start', '--memory-limit', 'much'], /much/]
  ])('%j fails with 1 and says why', async (args, message) => {
    const { code, out, err } = await taskloom(...args);
    expect(code).toBe(1);
    expect(out).toBe('');
    expect(err).toMatch(message);
    expect(err).not.toMatch(/\n\s+at /);
  });
});

describe('cluster', () => {
  it('lists nothing kindly', async () => {
    expect(await taskloom('cluster', 'ls')).toEqual({
      code: 0,
      out: 'No clusters. Start one: taskloom cluster start\n',
      err: ''
    });
    expect((await taskloom('cluster', 'ls', '--json')).out).toBe('[]\n');
  });

  it('start, ls, scale, logs and Ctrl-C', async () => {
    const run = start([...CLUSTER, '--name', 'mine']);
    await until('it is up', () => run.out.includes('Client.connect("mine")'));
    const [file] = listConnectionFiles();
    writeActiveId(file?.id ?? '');
    const table = await taskloom('cluster', 'ls');
    expect(table.out).toMatch(new RegExp(`${file?.id} \\*\\s+mine\\s+local\\s+1\\s+1 `));
    expect((await taskloom('cluster', 'scale', 'mine', '2')).code).toBe(0);
    await until('two workers', async () => {
      const { out } = await taskloom('cluster', 'ls', '--json');
      expect(out).not.toContain(file?.token);
      const [listed] = JSON.parse(out) as { workers: { running: number }; active: boolean }[];
      expect(listed?.active).toBe(true);
      return listed?.workers.running === 2;
    });
    expect((await taskloom('cluster', 'logs', 'mine')).out).toContain('==> scheduler <==');
    const link = new URL((await taskloom('cluster', 'dashboard', 'mine')).out.trim());
    expect(link.origin).toBe(file?.address);
    expect(link.hash).toBe(`#token=${file?.token}`);
    run.process.kill('SIGINT');
    expect(await run.ended).toBe(0);
    expect(listConnectionFiles()).toEqual([]);
  });

  it('start --detach leaves it running until cluster stop', async () => {
    const { code, out } = await taskloom(...CLUSTER, '--detach');
    expect(code).toBe(0);
    const [file] = listConnectionFiles();
    expect(out).toContain(`taskloom cluster stop ${file?.name}`);
    expect(lives(file?.pid as number)).toBe(true);
    expect(await taskloom('cluster', 'stop', file?.name as string)).toMatchObject({
      code: 0,
      out: `${file?.name} has ended.\n`
    });
    await until('the scheduler has ended', () => !lives(file?.pid as number));
  });

  it('start fails with 1 and the reason when the cluster ends by itself', async () => {
    const run = start(CLUSTER);
    await until('it is up', () => run.out.includes('Ctrl-C'));
    process.kill(listConnectionFiles()[0]?.supervisor as number, 'SIGKILL');
    expect(await run.ended).toBe(1);
    expect(run.err).toMatch(/it ended: its nanny ended \(killed by SIGKILL\)/);
  });

  it('start ends with 0 when it is stopped from elsewhere', async () => {
    const run = start(CLUSTER);
    await until('it is up', () => run.out.includes('Ctrl-C'));
    expect((await taskloom('cluster', 'stop', '--all')).code).toBe(0);
    expect(await run.ended).toBe(0);
  });
});

describe('scheduler and worker', () => {
  async function scheduler(env: Record<string, string> = {}): Promise<Run> {
    const run = start(['scheduler', '--name', 'lab'], env);
    await until('the scheduler is up', () => run.out.includes('Scheduler lab at'));
    return run;
  }

  async function runningWorkers(): Promise<number> {
    const { out } = await taskloom('cluster', 'ls', '--json');
    return (JSON.parse(out) as { workers: { running: number } }[])[0]?.workers.running ?? 0;
  }

  it('find each other by name; workers are restarted, and end with their scheduler', async () => {
    const run = await scheduler();
    const options = ['--workers', '2', '--threads', '1', '--memory-limit', '0'];
    const workers = start(['worker', 'lab', ...options]);
    await until('the workers are up', () => workers.out.includes('2 workers with 1 threads'));
    expect(await runningWorkers()).toBe(2);
    const below = (): number[] =>
      processes()
        .filter(seen => seen.parent === workers.process.pid)
        .map(seen => seen.pid);
    const before = below();
    process.kill(before[0] as number, 'SIGKILL');
    await until('another worker', () => below().length === 2 && !below().includes(before[0] ?? 0));
    await until('both are registered', async () => (await runningWorkers()) === 2);
    run.process.kill('SIGTERM');
    expect(await run.ended).toBe(0);
    expect(await workers.ended).toBe(1);
    expect(workers.err).toMatch(/The scheduler at http:\S+ is gone: ended by SIGTERM/);
  });

  it('moves what a host holds to other hosts on SIGTERM, with a nanny or without', async () => {
    const scheduler = start(['scheduler', '--name', 'lab']);
    await until('the scheduler', () => scheduler.out.includes('Scheduler lab'));
    const memory = ['--threads', '1', '--memory-limit', '1 GiB'];
    const host = start(['worker', 'lab', '--workers', '2', ...memory]);
    const single = start(['worker', 'lab', '--no-nanny', ...memory]);
    await using client = await Client.connect('lab');
    await client.waitForWorkers(3, { timeout: 30 });
    const data = await Promise.all([...Array(12).keys()].map(i => client.scatter({ i })));
    single.process.kill('SIGTERM');
    expect(await single.ended).toBe(0);
    expect(await client.gather(data)).toEqual([...Array(12).keys()].map(i => ({ i })));
    await until('it is known to be gone', async () => (await runningWorkers()) === 2);
    start(['worker', 'lab', '--no-nanny', ...memory]);
    await client.waitForWorkers(3, { timeout: 30 });
    host.process.kill('SIGTERM');
    expect(await host.ended).toBe(0);
    expect(await client.gather(data)).toEqual([...Array(12).keys()].map(i => ({ i })));
    await until('one worker is left', async () => (await runningWorkers()) === 1);
  });

  it('a supervised scheduler that is killed is started again, and its worker comes back', async () => {
    const run = start(['scheduler', '--name', 'lab', '--supervise']);
    await until('the scheduler is up', () => run.out.includes('Scheduler lab at'));
    const worker = start(['worker', 'lab', '--no-nanny', '--memory-limit', '0']);
    await until('the worker is up', async () => (await runningWorkers()) === 1);
    const [before] = listConnectionFiles();
    process.kill(before?.pid as number, 'SIGKILL');
    await until('another serves', () => {
      const [file] = listConnectionFiles();
      return file !== undefined && file.pid !== before?.pid && file.restarting === undefined;
    });
    expect(listConnectionFiles()[0]?.address).toBe(before?.address);
    await until('the worker is back', async () => (await runningWorkers()) === 1);
    expect(run.err).toMatch(/killed by SIGKILL. It is started again/);
    run.process.kill('SIGTERM');
    expect(await run.ended).toBe(0);
    expect(await worker.ended).toBe(1);
    expect(listConnectionFiles()).toEqual([]);
  });

  it('a worker alone, by address, with the token of the environment', async () => {
    const env = { TASKLOOM_TOKEN: 'a-secret-of-the-user' };
    const run = await scheduler(env);
    const address = /http:\S+/.exec(run.out)?.[0] as string;
    const args = ['worker', address, '--no-nanny', '--name', 'solo', '--memory-limit', '0'];
    const worker = start(args, env);
    await until('the worker is up', () => worker.out.includes('Worker solo at'));
    expect(await runningWorkers()).toBe(1);
    worker.process.kill('SIGTERM');
    expect(await worker.ended).toBe(0);
    await until('it is gone', async () => (await runningWorkers()) === 0);
    const refused = start(args, { TASKLOOM_TOKEN: 'wrong' });
    expect(await refused.ended).toBe(1);
    expect(refused.err).toMatch(/refused the token/);
    expect(refused.err + worker.out + run.out).not.toContain('a-secret-of-the-user');
  });
});
