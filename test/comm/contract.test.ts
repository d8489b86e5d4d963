/** What every control link promises, whatever carries it: order, one batch a turn, one close. */
import { afterEach, describe, expect, it } from 'vitest';
import type { CloseReason, Connection } from '../../src/comm/connection.ts';
import { inprocPair } from '../../src/comm/inproc.ts';
import { Requester, answerRequest } from '../../src/comm/rpc.ts';
import { CommServer, createToken } from '../../src/comm/server.ts';
import { accept, dial } from '../../src/comm/link.ts';
import { CLOSE } from '../../src/protocol/limits.ts';
import type { RequestMessage, ResponseMessage } from '../../src/protocol/messages.ts';

interface Message {
  op: string;
  n?: number;
  bytes?: Uint8Array;
}

/** One end of a link, and all that came to it. */
interface End {
  connection: Connection<Message>;
  batches: Message[][];
  closes: CloseReason[];
}

const servers: CommServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

function collector(): Omit<End, 'connection'> & {
  handlers: { onMessages(m: Message[]): void; onClose(r: CloseReason): void };
} {
  const batches: Message[][] = [];
  const closes: CloseReason[] = [];
  return {
    batches,
    closes,
    handlers: { onMessages: batch => batches.push(batch), onClose: reason => closes.push(reason) }
  };
}

function inproc(): Promise<[End, End]> {
  const [attachA, attachB] = inprocPair<Message, Message>('a', 'b');
  const a = collector();
  const b = collector();
  return Promise.resolve([
    { ...a, connection: attachA(a.handlers) },
    { ...b, connection: attachB(b.handlers) }
  ]);
}

async function dialled(sameHost: boolean): Promise<[End, End]> {
  const token = createToken();
  const server = new CommServer({ token, sameHost });
  servers.push(server);
  const b = collector();
  const opened = new Promise<Connection<Message>>(resolve => {
    server.link('/link', (wire, peer) => resolve(accept<Message, Message>(wire, peer, b.handlers)));
  });
  const address = await server.listen();
  const a = collector();
  const connection = await dial<Message, Message>({ address, path: '/link', token }, a.handlers);
  return [
    { ...a, connection },
    { ...b, connection: await opened }
  ];
}

describe.each([
  ['in-process', inproc],
  ['WebSocket', () => dialled(false)],
  ['within a machine', () => dialled(true)]
])('%s link', (_name, make) => {
  it('delivers in order, and what one turn sends as one batch', async () => {
    const [a, b] = await make();
    for (let n = 0; n < 100; n++) a.connection.send({ op: 'x', n });
    await expect.poll(() => b.batches.flat().length).toBe(100);
    expect(b.batches).toHaveLength(1);
    await new Promise(resolve => setImmediate(resolve));
    a.connection.send({ op: 'x', n: 100 });
    await expect.poll(() => b.batches.length).toBe(2);
    expect(b.batches.flat().map(message => message.n)).toEqual(
      Array.from({ length: 101 }, (_, n) => n)
    );
  });

  it('carries bytes both ways', async () => {
    const [a, b] = await make();
    const bytes = new Uint8Array(100_000).map((_, i) => i);
    b.connection.send({ op: 'x', bytes });
    await expect.poll(() => a.batches.length).toBe(1);
    expect(Buffer.compare(a.batches[0]?.[0]?.bytes as Uint8Array, bytes)).toBe(0);
  });

  it('flushes before it closes, and tells each end once, with code and reason', async () => {
    const [a, b] = await make();
    a.connection.send({ op: 'last' });
    a.connection.close(CLOSE.goingAway, 'done here');
    a.connection.close(CLOSE.goingAway, 'again');
    await expect.poll(() => a.closes.length + b.closes.length).toBe(2);
    expect(b.batches.flat()).toEqual([{ op: 'last' }]);
    expect(b.closes).toEqual([{ code: CLOSE.goingAway, reason: 'done here' }]);
    a.connection.send({ op: 'nobody hears' });
    expect(a.connection.isOpen).toBe(false);
  });

  it('answers requests, errors with their code, and rejects what is open when it closes', async () => {
    const [a, b] = await make();
    const methods = new Map<string, (params: never) => unknown>([
      ['double', ({ n }: { n: number }) => 2 * n],
      ['never', () => new Promise(() => undefined)]
    ]);
    const requester = new Requester(message => a.connection.send(message as unknown as Message));
    const pump = (): void => {
      for (const message of b.batches.splice(0).flat()) {
        void answerRequest(message as unknown as RequestMessage, methods, answer =>
          b.connection.send(answer as never)
        );
      }
      for (const message of a.batches.splice(0).flat())
        requester.answer(message as unknown as ResponseMessage);
    };
    const timer = setInterval(pump, 2);
    await expect(requester.request('double', { n: 21 })).resolves.toBe(42);
    await expect(requester.request('nothing', {})).rejects.toMatchObject({
      code: 'UNKNOWN_METHOD'
    });
    await expect(requester.request('never', {}, 30)).rejects.toMatchObject({ code: 'TIMEOUT' });
    const open = requester.request('never', {});
    requester.fail('gone');
    await expect(open).rejects.toMatchObject({ code: 'COMM_CLOSED' });
    clearInterval(timer);
  });
});
