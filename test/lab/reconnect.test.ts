import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

import { afterEach, describe, expect, it, vi } from 'vitest';
import { WebSocketServer } from 'ws';
import type { WebSocket as ServerSocket } from 'ws';

import { ReconnectingSocket } from '../../src/lab/reconnect.ts';
import type { Visibility } from '../../src/lab/reconnect.ts';

/** A page that can be hidden and shown. */
class Page implements Visibility {
  hidden = false;
  readonly #callbacks = new Set<() => void>();
  onChange(callback: () => void): () => void {
    this.#callbacks.add(callback);
    return () => this.#callbacks.delete(callback);
  }
  set(hidden: boolean): void {
    this.hidden = hidden;
    for (const callback of this.#callbacks) callback();
  }
}

const undo: (() => void)[] = [];
afterEach(() => {
  for (const each of undo.splice(0)) each();
});

async function server(): Promise<{ url: string; sockets: ServerSocket[]; wss: WebSocketServer }> {
  const http = createServer();
  const wss = new WebSocketServer({ server: http });
  const sockets: ServerSocket[] = [];
  wss.on('connection', socket => {
    sockets.push(socket);
    socket.send(`hello ${sockets.length}`);
  });
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  undo.push(() => {
    for (const socket of sockets) socket.terminate();
    http.close();
  });
  const { port } = http.address() as AddressInfo;
  return { url: `ws://127.0.0.1:${port}`, sockets, wss };
}

function client(
  url: () => string,
  page: Page
): { messages: unknown[]; downs: number[]; socket: ReconnectingSocket } {
  const messages: unknown[] = [];
  const downs: number[] = [];
  const socket = new ReconnectingSocket({
    open: () => new WebSocket(url()),
    visibility: page,
    onOpen: () => undefined,
    onMessage: data => messages.push(data),
    onDown: failures => downs.push(failures),
    backoffMs: 10,
    backoffMaxMs: 50
  });
  undo.push(() => socket.close());
  return { messages, downs, socket };
}

describe('a socket that reconnects', () => {
  it('comes back after the far end drops it', async () => {
    const { url, sockets } = await server();
    const { messages, downs } = client(() => url, new Page());
    await vi.waitFor(() => expect(messages).toEqual(['hello 1']));
    sockets[0]?.terminate();
    await vi.waitFor(() => expect(messages).toEqual(['hello 1', 'hello 2']));
    expect(downs).toEqual([1]);
  });

  it('counts failures up while nothing answers, and down to none after a message', async () => {
    const { url, sockets } = await server();
    let address = 'ws://127.0.0.1:1';
    const { messages, downs } = client(() => address, new Page());
    await vi.waitFor(() => expect(downs.length).toBeGreaterThanOrEqual(3));
    expect(downs.slice(0, 3)).toEqual([1, 2, 3]);
    address = url;
    await vi.waitFor(() => expect(messages).toHaveLength(1));
    const before = downs.length;
    sockets[0]?.terminate();
    await vi.waitFor(() => expect(messages).toHaveLength(2));
    expect(downs[before]).toBe(1);
  });

  it('does not try while the page is hidden, and at once when it shows', async () => {
    const { url, sockets } = await server();
    const page = new Page();
    const { messages, downs } = client(() => url, page);
    await vi.waitFor(() => expect(messages).toHaveLength(1));
    page.set(true);
    sockets[0]?.terminate();
    await vi.waitFor(() => expect(downs).toHaveLength(1));
    // Many times the longest back-off.
    await new Promise(resolve => setTimeout(resolve, 400));
    expect(sockets).toHaveLength(1);
    page.set(false);
    await vi.waitFor(() => expect(messages).toHaveLength(2));
  });

  it('stays closed once closed', async () => {
    const { url, sockets } = await server();
    const { messages, downs, socket } = client(() => url, new Page());
    await vi.waitFor(() => expect(messages).toHaveLength(1));
    const gone = once(sockets[0]!, 'close');
    socket.close();
    await gone;
    await new Promise(resolve => setTimeout(resolve, 200));
    expect(sockets).toHaveLength(1);
    expect(downs).toEqual([]);
    expect(socket.send('late')).toBe(false);
  });
});
