/**
 * The launcher as its own process on a unix socket, with real clusters: what the sidebar asks of
 * it, and what it leaves behind.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  activeCluster,
  listConnectionFiles,
  runtimeFolder,
  writeConnectionFile
} from '../../src/config/connection-file.ts';
import { commandPath, nodePath } from '../../src/config/runtime.ts';
import { LocalCluster } from '../../src/deploy/local.ts';
import { decode, encode } from '../../src/protocol/codec.ts';
import type { FeedMessage } from '../../src/protocol/feed.ts';
import type {
  ClusterInfo,
  ClusterKind,
  ClusterLogs,
  LauncherError
} from '../../src/protocol/launcher.ts';
import { familyOf, lives, ownRuntimeFolder, until } from '../deploy/processes.ts';
import { Events, LauncherClient } from './client.ts';

ownRuntimeFolder();

const SMALL = { kind: 'local', workers: 1, threadsPerWorker: 1, memoryLimit: '512 MiB' };

let folder = '';
let launcher: ChildProcess;
let client: LauncherClient;

async function startLauncher(env: Record<string, string> = {}): Promise<ChildProcess> {
  const socket = join(folder, 'socket');
  const started = spawn(nodePath(), [commandPath(), 'launcher', '--socket', socket], {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, ...env }
  });
  await until('the socket', () => existsSync(socket));
  client = new LauncherClient(socket);
  return started;
}

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'taskloom-launcher-'));
  launcher = await startLauncher();
});
afterEach(async () => {
  if (launcher.exitCode === null && launcher.signalCode === null) {
    launcher.kill('SIGTERM');
    await once(launcher, 'exit');
  }
  rmSync(folder, { recursive: true, force: true });
});

async function create(wish: object = SMALL): Promise<ClusterInfo> {
  const { status, body } = await client.call<ClusterInfo>('POST', '/clusters', wish);
  expect(status).toBe(201);
  return body;
}

describe('routes', () => {
  it('make, scale, restart, show and stop a cluster', async () => {
    const made = await create({ ...SMALL, name: 'mine' });
    expect(made).toMatchObject({
      name: 'mine',
      kind: 'local',
      state: 'running',
      reason: null,
      workers: { running: 1 },
      threads: 1,
      madeBy: { kind: 'sidebar' },
      can: { scale: true, stop: true, restart: true }
    });
    const path = `/clusters/${made.id}`;
    expect((await client.call('POST', `${path}/scale`, { workers: 2 })).status).toBe(200);
    await until('two workers', async () => {
      const { body } = await client.call<{ clusters: ClusterInfo[] }>('GET', '/clusters');
      return body.clusters[0]?.workers.running === 2;
    });
    expect((await client.call('POST', `${path}/restart-workers`)).status).toBe(200);
    const logs = await client.call<ClusterLogs>('GET', `${path}/logs`);
    expect(logs.body.logs.map(log => log.source)).toContain('scheduler');
    expect((await client.call('DELETE', path)).status).toBe(204);
    const over = await client.call<ClusterInfo>('GET', path);
    expect(over.body).toMatchObject({ state: 'ended', reason: 'stopped in the sidebar' });
    expect((await client.call('DELETE', `${path}?forget=1`)).status).toBe(204);
    expect((await client.call('GET', path)).status).toBe(404);
  });

  it('keep the choice of the active cluster', async () => {
    const first = await create();
    const second = await create();
    expect(activeCluster()?.id).toBe(first.id);
    expect((await client.call('PUT', '/active', { id: second.id })).status).toBe(204);
    expect(activeCluster()?.id).toBe(second.id);
    expect((await client.call('PUT', '/active', { id: 'no-such' })).status).toBe(404);
    expect((await client.call('PUT', '/active', { id: null })).status).toBe(204);
    expect(activeCluster()).toBeNull();
  });

  it('tell the kinds with forms whose defaults make sense', async () => {
    const { body } = await client.call<{ kinds: ClusterKind[] }>('GET', '/kinds?token=secret');
    expect(body.kinds.map(kind => kind.kind)).toEqual(['local']);
    const properties = body.kinds[0]?.schema['properties'] as Record<string, { default?: unknown }>;
    expect(properties['workers']?.default).toBeGreaterThan(0);
  });

  it.each([
    ['POST', '/clusters', { kind: 'cloud' }, 400, /kind "cloud"/],
    ['POST', '/clusters', { ...SMALL, workers: -1 }, 400, /workers must be/],
    ['POST', '/clusters', { ...SMALL, memoryLimit: '1 MiB' }, 400, /at least 128 MiB/],
    ['POST', '/clusters', { ...SMALL, cores: 4 }, 400, /no field "cores"/],
    ['POST', '/clusters/none/scale', { workers: 1 }, 404, /no cluster none/],
    ['DELETE', '/clusters/none', undefined, 404, /no cluster none/],
    ['GET', '/nowhere', undefined, 404, /no route GET \/nowhere/],
    ['PUT', '/active', { id: 5 }, 400, /which cluster/]
  ])('answer %s %s %o with %i', async (method, path, body, status, message) => {
    const answer = await client.call<LauncherError>(method, path, body);
    expect(answer.status).toBe(status);
    expect(answer.body.message).toMatch(message);
  });

  it('refuse pages of other origins, and let in those of the same host', async () => {
    const from = (origin: string, more: Record<string, string> = {}): Promise<number> =>
      client
        .call('PUT', '/active', { id: null }, { Host: 'lab.example', Origin: origin, ...more })
        .then(answer => answer.status);
    expect(await from('https://evil.example')).toBe(403);
    expect(await from('https://lab.example')).toBe(204);
    const behind = { 'X-Forwarded-Host': 'hub.example' };
    expect(await from('https://hub.example', behind)).toBe(204);
    const link = client.open('/events', { Host: 'lab.example', Origin: 'https://evil.example' });
    const [error] = (await once(link, 'error')) as [Error];
    expect(error.message).toMatch(/403/);
  });
});

describe('events', () => {
  it('tell each viewer the state at once, then each change', async () => {
    const events = new Events(client);
    await events.until('the first event', event => event.clusters.length === 0);
    const creating = create();
    await events.until('it starts', event => event.clusters[0]?.state === 'starting');
    const { id } = await creating;
    await events.until('it runs', event => {
      return event.clusters[0]?.workers.running === 1 && event.active === id;
    });
    await client.call('DELETE', `/clusters/${id}`);
    const last = await events.until('it has ended', ({ clusters: [it] }) => it?.state === 'ended');
    expect(last.active).toBeNull();
    events.close();
  });

  it('show clusters made elsewhere, and drop them when they are killed', async () => {
    const events = new Events(client);
    await events.until('the first event', event => event.clusters.length === 0);
    const other = await LocalCluster.create({
      workers: 1,
      threadsPerWorker: 1,
      memoryLimit: '512 MiB'
    });
    const seen = await events.until('it is shown', event => event.clusters.length === 1);
    expect(seen.clusters[0]).toMatchObject({ id: other.id, madeBy: { kind: 'script' } });
    await events.until('with its figures', event => event.clusters[0]?.threads === 1);
    const { all } = familyOf(process.pid);
    for (const pid of all) process.kill(pid, 'SIGKILL');
    await events.until('it is gone', event => event.clusters.length === 0);
    expect(listConnectionFiles()).toEqual([]);
    events.close();
  });

  it('keep an own cluster that was killed, with the reason', async () => {
    const { id } = await create();
    const events = new Events(client);
    const { nanny } = familyOf(launcher.pid as number);
    process.kill(nanny, 'SIGKILL');
    const { clusters } = await events.until('it has ended', event => {
      return event.clusters[0]?.state === 'ended';
    });
    expect(clusters[0]?.id).toBe(id);
    expect(clusters[0]?.reason).toMatch(/nanny ended \(killed by SIGKILL\)/);
    events.close();
  });

  it('keep a cluster whose scheduler was killed: it is there again', async () => {
    const { id } = await create();
    const { scheduler } = familyOf(launcher.pid as number);
    process.kill(scheduler, 'SIGKILL');
    await until('another serves', () => {
      const [file] = listConnectionFiles();
      return file !== undefined && file.pid !== scheduler && file.restarting === undefined;
    });
    const events = new Events(client);
    const { clusters } = await events.until('its workers are back', event => {
      return event.clusters[0]?.workers.running === 1;
    });
    expect(clusters[0]).toMatchObject({ id, state: 'running' });
    events.close();
  });

  it('say of a cluster that does not answer why, and let it be forgotten', async () => {
    writeConnectionFile({
      id: 'far-1',
      name: 'far',
      kind: 'slurm',
      address: 'http://127.0.0.1:9',
      token: 'x',
      protocol: 1,
      pid: process.pid,
      host: hostname(),
      startedAt: Date.now(),
      madeBy: { kind: 'script', label: 'job' }
    });
    const events = new Events(client);
    const { clusters } = await events.until('it is shown with a reason', event => {
      return typeof event.clusters[0]?.reason === 'string';
    });
    expect(clusters[0]?.reason).toMatch(/cannot be reached/);
    expect(clusters[0]?.can).toEqual({ scale: false, stop: true, restart: false });
    expect((await client.call('DELETE', '/clusters/far-1?forget=1')).status).toBe(204);
    expect(listConnectionFiles()).toEqual([]);
    events.close();
  });
});

describe('the feed', () => {
  it('reaches the browser through the launcher, without the token', async () => {
    const { id } = await create();
    const link = client.open(`/clusters/${id}/feed`);
    const messages: FeedMessage[] = [];
    link.on('message', data => messages.push(decode(data as Buffer) as FeedMessage));
    await once(link, 'open');
    link.send(encode({ op: 'subscribe', topics: ['stream', 'progress', 'workers'], rate: 10 }));
    await until('a snapshot', () => messages.length > 0);
    expect(messages[0]).toMatchObject({ op: 'snapshot', cluster: { id } });
    const [file] = listConnectionFiles();
    expect(JSON.stringify(messages)).not.toContain(file?.token);
    await client.call('DELETE', `/clusters/${id}`);
    await until('the end', () => messages.some(message => message.op === 'end'));
    await until('the link is closed', () => link.readyState === link.CLOSED);
  });

  it.each([
    ['none', /404/],
    ['ended', /409/]
  ])('is refused for a cluster that is %s', async (which, status) => {
    let id = 'none';
    if (which === 'ended') {
      ({ id } = await create());
      await client.call('DELETE', `/clusters/${id}`);
    }
    const [error] = (await once(client.open(`/clusters/${id}/feed`), 'error')) as [Error];
    expect(error.message).toMatch(status);
  });
});

describe('the end of the launcher', () => {
  it('takes its clusters, its socket and the folder of the socket along', async () => {
    await create();
    const family = familyOf(launcher.pid as number);
    launcher.kill('SIGTERM');
    const [code] = (await once(launcher, 'exit')) as [number];
    expect(code).toBe(0);
    expect(existsSync(dirname(client.socket))).toBe(false);
    await until('all processes have ended', () => !family.all.some(lives));
    expect(listConnectionFiles()).toEqual([]);
  });

  it('takes its clusters along when it is killed, and the next one clears its socket', async () => {
    await create();
    const family = familyOf(launcher.pid as number);
    launcher.kill('SIGKILL');
    await until('all processes have ended', () => !family.all.some(lives));
    expect(existsSync(client.socket)).toBe(true);
    launcher = await startLauncher();
    await until('an answer', () =>
      client.call('GET', '/clusters').then(
        answer => answer.status === 200,
        () => false
      )
    );
  });

  it('follows its Jupyter server, even one that was killed', async () => {
    const other = mkdtempSync(join(tmpdir(), 'taskloom-launcher-'));
    const parent = spawn(nodePath(), ['--eval', 'setInterval(() => undefined, 1e6)']);
    await once(parent, 'spawn');
    launcher.kill('SIGTERM');
    await once(launcher, 'exit');
    folder = other;
    launcher = await startLauncher({ TASKLOOM_PARENT_PID: String(parent.pid) });
    parent.kill('SIGKILL');
    await once(launcher, 'exit');
    expect(existsSync(client.socket)).toBe(false);
  });

  it('clears away what a killed scheduler has left', async () => {
    const gone = spawn(nodePath(), ['--eval', '0']);
    await once(gone, 'exit');
    const path = join(runtimeFolder(), 'local-dead.json');
    const file = { id: 'local-dead', name: 'dead', address: 'http://127.0.0.1:9', token: 'x' };
    writeFileSync(path, JSON.stringify({ ...file, host: hostname(), pid: gone.pid }));
    await until('the file is gone', () => !existsSync(path));
  });
});
