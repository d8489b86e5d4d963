/** A worker's port lets nobody in without the token. */
import { request } from 'node:http';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createToken } from '../../src/comm/server.ts';
import { Scheduler } from '../../src/scheduler/scheduler.ts';
import { Worker } from '../../src/worker/worker.ts';

const token = createToken();
let scheduler: Scheduler;
let worker: Worker;

beforeAll(async () => {
  const madeBy = { kind: 'script' as const, label: 'test' };
  scheduler = await Scheduler.start({
    id: 's',
    name: 's',
    kind: 'test',
    token,
    madeBy,
    connectionFile: false
  });
  worker = await Worker.start({
    schedulerAddress: scheduler.address,
    token,
    name: 'w',
    nthreads: 1,
    memoryLimit: 0
  });
});
afterAll(async () => {
  await worker.close('test over');
  await scheduler.close('test over');
});

function status(route: string, headers: Record<string, string>): Promise<number> {
  const [kind = '', path = ''] = route.split(' ');
  const upgrade: Record<string, string> =
    kind === 'UPGRADE' ? { Connection: 'Upgrade', Upgrade: 'taskloom-data' } : {};
  return new Promise((resolve, reject) => {
    const asked = request(worker.address + path, {
      method: kind === 'UPGRADE' ? 'GET' : kind,
      headers: { ...upgrade, ...headers }
    });
    asked.once('response', response => resolve(response.resume().statusCode ?? 0));
    asked.once('upgrade', (response, socket) => {
      socket.destroy();
      resolve(response.statusCode ?? 0);
    });
    asked.once('error', reject).end();
  });
}

it('lists what it serves', () => {
  expect(worker.listRoutes().sort()).toEqual(['GET /info', 'GET /logs', 'UPGRADE /data']);
});

it('refuses all of it without the token or with a wrong one, and serves it with the right one', async () => {
  for (const route of worker.listRoutes()) {
    expect([route, await status(route, {})]).toEqual([route, 401]);
    expect([route, await status(route, { Authorization: `Bearer ${createToken()}` })]).toEqual([
      route,
      401
    ]);
    expect([route, await status(route, { Authorization: `Bearer ${token}` })]).toEqual([
      route,
      route.startsWith('UPGRADE') ? 101 : 200
    ]);
  }
});
