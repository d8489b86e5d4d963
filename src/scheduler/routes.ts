/**
 * All that a scheduler's port serves: the links, the API of launcher and command, the dashboard's
 * feed and page. The token is asked for by the port itself (comm/server.ts).
 */
import { readFile } from 'node:fs/promises';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { CommServer, HttpAnswer } from '../comm/server.ts';
import { clusterInfo, clusterLogs } from './cluster-info.ts';
import { clusterDump } from './diagnostics.ts';
import { LOGIN_PAGE } from './login-page.ts';
import { openNanny } from './nanny-links.ts';
import type { AdaptWish } from './scaling.ts';
import type { Scheduler } from './scheduler.ts';
import { openWorker } from './worker-links.ts';

/** Adds links, API and page to the port. */
export function addRoutes(server: CommServer, scheduler: Scheduler): void {
  const { scaling } = scheduler;
  const info = (): HttpAnswer => ({ status: 200, body: clusterInfo(scheduler) });
  server.loginPage = LOGIN_PAGE;
  server.link('/client', (wire, peer) => scheduler.clients.open(wire, peer));
  server.link('/worker', (wire, peer) => openWorker(scheduler, wire, peer));
  server.link('/nanny', (wire, peer) => openNanny(scheduler, wire, peer));
  server.link('/feed', wire => scheduler.feed.open(wire), true);
  server.route('GET', '/api/info', info);
  server.route('GET', '/api/logs', async () => ({
    status: 200,
    body: await clusterLogs(scheduler)
  }));
  server.route('GET', '/api/dump', async () => ({
    status: 200,
    body: await clusterDump(scheduler),
    type: 'application/gzip'
  }));
  server.route('POST', '/api/scale', async request => {
    const { workers } = (request.body ?? {}) as { workers?: unknown };
    await scaling.scale(workers);
    return info();
  });
  server.route('POST', '/api/adapt', request => {
    const { minimum, maximum, off } = (request.body ?? {}) as AdaptWish & { off?: boolean };
    scaling.adapt(off === true ? null : { minimum, maximum });
    return info();
  });
  server.route('POST', '/api/restart-workers', async () => {
    await scaling.askNannies('restart-workers', {});
    return info();
  });
  server.route('POST', '/api/close', request => {
    const reason = (request.body as { reason?: string } | undefined)?.reason ?? 'asked to';
    scheduler.requestClose(reason);
    return { status: 204 };
  });
  server.route('GET', '/', () => servePage('index.html'));
  server.route('GET', '/page/*file', request => servePage(request.params['file'] ?? ''));
}

const TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml'
};

/** A file of the built dashboard page, which lies beside the bundled runtime. */
async function servePage(file: string): Promise<HttpAnswer> {
  const inDist = import.meta.url.endsWith('.mjs');
  const folder = fileURLToPath(new URL(inDist ? './page/' : '../../dist/page/', import.meta.url));
  const path = normalize(join(folder, file));
  if (!path.startsWith(folder)) return { status: 404, body: 'no such file' };
  try {
    const body = await readFile(path);
    return { status: 200, body, type: TYPES[extname(path)] ?? 'application/octet-stream' };
  } catch {
    return { status: 404, body: 'The dashboard page is not part of this installation.' };
  }
}
