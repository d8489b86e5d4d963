/**
 * The one listening port of a process: HTTP routes, WebSocket links and the data upgrade. Every
 * request but `/health` presents the cluster's token, as `Authorization: Bearer` or, for the
 * dashboard page, as the cookie that `POST /login` sets; the token is compared in constant time.
 * Loopback by default; another address without encryption must be asked for by name.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo, Server as NetServer, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { WebSocketServer } from 'ws';
import { ConfigError, ProtocolError } from '../base/errors.ts';
import { LIMITS } from '../protocol/limits.ts';
import { readJson } from './body.ts';
import { DATA_PROTOCOL, serveData } from './data.ts';
import type { DataHandler } from './data.ts';
import { LINK_PROTOCOL, serveFrames } from './frames.ts';
import { listenAt } from './listen.ts';
import { listenOnThisHost } from './same-host.ts';
import { WebSocketWire } from './websocket.ts';
import type { Wire } from './wire.ts';

/** A fresh token: 256 random bits. */
export function createToken(): string {
  return randomBytes(32).toString('base64url');
}

/** Compares in constant time whatever the lengths. */
export function tokensEqual(a: string, b: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}

export interface ServerOptions {
  /** Default 127.0.0.1. */
  host?: string;
  /** Default 0: a free one. */
  port?: number;
  token: string;
  /** Allow a bind beyond loopback without encryption. */
  insecure?: boolean;
  /** Processes of this machine have a shorter way to it, see same-host.ts. */
  sameHost?: boolean;
}

export interface HttpAnswer {
  status: number;
  /** Objects go as JSON. */
  body?: string | Uint8Array | object;
  type?: string;
  headers?: Record<string, string>;
}
export type HttpHandler = (request: HttpRequest) => HttpAnswer | Promise<HttpAnswer>;
export interface HttpRequest {
  method: string;
  /** Without the query. */
  path: string;
  query: URLSearchParams;
  /** What `:name` parts of the route matched. */
  params: Record<string, string>;
  /** Parsed JSON body, or undefined. */
  body: unknown;
}
interface Route {
  method: string;
  pattern: RegExp;
  names: string[];
  path: string;
  handler: HttpHandler;
}

// `import` of this module also loads fetch, WebSocket and all: thirty milliseconds of every start.
const { createServer } = process.getBuiltinModule('node:http');

const LOOPBACK = /^(127\.|::1$|localhost$)/;
export const COOKIE = 'taskloom-token';

export class CommServer {
  readonly options: ServerOptions;
  private readonly server: Server;
  private readonly sockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: LIMITS.controlFrameBytes
  });
  private readonly viewers = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: LIMITS.viewerFrameBytes
  });
  private readonly httpRoutes: Route[] = [];
  private readonly links = new Map<
    string,
    { viewer: boolean; open: (wire: Wire, peer: string) => void }
  >();
  private readonly open = new Set<Duplex>();
  private local: NetServer | null = null;
  private dataHandler: DataHandler | null = null;
  /** What is answered (with status 401) to a browser that asks for `/` without a token. */
  loginPage: string | null = null;

  constructor(options: ServerOptions) {
    this.options = options;
    this.server = createServer((request, response) => void this.answer(request, response));
    this.server.on('upgrade', (request, socket, head) => this.upgrade(request, socket, head));
    this.server.on('connection', socket => {
      this.open.add(socket);
      socket.once('close', () => this.open.delete(socket));
    });
  }

  /** Adds a route; `:name` matches one path part, `*name` the rest. */
  route(method: string, path: string, handler: HttpHandler): void {
    const names: string[] = [];
    const source = path
      .replace(/[.]/g, '\\.')
      .replace(/([:*])(\w+)/g, (_all, kind: string, name: string) => {
        names.push(name);
        return kind === ':' ? '([^/]+)' : '(.+)';
      });
    this.httpRoutes.push({ method, pattern: new RegExp(`^${source}$`), names, path, handler });
  }

  /** Adds a link. `viewer` links are those of browsers: WebSockets that may send only small frames. */
  link(path: string, open: (wire: Wire, peer: string) => void, viewer = false): void {
    this.links.set(path, { viewer, open });
  }

  /** Serves values at `/data`. */
  data(handler: DataHandler): void {
    this.dataHandler = handler;
  }

  /** Everything that listens here, for documentation and tests: `GET /x`, `WS /y`, `UPGRADE /data`. */
  listRoutes(): string[] {
    const routes = this.httpRoutes.map(route => `${route.method} ${route.path}`);
    for (const path of this.links.keys()) routes.push(`WS ${path}`);
    if (this.dataHandler !== null) routes.push('UPGRADE /data');
    return routes;
  }

  /** Starts to listen and returns the address, `http://host:port`. */
  async listen(): Promise<string> {
    const host = this.options.host ?? '127.0.0.1';
    if (!LOOPBACK.test(host) && this.options.insecure !== true) {
      throw new ConfigError(
        `Refusing to listen on ${host}: links would cross the network without encryption. ` +
          `Use a loopback address, or ask for it by name with --insecure.`
      );
    }
    try {
      await listenAt(this.server, { host, port: this.options.port ?? 0 });
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      throw code === 'EADDRINUSE'
        ? new ConfigError(
            `Port ${this.options.port} on ${host} is in use. Choose another, or 0 for a free one.`
          )
        : new ConfigError(`Cannot listen on ${host}: ${message}`, { cause: error });
    }
    const { port } = this.server.address() as AddressInfo;
    if (this.options.sameHost === true) {
      const open = (socket: Socket): unknown => this.server.emit('connection', socket);
      this.local = await listenOnThisHost(host, port, open);
    }
    return `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
  }

  /** Ends the port and all that is open on it. */
  async close(): Promise<void> {
    for (const sockets of [this.sockets, this.viewers]) {
      for (const socket of sockets.clients) socket.terminate();
    }
    // First of all: who gets the port next makes a file of the same name.
    this.local?.close();
    const closed = new Promise<void>(resolve => this.server.close(() => resolve()));
    this.server.closeAllConnections();
    for (const socket of this.open) socket.destroy();
    await closed;
  }

  private authorised(request: IncomingMessage): boolean {
    const header = request.headers.authorization;
    if (header !== undefined) {
      return header.startsWith('Bearer ') && tokensEqual(header.slice(7), this.options.token);
    }
    const cookie = cookieOf(request, COOKIE);
    // A cookie rides along with requests of other pages: those are told by their Origin.
    return cookie !== null && sameOrigin(request) && tokensEqual(cookie, this.options.token);
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const answer = await this.answerOf(request).catch((error: unknown): HttpAnswer => {
      const bad = error instanceof ProtocolError || error instanceof ConfigError;
      const message = error instanceof Error ? error.message : String(error);
      return { status: bad ? 400 : 500, body: { code: bad ? error.code : 'INTERNAL', message } };
    });
    const body = answer.body;
    const raw = typeof body === 'string' || body instanceof Uint8Array || body === undefined;
    response.writeHead(answer.status, {
      'Content-Type': answer.type ?? (raw ? 'text/plain; charset=utf-8' : 'application/json'),
      'Cache-Control': 'no-store',
      'X-Content-Type-Options': 'nosniff',
      'Referrer-Policy': 'no-referrer',
      ...answer.headers
    });
    response.end(raw ? body : JSON.stringify(body));
  }

  private async answerOf(request: IncomingMessage): Promise<HttpAnswer> {
    const url = new URL(request.url ?? '/', 'http://localhost');
    const method = request.method ?? 'GET';
    if (url.pathname === '/health') return { status: 200, body: 'ok' };
    if (!this.authorised(request)) {
      if (method === 'GET' && url.pathname === '/' && this.loginPage !== null) {
        return { status: 401, body: this.loginPage, type: 'text/html; charset=utf-8' };
      }
      return { status: 401, body: { code: 'UNAUTHENTICATED', message: 'Token missing or wrong.' } };
    }
    if (method === 'POST' && url.pathname === '/login') {
      const cookie = `${COOKIE}=${this.options.token}; HttpOnly; SameSite=Strict; Path=/`;
      return { status: 204, headers: { 'Set-Cookie': cookie } };
    }
    for (const route of this.httpRoutes) {
      const match = route.method === method ? route.pattern.exec(url.pathname) : null;
      if (match === null) continue;
      const params = Object.fromEntries(
        route.names.map((name, i) => [name, decodeURIComponent(match[i + 1] ?? '')])
      );
      const body = method === 'GET' ? undefined : await readJson(request);
      return route.handler({ method, path: url.pathname, query: url.searchParams, params, body });
    }
    return {
      status: 404,
      body: { code: 'NOT_FOUND', message: `No route ${method} ${url.pathname}.` }
    };
  }

  private upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const path = new URL(request.url ?? '/', 'http://localhost').pathname;
    socket.on('error', () => socket.destroy());
    if (!this.authorised(request)) {
      refuse(socket, '401 Unauthorized');
      return;
    }
    const kind = request.headers.upgrade?.toLowerCase();
    if (path === '/data' && kind === DATA_PROTOCOL && this.dataHandler !== null) {
      serveData(socket as Socket, head, this.dataHandler);
      return;
    }
    const link = this.links.get(path);
    const known = kind === 'websocket' || (kind === LINK_PROTOCOL && link?.viewer === false);
    if (link === undefined || !known) {
      refuse(socket, '404 Not Found');
      return;
    }
    (socket as Socket).setNoDelay(true);
    const { remoteAddress, remotePort } = request.socket;
    const peer = remoteAddress === undefined ? 'this host' : `${remoteAddress}:${remotePort}`;
    if (kind === LINK_PROTOCOL) {
      serveFrames(socket as Socket, head, wire => link.open(wire, peer));
      return;
    }
    (link.viewer ? this.viewers : this.sockets).handleUpgrade(request, socket, head, ws =>
      link.open(new WebSocketWire(ws), peer)
    );
  }
}

function refuse(socket: Duplex, status: string): void {
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}

function cookieOf(request: IncomingMessage, name: string): string | null {
  for (const part of (request.headers.cookie ?? '').split(';')) {
    const at = part.indexOf('=');
    if (at > 0 && part.slice(0, at).trim() === name) return part.slice(at + 1).trim();
  }
  return null;
}

function sameOrigin(request: IncomingMessage): boolean {
  const origin = request.headers.origin;
  if (origin === undefined) return request.headers['sec-fetch-site'] !== 'cross-site';
  try {
    return new URL(origin).host === request.headers.host;
  } catch {
    return false;
  }
}
