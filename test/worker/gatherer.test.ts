/** Peers that answer something else than what was asked, too much, half, or nothing: real sockets. */
import type { Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { writeData } from '../../src/comm/data.ts';
import type { DataMessage } from '../../src/comm/data.ts';
import { CommServer, createToken } from '../../src/comm/server.ts';
import { Gatherer } from '../../src/worker/gatherer.ts';
import { MemoryStore } from '../../src/worker/store.ts';
import type { GatherBusy, GatherFailure, GatherSuccess } from '../../src/worker/state/events.ts';

type Answer = (message: DataMessage, socket: Socket) => Promise<DataMessage>;

const servers: CommServer[] = [];
const gatherers: Gatherer[] = [];
afterEach(async () => {
  for (const gatherer of gatherers.splice(0)) gatherer.close();
  for (const server of servers.splice(0)) await server.close();
});

/** Frames of 100 bytes, one a value. */
function values(tids: number[], keys = tids.map(tid => `k${tid}`)): DataMessage {
  const head = {
    tids,
    keys,
    families: tids.map(() => 'plain'),
    counts: tids.map(() => 1),
    types: tids.map(() => 'Uint8Array')
  };
  return { head, frames: tids.map(tid => new Uint8Array(100).fill(tid)) };
}

/** Asks a peer that answers so for values 1 and 2. */
async function ask(answer: Answer) {
  const token = createToken();
  const server = new CommServer({ token });
  servers.push(server);
  server.data(answer);
  const store = new MemoryStore();
  const log: string[] = [];
  const gatherer = new Gatherer({
    token,
    epoch: '',
    silenceMs: 150,
    store,
    keyOf: tid => `k${tid}`,
    onEvent: event => heard?.(event),
    onTransfer: () => undefined,
    onLog: text => log.push(text)
  });
  gatherers.push(gatherer);
  let heard: ((event: GatherSuccess | GatherBusy | GatherFailure) => void) | null = null;
  gatherer.addPeer(7, await server.listen());
  const gather = async (tids: number[]) => {
    const event = new Promise<GatherSuccess | GatherBusy | GatherFailure>(
      resolve => (heard = resolve)
    );
    void gatherer.gather({ op: 'gather', worker: 7, tids, nbytes: 100 * tids.length });
    return event;
  };
  return { event: await gather([1, 2]), gather, store, log };
}

describe('a peer', () => {
  it('gives what was asked, or a part of it', async () => {
    const { event, store } = await ask(() => Promise.resolve(values([2])));
    expect(event).toMatchObject({ op: 'gather-success', worker: 7, tids: [2], nbytes: [100] });
    expect(store.has(2)).toBe(true);
    expect(store.size).toBe(1);
  });

  it('is busy', async () => {
    const { event } = await ask(() => Promise.resolve({ head: { busy: true }, frames: [] }));
    expect(event).toEqual({ op: 'gather-busy', worker: 7 });
  });

  const short = values([1, 2]);
  it.each<[string, DataMessage, RegExp]>([
    ['values nobody asked for', values([1, 3]), /sent value 3, which nobody asked for/],
    ['a value twice', values([1, 1]), /sent value 1, which nobody asked for/],
    ['a value of another key', values([1, 2], ['k1', 'other']), /sent other for k2/],
    [
      'fewer frames than it says',
      { head: short.head, frames: [new Uint8Array(1)] },
      /other frames/
    ],
    ['more frames', { ...short, frames: [...short.frames, new Uint8Array(1)] }, /more frames/],
    [
      'columns that do not fit',
      { head: { ...short.head, counts: [1] }, frames: short.frames },
      /columns/
    ],
    [
      'far more bytes than the values have',
      { head: short.head, frames: [new Uint8Array(100), new Uint8Array(40 * 2 ** 20)] },
      /cut off: An answer of 41943140 bytes/
    ]
  ])('that sends %s has failed, and nothing of it is kept', async (_what, answer, reason) => {
    const { event, store, log } = await ask(() => Promise.resolve(answer));
    expect(event).toEqual({ op: 'gather-failure', worker: 7 });
    expect(store.size).toBe(0);
    expect(log.join('\n')).toMatch(reason);
  });

  it.each<[string, Answer, RegExp]>([
    ['never answers', () => new Promise(() => undefined), /said nothing for 0.15 s/],
    [
      'stops in the middle',
      (message, socket) => {
        const id = message.head['id'];
        const parts: Uint8Array[] = [];
        const sink = {
          cork: () => 0,
          uncork: () => 0,
          write: (part: Uint8Array) => parts.push(part)
        };
        writeData(sink as never, {
          head: { ...values([1, 2]).head, id },
          frames: values([1, 2]).frames
        });
        socket.write(Buffer.concat(parts).subarray(0, -50));
        return new Promise(() => undefined);
      },
      /said nothing for 0.15 s/
    ],
    [
      'is cut off in the middle',
      (_message, socket) => {
        socket.write('TLD1', () => socket.destroy());
        return new Promise(() => undefined);
      },
      /closed its data link/
    ],
    [
      'sends garbage',
      (_message, socket) => {
        socket.write(Buffer.alloc(100, 7));
        return new Promise(() => undefined);
      },
      /cut off: Not a taskloom-data message/
    ],
    ['answers with an error', () => Promise.reject(new Error('no disk')), /no disk/]
  ])('that %s has failed; asked again, it is dialled anew', async (_what, bad, reason) => {
    let first = true;
    const { event, gather, store, log } = await ask((message, socket) => {
      if (!first) return Promise.resolve(values([1, 2]));
      first = false;
      return bad(message, socket);
    });
    expect(event).toEqual({ op: 'gather-failure', worker: 7 });
    expect(log.join('\n')).toMatch(reason);
    expect(await gather([1, 2])).toMatchObject({ op: 'gather-success', tids: [1, 2] });
    expect(store.size).toBe(2);
  });
});
