/** Every route and link of a scheduler refuses what has no token, and survives what makes no sense. */
import { request } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { createToken } from '../../src/comm/server.ts';
import { encode, encodeBatch } from '../../src/protocol/codec.ts';
import { CLOSE, LIMITS, PROTOCOL_VERSION } from '../../src/protocol/limits.ts';
import { NO_TASK_OPTIONS } from '../../src/protocol/task-options.ts';
import { Scheduler } from '../../src/scheduler/scheduler.ts';

const token = createToken();
let scheduler: Scheduler;

beforeAll(async () => {
  scheduler = await Scheduler.start({
    id: 'secure',
    name: 'secure',
    kind: 'test',
    token,
    madeBy: { kind: 'script', label: 'test' },
    connectionFile: false
  });
});
afterAll(() => scheduler.close('test over'));

/** Status of a plain request or an upgrade. */
function status(method: string, path: string, headers: Record<string, string>): Promise<number> {
  return new Promise((resolve, reject) => {
    const asked = request(scheduler.address + path, { method, headers });
    asked.once('response', response => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    asked.once('upgrade', (response, socket) => {
      socket.destroy();
      resolve(response.statusCode ?? 0);
    });
    asked.once('error', reject);
    asked.end();
  });
}

/** Opens a route as its kind demands. */
function open(route: string, headers: Record<string, string>): Promise<number> {
  const [kind = '', path = ''] = route.split(' ');
  const real = path.replace('*file', 'x.js');
  if (kind === 'WS') {
    const upgrade = {
      Connection: 'Upgrade',
      Upgrade: 'websocket',
      'Sec-WebSocket-Version': '13',
      'Sec-WebSocket-Key': 'AAAAAAAAAAAAAAAAAAAAAA=='
    };
    return status('GET', real, { ...upgrade, ...headers });
  }
  if (kind === 'UPGRADE')
    return status('GET', real, { Connection: 'Upgrade', Upgrade: 'taskloom-data', ...headers });
  return status(kind, real, headers);
}

it('lists the routes that this test walks', () => {
  expect(scheduler.listRoutes().sort()).toEqual([
    'GET /',
    'GET /api/dump',
    'GET /api/info',
    'GET /api/logs',
    'GET /page/*file',
    'POST /api/adapt',
    'POST /api/close',
    'POST /api/restart-workers',
    'POST /api/scale',
    'WS /client',
    'WS /feed',
    'WS /nanny',
    'WS /worker'
  ]);
});

describe.each([
  ['no token', {}],
  ['a wrong token', { Authorization: `Bearer ${createToken()}` }],
  ['the token with another scheme', { Authorization: `Basic ${token}` }],
  ['a wrong cookie', { Cookie: 'taskloom-token=x' }],
  [
    'the cookie from another page',
    { Cookie: `taskloom-token=${token}`, Origin: 'http://elsewhere.example' }
  ]
])('with %s', (_name, headers) => {
  it('refuses every route and link', async () => {
    for (const route of [...scheduler.listRoutes(), 'POST /login', 'GET /nothing-here']) {
      expect([route, await open(route, headers as Record<string, string>)]).toEqual([route, 401]);
    }
  });
});

it('answers /health to anybody, and only that', async () => {
  expect(await status('GET', '/health', {})).toBe(200);
});

it('shows a login page instead of the dashboard, and trades the token for a cookie scripts cannot read', async () => {
  const page = await fetch(scheduler.address);
  expect(page.status).toBe(401);
  expect(await page.text()).toContain('Token of this cluster');
  const login = await fetch(`${scheduler.address}/login`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${token}` }
  });
  const cookie = login.headers.get('set-cookie') ?? '';
  expect(cookie).toMatch(/HttpOnly; SameSite=Strict/);
  expect(await status('GET', '/api/info', { Cookie: cookie.split(';')[0] ?? '' })).toBe(200);
});

function dial(path: string): Promise<WebSocket> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(scheduler.address.replace('http', 'ws') + path, {
      headers: { Authorization: `Bearer ${token}` }
    });
    socket.once('open', () => resolve(socket));
    socket.once('error', reject);
  });
}
function closed(socket: WebSocket): Promise<number> {
  return new Promise(resolve => socket.once('close', code => resolve(code)));
}
const hello = {
  op: 'register-client',
  protocol: PROTOCOL_VERSION,
  client: 'x',
  name: 'x',
  version: ''
};

describe('frames that make no sense', () => {
  it.each<[string, string, (socket: WebSocket) => void, number]>([
    ['garbage', '/client', socket => socket.send(Buffer.from([0xc1, 0xff, 0x00])), CLOSE.badFrame],
    ['text', '/client', socket => socket.send('hello'), CLOSE.badFrame],
    [
      'no array',
      '/worker',
      socket => socket.send(encode({ op: 'register-worker' })),
      CLOSE.badFrame
    ],
    ['messages without op', '/nanny', socket => socket.send(encode([{ no: 1 }])), CLOSE.badFrame],
    [
      'a cut-off frame',
      '/client',
      socket => socket.send(encodeBatch([hello]).subarray(0, 20)),
      CLOSE.badFrame
    ],
    [
      'another first message',
      '/client',
      socket => socket.send(encodeBatch([{ op: 'heartbeat-client' }])),
      CLOSE.badHello
    ],
    [
      'another version',
      '/client',
      socket => socket.send(encodeBatch([{ ...hello, protocol: 999 } as never])),
      CLOSE.badVersion
    ],
    [
      'another version',
      '/worker',
      socket => socket.send(encodeBatch([{ op: 'register-worker', protocol: 0 } as never])),
      CLOSE.badVersion
    ],
    [
      'too much for a viewer',
      '/feed',
      socket => socket.send(Buffer.alloc(LIMITS.viewerFrameBytes + 1)),
      CLOSE.frameTooLarge
    ],
    [
      'a field of the wrong type',
      '/client',
      socket => socket.send(encodeBatch([hello, { op: 'cancel-keys', cids: null } as never])),
      CLOSE.badFrame
    ],
    [
      'columns of different lengths',
      '/client',
      socket =>
        socket.send(
          encodeBatch([hello, { op: 'client-desires-keys', cids: [1], keys: [] } as never])
        ),
      CLOSE.badFrame
    ],
    ['no feed request', '/feed', socket => socket.send(encode({ op: 'nonsense' })), CLOSE.badFrame]
  ])(
    '%s on %s closes that link with a code, and the scheduler goes on',
    async (_what, path, send, code) => {
      const socket = await dial(path);
      const end = closed(socket);
      send(socket);
      expect(await end).toBe(code);
      expect(await status('GET', '/health', {})).toBe(200);
    }
  );

  it('closes a frame beyond the limit before it is read', async () => {
    const socket = await dial('/client');
    const end = closed(socket);
    socket.send(Buffer.alloc(LIMITS.controlFrameBytes + 1));
    expect(await end).toBe(CLOSE.frameTooLarge);
    expect(await status('GET', '/health', {})).toBe(200);
  });

  it('closes a client whose graph does not fit together', async () => {
    const socket = await dial('/client');
    const end = closed(socket);
    socket.send(encodeBatch([hello]));
    const bad = {
      op: 'update-graph',
      first: 1,
      keys: ['a'],
      fn: 9,
      args: new Uint8Array(0),
      argOffsets: [0, 0],
      deps: [],
      depOffsets: []
    };
    socket.send(
      encodeBatch([{ ...bad, options: NO_TASK_OPTIONS, fifoTimeout: 0, wants: 'all' } as never])
    );
    expect(await end).toBe(CLOSE.badFrame);
    await expect.poll(() => scheduler.state.clients.size).toBe(0);
  });
});

it('refuses to listen beyond loopback unless asked for by name', async () => {
  const options = {
    id: 'open',
    name: 'open',
    kind: 'test',
    token,
    connectionFile: false,
    madeBy: { kind: 'script' as const, label: '' }
  };
  await expect(Scheduler.start({ ...options, host: '0.0.0.0' })).rejects.toThrow(
    'Refusing to listen on 0.0.0.0'
  );
});
