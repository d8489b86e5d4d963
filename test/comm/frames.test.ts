/** The framing of links within a machine: what arrives, however it was cut, and what ends it. */
import { connect } from 'node:net';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { FrameReader, LINK_PROTOCOL } from '../../src/comm/frames.ts';
import { accept } from '../../src/comm/link.ts';
import { CommServer, createToken } from '../../src/comm/server.ts';
import { UpgradeReader, upgradeRequest } from '../../src/comm/upgrade.ts';
import { encodeBatch } from '../../src/protocol/codec.ts';
import { CLOSE, LIMITS } from '../../src/protocol/limits.ts';

const servers: CommServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

function frame(kind: number, body: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32LE(body.length, 0);
  head[4] = kind;
  return Buffer.concat([head, body]);
}

describe('frames', () => {
  it('arrive whole and in order, wherever the stream is cut', () => {
    const bodies = fc.array(fc.tuple(fc.integer({ min: 0, max: 3 }), fc.uint8Array()));
    fc.assert(
      fc.property(bodies, fc.infiniteStream(fc.integer({ min: 1, max: 12 })), (sent, cuts) => {
        const stream = Buffer.concat(sent.map(([kind, body]) => frame(kind, body)));
        const got: [number, Uint8Array][] = [];
        const reader = new FrameReader((kind, body) => got.push([kind, Uint8Array.from(body)]));
        for (let at = 0; at < stream.length;) {
          const size = cuts.next().value as number;
          reader.push(stream.subarray(at, at + size));
          at += size;
        }
        expect(got).toEqual(sent);
      }),
      { seed: 7, numRuns: 300 }
    );
  });

  it('larger than allowed are refused by their head alone', () => {
    const reader = new FrameReader(() => undefined);
    const head = Buffer.alloc(5);
    head.writeUInt32LE(LIMITS.controlFrameBytes + 1, 0);
    expect(() => reader.push(head)).toThrow(/67108865 bytes is too large/);
  });
});

/** A peer that speaks for itself, after its upgrade; what the server's end was told. */
async function stranger(path = '/link') {
  const token = createToken();
  const server = new CommServer({ token });
  servers.push(server);
  const closes: unknown[] = [];
  const batches: unknown[] = [];
  server.link('/link', (wire, peer) => {
    const onMessages = (batch: unknown[]): unknown => batches.push(batch);
    accept(wire, peer, { onMessages, onClose: reason => closes.push(reason) });
  });
  server.link('/feed', () => undefined, true);
  const { host, port } = new URL(await server.listen());
  const socket = connect(Number(port), '127.0.0.1');
  const answer = new UpgradeReader();
  const received: [number, Uint8Array][] = [];
  const reader = new FrameReader((kind, body) => received.push([kind, Uint8Array.from(body)]));
  const opened = new Promise<void>((resolve, reject) => {
    let open = false;
    socket.on('data', (chunk: Buffer) => {
      try {
        const rest = open ? chunk : answer.push(chunk);
        if (rest === null) return;
        open = true;
        resolve();
        reader.push(rest);
      } catch (error) {
        reject(error as Error);
      }
    });
  });
  socket.write(upgradeRequest({ host, path, token }, LINK_PROTOCOL));
  await opened;
  return { socket, closes, batches, received };
}

describe('a link of plain frames', () => {
  it('answers pings, and hands on what a peer says before it ends', async () => {
    const { socket, closes, batches, received } = await stranger();
    socket.write(frame(1, new Uint8Array(0)));
    await expect.poll(() => received).toEqual([[2, new Uint8Array(0)]]);
    const word = Buffer.from([0, 0, ...Buffer.from('so long')]);
    word.writeUInt16LE(CLOSE.goingAway, 0);
    const last = frame(0, encodeBatch([{ op: 'last' }]));
    socket.write(Buffer.concat([last, frame(3, word), frame(0, encodeBatch([{ op: 'late' }]))]));
    await expect.poll(() => closes).toEqual([{ code: CLOSE.goingAway, reason: 'so long' }]);
    expect(batches).toEqual([[{ op: 'last' }]]);
  });

  it('that breaks off counts as lost without a word', async () => {
    const { socket, closes } = await stranger();
    socket.end();
    await expect.poll(() => closes).toEqual([{ code: 1006, reason: '' }]);
  });

  it.each([
    ['a frame too large', Buffer.from([255, 255, 255, 255, 0]), CLOSE.frameTooLarge],
    ['a frame that is no batch', frame(0, Buffer.from('nonsense')), CLOSE.badFrame]
  ])('ends after %s, and says why', async (_name, bytes, code) => {
    const { socket, closes, received } = await stranger();
    socket.write(bytes);
    await expect.poll(() => closes).toMatchObject([{ code }]);
    await expect.poll(() => received).toHaveLength(1);
    const [kind, body = new Uint8Array(2)] = received[0] ?? [];
    expect([kind, Buffer.from(body).readUInt16LE(0)]).toEqual([3, code]);
  });

  it('is not for dashboards, which may send small frames only', async () => {
    await expect(stranger('/feed')).rejects.toThrow('status 404');
  });
});
