/**
 * What jupyter-server-proxy starts for the lab: clusters over HTTP and WebSocket on a unix socket,
 * as protocol/launcher.ts writes them down. Who reaches the socket has passed Jupyter's own login.
 *
 * Ends with its parent, and takes its socket and the folder made for it away. Requests are told
 * apart by their path alone: the rest of a URL may hold Jupyter's token and is never looked at or
 * written to a log.
 */
import { chmodSync, rmdirSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { dirname } from 'node:path';
import type { Duplex } from 'node:stream';
import { WebSocket, WebSocketServer } from 'ws';
import { ConfigError, TaskloomError } from '../base/errors.ts';
import { readJson } from '../comm/body.ts';
import { LIMITS } from '../protocol/limits.ts';
import type { LauncherError, LauncherEvent } from '../protocol/launcher.ts';
import { proxyFeed } from './feed.ts';
import { watchParent } from './parent.ts';
import { ClusterRegistry } from './registry.ts';
import { answerRoute } from './routes.ts';

export interface LauncherOptions {
  /** Path of the unix socket. */
  socket: string;
  /** The Jupyter server: the launcher ends when it is gone. */
  parentPid?: number;
}

/** Bytes that an event viewer may be behind before it misses states (the next one is whole). */
const EVENT_OUTBOX_BYTES = 1024 * 1024;

export class Launcher {
  /** Resolves with the reason when it has ended. */
  readonly finished: Promise<string>;
  private readonly options: LauncherOptions;
  private readonly registry: ClusterRegistry;
  private readonly server: Server;
  private readonly viewers = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: LIMITS.viewerFrameBytes
  });
  private resolveFinished: (reason: string) => void = () => undefined;
  private unwatch: () => void = () => undefined;
  private closing: Promise<void> | null = null;

  private constructor(options: LauncherOptions) {
    this.options = options;
    this.finished = new Promise(resolve => {
      this.resolveFinished = resolve;
    });
    this.registry = new ClusterRegistry(() => this.broadcast());
    this.server = createServer((request, response) => void this.answer(request, response));
    this.server.on('upgrade', (request, socket, head) => this.upgrade(request, socket, head));
  }

  /** Listens on the socket; throws ConfigError when that cannot be. */
  static async start(options: LauncherOptions): Promise<Launcher> {
    const launcher = new Launcher(options);
    await launcher.listen();
    launcher.registry.start();
    launcher.unwatch = watchParent(
      options.parentPid ?? null,
      () => void launcher.close('the Jupyter server has ended')
    );
    return launcher;
  }

  /** Ends the clusters made here, then itself. */
  close(reason: string): Promise<void> {
    this.closing ??= this.end(reason);
    return this.closing;
  }

  private async end(reason: string): Promise<void> {
    this.unwatch();
    this.server.close();
    await this.registry.close(reason);
    for (const socket of this.viewers.clients) socket.close(1001, reason.slice(0, 100));
    this.server.closeAllConnections();
    rmSync(this.options.socket, { force: true });
    try {
      // The proxy makes a folder for the socket and forgets it.
      rmdirSync(dirname(this.options.socket));
    } catch {
      // It holds something else, so it is not ours alone.
    }
    this.resolveFinished(reason);
  }

  private async listen(): Promise<void> {
    // A launcher that was killed has left its socket, on which nothing listens any more.
    rmSync(this.options.socket, { force: true });
    await new Promise<void>((resolve, reject) => {
      this.server.once('error', cause => {
        reject(
          new ConfigError(`Cannot listen on ${this.options.socket}: ${cause.message}`, { cause })
        );
      });
      this.server.listen(this.options.socket, resolve);
    });
    chmodSync(this.options.socket, 0o600);
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let status: number;
    let body: unknown;
    try {
      if (request.method !== 'GET' && !sameOrigin(request)) {
        throw new TaskloomError('FORBIDDEN', 'Requests of other origins change nothing here.');
      }
      const { method, path, query } = target(request);
      const sent = method === 'GET' || method === 'DELETE' ? undefined : await readJson(request);
      ({ status, body } = await answerRoute(this.registry, method, path, query, sent));
    } catch (error) {
      ({ status, body } = failure(error));
    }
    response.writeHead(status, {
      'Content-Type': 'application/json',
      'Cache-Control': 'no-store',
      'X-Content-Type-Options': 'nosniff'
    });
    response.end(body === undefined ? undefined : JSON.stringify(body));
  }

  private upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on('error', () => socket.destroy());
    if (!sameOrigin(request)) {
      refuse(socket, '403 Forbidden');
      return;
    }
    const { path } = target(request);
    if (path === '/events') {
      this.viewers.handleUpgrade(request, socket, head, viewer => this.welcome(viewer));
      return;
    }
    const match = /^\/clusters\/([^/]+)\/feed$/.exec(path);
    if (match === null) {
      refuse(socket, '404 Not Found');
      return;
    }
    try {
      const access = this.registry.access(decodeURIComponent(match[1] ?? ''));
      proxyFeed(access, request, socket, head, refuse);
    } catch (error) {
      refuse(socket, failure(error).status === 404 ? '404 Not Found' : '409 Conflict');
    }
  }

  private welcome(viewer: WebSocket): void {
    viewer.on('error', () => undefined);
    viewer.once('close', () => this.registry.setViewers(this.viewers.clients.size));
    viewer.send(this.event());
    this.registry.setViewers(this.viewers.clients.size);
  }

  private broadcast(): void {
    if (this.viewers.clients.size === 0) return;
    const text = this.event();
    for (const viewer of this.viewers.clients) {
      if (viewer.readyState !== WebSocket.OPEN) continue;
      if (viewer.bufferedAmount < EVENT_OUTBOX_BYTES) viewer.send(text);
    }
  }

  private event(): string {
    const event: LauncherEvent = {
      type: 'clusters',
      clusters: this.registry.list(),
      active: this.registry.active()
    };
    return JSON.stringify(event);
  }
}

function refuse(socket: Duplex, status: string): void {
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}

function target(request: IncomingMessage): {
  method: string;
  path: string;
  query: URLSearchParams;
} {
  const url = new URL(request.url ?? '/', 'http://localhost');
  const path = url.pathname.length > 1 ? url.pathname.replace(/\/$/, '') : url.pathname;
  return { method: request.method ?? 'GET', path, query: url.searchParams };
}

/** No Origin (not a browser), or the very host that the browser asked. */
function sameOrigin(request: IncomingMessage): boolean {
  const { origin, host } = request.headers;
  if (origin === undefined) return true;
  const forwarded = request.headers['x-forwarded-host'];
  const hosts = [host, ...String(forwarded ?? '').split(',')].map(name => name?.trim());
  try {
    return hosts.includes(new URL(origin).host);
  } catch {
    return false;
  }
}

const STATUS: Record<string, number> = {
  CONFIG: 400,
  PROTOCOL: 400,
  FORBIDDEN: 403,
  NOT_FOUND: 404,
  CONFLICT: 409,
  COMM_CLOSED: 502,
  UNAUTHENTICATED: 502,
  TIMEOUT: 504
};

function failure(error: unknown): { status: number; body: LauncherError } {
  const code = error instanceof TaskloomError ? error.code : 'INTERNAL';
  const message = error instanceof Error ? error.message : String(error);
  return { status: STATUS[code] ?? 500, body: { code, message } };
}
