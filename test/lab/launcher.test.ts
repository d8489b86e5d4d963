/** The lab's launcher client and feed hub against a real server that speaks the launcher's routes. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

import { ServerConnection } from '@jupyterlab/services';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { WebSocketServer } from 'ws';
import type { WebSocket as ServerSocket } from 'ws';

import { FeedHub } from '../../src/lab/feeds.ts';
import { FollowedFeed } from '../../src/lab/followed.ts';
import { LauncherClient } from '../../src/lab/launcher.ts';
import { decode, encode } from '../../src/protocol/codec.ts';
import type { FeedRequest } from '../../src/protocol/feed.ts';
import type { ClusterInfo, LauncherEvent } from '../../src/protocol/launcher.ts';
import { deltaOf, snapshot } from '../panels/feed-events.ts';

const shown = { hidden: false, onChange: () => () => undefined };

function clusterOf(id: string, parts: Partial<ClusterInfo> = {}): ClusterInfo {
  return {
    id,
    name: id,
    kind: 'local',
    state: 'running',
    reason: null,
    workers: { running: 1, starting: 0, pending: 0 },
    threads: 1,
    memory: { used: 0, limit: 0 },
    tasks: { processing: 0, queued: 0, memory: 0, erred: 0 },
    startedAt: 0,
    madeBy: { kind: 'sidebar', label: '' },
    address: 'http://127.0.0.1:1',
    can: { scale: true, stop: true, restart: true },
    ...parts
  };
}

/** The launcher's side: remembers requests, tells events, serves feeds. */
class Launcher {
  readonly requests: string[] = [];
  readonly feeds: { path: string; socket: ServerSocket; asked: FeedRequest[] }[] = [];
  readonly listeners: ServerSocket[] = [];
  event: LauncherEvent = { type: 'clusters', clusters: [], active: null };
  readonly #http: Server = createServer((request, response) => this.#answer(request, response));
  readonly #sockets = new WebSocketServer({ server: this.#http });

  async listen(): Promise<number> {
    this.#sockets.on('connection', (socket, request) => {
      const path = request.url ?? '';
      if (path.endsWith('/events')) {
        this.listeners.push(socket);
        socket.send(JSON.stringify(this.event));
        return;
      }
      const feed = { path, socket, asked: [] as FeedRequest[] };
      this.feeds.push(feed);
      socket.on('message', data => feed.asked.push(decode(data as Buffer) as FeedRequest));
    });
    this.#http.listen(0, '127.0.0.1');
    await once(this.#http, 'listening');
    return (this.#http.address() as AddressInfo).port;
  }

  tell(clusters: ClusterInfo[], active: string | null): void {
    this.event = { type: 'clusters', clusters, active };
    for (const socket of this.listeners) socket.send(JSON.stringify(this.event));
  }

  close(): void {
    for (const socket of this.#sockets.clients) socket.terminate();
    this.#http.close();
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    let body = '';
    request.on('data', chunk => (body += String(chunk)));
    request.on('end', () => {
      this.requests.push(`${request.method} ${request.url?.replace(/[?&]\d+$/, '')} ${body}`);
      if (request.url?.includes('/broken/') === true) {
        response.writeHead(409, { 'content-type': 'application/json' });
        response.end(JSON.stringify({ code: 'CLUSTER', message: 'It has ended. Make another.' }));
      } else if (request.method === 'DELETE' || request.method === 'PUT') {
        response.writeHead(204).end();
      } else {
        response.writeHead(200, { 'content-type': 'application/json' });
        response.end(JSON.stringify(clusterOf('c9', { name: 'made' })));
      }
    });
  }
}

let launcher: Launcher;
let client: LauncherClient;
let hub: FeedHub;

beforeEach(async () => {
  launcher = new Launcher();
  const base = `127.0.0.1:${await launcher.listen()}/user/me/`;
  const serverSettings = ServerConnection.makeSettings({
    baseUrl: `http://${base}`,
    wsUrl: `ws://${base}`,
    token: '',
    WebSocket
  });
  client = new LauncherClient({ serverSettings, visibility: shown });
  hub = new FeedHub({ serverSettings, clusters: client, visibility: shown, lingerMs: 10 });
});
afterEach(() => {
  client.dispose();
  launcher.close();
});

describe('the launcher client', () => {
  it('has the list as soon as it listens, and follows it', async () => {
    launcher.tell([clusterOf('c1')], 'c1');
    expect(client.status).toBe('idle');
    client.start();
    await vi.waitFor(() => expect(client.status).toBe('ready'));
    expect(client.active?.id).toBe('c1');
    launcher.tell([clusterOf('c2')], null);
    await vi.waitFor(() => expect(client.clusters.map(one => one.id)).toEqual(['c2']));
    expect(client.active).toBeNull();
    client.start();
    expect(launcher.listeners).toHaveLength(1);
  });

  it('speaks the routes below the base URL', async () => {
    await client.create({ kind: 'local', workers: 2 });
    await client.scale('c 1', 4);
    await client.restartWorkers('c1');
    await client.setActive('c1');
    await client.stop('c1');
    await client.forget('c1');
    expect(launcher.requests).toEqual([
      'POST /user/me/taskloom/clusters {"kind":"local","workers":2}',
      'POST /user/me/taskloom/clusters/c%201/scale {"workers":4}',
      'POST /user/me/taskloom/clusters/c1/restart-workers ',
      'PUT /user/me/taskloom/active {"id":"c1"}',
      'DELETE /user/me/taskloom/clusters/c1 ',
      'DELETE /user/me/taskloom/clusters/c1?forget=1 '
    ]);
    expect(client.get('c9')?.name).toBe('made');
  });

  it('throws what the launcher says', async () => {
    await expect(client.scale('broken', 1)).rejects.toThrow('It has ended. Make another.');
  });
});

describe('the feed hub', () => {
  it('opens one socket for all viewers of a cluster and closes it after the last', async () => {
    launcher.tell([clusterOf('c1')], 'c1');
    const leases = [hub.acquire('c1'), hub.acquire('c1'), hub.acquire('c1')];
    await vi.waitFor(() => expect(launcher.feeds).toHaveLength(1));
    expect(launcher.feeds[0]?.path).toBe('/user/me/taskloom/clusters/c1/feed');
    expect(new Set(leases.map(lease => lease.store)).size).toBe(1);
    await vi.waitFor(() => expect(launcher.feeds[0]?.asked[0]?.op).toBe('subscribe'));
    const closed = once(launcher.feeds[0]!.socket, 'close');
    for (const lease of leases) lease.dispose();
    leases[0]?.dispose();
    await closed;
    expect(hub.sockets).toBe(0);
  });

  it('fills the store, and asks for a snapshot when a message was lost', async () => {
    launcher.tell([clusterOf('c1')], 'c1');
    const lease = hub.acquire('c1');
    await vi.waitFor(() => expect(launcher.feeds[0]?.asked).toHaveLength(1));
    const feed = launcher.feeds[0]!;
    feed.socket.send(encode(snapshot({ seq: 5 })));
    feed.socket.send(encode(deltaOf(6, 2000, [{ type: 'function', name: 'inc' }])));
    await vi.waitFor(() => expect(lease.store.functions).toEqual(['inc']));
    feed.socket.send(encode(deltaOf(8, 2100, [])));
    await vi.waitFor(() => expect(feed.asked.at(-1)?.op).toBe('resync'));
    feed.socket.send('not a frame of ours');
    feed.socket.send(new Uint8Array([0xc1]));
    feed.socket.send(encode(snapshot({ seq: 9, functions: ['again'] })));
    await vi.waitFor(() => expect(lease.store.functions).toEqual(['again']));
    lease.dispose();
  });

  it('does not ask a dead cluster again, and keeps why it ended', async () => {
    launcher.tell([clusterOf('c1')], 'c1');
    const lease = hub.acquire('c1');
    await vi.waitFor(() => expect(launcher.feeds).toHaveLength(1));
    launcher.tell([clusterOf('c1', { state: 'failed', reason: 'Out of memory.' })], null);
    await vi.waitFor(() => expect(lease.store.status).toBe('ended'));
    expect(lease.store.reason).toBe('Out of memory.');
    expect(hub.sockets).toBe(0);
    await new Promise(resolve => setTimeout(resolve, 800));
    expect(launcher.feeds).toHaveLength(1);
    lease.dispose();
  });

  it('lets a panel follow the active cluster, and keep the last one when none is active', async () => {
    launcher.tell([clusterOf('c1'), clusterOf('c2')], 'c1');
    const panel = new FollowedFeed(client, hub, null);
    const pinned = new FollowedFeed(client, hub, 'c1');
    await vi.waitFor(() => expect(launcher.feeds).toHaveLength(1));
    const first = panel.store;
    expect(first).toBe(pinned.store);
    launcher.tell([clusterOf('c1'), clusterOf('c2')], 'c2');
    await vi.waitFor(() => expect(panel.store).not.toBe(first));
    const second = panel.store;
    expect(pinned.store).toBe(first);
    launcher.tell([clusterOf('c1')], null);
    await vi.waitFor(() => expect(second?.status).toBe('ended'));
    expect(panel.store).toBe(second);
    panel.dispose();
    pinned.dispose();
  });
});
