/**
 * A peer that is gone without a word. A paused socket stands for it: the operating system keeps the
 * connection, and nobody reads or writes at the other end.
 */
import type { Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { CloseReason, Connection } from '../../src/comm/connection.ts';
import type { KeepAliveOptions } from '../../src/comm/keep-alive.ts';
import { CommServer, createToken } from '../../src/comm/server.ts';
import { accept, dial } from '../../src/comm/link.ts';
import type { Wire } from '../../src/comm/wire.ts';
import { CLOSE } from '../../src/protocol/limits.ts';

interface Message {
  op: string;
  bytes?: Uint8Array;
}

const servers: CommServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

interface Pair {
  /** Closes that each side was told of. */
  ours: CloseReason[];
  theirs: CloseReason[];
  received: Message[];
  connection: Connection<Message>;
  wire: Wire;
}

async function pair(
  sameHost: boolean,
  near: KeepAliveOptions,
  far: KeepAliveOptions
): Promise<Pair> {
  const token = createToken();
  const server = new CommServer({ token, sameHost });
  servers.push(server);
  const ours: CloseReason[] = [];
  const theirs: CloseReason[] = [];
  const received: Message[] = [];
  const opened = new Promise<Wire>(resolve => {
    server.link('/link', (wire, peer) => {
      const onMessages = (batch: Message[]): unknown => received.push(...batch);
      accept<Message, Message>(
        wire,
        peer,
        { onMessages, onClose: reason => theirs.push(reason) },
        far
      );
      resolve(wire);
    });
  });
  const address = await server.listen();
  const connection = await dial<Message, Message>(
    { address, path: '/link', token, keepAlive: near },
    { onMessages: () => undefined, onClose: reason => ours.push(reason) }
  );
  return { ours, theirs, received, connection, wire: await opened };
}

const raw = (wire: Wire): Socket => {
  const { raw: below, socket } = wire as unknown as { raw?: Socket; socket: Socket };
  return below ?? socket;
};

describe.each([
  ['between machines', false],
  ['within a machine', true]
])('keep-alives %s', (_name, sameHost) => {
  it('notice a peer that says nothing, and say for how long', async () => {
    const link = await pair(sameHost, { pingMs: 20, silenceMs: 100 }, { pingMs: 1e6 });
    raw(link.wire).pause();
    await expect.poll(() => link.ours).toHaveLength(1);
    expect(link.ours[0]?.code).toBe(CLOSE.unresponsive);
    expect(link.ours[0]?.reason).toMatch(/nothing was heard of the peer for 0\.\d s/);
    expect(link.connection.isOpen).toBe(false);
  });

  it('keep a link that only answers pings', async () => {
    const link = await pair(sameHost, { pingMs: 20, silenceMs: 60 }, { pingMs: 1e6 });
    await new Promise(resolve => setTimeout(resolve, 500));
    expect(link.ours).toEqual([]);
    link.connection.send({ op: 'still there' });
    await expect.poll(() => link.received).toEqual([{ op: 'still there' }]);
  });

  it('are answered also by a side that would wait for ever', async () => {
    const link = await pair(sameHost, { pingMs: 1e6 }, { pingMs: 20, silenceMs: Infinity });
    raw(link.wire).pause();
    await new Promise(resolve => setTimeout(resolve, 300));
    expect(link.theirs).toEqual([]);
    raw(link.wire).resume();
    link.connection.send({ op: 'back again' });
    await expect.poll(() => link.received).toEqual([{ op: 'back again' }]);
  });

  it('do not count a blocked loop as silence of the peer', async () => {
    const link = await pair(
      sameHost,
      { pingMs: 20, silenceMs: 100 },
      { pingMs: 20, silenceMs: 100 }
    );
    await new Promise(resolve => setTimeout(resolve, 50));
    const end = performance.now() + 1000;
    while (performance.now() < end);
    await new Promise(resolve => setTimeout(resolve, 100));
    expect([link.ours, link.theirs]).toEqual([[], []]);
  });
});
