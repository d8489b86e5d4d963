import { connect } from 'node:net';
import fc from 'fast-check';
import { afterEach, expect, it } from 'vitest';
import { DataPool, DataReader, writeData } from '../../src/comm/data.ts';
import type { DataMessage } from '../../src/comm/data.ts';
import { CommServer, createToken } from '../../src/comm/server.ts';

const servers: CommServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

async function echoServer(token: string): Promise<string> {
  const server = new CommServer({ token });
  servers.push(server);
  server.data(message => {
    if (message.head['fail'] === true) return Promise.reject(new Error('asked to fail'));
    return Promise.resolve(message);
  });
  return server.listen();
}

/** The bytes of messages, as a socket would get them. */
function bytesOf(messages: DataMessage[]): Uint8Array {
  const parts: Uint8Array[] = [];
  const socket = {
    cork: () => 0,
    uncork: () => 0,
    write: (part: Uint8Array) => parts.push(part.slice()) > 0
  };
  for (const message of messages) writeData(socket as never, message);
  return Buffer.concat(parts);
}

it('reads the same messages however the stream is cut', () => {
  const frame = fc.uint8Array({ maxLength: 300 });
  const message = fc.record({
    head: fc.record({ id: fc.nat(), op: fc.string() }),
    frames: fc.array(frame, { maxLength: 5 })
  });
  fc.assert(
    fc.property(
      fc.array(message, { maxLength: 5 }),
      fc.array(fc.integer({ min: 1, max: 97 })),
      (messages, cuts) => {
        const bytes = bytesOf(messages);
        const read: DataMessage[] = [];
        const reader = new DataReader(one => read.push(one));
        let at = 0;
        for (let i = 0; at < bytes.length; i++) {
          const size = cuts.length === 0 ? 1 : (cuts[i % cuts.length] as number);
          reader.push(bytes.subarray(at, at + size));
          at += size;
        }
        expect(read).toEqual(messages);
      }
    )
  );
});

it('answers overlapping requests, errors included, over one socket', async () => {
  const token = createToken();
  const address = await echoServer(token);
  const pool = new DataPool(token);
  const big = new Uint8Array(5_000_000).fill(7);
  const [a, b, c] = await Promise.allSettled([
    pool.request(address, { head: { n: 1 }, frames: [big, new Uint8Array(0)] }),
    pool.request(address, { head: { fail: true }, frames: [] }),
    pool.request(address, { head: { n: 3 }, frames: [new Uint8Array([3])] })
  ]);
  expect(a.status === 'fulfilled' && Buffer.compare(a.value.frames[0] as Uint8Array, big)).toBe(0);
  expect(a.status === 'fulfilled' && a.value.frames[1]?.length).toBe(0);
  expect(b).toMatchObject({ status: 'rejected', reason: { code: 'COMM_CLOSED' } });
  expect(c).toMatchObject({ status: 'fulfilled', value: { head: { n: 3 } } });
  pool.close();
});

it('refuses a wrong token and says so', async () => {
  const address = await echoServer(createToken());
  const pool = new DataPool('wrong');
  await expect(pool.request(address, { head: {}, frames: [] })).rejects.toMatchObject({
    code: 'UNAUTHENTICATED'
  });
});

it.each([
  ['garbage', Buffer.from('this is no message at all')],
  [
    'a head beyond the limit',
    Buffer.from([0x54, 0x4c, 0x44, 0x31].reverse().concat([0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0]))
  ]
])('cuts off a peer that sends %s, and serves others', async (_what, bytes) => {
  const token = createToken();
  const address = await echoServer(token);
  const url = new URL(address);
  const socket = connect(Number(url.port), url.hostname);
  socket.write(
    `GET /data HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: taskloom-data\r\nAuthorization: Bearer ${token}\r\n\r\n`
  );
  await new Promise(resolve => socket.once('data', resolve));
  socket.write(bytes);
  socket.on('error', () => undefined);
  await new Promise(resolve => socket.once('close', resolve));
  const pool = new DataPool(token);
  await expect(pool.request(address, { head: { n: 1 }, frames: [] })).resolves.toMatchObject({
    head: { n: 1 }
  });
  pool.close();
});
